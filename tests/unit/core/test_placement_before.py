"""What the search owes to what was before: released addresses and those still held."""

from __future__ import annotations

import pytest

from tests.builders import a_pool, a_service
from tests.unit.core.allocation import (
    DUAL,
    PREFER,
    REQUIRE,
    SMALL,
    V4_ONLY,
    V6_ONLY,
    asking,
    brief,
    named,
    statuses,
)


class TestReleased:
    """Addresses of deleted Services wait for these, while there are others."""

    def test_others_take_the_next_free_one(self) -> None:
        found = statuses([SMALL], [a_service("new")], {"gone": ["10.0.0.1"]})
        assert brief(found["new"]) == "10.0.0.2 of small"

    def test_others_take_it_when_nothing_else_is_free(self) -> None:
        services = [a_service(f"s{n}") for n in range(3)]
        found = statuses([SMALL], services, {"gone": ["10.0.0.1"]})
        assert [brief(found[f"s{n}"]) for n in range(3)] == [
            "10.0.0.2 of small", "10.0.0.1 of small", "PoolExhausted",
        ]  # fmt: skip

    def test_nothing_else_is_free_means_in_any_pool_it_may_use(self) -> None:
        pools = [a_pool("a", "10.0.0.1/32"), a_pool("b", "10.0.0.2/32")]
        found = statuses(pools, [a_service("new")], {"gone": ["10.0.0.1"]})
        assert brief(found["new"]) == "10.0.0.2 of b"

    def test_who_asks_for_it_gets_it(self) -> None:
        found = statuses([SMALL], [a_service("new", **asking("10.0.0.1"))], {"x": ["10.0.0.1"]})
        assert brief(found["new"]) == "10.0.0.1 of small"

    def test_buggy_addresses_stay_avoided(self) -> None:
        pools = [a_pool("p", "10.0.0.254-10.0.1.2", avoid_buggy_ips=True)]
        found = statuses(pools, [a_service("new")], {"gone": ["10.0.0.254"]})
        assert brief(found["new"]) == "10.0.1.1 of p"

    def test_the_same_service_gets_it_back(self) -> None:
        found = statuses([SMALL], [a_service("a"), a_service("web")], {"web": ["10.0.0.2"]})
        assert brief(found["web"]) == "10.0.0.2 of small"

    @pytest.mark.parametrize(
        ("more", "before", "answer"),
        [
            pytest.param(named(address_pool="dual"), ["10.0.0.2"], "10.1.0.1 of dual", id="pool"),
            pytest.param(asking("10.1.0.7"), ["10.0.0.2"], "10.1.0.7 of dual", id="asks"),
            pytest.param({}, ["10.9.9.9"], "10.1.0.1 of dual", id="in no pool now"),
            pytest.param({}, ["fd01::5"], "10.1.0.1 of dual", id="other family now"),
            pytest.param(REQUIRE, ["10.1.0.5"], "10.1.0.5 fd01::1 of dual", id="dual: adds v6"),
            pytest.param(REQUIRE, ["fd01::5"], "10.1.0.1 fd01::5 of dual", id="dual: adds v4"),
            pytest.param(REQUIRE, ["10.0.0.2"], "10.1.0.1 fd01::1 of dual", id="dual: pool is v4"),
            pytest.param(PREFER, ["10.0.0.2"], "10.0.0.2 of small", id="prefers dual: v4 will do"),
            pytest.param(
                PREFER, ["10.0.0.2", "fd01::5"], "10.0.0.2 of small", id="never from two pools"
            ),
            pytest.param(
                PREFER, ["10.1.0.5", "fd01::5"], "10.1.0.5 fd01::5 of dual", id="both again"
            ),
        ],
    )
    def test_coming_back(self, more: dict[str, object], before: list[str], answer: str) -> None:
        found = statuses([SMALL, DUAL], [a_service("web", **more)], {"web": before})
        assert brief(found["web"]) == answer

    def test_it_comes_back_before_newer_wishes_for_it(self) -> None:
        services = [a_service("a", **asking("10.0.0.2")), a_service("b"), a_service("web")]
        found = statuses([SMALL], services, {"web": ["10.0.0.2"]})
        assert [brief(found[name]) for name in ("a", "b", "web")] == [
            "AddressInUse", "10.0.0.1 of small", "10.0.0.2 of small",
        ]  # fmt: skip

    def test_it_is_free_when_its_service_has_another(self) -> None:
        services = [a_service("a", "10.1.0.2"), a_service("web")]
        found = statuses([DUAL], services, {"a": ["10.1.0.1"]})
        assert brief(found["web"]) == "10.1.0.1 of dual"

    def test_it_is_not_given_back_while_another_holds_it(self) -> None:
        services = [a_service("a", "10.0.0.2"), a_service("web")]
        found = statuses([SMALL], services, {"web": ["10.0.0.2"]})
        assert brief(found["web"]) == "10.0.0.1 of small"

    def test_two_families_are_worth_reserved_addresses(self) -> None:
        """Otherwise the next decision would add the second family: it would not stand."""
        pools = [a_pool("a", "10.0.0.1-10.0.0.2", "fd00::1/128"), a_pool("b", "10.9.0.1/32")]
        found = statuses(pools, [a_service("new", **PREFER)], {"gone": ["10.0.0.1", "fd00::1"]})
        assert brief(found["new"]) == "10.0.0.2 fd00::1 of a"

    def test_one_family_takes_reserved_addresses_last(self) -> None:
        services = [a_service("new", **PREFER)]
        found = statuses([a_pool("a", "10.0.0.1/32")], services, {"gone": ["10.0.0.1"]})
        assert brief(found["new"]) == "10.0.0.1 of a"


