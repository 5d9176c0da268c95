"""A BFD session in asynchronous mode (RFC 5880 6.8): all transitions live here.

                     +--------------------------------------+
                     |   hears UP, ADMIN_DOWN, or nothing   |
                     v                                      |
                +---------+      hears DOWN           +---------+
        +------ |  DOWN   | ------------------------> |  INIT   |--+ hears DOWN
        | hears |         |   hears ADMIN_DOWN,       |         |<-+
        | UP or |         | <--- nothing in time ---- |         |
        | ADMIN |         |                           +---------+
        +-----> |         |                                | hears INIT, UP
                |         | ------- hears INIT ----+       |
                |         |                        v       v
                |         |  hears DOWN,        +-------------+
                |         | <-- ADMIN_DOWN, --- |     UP      |--+ hears INIT, UP
                +---------+  nothing in time    |             |<-+
                                                +-------------+
    any state -- disable --> ADMIN_DOWN -- enable --> DOWN

A packet leaves at once when its contents changed (RFC 5880 6.8.7), so two systems that see each
other are up after one exchange, however slow the pace of sessions that are not up.

It must never call a path up that was not seen in both directions, and must never send faster than
the peer allows. Demand mode is honoured when the peer asks for it and never asked for; the echo
function is not there, which a required interval of 0 tells the peer (RFC 5880 6.8.9).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

from onehop.model.address import IPAddress
from onehop.proto.bfd.packet import (
    MAX_INTERVAL_US,
    ControlPacket,
    Diagnostic,
    State,
    encode,
)

# RFC 5880 6.8.3: while a session is not up, its packets come no faster than one a second.
SLOW = 1.0
# RFC 5880 6.8.7: an interval is shortened by up to a quarter, so that systems do not keep step.
# With a multiplier of 1 it has to end before the peer's detection time: at most 90 % of it.
_LEAST, _MOST, _MOST_OF_ONE = 0.75, 1.0, 0.9
# RFC 5880 6.8.1: bfd.RemoteMinRxInterval before anything was heard.
_UNHEARD_MIN_RX = 1e-6


@dataclass(frozen=True, slots=True, kw_only=True)
class Path:
    """The two ends that a session watches over; the kernel chooses a `local` that is None.

    `link` ties a session of one hop to a link, or one in a VRF to that.
    """

    peer: IPAddress
    local: IPAddress | None = None
    link: str = ""
    multihop: bool = False

    def __str__(self) -> str:
        return f"{self.peer}%{self.link}" if self.link else str(self.peer)


@dataclass(frozen=True, slots=True, kw_only=True)
class Terms:
    """What we ask of a session: both intervals in seconds, before the peer's wishes.

    `minimum_ttl` is the least that a packet over several hops may arrive with (RFC 5883 5).
    """

    transmit: float = 0.3
    receive: float = 0.3
    multiplier: int = 3
    is_passive: bool = False
    minimum_ttl: int = 254


@dataclass(frozen=True, slots=True, kw_only=True)
class SendPacket:
    """Effect: send this datagram to the path's peer."""

    path: Path
    octets: bytes


@dataclass(frozen=True, slots=True, kw_only=True)
class PathUp:
    """Fact: the path works in both directions."""

    path: Path


@dataclass(frozen=True, slots=True, kw_only=True)
class PathDown:
    """Fact: the path was up and is no more.

    `is_administrative`: one of the two ends switched the session off, which says nothing about
    the path (RFC 5882 3.2).
    """

    path: Path
    diagnostic: Diagnostic
    is_administrative: bool = False


Effect = SendPacket | PathUp | PathDown


