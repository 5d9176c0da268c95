"""Counts of a pool's status."""

from __future__ import annotations

from ipaddress import ip_address, ip_network

import pytest
from hypothesis import given
from hypothesis import strategies as st

from onehop.core.pool_use import pools_used
from onehop.model.address import parse_range
from onehop.model.config import Pool
from onehop.model.desired import ServiceStatus
from onehop.model.objects import Objects
from onehop.model.pool_use import PoolUse
from onehop.model.service import Key

NAME = Key("metallb-system", "a")


def use(*ranges: str, held: tuple[tuple[str, ...], ...] = (), buggy: bool = False,
        pool: str = "a") -> PoolUse:  # fmt: skip
    objects = Objects(
        pools={NAME: Pool(key=NAME, ranges=tuple(map(parse_range, ranges)), avoid_buggy_ips=buggy)}
    )
    statuses = {
        Key("kafka", f"s{n}"): ServiceStatus(
            key=Key("kafka", f"s{n}"), addresses=tuple(map(ip_address, each)), pool=pool
        )
        for n, each in enumerate(held)
    }
    return pools_used(objects, statuses)[NAME]


def test_what_is_assigned_is_not_available() -> None:
    assert use("192.0.2.0/28", "2001:db8::/124", held=(("192.0.2.1", "2001:db8::1"),)) == PoolUse(
        assigned_ipv4=1, assigned_ipv6=1, available_ipv4=15, available_ipv6=15
    )


def test_a_shared_address_counts_once() -> None:
    found = use("192.0.2.0/28", held=(("192.0.2.1",), ("192.0.2.1",)))
    assert (found.assigned_ipv4, found.available_ipv4) == (1, 15)


def test_addresses_of_another_pool_do_not_count() -> None:
    assert use("192.0.2.0/28", held=(("198.51.100.1",),), pool="b").assigned_ipv4 == 0


def test_ranges_that_share_addresses_count_them_once() -> None:
    assert use("192.0.2.0/28", "192.0.2.8-192.0.2.19").available_ipv4 == 20


@pytest.mark.parametrize("text", ["::/0", "2001:db8::/32"])
def test_a_count_fits_a_signed_word(text: str) -> None:
    assert use(text).available_ipv6 == (1 << 63) - 1


@given(first=st.integers(0, 1 << 12), size=st.integers(1, 1 << 12))
def test_avoided_addresses_are_not_available(first: int, size: int) -> None:
    base = int(ip_network("10.0.0.0/8")[0]) + first
    ends = f"{ip_address(base)}-{ip_address(base + size - 1)}"
    good = sum((base + n) & 0xFF not in (0, 255) for n in range(size))
    assert use(ends, buggy=True).available_ipv4 == good
