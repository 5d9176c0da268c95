"""The BFD Control packet (RFC 5880 4.1), and which ones are discarded unseen (RFC 5880 6.8.6).

Only what can be told from the packet alone is checked here; what needs a session is the table's.
Authentication (RFC 5880 4.2) is not in use, so a packet that carries it is discarded.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass
from enum import IntEnum

from onehop.proto.machine import DecodeError

VERSION = 1
LENGTH = 24
# RFC 5880 6.8.6: a packet that says it is authenticated has at least the type and length of it.
AUTHENTICATED_LENGTH = 26
MAX_INTERVAL_US = 0xFFFFFFFF

# Version and diagnostic, state and flags, multiplier, length; two discriminators; three intervals.
_PACKET = struct.Struct("!BBBBIIIII")

_POLL, _FINAL, _INDEPENDENT, _AUTHENTICATED, _DEMAND, _MULTIPOINT = 32, 16, 8, 4, 2, 1


class State(IntEnum):
    """A session's state (RFC 5880 4.1, Sta)."""

    ADMIN_DOWN = 0
    DOWN = 1
    INIT = 2
    UP = 3


class Diagnostic(IntEnum):
    """Why a session last changed its state (RFC 5880 4.1, Diag); 9 to 31 are reserved."""

    NONE = 0
    DETECTION_TIME_EXPIRED = 1
    ECHO_FAILED = 2
    NEIGHBOR_SIGNALED_DOWN = 3
    FORWARDING_PLANE_RESET = 4
    PATH_DOWN = 5
    CONCATENATED_PATH_DOWN = 6
    ADMINISTRATIVELY_DOWN = 7
    REVERSE_CONCATENATED_PATH_DOWN = 8

    @property
    def sentence(self) -> str:
        """What it means, in words."""
        return _SENTENCES[self]


_SENTENCES = {
    Diagnostic.NONE: "no diagnostic",
    Diagnostic.DETECTION_TIME_EXPIRED: "nothing was heard for the detection time",
    Diagnostic.ECHO_FAILED: "the echo function failed",
    Diagnostic.NEIGHBOR_SIGNALED_DOWN: "the neighbour says that the session is down",
    Diagnostic.FORWARDING_PLANE_RESET: "the forwarding plane was reset",
    Diagnostic.PATH_DOWN: "the path is down",
    Diagnostic.CONCATENATED_PATH_DOWN: "a path joined to this one is down",
    Diagnostic.ADMINISTRATIVELY_DOWN: "the session is switched off",
    Diagnostic.REVERSE_CONCATENATED_PATH_DOWN: "a path joined to the way back is down",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class ControlPacket:
    """One packet. Intervals are microseconds; `diagnostic` is a number, for some have no name."""

    state: State
    my_discriminator: int
    your_discriminator: int = 0
    diagnostic: int = Diagnostic.NONE
    poll: bool = False
    final: bool = False
    control_plane_independent: bool = False
    demand: bool = False
    multiplier: int = 3
    desired_min_tx_us: int = 1_000_000
    required_min_rx_us: int = 1_000_000
    required_min_echo_rx_us: int = 0


def encode(packet: ControlPacket) -> bytes:
    """The packet on the wire, without authentication."""
    flags = (
        packet.state << 6
        | packet.poll * _POLL
        | packet.final * _FINAL
        | packet.control_plane_independent * _INDEPENDENT
        | packet.demand * _DEMAND
    )
    return _PACKET.pack(
        VERSION << 5 | packet.diagnostic,
        flags,
        packet.multiplier,
        LENGTH,
        packet.my_discriminator,
        packet.your_discriminator,
        packet.desired_min_tx_us,
        packet.required_min_rx_us,
        packet.required_min_echo_rx_us,
    )


def decode(octets: bytes) -> ControlPacket:
    """The packet that a datagram holds; what follows its length is not looked at.

    Raises:
        DecodeError: when RFC 5880 6.8.6 discards it, whatever the session.
    """
    if len(octets) < LENGTH:
        raise DecodeError("packet", 0, f"{len(octets)} octets, at least {LENGTH} needed")
    head, flags, multiplier, length, mine, yours, tx, rx, echo = _PACKET.unpack_from(octets)
    if head >> 5 != VERSION:
        raise DecodeError("version", 0, f"{head >> 5} is not {VERSION}")
    _check_length(length, len(octets), flags)
    if not multiplier:
        raise DecodeError("detect multiplier", 2, "it is 0")
    if flags & _MULTIPOINT:
        raise DecodeError("multipoint", 1, "the bit is set")
    if not mine:
        raise DecodeError("my discriminator", 4, "it is 0")
    state = State(flags >> 6)
    if not yours and state in (State.INIT, State.UP):
        raise DecodeError("your discriminator", 8, f"it is 0 in state {state.name}")
    if flags & _AUTHENTICATED:
        raise DecodeError("authentication", 1, "it is present, and not in use")
    return ControlPacket(
        state=state,
        my_discriminator=mine,
        your_discriminator=yours,
        diagnostic=head & 0x1F,
        poll=bool(flags & _POLL),
        final=bool(flags & _FINAL),
        control_plane_independent=bool(flags & _INDEPENDENT),
        demand=bool(flags & _DEMAND),
        multiplier=multiplier,
        desired_min_tx_us=tx,
        required_min_rx_us=rx,
        required_min_echo_rx_us=echo,
    )


def _check_length(length: int, available: int, flags: int) -> None:
    least = AUTHENTICATED_LENGTH if flags & _AUTHENTICATED else LENGTH
    if length < least:
        raise DecodeError("length", 3, f"{length} is less than {least}")
    if length > available:
        raise DecodeError("length", 3, f"{length} is more than the datagram's {available}")
