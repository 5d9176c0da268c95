"""What a node says of its Services: through the decision, and kept while nothing differs."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from onehop.core.decide import DecisionRules, NodeDecider
from onehop.core.node_status import NodeStatusBuilder, node_statuses
from onehop.core.snapshot import Snapshot
from onehop.model.address import Mac
from onehop.model.desired import NodeDesired
from onehop.model.node import Link
from onehop.model.objects import Objects
from onehop.model.reason import Reason, Refusal
from onehop.model.service import Key
from onehop.model.status import NodeStatuses, ServiceBGPStatus, ServiceL2Status
from tests.builders import LOCAL, a_pool, a_service, a_slice, an_advertisement, an_endpoint, labels
from tests.unit.core.bgp import WEB, a_peer, a_world, an_adv

DB = Key("default", "db")
SERVICE = a_service("web", "192.0.2.241", policy=LOCAL)
OTHER = a_service("db", "192.0.2.242", policy=LOCAL)
TWO = (a_peer("r2"), a_peer("r1", "192.0.2.2"))


def l2(*links: str, node: str = "node0", service: Key = WEB) -> dict[Key, ServiceL2Status]:
    return {service: ServiceL2Status(node=node, service=service, links=links)}


def bgp(*peers: str, node: str = "node0", service: Key = WEB) -> dict[Key, ServiceBGPStatus]:
    return {service: ServiceBGPStatus(node=node, service=service, peers=peers)}


def wanted(objects: Objects, node: str = "node0") -> NodeDesired:
    return NodeDecider(DecisionRules(node=node)).decide(Snapshot(objects=objects))


def said(objects: Objects, node: str = "node0") -> NodeStatuses:
    return node_statuses(wanted(objects, node), node)


def with_l2(objects: Objects, *links: str) -> Objects:
    adv = an_advertisement(links=tuple(links))
    return replace(objects, l2_advertisements={adv.key: adv})


def test_a_service_of_both_protocols_has_both_statuses_where_it_is_carried() -> None:
    objects = with_l2(a_world(SERVICE, peers=TWO))
    assert said(objects) == NodeStatuses(l2=l2(), bgp=bgp("r1", "r2"))
    assert said(objects, "node1") == NodeStatuses()


def test_links_are_named_only_where_a_list_applies() -> None:
    assert said(with_l2(a_world(SERVICE, peers=()), "eth1", "eth0")).l2 == l2("eth0", "eth1")


def test_a_peer_that_no_advertisement_names_is_not_told() -> None:
    objects = a_world(SERVICE, peers=TWO, advs=[an_adv(peers=("r2",))])
    assert said(objects).bgp == bgp("r2")


def test_peers_with_other_advertisements_are_named_by_what_they_get() -> None:
    selects_db = (labels(app="db"),)
    objects = a_world(
        SERVICE,
        a_service("db", "192.0.2.242", labels={"app": "db"}),
        peers=TWO,
        advs=[an_adv("all", peers=("r1",)), an_adv("db", service_selectors=selects_db)],
    )
    assert said(objects).bgp == bgp("r1") | bgp("r1", "r2", service=DB)


def test_a_claim_that_is_lost_to_another_service_is_no_advertisement() -> None:
    """Both share a prefix of 29 bits with other localPref: the first by name counts."""
    a, b = (labels(app=name) for name in ("a", "b"))
    advs = [
        an_adv("one", aggregation_length=29, local_pref=1, service_selectors=(a,)),
        an_adv("two", aggregation_length=29, local_pref=2, service_selectors=(b,)),
    ]
    first = a_service("db", "192.0.2.242", labels={"app": "a"})
    second = a_service("web", "192.0.2.241", labels={"app": "b"})
    objects = a_world(first, second, advs=advs, pools=[a_pool("pool", "192.0.2.240/29")])
    assert said(objects).bgp == bgp("r1", service=DB)
    decider = NodeDecider(DecisionRules(node="node0"))
    assert set(decider.decide(Snapshot(objects=objects)).advertised) == {DB}
    alone = replace(objects, services={WEB: second})
    assert set(decider.decide(Snapshot(objects=alone)).advertised) == {WEB}
    assert set(decider.decide(Snapshot(objects=objects)).advertised) == {DB}


def test_what_did_not_change_stays_the_identical_object() -> None:
    decider = NodeDecider(DecisionRules(node="node0"))
    builder = NodeStatusBuilder("node0")
    objects = with_l2(a_world(SERVICE, OTHER))
    before = builder.statuses(decider.decide(Snapshot(objects=objects)))
    assert set(before.l2) == set(before.bgp) == {WEB, DB}
    again = replace(objects, services={**objects.services, DB: replace(OTHER, labels={"a": "b"})})
    assert builder.statuses(decider.decide(Snapshot(objects=again))) is before
    moved = a_slice("db", an_endpoint("10.0.1.1", "node1"))
    slices = {**objects.slices, moved.key: moved}
    after = builder.statuses(decider.decide(Snapshot(objects=replace(objects, slices=slices))))
    assert after == NodeStatuses(l2=l2(), bgp=bgp("r1"))
    assert after.l2[WEB] is before.l2[WEB]
    assert after.bgp[WEB] is before.bgp[WEB]


def test_a_service_that_changes_its_links_changes_its_status() -> None:
    builder = NodeStatusBuilder("node0")
    world = a_world(SERVICE, peers=(), pools=[a_pool()])
    builder.statuses(wanted(with_l2(world)))
    assert builder.statuses(wanted(with_l2(world, "eth0"))).l2 == l2("eth0")
    assert builder.statuses(wanted(a_world(peers=()))) == NodeStatuses()


class Node0:
    """What one node says, from world to world."""

    def __init__(self) -> None:
        self._decider = NodeDecider(DecisionRules(node="node0"))
        self._builder = NodeStatusBuilder("node0")

    def takes_over(self, world: Objects) -> set[Key]:
        return set(self._builder.statuses(self.wants(world)).taken_over)

    def wants(self, world: Objects) -> NodeDesired:
        return self._decider.decide(Snapshot(objects=world))


def on(*nodes: str, **changes: Any) -> Objects:
    """The world with endpoints of the Service on these nodes."""
    endpoints = [an_endpoint(f"10.0.0.{at}", node) for at, node in enumerate(nodes, 1)]
    world = with_l2(a_world(SERVICE, peers=()))
    found = a_slice("web", *endpoints)
    return replace(world, slices={found.key: found} if nodes else {}, **changes)


NEW = {WEB: replace(SERVICE, ingress=())}


@pytest.mark.parametrize(
    ("worlds", "taken_over"),
    [
        ([on("node0")], [set()]),
        ([on("node0", services=NEW), on("node0")], [set(), set()]),
        ([on(), on("node0")], [set(), set()]),
        ([on("node1"), on("node0")], [set(), {WEB}]),
        ([on("node1"), on(), on("node0")], [set(), set(), {WEB}]),
        ([on("node1"), on("node0"), on(), on("node0")], [set(), {WEB}, set(), set()]),
        ([on("node1"), on("node0"), on("node1"), on("node0")], [set(), {WEB}, set(), {WEB}]),
        # deleted, and another one of its name
        ([on("node1"), on(services={}), on("node0")], [set(), set(), set()]),
        ([on("node1"), on("node0", services=NEW), on("node0")], [set(), set(), set()]),
    ],
)
def test_what_another_node_announced_before_is_taken_over(
    worlds: list[Objects], taken_over: list[set[Key]]
) -> None:
    node0 = Node0()
    assert [node0.takes_over(world) for world in worlds] == taken_over


def test_what_is_taken_over_is_known_without_each_step_between() -> None:
    """Statements are put together: a decision in between may never be heard of."""
    node0 = Node0()
    node0.takes_over(on("node1"))
    node0.wants(on())
    assert node0.takes_over(on("node0")) == {WEB}


def linked(*lists: str, nodes: tuple[str, ...] = ("node0",), **changes: Any) -> Objects:
    """The world of `on`, announced on these links alone."""
    return with_l2(on(*nodes, **changes), *lists)


def lacks(*links: str) -> dict[Key, Refusal]:
    return {WEB: Refusal(reason=Reason.NO_LINK, detail=f"none of {', '.join(links)}")}


@pytest.mark.parametrize(
    ("worlds", "unlinked"),
    [
        ([linked()], [{}]),
        ([linked("eth0")], [{}]),
        ([linked("a")], [lacks("a")]),
        ([linked("eth0"), linked("a"), linked("eth0")], [{}, lacks("a"), {}]),
        ([linked("a"), linked("a", "b")], [lacks("a"), lacks("a", "b")]),
        # it is another node's then, or nobody's
        ([linked("a"), linked("a", nodes=("node1",))], [lacks("a"), {}]),
        ([linked("a"), linked("a", services={})], [lacks("a"), {}]),
        # a pod that moves is nowhere for a while
        ([linked("a"), linked("a", nodes=())], [lacks("a"), lacks("a")]),
        ([linked("a", nodes=()), linked("a")], [{}, lacks("a")]),
    ],
)
def test_an_owner_without_a_link_is_known_until_it_has_one(
    worlds: list[Objects], unlinked: list[dict[Key, Refusal]]
) -> None:
    decider = NodeDecider(DecisionRules(node="node0"))
    builder = NodeStatusBuilder("node0")
    links = (Link(index=2, name="eth0", mac=Mac(bytes(6)), up=True),)

    def says(world: Objects) -> NodeStatuses:
        return builder.statuses(decider.decide(Snapshot(objects=world, links=links)))

    found = [says(world) for world in worlds]
    assert [each.unlinked for each in found] == unlinked
    assert says(worlds[-1]) is found[-1]


def test_a_node_that_was_better_and_is_gone_is_followed_by_the_next() -> None:
    both = with_l2(a_world(a_service("web", "192.0.2.241"), peers=()))
    owner = next(name for name in ("node0", "node1") if said(both, name).l2)
    heir = "node1" if owner == "node0" else "node0"
    decider, builder = NodeDecider(DecisionRules(node=heir)), NodeStatusBuilder(heir)
    assert builder.statuses(decider.decide(Snapshot(objects=both))).l2 == {}
    left = {key: node for key, node in both.nodes.items() if node.name == heir}
    after = builder.statuses(decider.decide(Snapshot(objects=replace(both, nodes=left))))
    assert after.taken_over == after.l2.keys() == {WEB}
