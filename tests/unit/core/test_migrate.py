"""What a take-over does to each Service, and why."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace
from ipaddress import ip_address

import pytest
from hypothesis import given
from hypothesis import strategies as st

from onehop.core.allocate import cluster_desired
from onehop.core.migrate import Fate, Outcome, Plan, plan
from onehop.model.config import Pool, ServiceAllocation
from onehop.model.reason import Problem, Reason
from onehop.model.service import Service
from tests.builders import LOCAL, a_pool, a_service, the_objects
from tests.unit.core.allocation import (
    PREFER,
    REQUIRE,
    SHARED,
    TWO,
    V6_ONLY,
    asking,
    named,
)

POOL = a_pool("pool", "192.0.2.1-192.0.2.9", "fd02::1-fd02::9")
V4 = a_pool("v4", "198.51.100.0/30")


def planned(*services: Service, pools: Iterable[Pool] = (POOL, V4), **more: str) -> Plan:
    return plan(the_objects(pools=pools, services=services), **more)


def outcome(*services: Service, pools: Iterable[Pool] = (POOL, V4), **more: str) -> Outcome:
    """The outcome for the Service `web`, which the builder makes unless told otherwise."""
    found = planned(*services, pools=pools, **more).outcomes
    return next(each for each in found if each.service.name == "web")


def told(found: Outcome) -> str:
    """Fate, addresses and codes in one line."""
    codes = ",".join(refusal.reason.code for refusal in found.reasons)
    return " ".join(filter(None, (found.fate.value, *map(str, found.after), codes)))


@pytest.mark.parametrize(
    ("service", "expected"),
    [
        (a_service("web", "192.0.2.7"), "stays 192.0.2.7"),
        (a_service("web", "192.0.2.7", "fd02::7", **TWO), "stays 192.0.2.7 fd02::7"),
        (a_service("web"), "gets 192.0.2.1"),
        (a_service("web", "192.0.2.7", **PREFER), "changes 192.0.2.7 fd02::1"),
        (a_service("web", "fd02::7", "192.0.2.7", **TWO), "changes 192.0.2.7 fd02::7"),
        (a_service("web", "203.0.113.7"), "moves 192.0.2.1 AddressInNoPool"),
        (a_service("web", "192.0.2.7", **V6_ONLY), "moves fd02::1 FamilyMismatch"),
        (a_service("web", "192.0.2.7", "192.0.2.8"), "moves 192.0.2.7 FamilyMismatch"),
        (
            a_service("web", "192.0.2.7", **named(address_pool="v4")),
            "moves 198.51.100.0 RequestConflict",
        ),
        (a_service("web", "192.0.2.7", **asking("192.0.2.8")), "moves 192.0.2.8 RequestConflict"),
        (
            a_service("web", "192.0.2.7", **asking("203.0.113.9")),
            "refused RequestConflict,AddressNotInPool",
        ),
        (
            a_service("web", "203.0.113.7", **named(address_pool="none")),
            "refused AddressInNoPool,UnknownPool",
        ),
        (a_service("web", cluster_ips=()), "refused NoClusterIP"),
        (a_service("web", "192.0.2.7", cluster_ips=()), "refused NoClusterIP"),
        (a_service("web", "192.0.2.7", type="ClusterIP"), "refused NotLoadBalancer"),
        (
            a_service("web", "192.0.2.7", "198.51.100.1", **TWO),
            "moves 192.0.2.7 fd02::1 FamilyMismatch",
        ),
        (
            a_service("web", "192.0.2.7", load_balancer_class="other"),
            "ignored 192.0.2.7 ClassIgnored",
        ),
    ],
)
def test_fates(service: Service, expected: str) -> None:
    assert told(outcome(service)) == expected


def test_a_pool_that_avoids_an_address_takes_it() -> None:
    careful = a_pool("pool", "192.0.2.0/24", avoid_buggy_ips=True)
    assert told(outcome(a_service("web", "192.0.2.255"), pools=(careful,))) == (
        "moves 192.0.2.1 BuggyAddress"
    )


def test_a_pool_that_does_not_admit_the_service_takes_its_address() -> None:
    theirs = a_pool("a", "192.0.2.1", allocation=ServiceAllocation(namespaces=frozenset({"x"})))
    found = outcome(a_service("web", "192.0.2.1"), pools=(theirs, V4))
    assert told(found) == "moves 198.51.100.0 PoolForbidden"


def test_of_two_on_one_address_the_later_moves_and_learns_who_stays() -> None:
    first = a_service("first", "192.0.2.7", created="2026-01-01T00:00:00Z")
    found = outcome(first, a_service("web", "192.0.2.7", created="2026-02-01T00:00:00Z"))
    assert told(found) == "moves 192.0.2.1 AddressInUse"
    assert "default/first" in found.reasons[0].detail


def test_a_shared_address_stays_with_all_who_may_share_it() -> None:
    both = (
        a_service("first", "192.0.2.7", port=81, **SHARED),
        a_service("web", "192.0.2.7", **SHARED),
    )
    assert [each.fate for each in planned(*both).outcomes] == [Fate.STAYS, Fate.STAYS]
    local = a_service("first", "192.0.2.7", port=81, policy=LOCAL, selector={"a": "b"}, **SHARED)
    assert told(outcome(local, replace(both[1], created="2"))) == "moves 192.0.2.1 SharingRefused"


def test_a_dual_service_that_its_pool_cannot_serve_says_so() -> None:
    service = a_service("web", "198.51.100.1", **REQUIRE)
    found = outcome(service, pools=(V4,))
    assert told(found) == "refused FamilyMismatch,NoPoolForService"
    assert "v4" in found.reasons[0].detail


def test_addresses_of_two_pools_do_not_stay_together() -> None:
    v6 = a_pool("v6", "fd02::/120")
    service = a_service("web", "198.51.100.1", "fd02::1", **REQUIRE)
    assert told(outcome(service, pools=(V4, v6))) == "refused RequestConflict,NoPoolForService"


def test_without_pools_everything_is_refused() -> None:
    assert told(outcome(a_service("web", "192.0.2.7"), pools=())) == (
        "refused AddressInNoPool,NoPools"
    )


def test_a_request_that_cannot_be_read_leaves_the_address_and_is_told() -> None:
    found = outcome(a_service("web", "192.0.2.7", **asking("mumble")))
    assert told(found) == "stays 192.0.2.7 AddressInvalid"


def test_a_class_decides_whose_a_service_is() -> None:
    service = a_service("web", "192.0.2.7", load_balancer_class="ours")
    assert told(outcome(service, lb_class="ours")) == "stays 192.0.2.7"
    assert told(outcome(a_service("web", "192.0.2.7"), lb_class="ours")).startswith("ignored")


def test_an_ignored_service_on_an_address_of_a_pool_is_in_danger() -> None:
    inside = planned(a_service("web", "192.0.2.7", load_balancer_class="other"))
    assert not inside.all_stay
    assert inside.outcomes[0].notes == (
        "192.0.2.7 is in pool pool: another Service may be given it",
    )
    outside = planned(a_service("web", "203.0.113.7", load_balancer_class="other"))
    assert outside.all_stay
    assert outside.outcomes[0].notes == ()


def test_services_without_an_external_address_are_left_out() -> None:
    assert planned(a_service("web", type="ClusterIP")).outcomes == ()


def test_outcomes_stand_by_key() -> None:
    found = planned(a_service("b"), a_service("a")).outcomes
    assert [each.service.name for each in found] == ["a", "b"]


def test_what_no_datapath_serves_is_noted() -> None:
    found = outcome(a_service("web", "192.0.2.7", session_affinity="ClientIP"))
    assert found.fate is Fate.STAYS
    assert "AffinityUnsupported" in found.notes[0]


def test_addresses_that_change_places_are_noted() -> None:
    found = outcome(a_service("web", "fd02::7", "192.0.2.7", **TWO))
    assert found.notes == ("the addresses change places: IPv4 comes before IPv6",)
    assert outcome(a_service("web", "192.0.2.7", **PREFER)).notes == ()


@pytest.mark.parametrize(
    ("services", "all_stay"),
    [
        ((), True),
        ((a_service("web", "192.0.2.7"),), True),
        ((a_service("web"),), False),
        ((a_service("web", "192.0.2.7"), a_service("other", "203.0.113.7")), False),
    ],
)
def test_all_stay(services: tuple[Service, ...], all_stay: bool) -> None:
    assert planned(*services).all_stay is all_stay


@pytest.mark.parametrize(("reason", "all_stay"), [(Reason.FIELD_INVALID, False)])
def test_an_object_that_cannot_be_read_is_a_change(reason: Reason, all_stay: bool) -> None:
    problem = Problem(
        source="",
        line=0,
        object="BGPPeer metallb-system/tor",
        field="spec.vrf",
        reason=reason,
        detail="x",
    )
    found = plan(the_objects(pools=(POOL,), problems=(problem,)))
    assert found.problems == (problem,)
    assert found.all_stay is all_stay


def test_a_warning_is_told_and_changes_nothing() -> None:
    found = planned(a_service("web", "192.0.2.7", **named(address_pool="")), pools=(POOL,))
    assert found.all_stay
    lost = plan(
        the_objects(
            pools=(POOL, a_pool("twice", "192.0.2.9-192.0.2.20")),
            services=(a_service("web", "192.0.2.7"),),
        )
    )
    assert [problem.reason for problem in lost.problems] == [Reason.POOL_OVERLAP]
    assert not lost.all_stay


_TEXTS = st.sampled_from(
    ["192.0.2.1", "192.0.2.2", "192.0.2.9", "203.0.113.1", "fd02::1", "fd02::2", "fd03::1"]
)
_SHAPES = st.sampled_from([{}, TWO, PREFER, REQUIRE, V6_ONLY, SHARED, named(address_pool="v4")])


@given(st.lists(st.tuples(st.lists(_TEXTS, max_size=3), _SHAPES), max_size=6))
def test_the_plan_is_what_the_controller_does(
    drawn: list[tuple[list[str], dict[str, object]]],
) -> None:
    """Whatever stands in the statuses, and every loss has a reason."""
    services = [
        a_service(f"s{index}", *texts, port=80 + index, **shape)
        for index, (texts, shape) in enumerate(drawn)
    ]
    objects = the_objects(pools=(POOL, V4), services=services)
    statuses = cluster_desired(objects).statuses
    found = plan(objects).outcomes
    assert {each.service: each.after for each in found} == {
        key: status.addresses for key, status in statuses.items()
    }
    for each in found:
        lost = set(each.before) - set(each.after)
        assert bool(lost) == (each.fate is Fate.MOVES or bool(each.before and not each.after))
        assert each.reasons or not lost
        assert all(isinstance(address, type(ip_address(str(address)))) for address in each.after)
