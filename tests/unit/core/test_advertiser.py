"""What a node advertises to each peer: through the decision, cold and warm."""

from __future__ import annotations

from dataclasses import replace
from ipaddress import ip_network

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from onehop.core.decide import DecisionRules, NodeDecider, node_desired
from onehop.core.snapshot import Snapshot
from onehop.model.bgp import (
    BASIC_AUTH,
    BFDProfile,
    CommunityAliases,
    RouteAttributes,
    Routes,
    Secret,
)
from onehop.model.community import link_bandwidth
from onehop.model.desired import NodeDesired
from onehop.model.node import EXCLUDE_LABEL
from onehop.model.objects import Objects
from onehop.model.reason import Reason
from onehop.model.service import Key, Service
from tests.builders import LOCAL, a_node, a_pool, a_service, a_slice, an_endpoint, labels
from tests.unit.core.bgp import NODES, WEB, a_peer, a_world, an_adv, key

SERVICE = a_service("web", "192.0.2.241")
PREFIX = ip_network("192.0.2.241/32")
TWO = (a_peer("r1"), a_peer("r2", "192.0.2.2"))


def decided(objects: Objects, node: str = "node0", **rules: object) -> NodeDesired:
    told = DecisionRules(node=node, **rules)  # type: ignore[arg-type]
    return node_desired(Snapshot(objects=objects), told)


def routes(objects: Objects, node: str = "node0") -> dict[str, Routes]:
    return {peer.name: peer.routes for peer in decided(objects, node).peers}


def decider(objects: Objects, node: str = "node0") -> NodeDecider:
    found = NodeDecider(DecisionRules(node=node))
    found.decide(Snapshot(objects=objects))
    return found


def test_under_cluster_every_node_advertises_to_every_peer() -> None:
    objects = a_world(SERVICE, peers=TWO)
    for node in ("node0", "node1"):
        assert routes(objects, node) == {
            name: {PREFIX: RouteAttributes()} for name in ("r1", "r2")
        }
    assert decided(objects).bgp_withheld == {}


def test_under_local_only_nodes_with_endpoints_do() -> None:
    objects = a_world(a_service("web", "192.0.2.241", policy=LOCAL))
    assert routes(objects, "node0") == {"r1": {PREFIX: RouteAttributes()}}
    assert routes(objects, "node1") == {"r1": {}}
    assert decided(objects, "node1").bgp_withheld[WEB].reason is Reason.NO_LOCAL_ENDPOINT


def test_peers_get_what_their_advertisements_say() -> None:
    advs = [
        an_adv("a", peers=("r1",), communities=("mine",), local_pref=7),
        an_adv("b", aggregation_length=30, node_selectors=(labels(rack="a"),)),
        an_adv("c", aggregation_length=31, node_selectors=(labels(rack="b"),)),
    ]
    aliases = CommunityAliases(key=key("c"), aliases={"mine": "1:2"})
    nodes = [a_node("node0", labels={"rack": "a"})]
    objects = a_world(
        SERVICE,
        peers=TWO,
        advs=advs,
        communities=[aliases],
        nodes=nodes,
        pools=[a_pool("pool", "192.0.2.240/29")],
    )
    wide = ip_network("192.0.2.240/30")
    first = RouteAttributes(local_pref=7, communities=(0x10002,))
    assert routes(objects) == {
        "r1": {PREFIX: first, wide: RouteAttributes()},
        "r2": {wide: RouteAttributes()},
    }


@pytest.mark.parametrize(
    ("service", "reason"),
    [
        (a_service("web"), Reason.NO_ADDRESS),
        (a_service("web", "203.0.113.1"), Reason.ADDRESS_IN_NO_POOL),
        (a_service("web", "192.0.2.241", load_balancer_class="x/y"), Reason.CLASS_IGNORED),
        (a_service("web", type="NodePort"), Reason.NOT_LOAD_BALANCER),
        (
            a_service("web", "192.0.2.241", session_affinity="ClientIP"),
            Reason.AFFINITY_UNSUPPORTED,
        ),
        (a_service("web", "192.0.2.241", labels={"app": "db"}), Reason.NO_BGP_ADVERTISEMENT),
    ],
)
def test_services_that_are_not_advertised(service: Service, reason: Reason) -> None:
    adv = an_adv(service_selectors=(labels(app="web"),))
    found = decided(a_world(service, advs=[adv]))
    assert found.bgp_withheld[WEB].reason is reason
    assert found.peers[0].routes == {}
    answer = decider(a_world(service, advs=[adv])).advertised(WEB)
    assert answer is not None
    assert answer.withheld == found.bgp_withheld[WEB]
    assert answer.routes == {}


