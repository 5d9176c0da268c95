"""When pools will be full."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest

from onehop.core.forecast import PoolForecast, forecasts
from onehop.model.address import Family
from onehop.model.objects import Objects
from onehop.model.service import Service
from tests.builders import a_pool, a_service

NOW = datetime(2026, 6, 1, tzinfo=UTC)


def born(days_ago: float, name: str, *ingress: str, **more: object) -> Service:
    created = (NOW - timedelta(days=days_ago)).isoformat().replace("+00:00", "Z")
    return a_service(name, *ingress, created=created, **more)


def told(*services: Service, ranges: tuple[str, ...] = ("192.0.2.1-192.0.2.10",)) -> PoolForecast:
    pool = a_pool("a", *ranges)
    objects = Objects(services={each.key: each for each in services}, pools={pool.key: pool})
    (found,) = forecasts(objects, NOW)
    return found


def test_what_is_left_lasts_at_the_pace_of_those_that_came() -> None:
    found = told(born(10, "a", "192.0.2.1"), born(5, "b", "192.0.2.2"))
    assert found.usage.free(Family.IPV4) == 8
    assert found.days_left == pytest.approx(40)  # two in ten days, eight left


def test_the_family_that_is_used_most_runs_out() -> None:
    ranges = ("192.0.2.1-192.0.2.10", "2001:db8::/120")
    found = told(
        born(2, "a", "2001:db8::1"), born(1, "b", "2001:db8::2", "192.0.2.1"), ranges=ranges
    )
    assert found.days_left == pytest.approx(254)


def test_services_of_long_ago_tell_no_pace() -> None:
    found = told(born(31, "a", "192.0.2.1"), born(1, "b", "192.0.2.2"))
    assert found.usage.used[Family.IPV4] == 2
    assert found.days_left is None


@pytest.mark.parametrize("created", ["", "yesterday", "2026-05-31T00:00:00"])
def test_a_service_of_unknown_age_tells_no_pace(created: str) -> None:
    found = told(replace(born(1, "a", "192.0.2.1"), created=created), born(1, "b", "192.0.2.2"))
    assert found.days_left is None


def test_two_at_this_very_moment_tell_no_pace() -> None:
    assert told(born(0, "a", "192.0.2.1"), born(0, "b", "192.0.2.2")).days_left is None


def test_only_load_balancers_whose_address_is_the_pools_hold_anything() -> None:
    found = told(
        born(1, "a", "198.51.100.1"),
        born(1, "b"),
        born(1, "c", "192.0.2.1", type="ClusterIP"),
    )
    assert found.usage.used == {Family.IPV4: 0, Family.IPV6: 0}
    assert found.usage.services == 0


def test_a_pool_that_is_not_in_force_says_why() -> None:
    one, other = a_pool("a", "192.0.2.0/24"), a_pool("b", "192.0.2.128/25")
    found = forecasts(Objects(pools={one.key: one, other.key: other}), NOW)
    assert [each.pool.key.name for each in found] == ["a", "b"]
    assert not found[0].refused
    assert "192.0.2.128/25" in found[1].refused
    assert found[1].days_left is None
