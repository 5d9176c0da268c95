"""The Adj-RIB-Out: what is told to a peer, and how little of it."""

from __future__ import annotations

import tracemalloc
from dataclasses import replace
from ipaddress import IPv4Address, IPv6Address, ip_network
from types import MappingProxyType

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from onehop.model.address import Family, IPNetwork
from onehop.model.bgp import RouteAttributes, Routes
from onehop.proto.bgp import received
from onehop.proto.bgp.attribute import Outbound
from onehop.proto.bgp.negotiated import Negotiated
from onehop.proto.bgp.rib_out import (
    GRACEFUL_SHUTDOWN,
    Change,
    Encodings,
    Flush,
    RibOut,
    change,
    drained,
    why_not,
)
from onehop.proto.bgp.update import prefix_octets, updates
from tests.fakes.bgp_wire import BOTH, frames, prefixes, routes

PLAIN, RED, BLUE = (
    RouteAttributes(),
    RouteAttributes(communities=(1,)),
    RouteAttributes(communities=(2,)),
)
HUGE = RouteAttributes(communities=tuple(range(2000)))
OUTBOUND = Outbound(
    asn=64600,
    negotiated=Negotiated(four_octet=True, families=frozenset(Family)),
    next_hop_ipv4=IPv4Address("192.0.2.1"),
)
SIX = ip_network("2001:db8:1::/64")


def a_rib(outbound: Outbound = OUTBOUND) -> RibOut:
    return RibOut(outbound, Encodings())


def test_the_first_flush_announces_all_and_the_second_nothing() -> None:
    rib = a_rib()
    want = routes(500)
    first = rib.flush(want)
    assert (first.announced, first.withdrawn, rib.advertised) == (500, 0, 500)
    assert first.octets == b"".join(updates(want, (), OUTBOUND))
    assert first.messages == len(frames(first.octets)) == 1
    assert rib.flush(want) == Flush()
    assert rib.flush(dict(want)) == Flush()


def test_equal_attributes_in_different_objects_share_a_message() -> None:
    want = {prefix: RouteAttributes(communities=(1,)) for prefix in prefixes(100)}
    assert a_rib().flush(want).messages == 1


def test_withdrawals_go_before_announcements() -> None:
    """A router whose table is full takes the new route only after the old one is gone."""
    rib = a_rib()
    rib.flush(routes(3))
    flush = rib.flush(routes(3, 100))
    assert (flush.announced, flush.withdrawn, flush.grown, flush.messages) == (3, 3, 0, 2)
    seen = [received.decode(frame.body, BOTH) for frame in frames(flush.octets)]
    assert [(update.announced, update.withdrawn) for update in seen] == [(0, 3), (3, 0)]


def test_only_what_changed_is_sent() -> None:
    rib = a_rib()
    want = dict(routes(1000))
    rib.flush(want)
    changed = prefixes(1000)[500]
    flush = rib.flush({**want, changed: RED})
    assert (flush.announced, flush.withdrawn, flush.grown) == (1, 0, 0)
    assert flush.octets.endswith(prefix_octets(changed))
    assert rib.advertised == 1000


def test_a_route_that_cannot_be_carried_is_neither_announced_nor_withdrawn() -> None:
    rib = a_rib()
    first, second, third = prefixes(3)
    assert rib.flush({SIX: PLAIN, first: HUGE}).octets == b""
    assert rib.advertised == 0
    assert rib.flush({second: PLAIN}).withdrawn == 0
    assert rib.flush({second: HUGE}).withdrawn == 1
    assert rib.advertised == 0
    flush = rib.flush({second: RED, third: PLAIN})
    assert (flush.announced, flush.withdrawn, flush.grown) == (2, 0, 2)
    flush = rib.flush({second: HUGE, third: HUGE, first: PLAIN})
    assert (flush.announced, flush.withdrawn, flush.grown) == (1, 2, -1)


def test_attributes_that_change_between_two_that_cannot_be_carried_send_nothing() -> None:
    rib = a_rib()
    (prefix,) = prefixes(1)
    rib.flush({prefix: HUGE})
    assert rib.flush({prefix: replace(HUGE, med=1)}).octets == b""


@pytest.mark.parametrize(
    ("family", "attributes", "outbound", "expected"),
    [
        (Family.IPV4, PLAIN, OUTBOUND, None),
        (Family.IPV6, PLAIN, OUTBOUND, "there is no IPv6 next hop on this session"),
        (
            Family.IPV4,
            PLAIN,
            replace(OUTBOUND, next_hop_ipv4=None),
            "there is no IPv4 next hop on this session",
        ),
        (
            Family.IPV4,
            PLAIN,
            replace(OUTBOUND, next_hop_ipv4=None, next_hop_ipv6=IPv6Address("::1")),
            "there is no IPv4 next hop, and the peer takes none of IPv6 (RFC 8950)",
        ),
        (
            Family.IPV6,
            PLAIN,
            replace(OUTBOUND, negotiated=Negotiated()),
            "IPv6 is not agreed on with this peer",
        ),
        (Family.IPV4, HUGE, OUTBOUND, "its attributes do not fit into a message of 4096 octets"),
    ],
)
def test_a_route_says_why_a_session_cannot_carry_it(
    family: Family, attributes: RouteAttributes, outbound: Outbound, expected: str | None
) -> None:
    assert why_not(family, attributes, outbound) == expected