def test_what_another_datapath_carries_is_advertised() -> None:
    service = a_service("web", "192.0.2.241", session_affinity="ClientIP")
    objects = a_world(service)
    assert decided(objects, datapath=False).peers[0].routes == {PREFIX: RouteAttributes()}


@pytest.mark.parametrize(
    ("more", "reason"),
    [
        ({"labels": {EXCLUDE_LABEL: ""}}, Reason.NODE_EXCLUDED),
        ({"network_unavailable": True}, Reason.NODE_NETWORK_UNAVAILABLE),
    ],
)
def test_nodes_that_may_not_attract(more: dict[str, object], reason: Reason) -> None:
    objects = a_world(SERVICE, nodes=[a_node("node0", **more)])  # type: ignore[arg-type]
    found = decided(objects)
    assert found.bgp_withheld[WEB].reason is reason
    assert found.peers[0].routes == {}
    if reason is Reason.NODE_EXCLUDED:
        told = decided(objects, ignore_exclude_label=True)
        assert told.peers[0].routes == {PREFIX: RouteAttributes()}


def test_without_peers_or_node_nothing_is_said() -> None:
    found = decided(a_world(SERVICE, peers=()))
    assert (found.peers, found.bgp_withheld, found.peers_refused) == ((), {}, {})
    found = decided(a_world(SERVICE), node="elsewhere")
    assert (found.peers, found.bgp_withheld, found.peers_refused) == ((), {}, {})
    found = decided(a_world(SERVICE, peers=[a_peer(bfd_profile="no")]))
    assert (found.peers, found.bgp_withheld, list(found.peers_refused)) == ((), {}, ["r1"])


def test_weights_count_local_endpoints_under_local_only() -> None:
    ends = [an_endpoint(f"10.0.0.{at}", "node0" if at < 4 else "node1") for at in range(1, 7)]
    slices = [a_slice("web", *ends), a_slice("all", *ends)]
    services = (
        a_service("web", "192.0.2.241", policy=LOCAL),
        a_service("all", "192.0.2.242"),
    )
    peers = [a_peer("r1", my_asn=65001), a_peer("r2", "192.0.2.2", local_asn=65002)]
    advs = [an_adv("a", weighted=True), an_adv("b", aggregation_length=32, peers=("r1",))]
    found = routes(a_world(*services, peers=peers, advs=advs, slices=slices))
    for name, asn in (("r1", 65001), ("r2", 65002)):
        assert found[name][PREFIX].extended == (link_bandwidth(asn, 375_000_000.0),)
        assert found[name][ip_network("192.0.2.242/32")].extended == ()


def test_aggregates_and_unweighted_advertisements_bear_no_weight() -> None:
    service = a_service("web", "192.0.2.241", policy=LOCAL)
    advs = [an_adv("a", weighted=True, aggregation_length=31), an_adv("b")]
    found = routes(a_world(service, advs=advs, pools=[a_pool("pool", "192.0.2.240/28")]))["r1"]
    assert {prefix: route.extended for prefix, route in found.items()} == {
        PREFIX: (),
        ip_network("192.0.2.240/31"): (),
    }


def test_a_drained_node_advertises_a_last_resort_and_comes_back() -> None:
    objects = a_world(SERVICE, advs=[an_adv(local_pref=50, communities=("1:2",))])
    keeper = decider(objects)
    away = a_node("node0", annotations={"onehop.io/drain": "true"})
    drained = replace(objects, nodes={**objects.nodes, Key("", "node0"): away})
    found = keeper.decide(Snapshot(objects=drained)).peers[0]
    assert found.routes == {
        PREFIX: RouteAttributes(local_pref=0, communities=(0x10002, 0xFFFF0000))
    }
    again = keeper.decide(Snapshot(objects=objects)).peers[0]
    assert again.routes == {PREFIX: RouteAttributes(local_pref=50, communities=(0x10002,))}


def test_a_preference_that_two_advertisements_give_a_service_is_refused() -> None:
    advs = [
        an_adv("a", local_pref=1, service_selectors=(labels(app="web"),)),
        an_adv("b", local_pref=2, service_selectors=(labels(tier="gold"),), peers=("r1",)),
    ]
    service = a_service("web", "192.0.2.241", labels={"app": "web", "tier": "gold"})
    objects = a_world(service, peers=TWO, advs=advs)
    found = decided(objects)
    assert {peer.name: len(peer.routes) for peer in found.peers} == {"r1": 0, "r2": 1}
    assert found.bgp_withheld == {}
    answer = decider(objects).advertised(WEB)
    assert answer is not None
    assert answer.refused["r1"].reason is Reason.LOCAL_PREF_CONFLICT
    assert answer.routes == {"r2": {PREFIX: RouteAttributes(local_pref=1)}}


