"""What a node ought to do: announcements with reasons, kept results, and the article's owners."""

from dataclasses import replace
from ipaddress import ip_address
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from onehop.core.decide import DecisionRules, NodeDecider, election, node_desired, service_verdict
from onehop.core.snapshot import Snapshot
from onehop.model.address import Mac
from onehop.model.config import L2Advertisement
from onehop.model.node import Link
from onehop.model.objects import Objects
from onehop.model.reason import Reason, Refusal
from onehop.model.service import Key, Service
from tests.builders import (
    CLUSTER,
    LOCAL,
    a_node,
    a_pool,
    a_service,
    a_slice,
    an_advertisement,
    an_endpoint,
    labels,
    the_objects,
)

NODES = [a_node("node0"), a_node("node1", "192.0.2.11"), a_node("node2", "192.0.2.12")]
WEB = Key("default", "web")


def world(service: Service, *, advertisements: list[L2Advertisement] | None = None) -> Objects:
    return the_objects(
        nodes=NODES,
        services=[service],
        slices=[a_slice("web", an_endpoint("10.0.2.1", "node1"))],
        pools=[a_pool()],
        advertisements=[an_advertisement()] if advertisements is None else advertisements,
    )


def reasons(objects: Objects, key: Key = WEB, **rules: object) -> dict[str, Reason | None]:
    found: dict[str, Reason | None] = {}
    for node in ("node0", "node1", "node2"):
        told = DecisionRules(node=node, **rules)  # type: ignore[arg-type]
        desired = node_desired(Snapshot(objects=objects), told)
        refusal = desired.withheld.get(key)
        found[node] = refusal.reason if refusal is not None else None
        assert (refusal is None) == bool(desired.announcements)
    return found


def test_local_is_announced_by_the_node_with_the_endpoint() -> None:
    assert reasons(world(a_service("web", "192.0.2.241", policy=LOCAL))) == {
        "node0": Reason.NO_LOCAL_ENDPOINT,
        "node1": None,
        "node2": Reason.NO_LOCAL_ENDPOINT,
    }


def test_cluster_has_exactly_one_owner() -> None:
    found = reasons(world(a_service("web", "192.0.2.241", policy=CLUSTER)))
    assert sorted(str(reason) for reason in found.values()) == sorted(
        ["None", "Reason.NOT_OWNER", "Reason.NOT_OWNER"]
    )


@pytest.mark.parametrize(
    ("service", "reason"),
    [
        (a_service("web"), Reason.NO_ADDRESS),
        (a_service("web", "203.0.113.1"), Reason.ADDRESS_IN_NO_POOL),
        (a_service("web", "192.0.2.1"), Reason.ADDRESS_IN_NO_POOL),
        (a_service("web", "2001:db8::1"), Reason.ADDRESS_IN_NO_POOL),
        (a_service("web", "192.0.2.241", load_balancer_class="x/y"), Reason.CLASS_IGNORED),
        (a_service("web", type="NodePort"), Reason.NOT_LOAD_BALANCER),
        (
            a_service("web", "192.0.2.241", session_affinity="ClientIP"),
            Reason.AFFINITY_UNSUPPORTED,
        ),
    ],
)
def test_every_node_says_the_same_no(service: Service, reason: Reason) -> None:
    assert set(reasons(world(service)).values()) == {reason}


def test_no_endpoint_means_no_announcer() -> None:
    objects = replace(world(a_service("web", "192.0.2.241")), slices={})
    assert set(reasons(objects).values()) == {Reason.NO_ENDPOINTS}


def test_no_advertisement_means_no_announcer() -> None:
    objects = world(a_service("web", "192.0.2.241"), advertisements=[])
    assert set(reasons(objects).values()) == {Reason.NO_ADVERTISEMENT}


def test_beside_another_datapath_its_features_are_its_own() -> None:
    objects = world(a_service("web", "192.0.2.241", policy=LOCAL, session_affinity="ClientIP"))
    assert reasons(objects, datapath=False)["node1"] is None
    desired = node_desired(Snapshot(objects=objects), DecisionRules(node="node1", datapath=False))
    assert not desired.datapath.frontends


def test_unknown_node_says_so() -> None:
    objects = world(a_service("web", "192.0.2.241"))
    desired = node_desired(Snapshot(objects=objects), DecisionRules(node="stranger"))
    assert desired.withheld[WEB].reason is Reason.NODE_UNKNOWN
    assert desired.datapath.node_addresses == ()


