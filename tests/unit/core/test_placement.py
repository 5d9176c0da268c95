"""Which addresses the search finds, seen through whole decisions: one rule a row."""

from __future__ import annotations

import pytest

from onehop.core.placement import some
from onehop.model.config import Pool, ServiceAllocation
from onehop.model.reason import Reason
from tests.builders import LOCAL, a_pool, a_service
from tests.unit.core.allocation import (
    DUAL,
    PREFER,
    PREFER_V6,
    REQUIRE,
    SHARED,
    SMALL,
    TWO,
    V6_ONLY,
    asking,
    brief,
    named,
    statuses,
)


@pytest.mark.parametrize(
    ("pools", "more", "answer"),
    [
        pytest.param([a_pool("p", "10.0.0.0/30")], {}, "10.0.0.0 of p", id="CIDR from its start"),
        pytest.param([SMALL], {}, "10.0.0.1 of small", id="range from its start"),
        pytest.param(
            [a_pool("p", "10.9.0.0/30", "10.0.0.0/30")], {}, "10.9.0.0 of p", id="ranges in order"
        ),
        pytest.param(
            [a_pool("b", "10.0.0.0/30"), a_pool("a", "10.9.0.0/30")],
            {},
            "10.9.0.0 of a",
            id="equal pools by name",
        ),
        pytest.param(
            [a_pool("p", "10.0.0.0/24", avoid_buggy_ips=True)], {}, "10.0.0.1 of p", id="not .0"
        ),
        pytest.param(
            [a_pool("p", "10.0.0.255-10.0.1.5", avoid_buggy_ips=True)],
            {},
            "10.0.1.1 of p",
            id="not .255 nor .0",
        ),
        pytest.param([a_pool("p", "fd00::/64")], V6_ONLY, "fd00:: of p", id="v6, huge"),
        pytest.param([SMALL, DUAL], V6_ONLY, "fd01::1 of dual", id="first pool of the family"),
        pytest.param([DUAL], REQUIRE, "10.1.0.1 fd01::1 of dual", id="dual: v4 before v6"),
        pytest.param(
            [a_pool("a", "10.0.0.0/30"), DUAL],
            REQUIRE,
            "10.1.0.1 fd01::1 of dual",
            id="dual: first pool that has both",
        ),
        pytest.param([DUAL], TWO, "10.1.0.1 fd01::1 of dual", id="two cluster IPs need both"),
        pytest.param(
            [a_pool("a", "10.0.0.0/30"), a_pool("b", "fd00::/64")],
            REQUIRE,
            "NoPoolForService",
            id="dual: never from two pools",
        ),
        pytest.param(
            [a_pool("a", "10.0.0.0/30"), DUAL],
            PREFER,
            "10.1.0.1 fd01::1 of dual",
            id="prefers dual: both if any pool has both",
        ),
        pytest.param(
            [a_pool("b", "10.0.0.0/30"), a_pool("a", "fd00::/64")],
            PREFER,
            "10.0.0.0 of b",
            id="prefers dual: else v4",
        ),
        pytest.param(
            [a_pool("b", "10.0.0.0/30"), a_pool("a", "fd00::/64")],
            PREFER_V6,
            "fd00:: of a",
            id="prefers dual: else the first family",
        ),
        pytest.param(
            [a_pool("a", "10.0.0.0/30")], PREFER_V6, "10.0.0.0 of a", id="prefers dual: else any"
        ),
        pytest.param(
            [a_pool("a", "10.0.0.0/30", allocation=ServiceAllocation()), DUAL],
            PREFER,
            "10.0.0.0 of a",
            id="prefers dual: a pinned pool before an open one that has both",
        ),
        pytest.param(
            [a_pool("a", "10.0.0.0/30", auto_assign=False), DUAL],
            {},
            "10.1.0.1 of dual",
            id="autoAssign false: not unasked",
        ),
        pytest.param(
            [a_pool("a", "10.0.0.0/30", auto_assign=False), DUAL],
            named(address_pool="a"),
            "10.0.0.0 of a",
            id="autoAssign false: by annotation",
        ),
        pytest.param(
            [a_pool("a", "10.0.0.0/30", auto_assign=False), DUAL],
            asking("10.0.0.3"),
            "10.0.0.3 of a",
            id="autoAssign false: by address",
        ),
        pytest.param(
            [SMALL, DUAL],
            {"annotations": {"metallb.universe.tf/address-pool": "small"}},
            "10.0.0.1 of small",
            id="deprecated pool annotation",
        ),
        pytest.param(
            [DUAL],
            {"load_balancer_ip": "10.1.0.7"},
            "10.1.0.7 of dual",
            id="spec.loadBalancerIP",
        ),
        pytest.param(
            [DUAL],
            {**REQUIRE, **asking("fd01::7", "10.1.0.7")},
            "10.1.0.7 fd01::7 of dual",
            id="requested, both families",
        ),
        pytest.param(
            [DUAL],
            {
                "annotations": {
                    "metallb.io/address-pool": "dual",
                    "metallb.io/loadBalancerIPs": "10.1.0.7",
                }
            },
            "10.1.0.7 of dual",
            id="requested, and the pool agrees",
        ),
    ],
)
def test_what_is_given(pools: list[Pool], more: dict[str, object], answer: str) -> None:
    assert brief(statuses(pools, [a_service("web", **more)])["web"]) == answer


