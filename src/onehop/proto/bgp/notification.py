"""NOTIFICATION, both ways: why a session ended (RFC 4271 4.5).

With the shutdown communication of RFC 9003 2 and the hard reset of RFC 8538 3.1. Nothing in a
NOTIFICATION can be wrong enough to answer (RFC 4271 6.4), so decoding never refuses one that
the framing let through.
"""

from __future__ import annotations

from dataclasses import dataclass

from onehop.proto.bgp.constants import HEADER_LENGTH, Cease, Code, MessageType
from onehop.proto.bgp.error import BgpError, words
from onehop.proto.bgp.framing import framed
from onehop.proto.wire import Reader

MAX_COMMUNICATION = 255  # RFC 9003 2
_WITH_COMMUNICATION = (Cease.ADMINISTRATIVE_SHUTDOWN, Cease.ADMINISTRATIVE_RESET)


@dataclass(frozen=True, slots=True, kw_only=True)
class Notification:
    """Code, subcode and data as they stand on the wire."""

    code: int
    subcode: int
    data: bytes = b""

    @property
    def is_hard_reset(self) -> bool:
        """Whether the peer is to forget our routes even under graceful restart."""
        return (self.code, self.subcode) == (Code.CEASE, Cease.HARD_RESET)

    @property
    def cause(self) -> Notification:
        """What is inside a hard reset; itself for every other."""
        if not self.is_hard_reset or len(self.data) < 2:
            return self
        return Notification(code=self.data[0], subcode=self.data[1], data=self.data[2:])

    @property
    def communication(self) -> str:
        """What an operator wrote on a shutdown or reset; empty when nothing.

        Octets that are not UTF-8, and control characters, are shown as escapes: the text is the
        peer's and goes to a terminal.
        """
        cause = self.cause
        if cause.code != Code.CEASE or cause.subcode not in _WITH_COMMUNICATION:
            return ""
        text = cause.data[1 : 1 + cause.data[0]] if cause.data else b""
        return "".join(
            letter if letter.isprintable() else letter.encode("unicode_escape").decode("ascii")
            for letter in text.decode("utf-8", "backslashreplace")
        )

    def __str__(self) -> str:
        cause = self.cause
        sentence = words(self.code, self.subcode)
        if cause is not self:
            sentence = f"{sentence} ({words(cause.code, cause.subcode)})"
        return f'{sentence}, "{self.communication}"' if self.communication else sentence


def encode(message: Notification, max_length: int) -> bytes:
    """The whole NOTIFICATION; data that does not fit is cut off."""
    room = max_length - HEADER_LENGTH - 2
    return framed(
        MessageType.NOTIFICATION, bytes((message.code, message.subcode)) + message.data[:room]
    )


def decode(body: bytes) -> Notification:
    """The NOTIFICATION in a frame's body.

    Raises:
        DecodeError: when it is shorter than any frame's.
    """
    reader = Reader(body)
    code, subcode = reader.uint(1, "error code"), reader.uint(1, "error subcode")
    return Notification(code=code, subcode=subcode, data=body[2:])


def of(error: BgpError) -> Notification:
    """The NOTIFICATION that tells the peer of its error."""
    return Notification(code=error.code, subcode=error.subcode, data=error.data)


def cease(subcode: Cease, communication: str = "") -> Notification:
    """A Cease; the text goes with a shutdown or a reset, cut at a whole letter to 255 octets."""
    if subcode not in _WITH_COMMUNICATION or not communication:
        return Notification(code=Code.CEASE, subcode=subcode)
    octets = communication.encode()[:MAX_COMMUNICATION].decode("utf-8", "ignore").encode()
    return Notification(code=Code.CEASE, subcode=subcode, data=bytes((len(octets),)) + octets)


def hard_reset(cause: Notification) -> Notification:
    """The same, for a peer that would otherwise keep the routes (RFC 8538 3.1)."""
    data = bytes((cause.code, cause.subcode)) + cause.data
    return Notification(code=Code.CEASE, subcode=Cease.HARD_RESET, data=data)
