"""Two BFD machines and the wire between them, in virtual time."""

from __future__ import annotations

import random
from dataclasses import dataclass, field
from ipaddress import ip_address

from onehop.proto.bfd.packet import ControlPacket, decode
from onehop.proto.bfd.session import Effect, Path, PathDown, PathUp, SendPacket, Session, Terms

A, B = ip_address("192.0.2.1"), ip_address("192.0.2.2")
LATENCY = 0.001


def half() -> float:
    return 0.5


def session(terms: Terms | None = None, discriminator: int = 1, now: float = 0.0) -> Session:
    """A session of ours to B."""
    return Session(
        path=Path(peer=B),
        discriminator=discriminator,
        terms=terms or Terms(),
        jitter=half,
        now=now,
    )


def sent(effects: tuple[Effect, ...]) -> list[ControlPacket]:
    """What was sent."""
    return [decode(effect.octets) for effect in effects if isinstance(effect, SendPacket)]


def facts(effects: tuple[Effect, ...]) -> list[PathUp | PathDown]:
    """What was told to whoever asked for the session."""
    return [effect for effect in effects if not isinstance(effect, SendPacket)]


@dataclass(slots=True)
class Pair:
    """Session 0 at A and session 1 at B; `cut` holds the directions that lose everything."""

    ends: list[Session]
    now: float = 0.0
    steps: int = 0
    cut: set[int] = field(default_factory=set)
    heard: list[tuple[float, int, PathUp | PathDown]] = field(default_factory=list)
    packets: list[tuple[float, int, ControlPacket]] = field(default_factory=list)
    _flying: list[tuple[float, int, ControlPacket]] = field(default_factory=list)

    def take(self, end: int, effects: tuple[Effect, ...]) -> None:
        """Carry out what one end's input returned."""
        self.heard += [(self.now, end, fact) for fact in facts(effects)]
        for packet in sent(effects):
            self.packets.append((self.now, end, packet))
            if end not in self.cut:
                self._flying.append((self.now + LATENCY, end, packet))

    def run(self, seconds: float) -> None:
        """Let this much time pass."""
        end_at = self.now + seconds
        while True:
            due = [(one.deadline, end) for end, one in enumerate(self.ends)]
            waking = min(((at, end) for at, end in due if at is not None), default=(end_at, 0))
            landing = self._flying[0][0] if self._flying else end_at
            self.now = max(self.now, min(waking[0], landing, end_at))
            if self.now >= end_at:
                return
            self.steps += 1
            if landing <= waking[0]:
                _, sender, packet = self._flying.pop(0)
                receiver = 1 - sender
                self.take(receiver, self.ends[receiver].receive_packet(packet, self.now))
            else:
                self.take(waking[1], self.ends[waking[1]].wake(self.now))


def pair(one: Terms | None = None, other: Terms | None = None, seed: int | None = None) -> Pair:
    """Two ends that have not spoken yet."""
    dice = random.Random(seed)
    jitter = half if seed is None else dice.random
    return Pair(
        ends=[
            Session(
                path=Path(peer=peer), discriminator=number, terms=terms or Terms(),
                jitter=jitter, now=0.0,
            )
            for number, peer, terms in ((11, B, one), (22, A, other))
        ]
    )  # fmt: skip
