"""The path attributes of a route that we advertise, as octets.

RFC 4271 4.3 and 5.1, RFC 4760 3 and 4, RFC 2545 3, RFC 8950 3, RFC 6793 4.2.2, RFC 1997, RFC 4360,
RFC 8092 and RFC 9234 5. All our routes are our own: the AS path is our AS outside and empty
inside, the origin is IGP.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv6Address

from onehop.model.address import Family, IPAddress
from onehop.model.bgp import RouteAttributes
from onehop.proto.bgp.constants import AFI_BY_FAMILY, AS_TRANS, SAFI_UNICAST, AttributeType
from onehop.proto.bgp.negotiated import Negotiated

DEFAULT_LOCAL_PREF = 100  # what every implementation assumes inside an AS
OPTIONAL, TRANSITIVE, EXTENDED_LENGTH = 0x80, 0x40, 0x10  # RFC 4271 4.3
AS_SEQUENCE = 2  # RFC 4271 4.3
_IGP = 0  # RFC 4271 5.1.1


@dataclass(frozen=True, slots=True, kw_only=True)
class Outbound:
    """What every UPDATE to one peer has in common.

    `asn` is our AS as the peer knows it. The next hops are our own addresses on the session,
    None where there is none; `link_local` goes beside `next_hop_ipv6` when the peer is on the
    same link (RFC 2545 3). `only_to_customer`: our role asks for that attribute (RFC 9234 5).
    """

    asn: int
    negotiated: Negotiated
    next_hop_ipv4: IPv4Address | None = None
    next_hop_ipv6: IPv6Address | None = None
    link_local: IPv6Address | None = None
    only_to_customer: bool = False


def next_hop(family: Family, attributes: RouteAttributes, outbound: Outbound) -> IPAddress | None:
    """The next hop of a route, or None when the session cannot carry the route.

    It cannot when the family is not negotiated, when we have no address of the family there, or
    when an IPv4 route has an IPv6 next hop and RFC 8950 is not negotiated.
    """
    agreed = outbound.negotiated
    if family not in agreed.families:
        return None
    given = attributes.next_hop
    if family is Family.IPV6:
        given = outbound.next_hop_ipv6 if given is None else given
        return given if isinstance(given, IPv6Address) else None
    if given is None:
        given = outbound.next_hop_ipv4 or outbound.next_hop_ipv6
    return given if agreed.extended_next_hop or isinstance(given, IPv4Address) else None


def attribute(flags: int, kind: AttributeType, value: bytes) -> bytes:
    """One attribute; its length takes two octets only when it has to (RFC 4271 4.3)."""
    length = len(value)
    if length > 0xFF:
        return bytes((flags | EXTENDED_LENGTH, kind)) + length.to_bytes(2, "big") + value
    return bytes((flags, kind, length)) + value


def encode(attributes: RouteAttributes, hop: IPAddress, outbound: Outbound) -> bytes:
    """All attributes but the multiprotocol ones, in ascending order (RFC 4271 5)."""
    parts = _path(hop, outbound)
    if attributes.med is not None:
        value = attributes.med.to_bytes(4, "big")
        parts.append(attribute(OPTIONAL, AttributeType.MULTI_EXIT_DISC, value))
    if outbound.negotiated.internal:
        preference = attributes.local_pref
        value = (DEFAULT_LOCAL_PREF if preference is None else preference).to_bytes(4, "big")
        parts.append(attribute(TRANSITIVE, AttributeType.LOCAL_PREF, value))
    parts += _communities(attributes, outbound)
    return b"".join(parts)


def _path(hop: IPAddress, outbound: Outbound) -> list[bytes]:
    """ORIGIN, AS_PATH, and NEXT_HOP unless the multiprotocol attribute holds it."""
    agreed = outbound.negotiated
    path = b""
    if not agreed.internal:
        path = bytes((AS_SEQUENCE, 1)) + _asn(outbound.asn, four_octet=agreed.four_octet)
    parts = [
        attribute(TRANSITIVE, AttributeType.ORIGIN, bytes((_IGP,))),
        attribute(TRANSITIVE, AttributeType.AS_PATH, path),
    ]
    if isinstance(hop, IPv4Address):
        parts.append(attribute(TRANSITIVE, AttributeType.NEXT_HOP, hop.packed))
    return parts


def _asn(asn: int, *, four_octet: bool) -> bytes:
    if four_octet:
        return asn.to_bytes(4, "big")
    return (asn if asn <= 0xFFFF else AS_TRANS).to_bytes(2, "big")


def _communities(attributes: RouteAttributes, outbound: Outbound) -> Iterator[bytes]:
    both = OPTIONAL | TRANSITIVE
    if attributes.communities:
        value = b"".join(value.to_bytes(4, "big") for value in attributes.communities)
        yield attribute(both, AttributeType.COMMUNITIES, value)
    if attributes.extended:
        yield attribute(both, AttributeType.EXTENDED_COMMUNITIES, b"".join(attributes.extended))
    agreed = outbound.negotiated
    if not agreed.internal and not agreed.four_octet and outbound.asn > 0xFFFF:
        path = bytes((AS_SEQUENCE, 1)) + outbound.asn.to_bytes(4, "big")
        yield attribute(both, AttributeType.AS4_PATH, path)
    if attributes.large_communities:
        numbers = (
            number
            for large in attributes.large_communities
            for number in (large.administrator, large.data1, large.data2)
        )
        value = b"".join(number.to_bytes(4, "big") for number in numbers)
        yield attribute(both, AttributeType.LARGE_COMMUNITIES, value)
    if outbound.only_to_customer:
        value = outbound.asn.to_bytes(4, "big")
        yield attribute(both, AttributeType.ONLY_TO_CUSTOMER, value)


def mp_reach(family: Family, hop: IPv6Address, link_local: IPv6Address | None) -> bytes:
    """The value of MP_REACH_NLRI up to its prefixes (RFC 4760 3)."""
    octets = hop.packed + (b"" if link_local is None else link_local.packed)
    return mp_unreach(family) + bytes((len(octets),)) + octets + b"\0"


def mp_unreach(family: Family) -> bytes:
    """The value of MP_UNREACH_NLRI up to its prefixes (RFC 4760 4)."""
    return AFI_BY_FAMILY[family].to_bytes(2, "big") + bytes((SAFI_UNICAST,))