def test_links_of_the_advertisements_that_cover_the_node_unite() -> None:
    advertisements = [
        an_advertisement("a", links=("eth1",)),
        an_advertisement("b", links=("eth2",)),
        an_advertisement("c", links=("eth9",), node_selectors=(labels(no="such"),)),
    ]
    objects = world(a_service("web", "192.0.2.241", policy=LOCAL), advertisements=advertisements)
    here = DecisionRules(node="node1")
    [announcement] = node_desired(Snapshot(objects=objects), here).announcements
    assert announcement.links == {"eth1", "eth2"}


@pytest.mark.parametrize(
    ("names", "more", "is_announced"),
    [
        (("eth1",), {}, True),
        (("eth7",), {}, False),
        (("eth7", "eth1"), {}, True),
        (("eth1",), {"master": 4}, False),
        (("eth1",), {"no_arp": True}, False),
        (("eth1",), {"up": False}, True),
    ],
)
def test_an_owner_without_any_of_the_listed_links_says_so(
    names: tuple[str, ...], more: dict[str, Any], is_announced: bool
) -> None:
    service = a_service("web", "192.0.2.241", policy=LOCAL)
    objects = world(service, advertisements=[an_advertisement(links=("eth1", "eth2"))])
    mac = Mac.parse("02:00:00:00:00:01")
    links = tuple(
        Link(**{"index": 2, "name": name, "mac": mac, "up": True} | more) for name in names
    )
    here = DecisionRules(node="node1")
    desired = node_desired(Snapshot(objects=objects, links=links), here)
    no_link = Refusal(reason=Reason.NO_LINK, detail="none of eth1, eth2")
    assert desired.withheld.get(WEB) == (None if is_announced else no_link)
    assert bool(desired.announcements) is is_announced


def test_services_that_share_an_address_are_announced_once() -> None:
    shared = {"metallb.io/allow-shared-ip": "k"}
    one = a_service("web", "192.0.2.241", policy=LOCAL, annotations=shared, labels={"a": "1"})
    two = a_service("dns", "192.0.2.241", policy=LOCAL, annotations=shared, port=53)
    objects = the_objects(
        nodes=NODES,
        services=[one, two],
        slices=[
            a_slice(name, an_endpoint("10.0.2.1", "node1"), name=name) for name in ("web", "dns")
        ],
        pools=[a_pool()],
        advertisements=[an_advertisement()],
    )
    desired = node_desired(Snapshot(objects=objects), DecisionRules(node="node1"))
    assert [str(item.address) for item in desired.announcements] == ["192.0.2.241"]
    assert len(desired.datapath.frontends) == 2


def test_different_links_of_a_shared_address_unite() -> None:
    def service(name: str, links: tuple[str, ...]) -> tuple[Service, L2Advertisement]:
        return (
            a_service(name, "192.0.2.241", policy=LOCAL, labels={"app": name}),
            an_advertisement(name, links=links, service_selectors=(labels(app=name),)),
        )

    (web, web_adv), (dns, dns_adv) = service("web", ("eth1",)), service("dns", ("eth2",))
    slices = [a_slice(n, an_endpoint("10.0.2.1", "node1"), name=n) for n in ("web", "dns", "x")]
    base = the_objects(
        nodes=NODES,
        services=[web, dns],
        slices=slices,
        pools=[a_pool()],
        advertisements=[web_adv, dns_adv],
    )
    here = DecisionRules(node="node1")
    [both] = node_desired(Snapshot(objects=base), here).announcements
    assert both.links == {"eth1", "eth2"}
    third, third_adv = service("x", ())
    every = the_objects(
        nodes=NODES,
        services=[web, dns, third],
        slices=slices,
        pools=[a_pool()],
        advertisements=[web_adv, dns_adv, third_adv],
    )
    [free] = node_desired(Snapshot(objects=every), here).announcements
    assert free.links is None


def test_unchanged_services_keep_their_identical_results() -> None:
    decider = NodeDecider(DecisionRules(node="node1"))
    web, dns = a_service("web", "192.0.2.241"), a_service("dns", "192.0.2.242")
    before = the_objects(
        nodes=NODES,
        services=[web, dns],
        pools=[a_pool()],
        advertisements=[an_advertisement()],
        slices=[a_slice("web", an_endpoint("10.0.2.1", "node1"))],
    )
    first = decider.decide(Snapshot(objects=before))
    slices = {Key("default", "dns-x"): a_slice("dns", an_endpoint("10.0.2.2", "node1"))}
    after = replace(before, slices={**before.slices, **slices})
    second = decider.decide(Snapshot(objects=after))
    assert second.datapath.frontends[web.key] is first.datapath.frontends[web.key]
    assert second.datapath.frontends[dns.key] is not first.datapath.frontends[dns.key]
    assert decider.verdict(dns.key) is not None
    third = decider.decide(Snapshot(objects=replace(after, services={web.key: web})))
    assert list(third.datapath.frontends) == [web.key]


