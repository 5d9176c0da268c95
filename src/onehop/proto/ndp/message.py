"""Neighbour solicitations and advertisements in Ethernet frames, both ways.

Formats of RFC 4861 4.3, 4.4 and 4.6.1; what a receiver must check of RFC 4861 7.1.1 and 7.1.2.
A message behind an extension header is refused: no neighbour needs one, and RFC 6980 2 forbids
the one that would matter. Octets after the IPv6 payload are Ethernet padding and are ignored.
"""

from __future__ import annotations

from dataclasses import dataclass
from ipaddress import IPv6Address

from onehop.model.address import Mac
from onehop.proto.machine import DecodeError
from onehop.proto.wire import ETHERTYPE_IPV6, Reader, ethernet, internet_checksum

SOLICITATION = 135
ADVERTISEMENT = 136
TARGET_OFFSET = 62
ALL_NODES = IPv6Address("ff02::1")
UNSPECIFIED = IPv6Address(0)

_ICMPV6 = 58
_HOP_LIMIT = 255
_PAYLOAD_OFFSET = 54
_SHORTEST = 24  # RFC 4861 7.1.1 and 7.1.2
_SOURCE_LINK_LAYER, _TARGET_LINK_LAYER = 1, 2  # RFC 4861 4.6.1
_ROUTER, _SOLICITED, _OVERRIDE = 0x80, 0x40, 0x20
_SOLICITED_NODE = IPv6Address("ff02::1:ff00:0").packed[:13]


@dataclass(frozen=True, slots=True, kw_only=True)
class NeighbourSolicitation:
    """RFC 4861 4.3; `link_layer` is the source link-layer address option."""

    destination: Mac
    source: Mac
    source_address: IPv6Address
    destination_address: IPv6Address
    target: IPv6Address
    link_layer: Mac | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class NeighbourAdvertisement:
    """RFC 4861 4.4; `link_layer` is the target link-layer address option."""

    destination: Mac
    source: Mac
    source_address: IPv6Address
    destination_address: IPv6Address
    target: IPv6Address
    router: bool = False
    solicited: bool = False
    override: bool = False
    link_layer: Mac | None = None


Message = NeighbourSolicitation | NeighbourAdvertisement


def solicited_node(address: IPv6Address) -> IPv6Address:
    """The solicited-node multicast group of an address (RFC 4291 2.7.1)."""
    return IPv6Address(_SOLICITED_NODE + address.packed[13:])


def group_mac(group: IPv6Address) -> Mac:
    """The Ethernet address of a multicast group (RFC 2464 7)."""
    return Mac(b"\x33\x33" + group.packed[12:])


def _is_group(address: IPv6Address) -> bool:
    # `is_multicast` asks a network whether it holds the address: ten times as slow.
    return address.packed[0] == 0xFF


def decode(frame: bytes) -> Message:
    """The message in an Ethernet frame, checked as RFC 4861 7.1 asks.

    Raises:
        DecodeError: when it is cut short, invalid, or neither solicitation nor advertisement.
    """
    reader = Reader(frame)
    destination = Mac(reader.octets(6, "destination"))
    source = Mac(reader.octets(6, "source"))
    if reader.uint(2, "ethertype") != ETHERTYPE_IPV6:
        raise DecodeError("ethertype", 12, "not IPv6")
    source_address, destination_address, payload = _ipv6(reader)
    icmp = Reader(payload)
    kind = icmp.uint(1, "type")
    if kind not in (SOLICITATION, ADVERTISEMENT):
        raise DecodeError("type", _PAYLOAD_OFFSET, f"{kind} is no neighbour message")
    if icmp.uint(1, "code") != 0:
        raise DecodeError("code", _PAYLOAD_OFFSET + 1, "not 0")
    _verify(source_address, destination_address, payload)
    icmp.octets(2, "checksum")
    body = _solicitation if kind == SOLICITATION else _advertisement
    return body(icmp, (destination, source), (source_address, destination_address))


def _solicitation(
    icmp: Reader, macs: tuple[Mac, Mac], addresses: tuple[IPv6Address, IPv6Address]
) -> NeighbourSolicitation:
    """What follows the checksum in RFC 4861 4.3."""
    icmp.octets(4, "reserved")
    target = _target(icmp)
    link_layer = _link_layer(icmp, _SOURCE_LINK_LAYER)
    _check_duplicate_detection(*addresses, link_layer)
    return NeighbourSolicitation(
        destination=macs[0],
        source=macs[1],
        source_address=addresses[0],
        destination_address=addresses[1],
        target=target,
        link_layer=link_layer,
    )


