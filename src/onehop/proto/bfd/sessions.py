"""All BFD sessions of a node: which session a packet belongs to, and which there ought to be.

A packet that names our discriminator belongs to that session; the first ones of a peer cannot, and
go by both addresses and the link (RFC 5880 6.8.6, RFC 5881 3). Before that, a packet has to prove
by its TTL that it came from no farther than it may (RFC 5881 5, RFC 5883 5). What is discarded is
counted by its reason.

A session that is no longer wanted is switched off and told so to the peer for a while, so that the
peer does not take its end for a failure (RFC 5880 6.8.16).
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass

from onehop.model.address import IPAddress
from onehop.proto.bfd.packet import ControlPacket, decode
from onehop.proto.bfd.session import SLOW, Effect, Path, Session, Terms
from onehop.proto.machine import DecodeError

SINGLE_HOP_TTL = 255
# How often the end of a session is told: any of the three may get lost.
_FAREWELLS = 3
_MAX_DISCRIMINATOR = 0xFFFFFFFF


@dataclass(frozen=True, slots=True, kw_only=True)
class Arrival:
    """How a datagram came: between which addresses, how far, to which port.

    `link` is the link or VRF of the socket that heard it, empty for one that hears every link.
    """

    source: IPAddress
    destination: IPAddress
    ttl: int
    link: str = ""
    multihop: bool = False


class Sessions:
    """Every wanted session; `jitter` gives numbers in [0, 1)."""

    def __init__(self, *, jitter: Callable[[], float]) -> None:
        self._jitter = jitter
        self._by_path: dict[Path, Session] = {}
        self._by_discriminator: dict[int, Session] = {}
        self._leaving: dict[Path, float] = {}
        self.discarded: Counter[str] = Counter()

    @property
    def deadline(self) -> float | None:
        """When `wake` wants to be called, or None for never."""
        instants = [session.deadline for session in self._by_path.values()]
        return min(
            (at for at in (*instants, *self._leaving.values()) if at is not None), default=None
        )

    def sessions(self) -> Iterable[Session]:
        """The wanted ones."""
        return [one for path, one in self._by_path.items() if path not in self._leaving]

    def paths(self) -> Iterable[Path]:
        """The paths of all sessions, those too that say their farewell."""
        return self._by_path.keys()

    def set_sessions(self, wanted: Mapping[Path, Terms], now: float) -> tuple[Effect, ...]:
        """Exactly these sessions ought to be."""
        effects: list[Effect] = []
        for path, session in self._by_path.items():
            if path not in wanted and path not in self._leaving:
                effects += session.disable(now)
                self._leaving[path] = now + _FAREWELLS * max(session.transmit_interval, SLOW)
        for path, terms in wanted.items():
            known = self._by_path.get(path)
            if known is None:
                self._add(path, terms, now)
                continue
            effects += known.set_terms(terms, now)
            if self._leaving.pop(path, None) is not None:
                effects += known.enable(now)
        return tuple(effects)

    def _add(self, path: Path, terms: Terms, now: float) -> None:
        number = self._new_discriminator()
        session = Session(
            path=path, discriminator=number, terms=terms, jitter=self._jitter, now=now
        )
        self._by_path[path] = self._by_discriminator[number] = session

    def _new_discriminator(self) -> int:
        """RFC 5880 6.8.1: unique and not 0; drawn, for who cannot see one shall not guess it."""
        number = 1 + int(self._jitter() * _MAX_DISCRIMINATOR)
        while number in self._by_discriminator:
            number = number % _MAX_DISCRIMINATOR + 1
        return number

    def receive_packet(self, octets: bytes, arrival: Arrival, now: float) -> tuple[Effect, ...]:
        """A datagram has come to one of BFD's ports."""
        try:
            packet = decode(octets)
        except DecodeError as error:
            self.discarded[error.field] += 1
            return ()
        session = self._session(packet, arrival)
        if session is None:
            self.discarded["no session"] += 1
            return ()
        least = session.terms.minimum_ttl if arrival.multihop else SINGLE_HOP_TTL
        if arrival.ttl < least:
            self.discarded["ttl"] += 1
            return ()
        return session.receive_packet(packet, now)

    def _session(self, packet: ControlPacket, arrival: Arrival) -> Session | None:
        if packet.your_discriminator:
            session = self._by_discriminator.get(packet.your_discriminator)
            return session if session is not None and _fits(session.path, arrival) else None
        for path, session in self._by_path.items():
            if _fits(path, arrival):
                return session
        return None

    def wake(self, now: float) -> tuple[Effect, ...]:
        """Time has reached the deadline."""
        effects: list[Effect] = []
        for session in self._by_path.values():
            if session.deadline is not None and session.deadline <= now:
                effects += session.wake(now)
        for path in [path for path, end in self._leaving.items() if end <= now]:
            del self._leaving[path]
            del self._by_discriminator[self._by_path.pop(path).discriminator]
        return tuple(effects)


def _fits(path: Path, arrival: Arrival) -> bool:
    """A discriminator alone proves nothing: it is told to everybody on the link."""
    return (
        path.peer == arrival.source
        and path.local in (None, arrival.destination)
        and path.multihop == arrival.multihop
        and path.link in ("", arrival.link)
    )
