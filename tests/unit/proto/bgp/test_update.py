"""UPDATE messages: what they hold, and how many it takes."""

from __future__ import annotations

import time
from collections.abc import Iterable
from dataclasses import replace
from ipaddress import IPv4Network, IPv6Address, IPv6Network, ip_network

import pytest
from hypothesis import given
from hypothesis import strategies as st
from scapy.contrib import bgp as scapy

from onehop.model.address import Family, IPNetwork
from onehop.model.bgp import LargeCommunity, RouteAttributes
from onehop.proto.bgp.attribute import Outbound
from onehop.proto.bgp.framing import Splitter
from onehop.proto.bgp.received import Update, decode
from onehop.proto.bgp.update import (
    announcements,
    end_of_rib,
    fits,
    prefix_octets,
    updates,
    withdrawals,
)
from tests.unit.proto.bgp.test_attribute import (
    EXTERNAL,
    INTERNAL,
    OLD,
    OTHER_V4,
    OTHER_V6,
    OVER_V6,
    PLAIN,
    outbound,
)

HEADER = "ff" * 16
ATTRIBUTES = "40010100 400206 0201 0000fc00"
V4_HOP, V6_HOP = "400304 c0000201", "20010db8" + "00" * 11 + "01"
LONG = replace(EXTERNAL, max_length=65535)
MARKED = RouteAttributes(communities=(1,))

v4_prefixes = st.builds(
    lambda address, length: IPv4Network((address, length), strict=False),
    st.integers(0, 0xFFFFFFFF),
    st.integers(0, 32),
)
v6_prefixes = st.builds(
    lambda address, length: IPv6Network((address, length), strict=False),
    st.integers(0, (1 << 128) - 1),
    st.integers(0, 128),
)
prefixes = v4_prefixes | v6_prefixes
attributes = st.builds(
    RouteAttributes,
    local_pref=st.none() | st.integers(0, 0xFFFFFFFF),
    med=st.none() | st.integers(0, 0xFFFFFFFF),
    communities=st.lists(st.integers(0, 0xFFFFFFFF), max_size=70).map(tuple),
    large_communities=st.lists(
        st.builds(LargeCommunity, *[st.integers(0, 0xFFFFFFFF)] * 3), max_size=3
    ).map(tuple),
    extended=st.lists(st.binary(min_size=8, max_size=8), max_size=3).map(tuple),
)
sessions = st.builds(
    outbound,
    st.sampled_from([EXTERNAL, INTERNAL, OLD, OVER_V6, LONG]),
    asn=st.sampled_from([64512, 4_200_000_001]),
    link_local=st.sampled_from([None, IPv6Address("fe80::1")]),
    only_to_customer=st.booleans(),
)


def net(text: str) -> IPNetwork:
    return ip_network(text)


def bodies(messages: Iterable[bytes], max_length: int = 4096) -> list[bytes]:
    """The bodies of UPDATEs, each of which must be whole and not too long."""
    splitter, found = Splitter(), []
    splitter.max_length = max_length
    for message in messages:
        splitter.feed(message)
        frame = splitter.next()
        assert frame is not None
        assert (frame.kind.name, splitter.pending) == ("UPDATE", 0)
        found.append(frame.body)
    return found


def counted(messages: Iterable[bytes], to: Outbound) -> tuple[int, int]:
    """Prefixes advertised and withdrawn, as a peer counts them who finds no fault."""
    seen = [decode(body, to.negotiated) for body in bodies(messages, to.negotiated.max_length)]
    assert not [update.faults for update in seen if update.faults]
    return sum(u.announced for u in seen), sum(u.withdrawn for u in seen)