def test_verdict_of_one_service_or_none() -> None:
    snapshot = Snapshot(objects=world(a_service("web", "192.0.2.241", policy=LOCAL)))
    verdict = service_verdict(snapshot, DecisionRules(node="node1"), WEB)
    assert verdict is not None
    assert verdict.pool == "pool"
    assert service_verdict(snapshot, DecisionRules(node="node1"), Key("a", "b")) is None


edits = st.lists(
    st.tuples(
        st.integers(0, 4),
        st.integers(0, 3),
        st.sampled_from(("policy", "move", "drop", "slice", "node", "rename")),
    ),
    max_size=12,
)


@settings(max_examples=60, deadline=None)
@given(edits)
def test_a_decider_that_remembers_agrees_with_one_that_does_not(edits) -> None:
    objects = the_objects(
        nodes=NODES,
        pools=[a_pool()],
        advertisements=[an_advertisement()],
        services=[a_service(f"s{i}", f"192.0.2.24{i}") for i in range(5)],
        slices=[a_slice(f"s{i}", an_endpoint(f"10.0.0.{i}", "node0")) for i in range(5)],
    )
    rules = DecisionRules(node="node1")
    decider = NodeDecider(rules)
    for which, where, verb in edits:
        objects = edited(objects, which, where, verb)
        snapshot = Snapshot(objects=objects)
        warm, cold = decider.decide(snapshot), node_desired(snapshot, rules)
        assert warm.datapath == cold.datapath
        assert set(warm.announcements) == set(cold.announcements)
        assert warm.withheld == cold.withheld


def edited(objects: Objects, which: int, where: int, verb: str) -> Objects:
    service, slice_key = f"s{which}", Key("default", f"s{which}-x")
    key = Key("default", service)
    if verb == "policy" and key in objects.services:
        policy = LOCAL if objects.services[key].traffic_policy is CLUSTER else CLUSTER
        changed = replace(objects.services[key], traffic_policy=policy)
        return replace(objects, services={**objects.services, key: changed})
    if verb == "move":
        moved = a_slice(service, an_endpoint(f"10.0.0.{which}", f"node{where}"))
        return replace(objects, slices={**objects.slices, slice_key: moved})
    if verb == "drop":
        rest = {k: v for k, v in objects.services.items() if k != key}
        return replace(objects, services=rest)
    if verb == "slice":
        rest = {k: v for k, v in objects.slices.items() if k != slice_key}
        return replace(objects, slices=rest)
    if verb == "node":
        flipped = [
            replace(n, network_unavailable=not n.network_unavailable) if i == where else n
            for i, n in enumerate(objects.nodes.values())
        ]
        return replace(objects, nodes={Key("", n.name): n for n in flipped})
    if verb == "rename":
        slices = dict(objects.slices)
        slices[slice_key] = a_slice(
            f"s{where}", an_endpoint("10.0.0.9", "node1"), name=f"s{which}-x"
        )
        services = {**objects.services, key: a_service(service, f"192.0.2.24{which}")}
        return replace(objects, slices=slices, services=services)
    return objects


def test_ip_of_the_article_is_owned_by_node0_under_cluster() -> None:
    objects = the_objects(
        nodes=NODES,
        pools=[a_pool("kafka", "192.168.200.240-192.168.200.250")],
        advertisements=[an_advertisement(pools=("kafka",))],
        services=[a_service("web", "192.168.200.241")],
        slices=[a_slice("web", an_endpoint("10.0.2.233", "node1"))],
    )
    found = [
        node.name
        for node in NODES
        if node_desired(Snapshot(objects=objects), DecisionRules(node=node.name)).announcements
    ]
    assert found == ["node0"]
    assert ip_address("192.168.200.241") == objects.services[WEB].ingress[0]


def test_election_names_the_order_and_the_reasons() -> None:
    rules = DecisionRules(node="node1")
    local = Snapshot(objects=world(a_service("web", "192.0.2.241", policy=LOCAL)))
    assert election(local, rules, WEB).ranked == ("node1",)
    assert sorted(election(local, rules, WEB).refused) == ["node0", "node2"]
    assert (
        len(election(Snapshot(objects=world(a_service("web", "192.0.2.241"))), rules, WEB).ranked)
        == 3
    )
    no_address = Snapshot(objects=world(a_service("web")))
    unannounced = Snapshot(objects=world(a_service("web", "192.0.2.241"), advertisements=[]))
    for snapshot, key in ((no_address, WEB), (unannounced, WEB), (local, Key("a", "b"))):
        assert election(snapshot, rules, key).ranked == ()