class TestGrowth:
    """A Service that prefers two families and has one gets the other from the same pool."""

    @pytest.mark.parametrize(
        ("held", "more", "answer"),
        [
            pytest.param(["10.1.0.5"], PREFER, "10.1.0.5 fd01::1 of dual", id="v6 joins"),
            pytest.param(["fd01::5"], PREFER, "10.1.0.1 fd01::5 of dual", id="v4 joins"),
            pytest.param(["10.0.0.2"], PREFER, "10.0.0.2 of small", id="the pool has no v6"),
            pytest.param(["10.1.0.5"], V4_ONLY, "10.1.0.5 of dual", id="needs no other"),
            pytest.param(["10.1.0.5"], REQUIRE, "10.1.0.5 fd01::1 of dual", id="needs two"),
        ],
    )
    def test_growth(self, held: list[str], more: dict[str, object], answer: str) -> None:
        found = statuses([SMALL, DUAL], [a_service("web", *held, **more)])
        assert brief(found["web"]) == answer

    def test_a_pool_without_a_free_one_changes_nothing(self) -> None:
        pools = [a_pool("p", "10.0.0.1-10.0.0.2", "fd00::1/128")]
        services = [a_service("a", "10.0.0.1", "fd00::1", **PREFER)]
        services.append(a_service("b", "10.0.0.2", **PREFER))
        found = statuses(pools, services)
        assert brief(found["b"]) == "10.0.0.2 of p"


class TestOneFamily:
    """Who prefers two families and has one is told why, and told the same at each decision."""

    @pytest.mark.parametrize(
        ("held", "more", "why"),
        [
            pytest.param([], PREFER, "pool p has no free IPv6 address", id="new"),
            pytest.param(["10.0.0.2"], PREFER, "pool p has no free IPv6 address", id="kept"),
            pytest.param(
                ["10.0.0.2"], {**PREFER, **asking("x")}, "'x' is no address", id="a slip first"
            ),
            pytest.param(["10.0.0.2"], {**PREFER, **asking("10.0.0.2")}, "", id="asks for one"),
            pytest.param(["10.0.0.2"], V4_ONLY, "", id="needs no other"),
            pytest.param(
                [], {**PREFER, **named(address_pool="small")},
                "pool small has no IPv6 range", id="no range",
            ),
        ],
    )  # fmt: skip
    def test_why(self, held: list[str], more: dict[str, object], why: str) -> None:
        pools = [a_pool("p", "10.0.0.2/31", "fd00::1/128"), a_pool("small", "10.0.1.0/31")]
        other = a_service("a", "fd00::1", **V6_ONLY)
        first = statuses(pools, [other, a_service("web", *held, **more)])["web"]
        assert (first.refusal.detail if first.refusal else "") == why
        kept = a_service("web", *map(str, first.addresses), **more)
        assert statuses(pools, [other, kept])["web"] == first

    def test_it_says_so_in_its_condition(self) -> None:
        found = statuses([SMALL], [a_service("web", **PREFER)])["web"]
        [condition] = found.conditions
        assert (condition.type, condition.status) == ("AddressAllocated", True)
        assert condition.reason == "OneFamily"
        assert condition.message.endswith("(pool small has no IPv6 range)")