@pytest.mark.parametrize(
    ("pools", "more", "reason", "words"),
    [
        pytest.param([DUAL], named(address_pool="x"), Reason.UNKNOWN_POOL, "no pool x", id="pool"),
        pytest.param(
            [DUAL, a_pool("z", "10.1.0.0/24")],
            named(address_pool="z"),
            Reason.UNKNOWN_POOL,
            "pool z is not in force: 10.1.0.0/24 overlaps 10.1.0.1-10.1.0.9 of pool dual",
            id="pool out of force",
        ),
        pytest.param(
            [SMALL],
            {**V6_ONLY, **named(address_pool="small")},
            Reason.FAMILY_MISMATCH,
            "pool small has no IPv6 range",
            id="named pool of the other family",
        ),
        pytest.param(
            [a_pool("p", allocation=ServiceAllocation(namespaces=frozenset({"x"})))],
            named(address_pool="p"),
            Reason.POOL_FORBIDDEN,
            "pool p does not admit Service default/web",
            id="named pool that excludes it",
        ),
        pytest.param(
            [a_pool("p", allocation=ServiceAllocation(namespaces=frozenset({"x"})))],
            asking("192.0.2.240"),
            Reason.POOL_FORBIDDEN,
            "pool p does not admit",
            id="requested from a pool that excludes it",
        ),
        pytest.param(
            [
                SMALL,
                a_pool("b", "10.2.0.0/30", auto_assign=False),
                a_pool("c", allocation=ServiceAllocation(namespaces=frozenset({"x"}))),
            ],
            V6_ONLY,
            Reason.NO_POOL_FOR_SERVICE,
            "pool b: autoAssign is false; pool c: its serviceAllocation does not admit the"
            " Service; pool small: has no IPv6 range",
            id="every pool with its why not",
        ),
        pytest.param(
            [a_pool("a", auto_assign=False)],
            PREFER,
            Reason.NO_POOL_FOR_SERVICE,
            "pool a: autoAssign is false",
            id="prefers dual, and no pool",
        ),
        pytest.param(
            [DUAL], asking("10.9.9.9"), Reason.ADDRESS_NOT_IN_POOL, "10.9.9.9", id="in no pool"
        ),
        pytest.param(
            [DUAL],
            {**PREFER, **asking("10.1.0.7")},
            Reason.FAMILY_MISMATCH,
            "requested 10.1.0.7, the Service needs IPv4 and IPv6",
            id="one of two families",
        ),
        pytest.param(
            [DUAL],
            {"load_balancer_ip": "10.1.0.7", **named(address_pool="x")},
            Reason.UNKNOWN_POOL,
            "there is no pool x",
            id="requested, and the pool is unknown",
        ),
        pytest.param([DUAL], asking("x"), Reason.ADDRESS_INVALID, "'x' is no address", id="bad"),
    ],
)
def test_what_is_refused(
    pools: list[Pool], more: dict[str, object], reason: Reason, words: str
) -> None:
    """A refusal names what is at fault, and nobody else is disturbed."""
    found = statuses(pools, [a_service("web", **more), a_service("other", **asking("10.1.0.9"))])
    assert found["web"].addresses == ()
    assert found["web"].refusal is not None
    assert found["web"].refusal.reason is reason
    assert words in found["web"].refusal.detail
    alone = statuses(pools, [a_service("other", **asking("10.1.0.9"))])
    assert found["other"] == alone["other"]


