"""The attributes of our routes, octet by octet."""

from __future__ import annotations

from dataclasses import replace
from ipaddress import IPv4Address, IPv6Address

import pytest

from onehop.model.address import Family, IPAddress
from onehop.model.bgp import LargeCommunity, RouteAttributes
from onehop.proto.bgp.attribute import Outbound, attribute, encode, mp_reach, next_hop
from onehop.proto.bgp.constants import AttributeType
from onehop.proto.bgp.negotiated import Negotiated

V4, V6 = IPv4Address("192.0.2.1"), IPv6Address("2001:db8::1")
OTHER_V4, OTHER_V6 = IPv4Address("192.0.2.9"), IPv6Address("2001:db8::9")
BOTH = frozenset(Family)
EXTERNAL = Negotiated(families=BOTH, four_octet=True)
INTERNAL = replace(EXTERNAL, internal=True)
OLD = replace(EXTERNAL, four_octet=False)
OVER_V6 = replace(EXTERNAL, extended_next_hop=True)
PLAIN = RouteAttributes()
EVERYTHING = RouteAttributes(
    local_pref=200,
    med=5,
    communities=(0xFC000001, 0xFFFF0000),
    large_communities=(LargeCommunity(1, 2, 3), LargeCommunity(4_200_000_001, 0, 0xFFFFFFFF)),
    extended=(bytes.fromhex("4004fc003f800000"),),
)


def outbound(agreed: Negotiated = EXTERNAL, **given: object) -> Outbound:
    whole = Outbound(asn=64512, negotiated=agreed, next_hop_ipv4=V4, next_hop_ipv6=V6)
    return replace(whole, **given)


ENCODED = {
    "external": (PLAIN, V4, outbound(), "40010100 400206 0201 0000fc00 400304 c0000201"),
    "external, IPv6 next hop": (PLAIN, V6, outbound(), "40010100 400206 0201 0000fc00"),
    "external, two octets": (
        PLAIN,
        V4,
        outbound(OLD),
        "40010100 400204 0201 fc00 400304 c0000201",
    ),
    "external, two octets, large AS": (
        PLAIN,
        V4,
        outbound(OLD, asn=4_200_000_001),
        "40010100 400204 0201 5ba0 400304 c0000201 c01106 0201 fa56ea01",
    ),
    "external, two octets, the last that fits": (
        PLAIN,
        V6,
        outbound(OLD, asn=65535),
        "40010100 400204 0201 ffff",
    ),
    "external, four octets, large AS": (
        PLAIN,
        V6,
        outbound(asn=4_200_000_001),
        "40010100 400206 0201 fa56ea01",
    ),
    "internal": (PLAIN, V4, outbound(INTERNAL), "40010100 400200 400304 c0000201 400504 00000064"),
    "internal, two octets, large AS": (
        PLAIN,
        V6,
        outbound(replace(INTERNAL, four_octet=False), asn=4_200_000_001),
        "40010100 400200 400504 00000064",
    ),
    "internal, a preference of 0": (
        RouteAttributes(local_pref=0),
        V6,
        outbound(INTERNAL),
        "40010100 400200 400504 00000000",
    ),
    "a MED of 0": (
        RouteAttributes(med=0),
        V6,
        outbound(),
        "40010100 400206 0201 0000fc00 800404 00000000",
    ),
    "only to customer": (
        PLAIN,
        V6,
        outbound(only_to_customer=True),
        "40010100 400206 0201 0000fc00 c02304 0000fc00",
    ),
    "everything, external": (
        EVERYTHING,
        V4,
        outbound(OLD, asn=70000, only_to_customer=True),
        "40010100 400204 0201 5ba0 400304 c0000201 800404 00000005 c00808 fc000001 ffff0000"
        "c01008 4004fc003f800000 c01106 0201 00011170"
        "c02018 00000001 00000002 00000003 fa56ea01 00000000 ffffffff c02304 00011170",
    ),
    "everything, internal": (
        EVERYTHING,
        V4,
        outbound(INTERNAL),
        "40010100 400200 400304 c0000201 800404 00000005 400504 000000c8"
        "c00808 fc000001 ffff0000 c01008 4004fc003f800000"
        "c02018 00000001 00000002 00000003 fa56ea01 00000000 ffffffff",
    ),
}
NEXT_HOPS = {
    "own": (Family.IPV4, PLAIN, outbound(), V4),
    "own, IPv6": (Family.IPV6, PLAIN, outbound(), V6),
    "given": (Family.IPV4, RouteAttributes(next_hop=OTHER_V4), outbound(), OTHER_V4),
    "given, IPv6": (Family.IPV6, RouteAttributes(next_hop=OTHER_V6), outbound(), OTHER_V6),
    "IPv4 over IPv6": (Family.IPV4, PLAIN, outbound(OVER_V6, next_hop_ipv4=None), V6),
    "IPv4 over a given IPv6": (
        Family.IPV4,
        RouteAttributes(next_hop=OTHER_V6),
        outbound(OVER_V6),
        OTHER_V6,
    ),
    "IPv4 first, where both could be": (Family.IPV4, PLAIN, outbound(OVER_V6), V4),
    "not agreed on": (Family.IPV4, PLAIN, outbound(next_hop_ipv4=None), None),
    "given, not agreed on": (Family.IPV4, RouteAttributes(next_hop=OTHER_V6), outbound(), None),
    "no IPv6 here": (Family.IPV6, PLAIN, outbound(next_hop_ipv6=None), None),
    "IPv6 by way of IPv4": (Family.IPV6, RouteAttributes(next_hop=OTHER_V4), outbound(), None),
    "no address at all": (
        Family.IPV4,
        PLAIN,
        outbound(EXTERNAL, next_hop_ipv4=None, next_hop_ipv6=None),
        None,
    ),
    "no address at all, over IPv6": (
        Family.IPV4,
        PLAIN,
        outbound(OVER_V6, next_hop_ipv4=None, next_hop_ipv6=None),
        None,
    ),
    "another family": (
        Family.IPV6,
        PLAIN,
        outbound(replace(EXTERNAL, families=frozenset({Family.IPV4}))),
        None,
    ),
}