def _advertisement(
    icmp: Reader, macs: tuple[Mac, Mac], addresses: tuple[IPv6Address, IPv6Address]
) -> NeighbourAdvertisement:
    """What follows the checksum in RFC 4861 4.4."""
    flags = icmp.uint(4, "flags") >> 24
    if _is_group(addresses[1]) and flags & _SOLICITED:
        raise DecodeError("flags", _PAYLOAD_OFFSET + 4, "solicited, yet sent to a group")
    return NeighbourAdvertisement(
        destination=macs[0],
        source=macs[1],
        source_address=addresses[0],
        destination_address=addresses[1],
        target=_target(icmp),
        router=bool(flags & _ROUTER),
        solicited=bool(flags & _SOLICITED),
        override=bool(flags & _OVERRIDE),
        link_layer=_link_layer(icmp, _TARGET_LINK_LAYER),
    )


def _target(icmp: Reader) -> IPv6Address:
    target = IPv6Address(icmp.octets(16, "target"))
    if _is_group(target):
        raise DecodeError("target", TARGET_OFFSET, "a multicast address")
    return target


def _ipv6(reader: Reader) -> tuple[IPv6Address, IPv6Address, bytes]:
    """Source, destination and payload of the IPv6 header (RFC 8200 3)."""
    if reader.uint(4, "version") >> 28 != 6:
        raise DecodeError("version", 14, "not 6")
    length = reader.uint(2, "payload length")
    if reader.uint(1, "next header") != _ICMPV6:
        raise DecodeError("next header", 20, "not ICMPv6")
    if reader.uint(1, "hop limit") != _HOP_LIMIT:
        raise DecodeError("hop limit", 21, "not 255: a router has forwarded it")
    source = IPv6Address(reader.octets(16, "source address"))
    destination = IPv6Address(reader.octets(16, "destination address"))
    if _is_group(source):
        raise DecodeError("source address", 22, "a multicast address")
    return source, destination, reader.octets(length, "payload")


def _verify(source: IPv6Address, destination: IPv6Address, payload: bytes) -> None:
    if len(payload) < _SHORTEST:
        raise DecodeError("payload length", 18, f"{len(payload)} octets, {_SHORTEST} needed")
    if internet_checksum(_pseudo_header(source, destination, len(payload)) + payload) != 0:
        raise DecodeError("checksum", _PAYLOAD_OFFSET + 2, "does not fit")


def _check_duplicate_detection(
    source: IPv6Address, destination: IPv6Address, link_layer: Mac | None
) -> None:
    """The two rules of RFC 4861 7.1.1 for a solicitation from the unspecified address."""
    if source != UNSPECIFIED:
        return
    if destination.packed[:13] != _SOLICITED_NODE:
        why = "duplicate address detection, yet not to a solicited-node group"
        raise DecodeError("destination address", 38, why)
    if link_layer is not None:
        why = "a link-layer address from the unspecified address"
        raise DecodeError("options", _PAYLOAD_OFFSET + _SHORTEST, why)


def _link_layer(icmp: Reader, wanted: int) -> Mac | None:
    """The first link-layer address option of the wanted type; other options are skipped."""
    found: Mac | None = None
    while icmp.remaining:
        kind = icmp.uint(1, "option type")
        length = icmp.uint(1, "option length")
        if length == 0:
            raise DecodeError("option length", _PAYLOAD_OFFSET + icmp.offset - 1, "0")
        value = icmp.octets(8 * length - 2, "option")
        if kind == wanted and found is None:
            found = Mac(value[:6])
    return found


def _pseudo_header(source: IPv6Address, destination: IPv6Address, length: int) -> bytes:
    """RFC 8200 8.1."""
    return source.packed + destination.packed + length.to_bytes(4, "big") + b"\0\0\0\x3a"


def encode(message: Message) -> bytes:
    """The Ethernet frame of a message."""
    if isinstance(message, NeighbourSolicitation):
        kind, flags, option = SOLICITATION, 0, _SOURCE_LINK_LAYER
    else:
        kind, option = ADVERTISEMENT, _TARGET_LINK_LAYER
        flags = (
            _ROUTER * message.router
            | _SOLICITED * message.solicited
            | _OVERRIDE * message.override
        )
    body = bytes((flags, 0, 0, 0)) + message.target.packed
    if message.link_layer is not None:
        body += bytes((option, 1)) + message.link_layer.octets
    length = len(body) + 4
    source, destination = message.source_address, message.destination_address
    pseudo = _pseudo_header(source, destination, length)
    checksum = internet_checksum(pseudo + bytes((kind, 0, 0, 0)) + body)
    return b"".join(
        (
            ethernet(message.destination, message.source, ETHERTYPE_IPV6),
            b"\x60\0\0\0",
            length.to_bytes(2, "big"),
            bytes((_ICMPV6, _HOP_LIMIT)),
            source.packed,
            destination.packed,
            bytes((kind, 0)),
            checksum.to_bytes(2, "big"),
            body,
        )
    )