def test_an_exhausted_pool_says_which_family_is_short() -> None:
    pools = [a_pool("a", "10.0.0.1/32", "fd00::1-fd00::2"), a_pool("b", "10.0.9.1/32")]
    services = [a_service("dual", **REQUIRE), a_service("named", **named(address_pool="b"))]
    services += [a_service("s1"), a_service("s2"), a_service("t", **named(address_pool="b"))]
    found = statuses(pools, services)
    assert brief(found["dual"]) == "10.0.0.1 fd00::1 of a"
    assert brief(found["named"]) == "10.0.9.1 of b"
    assert str(found["s1"].refusal) == (
        "PoolExhausted: no address is free in the pools it may use"
        " (pool a has no free IPv4 address; pool b has no free IPv4 address)"
    )
    assert found["s2"].refusal == found["s1"].refusal
    assert found["t"].refusal is not None
    assert found["t"].refusal.detail == "pool b has no free IPv4 address"


def test_exhaustion_under_a_sharing_key_and_under_two_families() -> None:
    pools = [a_pool("a", "10.0.0.1/32", "fd00::1/128")]
    services = [
        a_service("a", **REQUIRE),
        a_service("b", **REQUIRE),
        a_service("c", **named(allow_shared_ip="k")),
        a_service("d", **PREFER),
    ]
    found = statuses(pools, services)
    details = [found[name].refusal.detail for name in "bcd" if found[name].refusal]  # type: ignore[union-attr]
    assert details == [
        "pool a has no free IPv4 and IPv6 address",
        "pool a has no free IPv4 address",
        "pool a has no free IPv4 and IPv6 address",
    ]


def test_exhausted_pools_are_those_that_might_have_served() -> None:
    pools = [a_pool("a", "10.0.0.1/32", "fd00::1/128"), a_pool("b", "10.0.9.1/32")]
    services = [a_service("a", **REQUIRE), a_service("b", **asking("10.0.9.1"))]
    services += [a_service("c", **REQUIRE), a_service("d", **PREFER)]
    found = statuses(pools, services)
    both = "pool a has no free IPv4 and IPv6 address"
    details = {name: status.refusal.detail for name, status in found.items() if status.refusal}
    assert details == {"c": both, "d": f"{both}; pool b has no free IPv4 and IPv6 address"}


def test_reasons_are_cut_short() -> None:
    assert some(["a", "b"], 2) == "a; b"
    assert some(["a", "b", "c"], 2) == "a; b; and more"


def test_a_request_for_a_held_address_names_the_holder() -> None:
    found = statuses([DUAL], [a_service(name, **asking("10.1.0.5")) for name in "ab"])
    assert brief(found["a"]) == "10.1.0.5 of dual"
    assert str(found["b"].refusal) == (
        "AddressInUse: the requested address belongs to another Service"
        " (10.1.0.5 is held by Service default/a)"
    )


def test_requests_are_placed_before_those_that_take_what_comes() -> None:
    found = statuses([SMALL], [a_service("a"), a_service("b", **asking("10.0.0.1"))])
    assert {name: brief(status) for name, status in found.items()} == {
        "a": "10.0.0.2 of small",
        "b": "10.0.0.1 of small",
    }