WRITTEN = {
    "IPv4": (
        {"203.0.113.7/32": PLAIN},
        (),
        outbound(),
        ["0000 0014" + ATTRIBUTES + V4_HOP + "20 cb007107"],
    ),
    "IPv4, several lengths": (
        {"0.0.0.0/0": PLAIN, "128.0.0.0/1": PLAIN, "10.1.0.0/17": PLAIN},
        (),
        outbound(),
        ["0000 0014" + ATTRIBUTES + V4_HOP + "00 0180 110a0100"],
    ),
    "IPv4 with a given next hop": (
        {"203.0.113.7/32": RouteAttributes(next_hop=OTHER_V4)},
        (),
        outbound(),
        ["0000 0014" + ATTRIBUTES + "400304 c0000209 20 cb007107"],
    ),
    "IPv6": (
        {"2001:db8::/32": PLAIN},
        (),
        outbound(),
        ["0000 002b 900e001a 0002 01 10" + V6_HOP + "00 20 20010db8" + ATTRIBUTES],
    ),
    "IPv6 on one link": (
        {"2001:db8::/32": PLAIN},
        (),
        outbound(link_local=IPv6Address("fe80::1")),
        [
            "0000 003b 900e002a 0002 01 20" + V6_HOP + "fe80" + "00" * 13 + "01"
            "00 20 20010db8" + ATTRIBUTES
        ],
    ),
    "IPv6 with a given next hop on one link": (
        {"2001:db8::/32": RouteAttributes(next_hop=OTHER_V6)},
        (),
        outbound(link_local=IPv6Address("fe80::1")),
        ["0000 002b 900e001a 0002 01 10" + V6_HOP[:-2] + "09 00 20 20010db8" + ATTRIBUTES],
    ),
    "IPv4 over IPv6": (
        {"203.0.113.7/32": PLAIN},
        ("203.0.113.8/32",),
        outbound(OVER_V6, next_hop_ipv4=None),
        [
            "0000 000c 900f0008 0001 01 20 cb007108",
            "0000 002b 900e001a 0001 01 10" + V6_HOP + "00 20 cb007107" + ATTRIBUTES,
        ],
    ),
    "withdrawals": (
        {},
        ("203.0.113.7/32", "2001:db8::/32", "10.0.0.0/8"),
        outbound(),
        ["0007 20cb007107 080a 0000", "0000 000c 900f0008 0002 01 20 20010db8"],
    ),
    "withdrawn before advertised": (
        {"203.0.113.7/32": PLAIN},
        ("203.0.113.8/32",),
        outbound(),
        ["0005 20cb007108 0000", "0000 0014" + ATTRIBUTES + V4_HOP + "20 cb007107"],
    ),
    "nothing": ({}, (), outbound(), []),
}


@pytest.mark.parametrize(("routes", "gone", "to", "expected"), WRITTEN.values(), ids=WRITTEN)
def test_an_update_stands_on_the_wire_as_the_documents_draw_it(
    routes: dict[str, RouteAttributes], gone: tuple[str, ...], to: Outbound, expected: list[str]
) -> None:
    announced = {net(prefix): given for prefix, given in routes.items()}
    messages = updates(announced, [net(prefix) for prefix in gone], to)
    assert [b.hex() for b in bodies(messages)] == [bytes.fromhex(e).hex() for e in expected]


@pytest.mark.parametrize(
    ("prefix", "octets"),
    [
        ("0.0.0.0/0", "00"),
        ("10.0.0.0/8", "080a"),
        ("10.128.0.0/9", "090a80"),
        ("192.0.2.0/24", "18c00002"),
        ("192.0.2.1/32", "20c0000201"),
        ("::/0", "00"),
        ("2001:db8::/33", "2120010db800"),
        ("2001:db8::1/128", "80" + V6_HOP),
    ],
)
def test_a_prefix_takes_as_few_octets_as_hold_it(prefix: str, octets: str) -> None:
    assert prefix_octets(net(prefix)).hex() == octets


@pytest.mark.parametrize(
    ("family", "body"), [(Family.IPV4, "00000000"), (Family.IPV6, "00000007900f0003000201")]
)
def test_an_end_of_rib_is_an_update_that_says_nothing(family: Family, body: str) -> None:
    (octets,) = bodies([end_of_rib(family)])
    assert octets.hex() == body
    assert decode(octets, EXTERNAL) == Update(end_of_rib=family)


def test_equal_attributes_share_messages_and_different_ones_do_not() -> None:
    routes: dict[IPNetwork, RouteAttributes] = {
        IPv4Network((0x0A000000 + i, 32)): RouteAttributes(med=i % 3) for i in range(300)
    }
    messages = updates(routes, (), outbound())
    assert len(messages) == 3
    assert counted(messages, outbound()) == (300, 0)


