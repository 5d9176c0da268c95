"""What the BGP machines ask for, and what they tell.

A connection has a number that is never used again, so that what is late for one that is over
cannot be taken for another. Performed in order. Beside the inputs of the machines this is all
that a driver needs to know of BGP.
"""

from __future__ import annotations

from dataclasses import dataclass, field

from onehop.proto.bgp.negotiated import Negotiated


@dataclass(frozen=True, slots=True, kw_only=True)
class Connect:
    """Open a TCP connection to the peer; answer with `connected` or `closed`."""

    connection: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Accept:
    """The connection that the peer has just opened is known by this number from now on."""

    connection: int


@dataclass(frozen=True, slots=True, kw_only=True)
class SendBytes:
    """Put these octets on the connection, behind all earlier ones."""

    connection: int
    octets: bytes = field(repr=False)


@dataclass(frozen=True, slots=True, kw_only=True)
class Close:
    """End the connection once the kernel has what it takes at once; no `closed` is expected."""

    connection: int


@dataclass(frozen=True, slots=True, kw_only=True)
class SessionUp:
    """Fact: Established, on these conditions."""

    negotiated: Negotiated


@dataclass(frozen=True, slots=True, kw_only=True)
class SessionDown:
    """Fact: an attempt or an established session ended; `why` is a sentence for humans."""

    why: str
    was_established: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class RoutesSent:
    """Fact: so many prefixes were just advertised and withdrawn, and `advertised` stand now."""

    announced: int
    withdrawn: int
    advertised: int


BgpEffect = Connect | Accept | SendBytes | Close | SessionUp | SessionDown | RoutesSent
BgpEffects = tuple[BgpEffect, ...]
