"""How full pools are."""

from __future__ import annotations

from ipaddress import ip_address

from hypothesis import given
from hypothesis import strategies as st

from onehop.core.usage import PoolUsage, capacity, pool_usage
from onehop.model.address import Family
from onehop.model.desired import ServiceStatus
from onehop.model.service import Key
from tests.builders import a_pool

V4, V6 = Family.IPV4, Family.IPV6


def holds(name: str, pool: str, *addresses: str) -> dict[Key, ServiceStatus]:
    key = Key("shop", name)
    found = tuple(map(ip_address, addresses))
    return {key: ServiceStatus(key=key, addresses=found, pool=pool)}


def test_both_families_are_counted_and_a_shared_address_once() -> None:
    pool = a_pool("a", "192.0.2.0/24", "2001:db8::/120")
    statuses = (
        holds("web", "a", "192.0.2.1", "2001:db8::1")
        | holds("api", "a", "192.0.2.1")
        | holds("db", "a", "192.0.2.2")
        | holds("none", "")
    )
    assert pool_usage([pool, a_pool("b", "198.51.100.1-198.51.100.3")], statuses) == (
        PoolUsage(pool=pool.key, capacity={V4: 256, V6: 256}, used={V4: 2, V6: 1}, services=3),
        PoolUsage(
            pool=Key("metallb-system", "b"),
            capacity={V4: 3, V6: 0},
            used={V4: 0, V6: 0},
            services=0,
        ),
    )


def test_ranges_that_overlap_count_once() -> None:
    pool = a_pool("a", "192.0.2.0-192.0.2.9", "192.0.2.5-192.0.2.14")
    assert capacity(pool) == {V4: 15, V6: 0}


@given(st.integers(0, 2000), st.integers(0, 2000))
def test_addresses_that_a_pool_avoids_are_no_capacity(first: int, length: int) -> None:
    base = int(ip_address("10.0.0.0"))
    low, high = ip_address(base + first), ip_address(base + first + length)
    expected = sum((first + each) % 256 not in (0, 255) for each in range(length + 1))
    pool = a_pool("a", f"{low}-{high}", avoid_buggy_ips=True)
    assert capacity(pool) == {V4: expected, V6: 0}
    assert capacity(a_pool("a", f"{low}-{high}")) == {V4: length + 1, V6: 0}