class Session:
    """One session of its own discriminator; `jitter` gives numbers in [0, 1)."""

    def __init__(
        self,
        *,
        path: Path,
        discriminator: int,
        terms: Terms,
        jitter: Callable[[], float],
        now: float,
    ) -> None:
        self.path = path
        self.discriminator = discriminator
        self.state = State.DOWN
        self.diagnostic = Diagnostic.NONE
        self.sent = self.received = 0
        self._terms = terms
        self._jitter = jitter
        self._sent_at: float | None = None
        self._sent: ControlPacket | None = None
        self._polls = 0  # poll sequences that still have to end: the one that runs, and one more
        self._desired, self._required = self._advertised()
        self._forget()
        self._send_at = self._scheduled(now)

    def _forget(self) -> None:
        """RFC 5880 6.8.1: the peer's variables as they are before anything was heard of it.

        Deviation: RFC 5880 6.8.1 has only its discriminator forgotten in silence. A peer that had
        asked for no packets, or for demand mode, and comes back without it would never hear of us.
        """
        self.remote_state = State.DOWN
        self.remote_discriminator = 0
        self._heard_at: float | None = None
        self._remote_multiplier = 0
        self._remote_desired = 0.0
        self._remote_min_rx = _UNHEARD_MIN_RX
        self._remote_demand = False

    @property
    def terms(self) -> Terms:
        """What was asked last."""
        return self._terms

    @property
    def transmit_interval(self) -> float:
        """Seconds between two packets, before jitter (RFC 5880 6.8.2)."""
        return max(self._desired, self._remote_min_rx)

    @property
    def detection_time(self) -> float:
        """Seconds of silence after which the path counts as down (RFC 5880 6.8.4)."""
        return self._remote_multiplier * max(self._required, self._remote_desired)

    @property
    def deadline(self) -> float | None:
        """When `wake` wants to be called, or None for never."""
        if self._heard_at is None:
            return self._send_at
        silent_at = self._heard_at + self.detection_time
        return silent_at if self._send_at is None else min(silent_at, self._send_at)

    def wake(self, now: float) -> tuple[Effect, ...]:
        """Time has reached the deadline."""
        effects: tuple[Effect, ...] = ()
        if self._heard_at is not None and self._heard_at + self.detection_time <= now:
            effects = self._silence(now)
        if self._send_at is not None and self._send_at <= now:
            effects += self._send(now)
        return effects

    def receive_packet(self, packet: ControlPacket, now: float) -> tuple[Effect, ...]:
        """A valid packet of this session has come (RFC 5880 6.8.6)."""
        self.received += 1
        interval = self._pace()
        self.remote_discriminator = packet.my_discriminator
        self.remote_state = packet.state
        self._remote_demand = packet.demand
        self._remote_min_rx = packet.required_min_rx_us / 1e6
        self._remote_desired = packet.desired_min_tx_us / 1e6
        self._remote_multiplier = packet.multiplier
        if packet.final:
            self._poll_answered()
        if self.state is State.ADMIN_DOWN:
            return ()
        self._heard_at = now
        facts = self._heard(packet.state)
        if packet.poll:
            sent: tuple[Effect, ...] = self._answer(now)
        else:
            sent = self._send_changed(now)
        if self._pace() != interval:
            self._send_at = self._scheduled(now)
        return sent + facts

    def set_terms(self, terms: Terms, now: float) -> tuple[Effect, ...]:
        """These terms are asked for from now on (RFC 5880 6.8.3, 6.8.12)."""
        if terms == self._terms:
            return ()
        self._terms = terms
        self._renegotiate()
        self._send_at = self._scheduled(now)
        return self._send_changed(now)

    def disable(self, now: float) -> tuple[Effect, ...]:
        """The session is switched off, and the peer told for as long as this is kept awake."""
        if self.state is State.ADMIN_DOWN:
            return ()
        facts = self._change(State.ADMIN_DOWN, Diagnostic.ADMINISTRATIVELY_DOWN)
        self._heard_at = None
        self._send_at = self._scheduled(now)
        return self._send_changed(now) + facts

    def enable(self, now: float) -> tuple[Effect, ...]:
        """The session is switched on again (RFC 5880 6.8.16)."""
        if self.state is not State.ADMIN_DOWN:
            return ()
        self._forget()
        self._change(State.DOWN, Diagnostic.NONE)
        self._send_at = self._scheduled(now)
        return self._send_changed(now)

    def _heard(self, remote: State) -> tuple[Effect, ...]:
        """The state machine of RFC 5880 6.8.6, for a session that is not switched off."""
        if remote is State.ADMIN_DOWN or (remote is State.DOWN and self.state is State.UP):
            if self.state is State.DOWN:
                return ()
            return self._change(State.DOWN, Diagnostic.NEIGHBOR_SIGNALED_DOWN)
        if self.state is State.DOWN and remote is State.DOWN:
            return self._change(State.INIT, self.diagnostic)
        if remote is State.INIT or (remote is State.UP and self.state is State.INIT):
            return self._change(State.UP, Diagnostic.NONE)
        return ()

    def _silence(self, now: float) -> tuple[Effect, ...]:
        """Nothing was heard for the detection time (RFC 5880 6.8.4)."""
        self._forget()
        if self.state not in (State.INIT, State.UP):
            self._send_at = self._scheduled(now)
            return ()
        facts = self._change(State.DOWN, Diagnostic.DETECTION_TIME_EXPIRED)
        self._send_at = self._scheduled(now)
        return self._send_changed(now) + facts

    def _change(self, state: State, diagnostic: Diagnostic) -> tuple[Effect, ...]:
        before, self.state, self.diagnostic = self.state, state, diagnostic
        if state is before:
            return ()
        self._renegotiate()
        if state is State.UP:
            return (PathUp(path=self.path),)
        if before is not State.UP:
            return ()
        return (
            PathDown(
                path=self.path,
                diagnostic=diagnostic,
                is_administrative=State.ADMIN_DOWN in (state, self.remote_state),
            ),
        )

    def _advertised(self) -> tuple[float, float]:
        """The intervals that our packets tell: desired to send, required to receive."""
        desired = self._terms.transmit
        return desired if self.state is State.UP else max(desired, SLOW), self._terms.receive

    def _renegotiate(self) -> None:
        """Put new intervals in force as far as the peer is ready for them (RFC 5880 6.8.3).

        What would make either side wait longer than the other expects waits for the end of a poll
        sequence: a longer interval of ours, and a shorter detection time.
        """
        desired, required = self._advertised()
        if self.state is not State.UP:
            self._desired, self._required, self._polls = desired, required, 0
            return
        told = self._sent
        self._desired = min(self._desired, desired)
        self._required = max(self._required, required)
        if told is None or (told.desired_min_tx_us, told.required_min_rx_us) != (
            _microseconds(desired),
            _microseconds(required),
        ):
            self._polls = min(self._polls + 1, 2)

    def _poll_answered(self) -> None:
        """RFC 5880 6.5: a sequence ends; values that changed while it ran have another one."""
        self._polls = max(self._polls - 1, 0)
        if not self._polls:
            self._desired, self._required = self._advertised()

    @property
    def _is_waiting(self) -> bool:
        """RFC 5880 6.1: in the passive role, the peer speaks first."""
        return self._terms.is_passive and not self.remote_discriminator

    def _pace(self) -> float | None:
        """The interval of periodic packets, or None when there are none (RFC 5880 6.8.7)."""
        if self._is_waiting or not self._remote_min_rx:
            return None
        both_up = self.state is State.UP and self.remote_state is State.UP
        if self._remote_demand and both_up and not self._polls:
            return None
        return self.transmit_interval

    def _scheduled(self, now: float) -> float | None:
        """When the next periodic packet is due, counted from the one before."""
        interval = self._pace()
        if interval is None:
            return None
        if self._sent_at is None:
            return now
        most = _MOST_OF_ONE if self._terms.multiplier == 1 else _MOST
        span = interval * (_LEAST + (most - _LEAST) * self._jitter())
        return max(now, self._sent_at + span)

    def _packet(self) -> ControlPacket:
        desired, required = self._advertised()
        return ControlPacket(
            state=self.state,
            diagnostic=self.diagnostic,
            multiplier=self._terms.multiplier,
            my_discriminator=self.discriminator,
            your_discriminator=self.remote_discriminator,
            desired_min_tx_us=_microseconds(desired),
            required_min_rx_us=_microseconds(required),
        )

    def _send_changed(self, now: float) -> tuple[SendPacket, ...]:
        """A packet out of turn when its contents are not what the peer was told last."""
        if self._sent == self._packet() or self._is_waiting:
            return ()
        return self._send(now)

    def _send(self, now: float) -> tuple[SendPacket, ...]:
        """The periodic packet, which carries a poll sequence if there is one (RFC 5880 6.5)."""
        self._sent_at, self._sent = now, self._packet()
        self._send_at = self._scheduled(now)
        return (self._sending(poll=self._polls > 0),)

    def _answer(self, now: float) -> tuple[SendPacket, ...]:
        """The answer to a poll, at once and beside the periodic packets (RFC 5880 6.8.7)."""
        self._sent = self._packet()
        return (self._sending(final=True),)

    def _sending(self, *, poll: bool = False, final: bool = False) -> SendPacket:
        self.sent += 1
        packet = replace(self._packet(), poll=poll, final=final)
        return SendPacket(path=self.path, octets=encode(packet))


def _microseconds(seconds: float) -> int:
    return min(round(seconds * 1e6), MAX_INTERVAL_US)