def test_of_two_services_on_one_address_the_first_sets_the_preference() -> None:
    advs = [
        an_adv("a", local_pref=1, service_selectors=(labels(app="a"),)),
        an_adv("b", local_pref=2, service_selectors=(labels(app="b"),)),
    ]
    one = a_service("a", "192.0.2.241", labels={"app": "a"})
    two = a_service("b", "192.0.2.241", labels={"app": "b"}, port=81)
    objects = a_world(one, two, advs=advs)
    found = decided(objects)
    assert found.peers[0].routes == {PREFIX: RouteAttributes(local_pref=1)}
    assert found.bgp_withheld[two.key].reason is Reason.LOCAL_PREF_CONFLICT
    assert one.key not in found.bgp_withheld
    answer = decider(objects).advertised(two.key)
    assert answer is not None
    assert "192.0.2.241/32" in answer.refused["r1"].detail
    assert answer.routes == {}
    assert answer.withheld == found.bgp_withheld[two.key]


def test_the_answer_about_a_service_names_every_peer() -> None:
    peers = [*TWO, a_peer("r3", "192.0.2.3", node_selectors=(labels(rack="z"),))]
    keeper = decider(a_world(SERVICE, peers=peers, advs=[an_adv(peers=("r1",))]))
    answer = keeper.advertised(WEB)
    assert answer is not None
    assert answer.routes == {"r1": {PREFIX: RouteAttributes()}}
    assert {name: why.reason for name, why in answer.refused.items()} == {
        "r2": Reason.NO_BGP_ADVERTISEMENT,
        "r3": Reason.PEER_NOT_SELECTED,
    }
    assert answer.withheld is None
    assert keeper.advertised(Key("default", "none")) is None
    assert NodeDecider(DecisionRules(node="node0")).advertised(WEB) is None


def test_answers_without_sessions() -> None:
    answer = decider(a_world(SERVICE, peers=[a_peer(bfd_profile="no")])).advertised(WEB)
    assert answer is not None
    assert list(answer.refused) == ["r1"]
    answer = decider(a_world(SERVICE), node="elsewhere").advertised(WEB)
    assert answer is not None
    assert not answer.refused


def test_what_did_not_change_is_the_identical_object() -> None:
    objects = a_world(SERVICE, a_service("db", "192.0.2.242"), peers=TWO)
    keeper = decider(objects)
    first = keeper.decide(Snapshot(objects=objects))
    assert keeper.decide(Snapshot(objects=objects)).peers is first.peers
    # the endpoints move, and the routes of policy Cluster do not
    moved = a_slice("web", an_endpoint("10.0.0.9", "node1"))
    second = keeper.decide(
        Snapshot(objects=replace(objects, slices={**objects.slices, moved.key: moved}))
    )
    assert second.peers is first.peers
    assert second.bgp_withheld is first.bgp_withheld
    # another peer comes: the others keep their values
    third = a_peer("r3", "192.0.2.3")
    more = replace(objects, bgp_peers={**objects.bgp_peers, third.key: third})
    found = keeper.decide(Snapshot(objects=more)).peers
    assert [a is b for a, b in zip(found, first.peers, strict=False)] == [True, True]
    assert found[2].routes == first.peers[0].routes
    # and a Service goes: routes that were handed out stay as they were
    fewer = replace(more, services={WEB: SERVICE})
    found = keeper.decide(Snapshot(objects=fewer)).peers
    assert len(found[0].routes) == 1
    assert len(first.peers[0].routes) == 2


def test_a_peer_whose_settings_alone_change_keeps_its_routes() -> None:
    objects = a_world(SERVICE, peers=TWO)
    keeper = decider(objects)
    first = keeper.decide(Snapshot(objects=objects)).peers
    other = a_peer("r1", keepalive_time=5.0)
    edited = replace(objects, bgp_peers={**objects.bgp_peers, other.key: other})
    found = keeper.decide(Snapshot(objects=edited)).peers
    assert found[0].peer is other
    assert found[0].routes is first[0].routes
    assert found[1] is first[1]


def test_what_an_alias_a_profile_or_a_secret_says_later_counts() -> None:
    peer = a_peer(bfd_profile="fast", password_secret=key("pw"))
    alias = CommunityAliases(key=key("c"), aliases={"mine": "1:2"})
    profile = BFDProfile(key=key("fast"))
    secret = Secret(key=key("pw"), type=BASIC_AUTH, password="old")
    objects = a_world(
        SERVICE,
        peers=[peer],
        advs=[an_adv(communities=("mine",))],
        communities=[alias],
        profiles=[profile],
        secrets=[secret],
    )
    keeper = decider(objects)
    alias = CommunityAliases(key=key("c"), aliases={"mine": "1:3"})
    objects = replace(objects, community_aliases={alias.key: alias})
    found = keeper.decide(Snapshot(objects=objects)).peers[0]
    assert found.routes == {PREFIX: RouteAttributes(communities=(0x10003,))}
    secret = Secret(key=key("pw"), type=BASIC_AUTH, password="new")
    objects = replace(objects, secrets={secret.key: secret})
    assert keeper.decide(Snapshot(objects=objects)).peers[0].peer.password == "new"
    profile = BFDProfile(key=key("fast"), detect_multiplier=9)
    objects = replace(objects, bfd_profiles={profile.key: profile})
    again = keeper.decide(Snapshot(objects=objects)).peers[0]
    assert again.bfd is profile
    assert again.routes is found.routes
    objects = replace(objects, secrets={})
    assert not keeper.decide(Snapshot(objects=objects)).peers


