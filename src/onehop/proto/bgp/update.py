"""UPDATE messages that advertise and withdraw, as few as the length allows.

RFC 4271 4.3 for IPv4, RFC 4760 for IPv6 and for IPv4 behind an IPv6 next hop (RFC 8950), the
End-of-RIB of RFC 4724 2. As RFC 7606 5.1 wants it, a message does one thing in one field, and a
multiprotocol attribute comes first.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from ipaddress import IPv6Address

from onehop.model.address import Family, IPAddress, IPNetwork
from onehop.model.bgp import RouteAttributes
from onehop.proto.bgp.attribute import (
    EXTENDED_LENGTH,
    OPTIONAL,
    Outbound,
    encode,
    mp_reach,
    mp_unreach,
    next_hop,
)
from onehop.proto.bgp.constants import HEADER_LENGTH, AttributeType, MessageType
from onehop.proto.bgp.framing import framed

_LENGTH_OCTET = tuple(bytes((length,)) for length in range(129))
_LONGEST_PREFIX = 17  # the length octet and an IPv6 address
_FIXED = HEADER_LENGTH + 4  # and the two length fields (RFC 4271 4.3)
_ATTRIBUTE_HEAD = 4
_FAMILY_BY_VERSION = {4: Family.IPV4, 6: Family.IPV6}

Group = tuple[RouteAttributes, list[IPNetwork]]


def prefix_octets(prefix: IPNetwork) -> bytes:
    """A prefix as it stands in an UPDATE (RFC 4271 4.3)."""
    length = prefix.prefixlen
    return _LENGTH_OCTET[length] + prefix.network_address.packed[: (length + 7) >> 3]


def updates(
    announced: Mapping[IPNetwork, RouteAttributes],
    withdrawn: Iterable[IPNetwork],
    outbound: Outbound,
) -> tuple[bytes, ...]:
    """The whole messages that withdraw the one and advertise the other, withdrawals first.

    Every route must be one that the session can carry: `next_hop` names it one and `fits` holds.
    """
    messages: list[bytes] = []
    for family, gone in _by_family(withdrawn):
        messages += withdrawals(family, gone, outbound)
    for attributes, prefixes in _groups(announced):
        for family, ours in _by_family(prefixes):
            messages += announcements(family, ours, attributes, outbound)
    return tuple(messages)


def _by_family(prefixes: Iterable[IPNetwork]) -> Iterator[tuple[Family, list[IPNetwork]]]:
    found: dict[int, list[IPNetwork]] = {4: [], 6: []}
    for prefix in prefixes:
        found[prefix.version].append(prefix)
    return ((_FAMILY_BY_VERSION[version], them) for version, them in found.items() if them)


def _groups(announced: Mapping[IPNetwork, RouteAttributes]) -> Iterable[Group]:
    """Prefixes by equal attributes.

    Told apart by identity first, since hashing a value costs more than all else here and the
    routes of one advertisement share one.
    """
    by_identity: dict[int, Group] = {}
    for prefix, attributes in announced.items():
        group = by_identity.get(id(attributes))
        if group is None:
            group = by_identity[id(attributes)] = (attributes, [])
        group[1].append(prefix)
    by_value: dict[RouteAttributes, list[IPNetwork]] = {}
    for attributes, prefixes in by_identity.values():
        by_value.setdefault(attributes, []).extend(prefixes)
    return by_value.items()


def fits(family: Family, attributes: RouteAttributes, outbound: Outbound) -> bool:
    """Whether the attributes of a route that can be carried leave room for a prefix."""
    hop = next_hop(family, attributes, outbound)
    assert hop is not None, f"no {family.value} next hop on this session"
    return _room(_announcing(family, attributes, hop, outbound), outbound) >= _LONGEST_PREFIX


def announcements(
    family: Family, prefixes: Iterable[IPNetwork], attributes: RouteAttributes, outbound: Outbound
) -> Iterator[bytes]:
    """The messages that advertise prefixes of one family with the same attributes."""
    hop = next_hop(family, attributes, outbound)
    assert hop is not None, f"no {family.value} next hop on this session"
    reach, rest = _announcing(family, attributes, hop, outbound)
    room = _room((reach, rest), outbound)
    assert room >= _LONGEST_PREFIX, "the attributes leave no room for a prefix"
    for nlri in _packed(prefixes, room):
        if reach:
            yield _update(b"", _multiprotocol(AttributeType.MP_REACH_NLRI, reach + nlri) + rest)
        else:
            yield _update(b"", rest, nlri)


def withdrawals(
    family: Family, prefixes: Iterable[IPNetwork], outbound: Outbound
) -> Iterator[bytes]:
    """The messages that withdraw prefixes of one family."""
    agreed = outbound.negotiated
    if family is Family.IPV4 and not agreed.extended_next_hop:
        for nlri in _packed(prefixes, agreed.max_length - _FIXED):
            yield _update(nlri, b"")
        return
    head = mp_unreach(family)
    for nlri in _packed(prefixes, _room((head, b""), outbound)):
        yield _update(b"", _multiprotocol(AttributeType.MP_UNREACH_NLRI, head + nlri))


def end_of_rib(family: Family) -> bytes:
    """The whole End-of-RIB of a family (RFC 4724 2)."""
    if family is Family.IPV4:
        return _update(b"", b"")
    return _update(b"", _multiprotocol(AttributeType.MP_UNREACH_NLRI, mp_unreach(family)))


def _announcing(
    family: Family, attributes: RouteAttributes, hop: IPAddress, outbound: Outbound
) -> tuple[bytes, bytes]:
    """MP_REACH_NLRI up to its prefixes, empty without it; and the other attributes."""
    rest = encode(attributes, hop, outbound)
    if not isinstance(hop, IPv6Address):
        return b"", rest
    link_local = outbound.link_local if attributes.next_hop is None else None
    return mp_reach(family, hop, link_local), rest


def _room(parts: tuple[bytes, bytes], outbound: Outbound) -> int:
    reach, rest = parts
    used = _FIXED + len(rest) + (len(reach) + _ATTRIBUTE_HEAD if reach else 0)
    return outbound.negotiated.max_length - used


def _packed(prefixes: Iterable[IPNetwork], room: int) -> Iterator[bytes]:
    """The prefixes' octets, joined to the longest runs that fit."""
    pieces = [prefix_octets(prefix) for prefix in prefixes]
    start = used = 0
    for at, piece in enumerate(pieces):
        used += len(piece)
        if used > room:
            yield b"".join(pieces[start:at])
            start, used = at, len(piece)
    if start < len(pieces):
        yield b"".join(pieces[start:])


def _multiprotocol(kind: AttributeType, value: bytes) -> bytes:
    return bytes((OPTIONAL | EXTENDED_LENGTH, kind)) + len(value).to_bytes(2, "big") + value


def _update(withdrawn: bytes, attributes: bytes, nlri: bytes = b"") -> bytes:
    return framed(
        MessageType.UPDATE,
        b"".join(
            (
                len(withdrawn).to_bytes(2, "big"),
                withdrawn,
                len(attributes).to_bytes(2, "big"),
                attributes,
                nlri,
            )
        ),
    )
