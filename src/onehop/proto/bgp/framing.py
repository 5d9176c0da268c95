"""Messages on a byte stream: the header, and cutting what arrives into messages.

The checks are those of RFC 4271 6.1 with the longer limit of RFC 8654 4, made as early as the
octets are there: a peer that speaks another protocol is refused at its first octet.
"""

from __future__ import annotations

from typing import NamedTuple

from onehop.proto.bgp.constants import (
    HEADER_LENGTH,
    MARKER,
    MAX_LENGTH,
    Code,
    HeaderError,
    MessageType,
)
from onehop.proto.bgp.error import BgpError

# RFC 4271 6.1; a ROUTE-REFRESH may be longer than 23 with an ORF (RFC 5291 4), which is ignored.
_SHORTEST = {
    MessageType.OPEN: 29,
    MessageType.UPDATE: 23,
    MessageType.NOTIFICATION: 21,
    MessageType.KEEPALIVE: HEADER_LENGTH,
    MessageType.ROUTE_REFRESH: 23,
}
# RFC 8654 4: an OPEN or a KEEPALIVE never grows.
_LONGEST = {MessageType.OPEN: MAX_LENGTH, MessageType.KEEPALIVE: HEADER_LENGTH}
_TYPES = {int(kind): kind for kind in MessageType}


class Frame(NamedTuple):
    """One whole message, its header read and taken off."""

    kind: MessageType
    body: bytes


def framed(kind: MessageType, body: bytes) -> bytes:
    """The message of a body (RFC 4271 4.1)."""
    length = HEADER_LENGTH + len(body)
    return b"%b%b%c%b" % (MARKER, length.to_bytes(2, "big"), kind, body)


KEEPALIVE = framed(MessageType.KEEPALIVE, b"")  # RFC 4271 4.4


class Splitter:
    """Collects octets and hands out whole messages, in order.

    `max_length` is raised when both sides have offered extended messages. What was fed and not
    yet handed out is all the memory it holds. After an error the same error comes again.
    """

    __slots__ = ("_buffer", "max_length")

    def __init__(self) -> None:
        self._buffer = bytearray()
        self.max_length = MAX_LENGTH

    @property
    def pending(self) -> int:
        """How many octets wait for the rest of their message."""
        return len(self._buffer)

    def feed(self, octets: bytes) -> None:
        """These octets came next."""
        self._buffer += octets

    def next(self) -> Frame | None:
        """The next whole message, or None when its end has not come yet.

        Raises:
            BgpError: when the header is not one of BGP.
        """
        buffer = self._buffer
        if buffer[:16] != MARKER and not MARKER.startswith(buffer[:16]):
            raise _header_error(
                HeaderError.CONNECTION_NOT_SYNCHRONIZED, "marker", 0, "not all ones"
            )
        if len(buffer) < HEADER_LENGTH:
            return None
        length = buffer[16] << 8 | buffer[17]
        kind = _checked(length, buffer[18], self.max_length)
        if len(buffer) < length:
            return None
        body = bytes(buffer[HEADER_LENGTH:length])
        del buffer[:length]
        return Frame(kind, body)


def _checked(length: int, number: int, longest: int) -> MessageType:
    data = length.to_bytes(2, "big")
    subcode = HeaderError.BAD_MESSAGE_LENGTH
    if not HEADER_LENGTH <= length <= longest:
        why = f"{length} is not within {HEADER_LENGTH} and {longest}"
        raise _header_error(subcode, "length", 16, why, data)
    kind = _TYPES.get(number)
    if kind is None:
        subcode, data = HeaderError.BAD_MESSAGE_TYPE, bytes((number,))
        raise _header_error(subcode, "type", 18, f"{number} is no message type", data)
    if not _SHORTEST[kind] <= length <= _LONGEST.get(kind, longest):
        why = f"{length} is no length of a message of type {kind.name}"
        raise _header_error(subcode, "length", 16, why, data)
    return kind


def _header_error(
    subcode: HeaderError, field: str, offset: int, why: str, data: bytes = b""
) -> BgpError:
    return BgpError(Code.HEADER, subcode, field=field, offset=offset, why=why, data=data)