@pytest.mark.parametrize(
    ("first", "second", "answer"),
    [
        pytest.param({**SHARED}, {**SHARED, "port": 443}, "10.1.0.1 of dual", id="shares"),
        pytest.param({**SHARED}, {**SHARED}, "10.1.0.2 of dual", id="same port: its own"),
        pytest.param({**SHARED}, {"port": 443}, "10.1.0.2 of dual", id="no key: its own"),
        pytest.param(
            {**SHARED, "policy": LOCAL, "selector": {"a": "1"}},
            {**SHARED, "policy": LOCAL, "selector": {"a": "1"}, "port": 443},
            "10.1.0.1 of dual",
            id="Local with one selector",
        ),
        pytest.param(
            {**SHARED, "policy": LOCAL, "selector": {"a": "1"}},
            {**SHARED, "policy": LOCAL, "selector": {"a": "2"}, "port": 443},
            "10.1.0.2 of dual",
            id="Local with two selectors",
        ),
        pytest.param(
            {**REQUIRE, **SHARED},
            {**V6_ONLY, **SHARED, "port": 443},
            "fd01::1 of dual",
            id="shares the v6 one of two",
        ),
    ],
)
def test_sharing(first: dict[str, object], second: dict[str, object], answer: str) -> None:
    found = statuses([DUAL], [a_service("a", **first), a_service("b", **second)])  # type: ignore[arg-type]
    assert brief(found["b"]) == answer


def test_the_lowest_address_wins_whether_free_or_shared() -> None:
    """A free address before the shared one is taken first, as MetalLB's walk does."""
    found = statuses(
        [DUAL],
        [
            a_service("a", "10.1.0.2", **SHARED),
            a_service("b", **SHARED, port=81),
            a_service("c", **SHARED, port=82),
            a_service("d", **SHARED, port=81),
            a_service("e", **SHARED, port=80),
        ],
    )
    assert {name: brief(status)[:8] for name, status in found.items()} == {
        "a": "10.1.0.2", "b": "10.1.0.1", "c": "10.1.0.1", "d": "10.1.0.2", "e": "10.1.0.1",
    }  # fmt: skip


def test_a_search_sees_shared_addresses_that_join_after_it_began() -> None:
    pools = [a_pool("p", "10.0.0.1-10.0.0.3", "10.9.0.1/32")]
    services = [a_service(f"s{n}", **SHARED) for n in range(3)]
    services += [a_service(f"t{n}", **SHARED, port=443) for n in range(3)]
    found = statuses(pools, services)
    assert [brief(found[f"t{n}"]) for n in range(3)] == [f"10.0.0.{n} of p" for n in (1, 2, 3)]


def test_an_address_taken_meanwhile_may_be_shared_by_a_search_that_began_before() -> None:
    """A takes .1, b joins it, c may join neither and takes .2, where d joins it."""
    ports = {"a": 443, "b": 80, "c": 80, "d": 443}
    services = [a_service(name, **SHARED, port=port) for name, port in ports.items()]  # type: ignore[arg-type]
    found = statuses([DUAL], services)
    assert [brief(found[name])[:8] for name in "abcd"] == [
        "10.1.0.1", "10.1.0.1", "10.1.0.2", "10.1.0.2",
    ]  # fmt: skip


def test_one_that_may_share_asks_pools_that_others_used_up() -> None:
    pools = [a_pool("a", "10.0.0.1/32"), a_pool("b", "10.0.1.1/32")]
    services = [a_service("a", **SHARED), a_service("b"), a_service("c", **SHARED, port=443)]  # type: ignore[arg-type]
    found = statuses(pools, services)
    assert [found[name].pool for name in "abc"] == ["a", "b", "a"]


def test_a_refused_share_says_what_stands_against_it() -> None:
    found = statuses(
        [DUAL],
        [
            a_service("a", **asking("10.1.0.5")),
            a_service(
                "b",
                annotations={
                    "metallb.io/loadBalancerIPs": "10.1.0.5",
                    "metallb.io/allow-shared-ip": "k",
                },
            ),
        ],
    )
    assert found["b"].refusal is not None
    assert found["b"].refusal.reason is Reason.SHARING_REFUSED
    assert "10.1.0.5 is held by Service default/a" in found["b"].refusal.detail


def test_a_thousand_pools_are_used_up_in_their_order() -> None:
    pools = [a_pool(f"p{n:04}", f"10.{n // 256}.{n % 256}.1/32") for n in range(1000)]
    found = statuses(pools, [a_service(f"s{n:04}") for n in range(1001)])
    assert [status.pool for _, status in sorted(found.items())] == [
        *(f"p{n:04}" for n in range(1000)),
        "",
    ]