def test_an_address_that_leaves_its_pool_is_withdrawn() -> None:
    objects = a_world(SERVICE)
    keeper = decider(objects)
    other = a_pool("pool", "192.0.2.242-192.0.2.250")
    found = keeper.decide(Snapshot(objects=replace(objects, pools={other.key: other})))
    assert found.peers[0].routes == {}
    assert found.bgp_withheld[WEB].reason is Reason.ADDRESS_IN_NO_POOL


NAMES = ("a", "b", "c")
ADVS = st.builds(
    an_adv,
    st.sampled_from(["x", "y"]),
    aggregation_length=st.sampled_from([32, 32, 30]),
    local_pref=st.sampled_from([0, 5]),
    communities=st.sampled_from([(), ("1:1",), ("alias",)]),
    peers=st.sampled_from([(), ("r1",), ("r2",)]),
    service_selectors=st.sampled_from([(), (labels(app="web"),)]),
    weighted=st.booleans(),
)
SERVICES = st.builds(
    lambda name, host, policy, app, affinity: a_service(
        name,
        *((f"192.0.2.{host}",) if host else ()),
        policy=policy,
        labels={"app": app},
        session_affinity=affinity,
    ),
    st.sampled_from(NAMES),
    st.sampled_from([0, 241, 241, 242]),
    st.sampled_from([LOCAL, SERVICE.traffic_policy]),
    st.sampled_from(["web", "db"]),
    st.sampled_from(["None", "None", "ClientIP"]),
)
SLICES = st.builds(
    lambda name, nodes: a_slice(
        name, *(an_endpoint(f"10.0.0.{at}", node) for at, node in enumerate(nodes))
    ),
    st.sampled_from(NAMES),
    st.lists(st.sampled_from(["node0", "node1"]), max_size=3),
)
PEERS = st.builds(
    a_peer,
    st.sampled_from(["r1", "r2"]),
    st.sampled_from(["192.0.2.1", "192.0.2.2"]),
    node_selectors=st.sampled_from([(), (), (labels(rack="a"),)]),
)
NODE = st.builds(
    lambda drain, rack: a_node(
        "node0", annotations={"onehop.io/drain": drain}, labels={"rack": rack}
    ),
    st.sampled_from(["true", "false"]),
    st.sampled_from(["a", "b"]),
)
ALIASES = st.builds(
    lambda value: CommunityAliases(key=key("c"), aliases={"alias": value}),
    st.sampled_from(["1:2", "1:3"]),
)
EDITS = st.one_of(
    st.tuples(st.just("services"), SERVICES),
    st.tuples(st.just("slices"), SLICES),
    st.tuples(st.just("bgp_advertisements"), ADVS),
    st.tuples(st.just("bgp_peers"), PEERS),
    st.tuples(st.just("nodes"), NODE),
    st.tuples(st.just("community_aliases"), ALIASES),
)


@given(st.lists(st.tuples(EDITS, st.booleans()), max_size=25))
@settings(max_examples=150, deadline=None)
def test_warm_is_cold(edits: list[tuple[tuple[str, object], bool]]) -> None:
    objects = a_world(
        *(a_service(name, f"192.0.2.{241 + at}") for at, name in enumerate(NAMES)),
        peers=TWO,
        pools=[a_pool("pool", "192.0.2.240/28")],
        nodes=NODES,
    )
    keeper = decider(objects)
    for (kind, value), is_removed in edits:
        held = dict(getattr(objects, kind))
        name = getattr(value, "key", Key("", "node0"))
        if is_removed and kind != "nodes":
            held.pop(name, None)
        else:
            held[name] = value
        objects = replace(objects, **{kind: held})  # type: ignore[arg-type]
        warm = keeper.decide(Snapshot(objects=objects))
        cold = decided(objects)
        assert warm.peers == cold.peers
        assert warm.bgp_withheld == cold.bgp_withheld
        assert warm.peers_refused == cold.peers_refused
        fresh = decider(objects)
        for service in objects.services:
            assert keeper.advertised(service) == fresh.advertised(service)