@pytest.mark.parametrize(("attributes", "hop", "to", "octets"), ENCODED.values(), ids=ENCODED)
def test_attributes_stand_in_order_as_the_peer_reads_them(
    attributes: RouteAttributes, hop: IPAddress, to: Outbound, octets: str
) -> None:
    assert encode(attributes, hop, to).hex() == bytes.fromhex(octets).hex()


@pytest.mark.parametrize(("family", "given", "to", "hop"), NEXT_HOPS.values(), ids=NEXT_HOPS)
def test_a_route_has_the_next_hop_that_the_session_can_carry(
    family: Family, given: RouteAttributes, to: Outbound, hop: IPAddress | None
) -> None:
    assert next_hop(family, given, to) == hop


@pytest.mark.parametrize(
    ("length", "head"), [(0, "c00800"), (255, "c008ff"), (256, "d0080100"), (4000, "d0080fa0")]
)
def test_a_length_takes_two_octets_when_it_has_to(length: int, head: str) -> None:
    assert attribute(0xC0, AttributeType.COMMUNITIES, bytes(length)) == bytes.fromhex(
        head
    ) + bytes(length)


def test_a_link_local_address_stands_behind_the_global_one() -> None:
    """RFC 2545 3: 16 octets, or 32 with the link-local address."""
    local = IPv6Address("fe80::1")
    assert mp_reach(Family.IPV6, V6, None) == b"\0\2\1\x10" + V6.packed + b"\0"
    assert mp_reach(Family.IPV6, V6, local) == b"\0\2\1\x20" + V6.packed + local.packed + b"\0"
    assert mp_reach(Family.IPV4, V6, None) == b"\0\1\1\x10" + V6.packed + b"\0"
