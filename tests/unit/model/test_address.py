"""Ranges as a pool's `addresses` writes them, MACs, and addresses with a port."""

from __future__ import annotations

from ipaddress import IPv4Address, IPv6Address, ip_address

import pytest
from hypothesis import given
from hypothesis import strategies as st

from onehop.model.address import Family, Mac, family_of, host_port, parse_range

READABLE = {
    "one address as a CIDR": ("192.168.200.240/32", "192.168.200.240", "192.168.200.240"),
    "host bits are masked": ("192.168.200.241/28", "192.168.200.240", "192.168.200.255"),
    "a range with spaces": (" 10.0.0.1 - 10.0.0.9 ", "10.0.0.1", "10.0.0.9"),
    "a range of one": ("10.0.0.1-10.0.0.1", "10.0.0.1", "10.0.0.1"),
    "IPv6 CIDR": ("fd00::/126", "fd00::", "fd00::3"),
    "IPv6 range": ("fd00::1-fd00::ff", "fd00::1", "fd00::ff"),
}

REFUSED = {
    "no address at all": ("somewhere", "invalid CIDR or range"),
    "prefix too long": ("10.0.0.0/33", "invalid CIDR or range"),
    "three ends": ("10.0.0.1-10.0.0.2-10.0.0.3", "one start and one end"),
    "an end that is none": ("10.0.0.1-10.0.0", "is not an IP address"),
    "two families": ("10.0.0.1-fd00::1", "two families"),
    "backwards": ("10.0.0.9-10.0.0.1", "start 10.0.0.9 is after end 10.0.0.1"),
}


@pytest.mark.parametrize(("text", "first", "last"), READABLE.values(), ids=READABLE)
def test_a_readable_range(text: str, first: str, last: str) -> None:
    found = parse_range(text)
    assert (found.first, found.last) == (ip_address(first), ip_address(last))
    assert found.text == text


@pytest.mark.parametrize(("text", "sentence"), REFUSED.values(), ids=REFUSED)
def test_a_refused_range_says_why(text: str, sentence: str) -> None:
    with pytest.raises(ValueError, match=sentence):
        parse_range(text)


def test_a_range_holds_its_ends_and_nothing_of_the_other_family() -> None:
    pool = parse_range("10.0.0.1-10.0.0.3")
    assert [str(a) in {"10.0.0.1", "10.0.0.2", "10.0.0.3"} for a in _around(pool.first)] == [
        a in pool for a in _around(pool.first)
    ]
    assert IPv6Address(int(pool.first)) not in pool
    assert "10.0.0.1" not in pool
    assert pool.size == 3
    assert pool.family is Family.IPV4


def _around(address: IPv4Address | IPv6Address) -> list[IPv4Address | IPv6Address]:
    return [address + step for step in range(-1, 5)]


ends = st.tuples(st.integers(0, 60), st.integers(0, 60)).map(sorted)


@given(ends, ends)
def test_two_ranges_overlap_when_an_address_lies_in_both(one: list[int], two: list[int]) -> None:
    def of(pair: list[int]) -> str:
        return f"10.0.0.{pair[0]}-10.0.0.{pair[1]}"

    a, b = parse_range(of(one)), parse_range(of(two))
    shared = [x for x in range(61) if one[0] <= x <= one[1] and two[0] <= x <= two[1]]
    assert a.overlaps(b) == b.overlaps(a) == bool(shared)


def test_ranges_of_two_families_never_overlap() -> None:
    assert not parse_range("0.0.0.0/0").overlaps(parse_range("::/0"))


def test_the_family_of_an_address() -> None:
    assert family_of(ip_address("10.0.0.1")) is Family.IPV4
    assert family_of(ip_address("fd00::1")) is Family.IPV6


@given(st.binary(min_size=6, max_size=6))
def test_a_mac_reads_what_it_writes(octets: bytes) -> None:
    assert Mac.parse(str(Mac(octets))) == Mac(octets)


@pytest.mark.parametrize("text", ["", "f4:6b:8c:82:42", "f4:6b:8c:82:42:333", "g4:6b:8c:82:42:33"])
def test_what_is_no_mac_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match=r"MAC|invalid literal"):
        Mac.parse(text)


def test_a_mac_may_leave_out_leading_zeros_as_arp_prints_on_some_systems() -> None:
    assert str(Mac.parse("2:0:0:0:1:a")) == "02:00:00:00:01:0a"


def test_an_ipv6_address_needs_brackets_before_its_port() -> None:
    assert host_port(ip_address("192.0.2.1"), 9) == "192.0.2.1:9"
    assert host_port(ip_address("2001:db8::1"), 9) == "[2001:db8::1]:9"
    assert host_port("node.example", 9) == "node.example:9"
