"""The routes of one Service, and why there are none."""

from __future__ import annotations

from ipaddress import ip_address, ip_network

import pytest

from onehop.core.advertise import (
    aggregated,
    attracts,
    claims,
    communities,
    drained,
    is_draining,
    local_weight,
    merged_route,
    pool_bgp_advertisements,
    service_routes,
    united,
    weighted,
)
from onehop.model.bgp import LargeCommunity, RouteAttributes
from onehop.model.community import link_bandwidth
from onehop.model.node import EXCLUDE_LABEL, Node
from onehop.model.reason import Reason, Refusal
from onehop.model.service import Service
from tests.builders import LOCAL, a_node, a_pool, a_service, a_slice, an_endpoint, labels
from tests.unit.core.bgp import an_adv

SERVICE = a_service("web", "192.0.2.241", labels={"app": "web"})


def test_communities_are_values_names_and_aliases() -> None:
    aliases = {"mine": "1:2", "big": "large:1:2:3", "no-peer": "9:9"}
    found = communities(["no-export", "mine", "big", "0:7", "1:2", "no-peer"], aliases)
    assert found.standard == (7, 0x10002, 9 << 16 | 9, 0xFFFFFF01)
    assert found.large == (LargeCommunity(1, 2, 3),)
    assert found.refusal is None


@pytest.mark.parametrize(("text", "aliases"), [("his", {}), ("his", {"his": "her"})])
def test_a_community_that_nobody_knows(text: str, aliases: dict[str, str]) -> None:
    refusal = Refusal(reason=Reason.COMMUNITY_UNKNOWN, detail=text)
    assert communities(["1:2", text], aliases).refusal == refusal


@pytest.mark.parametrize(
    ("address", "prefix"),
    [("192.0.2.241", "192.0.2.240/28"), ("2001:db8::f:1", "2001:db8::f:0/112")],
)
def test_an_address_is_masked(address: str, prefix: str) -> None:
    adv = an_adv(aggregation_length=28, aggregation_length_v6=112)
    assert aggregated(ip_address(address), adv) == ip_network(prefix)


@pytest.mark.parametrize(
    ("fields", "covered"),
    [
        ({}, True),
        ({"pools": ("pool",)}, True),
        ({"pools": ("other",)}, False),
        ({"pool_selectors": (labels(tier="gold"),)}, True),
        ({"pool_selectors": (labels(tier="tin"),)}, False),
        ({"pools": ("other",), "pool_selectors": (labels(tier="gold"),)}, True),
        ({"node_selectors": (labels(rack="a"),)}, True),
        ({"node_selectors": (labels(rack="b"), labels(rack="a"))}, True),
        ({"node_selectors": (labels(rack="b"),)}, False),
    ],
)
def test_advertisements_of_a_pool(fields: dict[str, object], covered: bool) -> None:
    pool, node = a_pool(labels={"tier": "gold"}), a_node("node0", labels={"rack": "a"})
    adv = an_adv(**fields)  # type: ignore[arg-type]
    assert pool_bgp_advertisements(pool, [adv], node) == ((adv,) if covered else ())


@pytest.mark.parametrize(
    ("service", "node", "endpoints", "reason"),
    [
        (SERVICE, a_node("node0"), ["node1"], None),
        (SERVICE, a_node("node0"), [], Reason.NO_ENDPOINTS),
        (SERVICE, a_node("node0", network_unavailable=True), ["node0"], "net"),
        (SERVICE, a_node("node0", labels={EXCLUDE_LABEL: ""}), ["node0"], "excluded"),
        (a_service("web", policy=LOCAL), a_node("node0"), ["node1"], Reason.NO_LOCAL_ENDPOINT),
        (a_service("web", policy=LOCAL), a_node("node0"), ["node1", "node0"], None),
    ],
)
def test_who_attracts(
    service: Service, node: Node, endpoints: list[str], reason: Reason | str | None
) -> None:
    words = {"net": Reason.NODE_NETWORK_UNAVAILABLE, "excluded": Reason.NODE_EXCLUDED}
    slices = [a_slice("web", *(an_endpoint("10.0.0.1", where) for where in endpoints))]
    found = attracts(service, slices, node, ignore_exclude_label=False)
    assert (found and found.reason) == (words[reason] if isinstance(reason, str) else reason)


def test_the_exclude_label_may_be_ignored() -> None:
    node = a_node("node0", labels={EXCLUDE_LABEL: ""})
    slices = [a_slice("web", an_endpoint("10.0.0.1", "node0"))]
    assert attracts(SERVICE, slices, node, ignore_exclude_label=True) is None