def test_no_prefix_is_told_twice_or_forgotten_at_the_seam_of_two_messages() -> None:
    routes: dict[IPNetwork, RouteAttributes] = {
        IPv4Network((0x0A000000 + (i << 8), 24 + i % 9), strict=False): PLAIN for i in range(3000)
    }
    nlri = b"".join(body[24:] for body in bodies(updates(routes, (), outbound())))
    assert nlri == b"".join(prefix_octets(prefix) for prefix in routes)


@pytest.mark.parametrize(
    ("agreed", "per_update", "per_withdrawal"),
    [(EXTERNAL, (4096 - 43) // 5, (4096 - 23) // 5), (LONG, (65535 - 43) // 5, 65512 // 5)],
)
def test_an_update_is_filled_to_its_last_octet(
    agreed: object, per_update: int, per_withdrawal: int
) -> None:
    to = replace(outbound(), negotiated=agreed)
    hosts = [IPv4Network((i, 32)) for i in range(20000)]

    def first(messages: Iterable[bytes]) -> bytes:
        return next(iter(messages))

    announced = decode(first(announcements(Family.IPV4, hosts, PLAIN, to))[19:], to.negotiated)
    withdrawn = decode(first(withdrawals(Family.IPV4, hosts, to))[19:], to.negotiated)
    assert (announced.announced, withdrawn.withdrawn) == (per_update, per_withdrawal)


def test_a_message_that_fits_exactly_is_one() -> None:
    """4096 = 23 fixed + 20 attributes + 2 of /0 to /8 + 810 x 5 + 1."""
    exact = [IPv4Network((i, 32)) for i in range(810)] + [net("10.0.0.0/16")]
    messages = list(announcements(Family.IPV4, exact, PLAIN, outbound()))
    assert [len(message) for message in messages] == [4096]
    more = [*exact[:-1], net("10.0.0.0/24")]
    messages = list(announcements(Family.IPV4, more, PLAIN, outbound()))
    assert [len(message) for message in messages] == [4093, 47]


@pytest.mark.parametrize(
    ("more", "lengths"),
    [
        (["10.0.0.0/24"], [4095]),
        (["10.0.0.0/32"], [4096]),
        (["10.0.0.0/24", "11.0.0.0/8"], [4095, 63]),
    ],
    ids=["one less", "exactly", "one more"],
)
def test_a_multiprotocol_message_is_filled_to_its_last_octet(
    more: list[str], lengths: list[int]
) -> None:
    """4096 = 23 fixed + 13 attributes + 25 of MP_REACH_NLRI + 807 x 5."""
    hosts = [IPv4Network((i, 32)) for i in range(806)] + [net(prefix) for prefix in more]
    to = outbound(OVER_V6, next_hop_ipv4=None)
    messages = list(announcements(Family.IPV4, hosts, PLAIN, to))
    assert [len(message) for message in messages] == lengths
    assert counted(messages, to) == (len(hosts), 0)


@pytest.mark.parametrize(("last", "lengths"), [("0.0.0.0/0", [4096]), ("10.0.0.0/8", [4095, 32])])
def test_a_multiprotocol_withdrawal_is_filled_to_its_last_octet(
    last: str, lengths: list[int]
) -> None:
    """4096 = 23 fixed + 7 of MP_UNREACH_NLRI + 813 x 5 + 1."""
    hosts = [IPv4Network((i, 32)) for i in range(813)] + [net(last)]
    messages = list(withdrawals(Family.IPV4, hosts, outbound(OVER_V6)))
    assert [len(message) for message in messages] == lengths


def test_room_for_all_but_the_longest_prefix_is_too_little() -> None:
    """A session is not to take one prefix and fail at another with the same attributes."""
    many = RouteAttributes(med=1, communities=tuple(range(1007)))
    (message,) = announcements(Family.IPV4, [net("0.0.0.0/0")], less(many), outbound(OLD))
    assert len(message) == 4096 - 16 - 4 + 1
    assert not fits(Family.IPV4, many, outbound(OLD))
    assert fits(Family.IPV4, less(many), outbound(OLD))


def less(attributes: RouteAttributes) -> RouteAttributes:
    """The same with one community less."""
    return replace(attributes, communities=attributes.communities[1:])


@pytest.mark.parametrize(
    ("family", "communities", "is_room"),
    [
        (Family.IPV4, 1008, True),
        (Family.IPV4, 1009, False),
        (Family.IPV6, 1003, True),
        (Family.IPV6, 1004, False),
    ],
)
def test_attributes_must_leave_room_for_the_longest_prefix(
    family: Family, communities: int, is_room: bool
) -> None:
    many = RouteAttributes(communities=tuple(range(communities)))
    assert fits(family, many, outbound()) is is_room
    prefix = net("10.0.0.1/32" if family is Family.IPV4 else "2001:db8::1/128")
    if is_room:
        assert counted(updates({prefix: many}, (), outbound()), outbound()) == (1, 0)
        return
    assert fits(family, many, outbound(LONG))
    with pytest.raises(AssertionError, match="no room"):
        updates({prefix: many}, (), outbound())


@pytest.mark.parametrize("family", Family)
def test_no_prefixes_take_no_message(family: Family) -> None:
    assert list(announcements(family, [], PLAIN, outbound())) == []
    assert list(withdrawals(family, [], outbound())) == []


def test_a_route_the_session_cannot_carry_is_our_own_mistake() -> None:
    with pytest.raises(AssertionError, match="next hop"):
        updates({net("2001:db8::/64"): PLAIN}, (), outbound(next_hop_ipv6=None))
    with pytest.raises(AssertionError, match="next hop"):
        fits(Family.IPV6, PLAIN, outbound(next_hop_ipv6=None))


@given(
    st.dictionaries(prefixes, attributes, max_size=30), st.lists(prefixes, max_size=30), sessions
)
def test_a_peer_finds_every_prefix_and_no_fault(
    announced: dict[IPNetwork, RouteAttributes], withdrawn: list[IPNetwork], to: Outbound
) -> None:
    assert counted(updates(announced, withdrawn, to), to) == (len(announced), len(withdrawn))


def test_scapy_reads_the_same() -> None:
    scapy.bgp_module_conf.use_2_bytes_asn = False
    given = RouteAttributes(
        med=7, communities=(0xFC000005,), large_communities=(LargeCommunity(1, 2, 3),)
    )
    routes = {net("203.0.113.0/24"): given, net("198.51.100.9/32"): given}
    (message,) = updates(routes, (), outbound())
    seen = scapy.BGP(message)[scapy.BGPUpdate]
    assert {entry.prefix for entry in seen.nlri} == {"203.0.113.0/24", "198.51.100.9/32"}
    found = {part.type_code: part.attribute for part in seen.path_attr}
    assert found[1].origin == 0
    assert found[2].segments[0].segment_value == [64512]
    assert found[3].next_hop == "192.0.2.1"
    assert found[4].med == 7
    assert found[8].community == 0xFC000005
    large = found[32].segments[0]
    assert (large.global_administrator, large.local_data_part1, large.local_data_part2) == (
        1,
        2,
        3,
    )


def test_scapy_reads_the_same_of_ipv6() -> None:
    (message,) = updates({net("2001:db8::/48"): PLAIN}, (), outbound())
    reach = scapy.BGP(message)[scapy.BGPPAMPReachNLRI]
    assert (reach.afi, reach.safi, reach.nh_v6_addr) == (2, 1, "2001:db8::1")
    assert [entry.prefix for entry in reach.nlri] == ["2001:db8::/48"]


def test_ten_thousand_prefixes_are_written_at_once() -> None:
    """The budget is 30 ms; the bound here leaves room for a busy machine."""
    routes: dict[IPNetwork, RouteAttributes] = {
        IPv4Network((0x0A000000 + i, 32)): PLAIN for i in range(10_000)
    }
    times = []
    for _ in range(5):
        start = time.perf_counter()
        messages = updates(routes, (), outbound())
        times.append(time.perf_counter() - start)
    assert len(messages) == 13
    assert min(times) < 0.1
