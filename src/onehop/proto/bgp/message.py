"""OPEN and ROUTE-REFRESH, both ways.

RFC 4271 4.2 and 6.2 with the optional parameters of RFC 5492 and RFC 9072, the AS numbers of
RFC 6793 and RFC 7607, the identifier of RFC 6286; RFC 2918 3 with RFC 7313 3.2. Whether the AS is
the one that was configured, the machine knows.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from ipaddress import IPv4Address

from onehop.model.address import Family
from onehop.proto.bgp import capability
from onehop.proto.bgp.capability import Capabilities
from onehop.proto.bgp.constants import (
    AFI_BY_FAMILY,
    AS_TRANS,
    HEADER_LENGTH,
    SAFI_UNICAST,
    UNICAST_FAMILIES,
    VERSION,
    Code,
    MessageType,
    OpenError,
    RefreshError,
    RefreshSubtype,
)
from onehop.proto.bgp.error import BgpError
from onehop.proto.bgp.framing import framed
from onehop.proto.machine import DecodeError
from onehop.proto.wire import Reader

_CAPABILITIES = 2  # RFC 5492 4
_EXTENDED = 255  # RFC 9072 2


@dataclass(frozen=True, slots=True, kw_only=True)
class Open:
    """RFC 4271 4.2. `asn` is the sender's real one, of up to four octets (RFC 6793 4.1)."""

    asn: int
    hold_time: int
    identifier: IPv4Address
    capabilities: Capabilities = field(default_factory=Capabilities)


@dataclass(frozen=True, slots=True, kw_only=True)
class RouteRefresh:
    """RFC 2918 3; `family` None when it is not one of ours, `subtype` None when not known."""

    family: Family | None
    subtype: RefreshSubtype | None = RefreshSubtype.REQUEST


def encode_open(message: Open) -> bytes:
    """The whole OPEN; the capabilities stand in one parameter, as RFC 5492 4 advises."""
    capabilities = capability.encode(message.capabilities)
    two_octets = message.asn if message.asn <= 0xFFFF else AS_TRANS
    return framed(
        MessageType.OPEN,
        b"".join(
            (
                bytes((VERSION,)),
                two_octets.to_bytes(2, "big"),
                message.hold_time.to_bytes(2, "big"),
                message.identifier.packed,
                _parameters(capabilities),
            )
        ),
    )


def _parameters(capabilities: bytes) -> bytes:
    if not capabilities:
        return b"\0"
    length = len(capabilities)
    if length + 2 < _EXTENDED:
        return bytes((length + 2, _CAPABILITIES, length)) + capabilities
    head = bytes((_EXTENDED, _EXTENDED)) + (length + 3).to_bytes(2, "big")
    return head + bytes((_CAPABILITIES,)) + length.to_bytes(2, "big") + capabilities


def decode_open(body: bytes) -> Open:
    """The OPEN in a frame's body.

    Raises:
        BgpError: when RFC 4271 6.2 refuses it.
    """
    try:
        return _open(Reader(body))
    except BgpError:
        raise
    except DecodeError as error:
        raise _refused(OpenError.UNSPECIFIC, error.field, error.offset, error.why) from None


def _open(reader: Reader) -> Open:
    version = reader.uint(1, "version")
    if version != VERSION:
        why, data = f"{version} is not {VERSION}", VERSION.to_bytes(2, "big")
        raise _refused(OpenError.UNSUPPORTED_VERSION, "version", 0, why, data)
    two_octets = reader.uint(2, "my AS")
    hold_time = reader.uint(2, "hold time")
    identifier = IPv4Address(reader.octets(4, "BGP identifier"))
    capabilities = _read_parameters(reader)
    asn = two_octets if capabilities.asn is None else capabilities.asn
    if asn == 0 or two_octets == 0:
        raise _refused(OpenError.BAD_PEER_AS, "my AS", 1, "0 (RFC 7607 2)")
    if hold_time in (1, 2):
        why = f"{hold_time} s: 0, or 3 and more, are allowed"
        raise _refused(OpenError.UNACCEPTABLE_HOLD_TIME, "hold time", 3, why)
    if identifier == IPv4Address(0):
        raise _refused(OpenError.BAD_BGP_IDENTIFIER, "BGP identifier", 5, "0.0.0.0")
    return Open(asn=asn, hold_time=hold_time, identifier=identifier, capabilities=capabilities)


def _read_parameters(reader: Reader) -> Capabilities:
    """RFC 9072 2: the type 255 behind a length that is not zero tells the long form."""
    total, width = reader.uint(1, "optional parameters length"), 1
    if total and reader.remaining and reader.octets(1, "type")[0] == _EXTENDED:
        total, width = reader.uint(2, "extended length"), 2
    elif total:
        reader.offset -= 1
    if total != reader.remaining:
        why = f"{total} told, {reader.remaining} there"
        raise _refused(OpenError.UNSPECIFIC, "optional parameters length", 9, why)
    found = Capabilities()
    while reader.remaining:
        at = reader.offset
        kind = reader.uint(1, "parameter type")
        value = reader.octets(reader.uint(width, "parameter length"), "parameter")
        if kind != _CAPABILITIES:
            why = f"{kind} is not {_CAPABILITIES}"
            raise _refused(OpenError.UNSUPPORTED_OPTIONAL_PARAMETER, "parameter type", at, why)
        found = capability.decode(value, HEADER_LENGTH + reader.offset - len(value), found)
    return found


def _refused(subcode: OpenError, field: str, at: int, why: str, data: bytes = b"") -> BgpError:
    return BgpError(Code.OPEN, subcode, field=field, offset=HEADER_LENGTH + at, why=why, data=data)


def encode_route_refresh(message: RouteRefresh) -> bytes:
    """The whole ROUTE-REFRESH of one of our families."""
    assert message.family is not None, "only a received message can be of another family"
    assert message.subtype is not None, "only a received message can have another subtype"
    afi = AFI_BY_FAMILY[message.family].to_bytes(2, "big")
    return framed(MessageType.ROUTE_REFRESH, afi + bytes((message.subtype, SAFI_UNICAST)))


def decode_route_refresh(body: bytes) -> RouteRefresh:
    """The ROUTE-REFRESH in a frame's body; filters behind it (RFC 5291) are not looked at.

    Raises:
        BgpError: when a begin or an end is not exactly four octets (RFC 7313 5).
        DecodeError: when it is shorter than any frame's.
    """
    reader = Reader(body)
    afi = reader.uint(2, "AFI")
    subtype = _SUBTYPES.get(reader.uint(1, "subtype"))
    family = UNICAST_FAMILIES.get((afi, reader.uint(1, "SAFI")))
    if len(body) != 4 and subtype in (RefreshSubtype.BEGIN, RefreshSubtype.END):
        raise BgpError(
            Code.ROUTE_REFRESH,
            RefreshError.INVALID_MESSAGE_LENGTH,
            field="length",
            offset=16,
            why=f"{len(body)} octets in a message of four",
            data=framed(MessageType.ROUTE_REFRESH, body),
        )
    return RouteRefresh(family=family, subtype=subtype)


_SUBTYPES = {int(subtype): subtype for subtype in RefreshSubtype}