def test_a_weight_counts_ready_endpoints_of_the_family_and_node() -> None:
    slices = [
        a_slice(
            "web",
            an_endpoint("10.0.0.1", "node0"),
            an_endpoint("10.0.0.2", "node0", ready=False, serving=True),
            an_endpoint("10.0.0.3", "node1"),
            an_endpoint("10.0.0.4", "node0", ready=False, serving=False),
            an_endpoint("10.0.0.5", "node0"),
        ),
        a_slice("web", an_endpoint("fd00::1", "node0"), an_endpoint("10.0.0.1", "node0")),
    ]
    assert local_weight(slices, "node0", 4) == 2
    assert local_weight(slices, "node0", 6) == 1
    assert local_weight(slices, "node2", 4) == 0


def test_terminating_endpoints_count_when_no_other_does() -> None:
    slices = [
        a_slice(
            "web",
            an_endpoint("10.0.0.1", "node0", ready=False, serving=True),
            an_endpoint("10.0.0.2", "node0", ready=False, serving=True),
        )
    ]
    assert local_weight(slices, "node0", 4) == 2


def test_claims_follow_service_selectors_and_lengths() -> None:
    one = an_adv("one", service_selectors=(labels(app="web"),))
    two = an_adv("two", service_selectors=(labels(app="db"),))
    wide = an_adv("wide", aggregation_length=24)
    service = a_service("web", "192.0.2.241", "192.0.2.242", labels={"app": "web"})
    assert claims(service, [one, two, wide]) == {
        ip_network("192.0.2.241/32"): (one,),
        ip_network("192.0.2.242/32"): (one,),
        ip_network("192.0.2.0/24"): (wide,),
    }


def test_advertisements_of_one_prefix_unite() -> None:
    one = an_adv("one", communities=("1:2", "large:1:1:1"), local_pref=7)
    two = an_adv("two", communities=("1:1", "1:2"), local_pref=7)
    assert united([one, two], {}) == RouteAttributes(
        local_pref=7,
        communities=(0x10001, 0x10002),
        large_communities=(LargeCommunity(1, 1, 1),),
    )
    assert united([one, one], {}) == united([one], {})
    assert united([], {}) == RouteAttributes()


@pytest.mark.parametrize(("first", "second"), [(1, 2), (0, 5)])
def test_two_preferences_are_refused(first: int, second: int) -> None:
    found = united([an_adv("a", local_pref=first), an_adv("b", local_pref=second)], {})
    assert isinstance(found, Refusal)
    assert (found.reason, found.detail) == (Reason.LOCAL_PREF_CONFLICT, "metallb-system/b")


def test_an_alias_that_is_unknown_is_refused() -> None:
    found = united([an_adv(communities=("his",))], {})
    assert found == Refusal(reason=Reason.COMMUNITY_UNKNOWN, detail="his")


def test_of_two_weights_the_larger_stays() -> None:
    small, large = (weighted(RouteAttributes(), 1, count) for count in (2, 3))
    assert merged_route(small, large) == merged_route(large, small) == large
    assert large.extended == (link_bandwidth(1, 375_000_000.0),)


def test_a_drained_route_is_the_last_resort() -> None:
    route = drained(RouteAttributes(local_pref=200, communities=(1, 0xFFFFFF01)))
    assert route == RouteAttributes(local_pref=0, communities=(1, 0xFFFF0000, 0xFFFFFF01))
    assert drained(route) == route


@pytest.mark.parametrize(
    ("text", "expected"), [("true", True), ("false", False), ("", False), (None, False)]
)
def test_a_node_is_drained_by_annotation(text: str | None, expected: bool) -> None:
    annotations = {} if text is None else {"onehop.io/drain": text}
    assert is_draining(a_node("node0", annotations=annotations)) is expected


def test_routes_for_one_peer() -> None:
    mine = an_adv("a", peers=("r1",), communities=("1:1",))
    other = an_adv("b", peers=("r2",), communities=("1:2",))
    every = an_adv("c", aggregation_length=24)
    assert service_routes(SERVICE, [mine, other, every], "r1", {}) == {
        ip_network("192.0.2.241/32"): RouteAttributes(communities=(0x10001,)),
        ip_network("192.0.2.0/24"): RouteAttributes(),
    }


@pytest.mark.parametrize(
    ("advs", "reason"),
    [
        ([an_adv(peers=("r2",))], Reason.NO_BGP_ADVERTISEMENT),
        ([an_adv("a", local_pref=1), an_adv("b", local_pref=2)], Reason.LOCAL_PREF_CONFLICT),
        ([an_adv(communities=("x",))], Reason.COMMUNITY_UNKNOWN),
    ],
)
def test_why_a_peer_gets_no_route(advs: list[object], reason: Reason) -> None:
    found = service_routes(SERVICE, advs, "r1", {})  # type: ignore[arg-type]
    assert isinstance(found, Refusal)
    assert found.reason is reason
    assert "r1" in found.detail