def test_a_prefix_says_why_it_is_not_advertised() -> None:
    rib = a_rib()
    first, second = prefixes(2)
    rib.flush({first: PLAIN, SIX: PLAIN})
    assert rib.why_not(first) is None
    assert rib.why_not(second) == "no route is wanted there"
    assert rib.why_not(SIX) == "there is no IPv6 next hop on this session"


def test_a_refresh_repeats_one_family_and_only_what_was_sent() -> None:
    """RFC 2918 4."""
    outbound = replace(OUTBOUND, next_hop_ipv6=IPv6Address("2001:db8::1"))
    rib = a_rib(outbound)
    four = routes(3)
    rib.flush({**four, SIX: RED})
    again = rib.again(Family.IPV4)
    assert (again.octets, again.announced) == (b"".join(updates(four, (), outbound)), 3)
    again = rib.again(Family.IPV6)
    assert again.octets == b"".join(updates({SIX: RED}, (), outbound))
    assert rib.advertised == 4


def test_peers_who_are_told_the_same_share_the_very_octets() -> None:
    encodings = Encodings()
    ribs = [RibOut(OUTBOUND, encodings) for _ in range(3)]
    other = RibOut(replace(OUTBOUND, next_hop_ipv4=IPv4Address("192.0.2.9")), encodings)
    want = routes(100)
    first, second, third = (rib.flush(want).octets for rib in ribs)
    assert first is second is third
    assert other.flush(want).octets != first
    late = RibOut(OUTBOUND, encodings)
    ribs[0].flush(routes(50))
    assert late.flush(want).octets == first


def test_draining_adds_the_community_and_takes_the_preference() -> None:
    """RFC 8326 4."""
    want = {**routes(2, 0, RED), **routes(2, 5)}
    encodings = Encodings()
    result = encodings.drained(want)
    assert list(result) == list(want)
    marked = RouteAttributes(communities=(1, GRACEFUL_SHUTDOWN), local_pref=0)
    values = tuple(result.values())
    assert values[0] == marked
    assert values[3] == RouteAttributes(communities=(GRACEFUL_SHUTDOWN,), local_pref=0)
    assert len({id(attributes) for attributes in result.values()}) == 2
    assert encodings.drained(want) is result
    assert drained(result) == result


def test_the_difference_of_a_mapping_with_itself_is_not_looked_for() -> None:
    want = MappingProxyType(routes(3))
    assert change(want, want) == Change()
    assert change(want, MappingProxyType(dict(want))) == Change()


POOL = [*prefixes(6), SIX, ip_network("2001:db8:2::/64")]
ROUTES = st.dictionaries(
    st.sampled_from(POOL), st.sampled_from([PLAIN, RED, BLUE, HUGE]), max_size=8
)


@given(old=ROUTES, new=ROUTES, fresh=st.booleans())
@settings(max_examples=300, deadline=None)
def test_the_difference_is_the_plain_one_whatever_the_order(
    old: Routes, new: Routes, fresh: bool
) -> None:
    if fresh:
        new = {ip_network(str(p)): replace(a) for p, a in new.items()}
    found = change(old, new)
    assert dict(found.gone) == {p: a for p, a in old.items() if p not in new}
    assert dict(found.new) == {p: a for p, a in new.items() if p not in old}
    assert {p: (a, b) for p, a, b in found.replaced} == {
        p: (old[p], a) for p, a in new.items() if p in old and old[p] != a
    }
    assert len(found.gone) + len(found.new) + len(found.replaced) <= len(old) + len(new)


def _router_learns(table: dict[bytes, bytes], octets: bytes) -> None:
    """What a router's table of IPv4 routes makes of the messages; one prefix one attributes."""
    for frame in frames(octets):
        body = frame.body
        middle = 2 + int.from_bytes(body[:2], "big")
        start = middle + 2
        end = start + int.from_bytes(body[middle:start], "big")
        for prefix in _split(body[2:middle]):
            del table[prefix]
        for prefix in _split(body[end:]):
            table[prefix] = body[start:end]


def _split(octets: bytes) -> list[bytes]:
    return [octets[at : at + 5] for at in range(0, len(octets), 5)]


@given(steps=st.lists(ROUTES, max_size=12))
@settings(max_examples=200, deadline=None)
def test_a_router_ends_with_exactly_what_is_wanted(steps: list[Routes]) -> None:
    """Random edits against a table kept by hand; never a withdrawal of what was not announced."""
    rib, table = a_rib(), {}
    for want in steps:
        flush = rib.flush(want)
        before = len(table)
        _router_learns(table, flush.octets)
        carried = {p: a for p, a in want.items() if p.version == 4 and a is not HUGE}
        alone: dict[bytes, bytes] = {}
        _router_learns(alone, b"".join(updates(carried, (), OUTBOUND)))
        assert table == alone
        assert rib.advertised == len(table) == before + flush.grown


def test_ten_thousand_prefixes_at_three_peers_stay_far_below_the_budget() -> None:
    """60 MB over idle for the whole speaker; the peers add octets on their way and no tables."""
    encodings = Encodings()
    ribs = [RibOut(OUTBOUND, encodings) for _ in range(3)]
    want: dict[IPNetwork, RouteAttributes] = dict(routes(10_000))
    tracemalloc.start()
    try:
        for rib in ribs:
            assert rib.flush(want).announced == 10_000
        held, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert held < 1 << 20
    assert peak < 16 << 20
