"""One BGP connection from its first octet to its last; all transitions live here.

RFC 4271 8.2.2 from OpenSent on, with the OPEN looked at in two steps, so that the peer can
resolve a collision (RFC 4271 6.8) before the connection goes on:

    open -> OpenSent --OPEN--> (opened) --admit--> OpenConfirm --KEEPALIVE--> Established
               |                  |                    |                         |
               +------------------+---------+----------+-------------------------+
                                            |
      an error, a NOTIFICATION, a timer, the end of the connection, stop -> Closed, for good

Timers: hold (RFC 4271 6.5), keepalive with jitter (RFC 4271 10), send hold (RFC 9687 3). While
octets that were handed out still wait for the peer, nothing is added behind them: what changed
meanwhile goes out as one difference afterwards, so that a peer that stalls costs no memory.

It must never raise on what a peer sends, and never keeps any of it but numbers and its OPEN.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from onehop.model.address import Family, IPNetwork
from onehop.model.bgp import Routes
from onehop.proto.bgp import notification, received
from onehop.proto.bgp.constants import (
    Cease,
    Code,
    FsmError,
    MessageType,
    OpenError,
    RefreshSubtype,
)
from onehop.proto.bgp.effect import (
    BgpEffect,
    BgpEffects,
    Close,
    RoutesSent,
    SendBytes,
    SessionDown,
    SessionUp,
)
from onehop.proto.bgp.error import BgpError
from onehop.proto.bgp.framing import KEEPALIVE, Frame, Splitter
from onehop.proto.bgp.message import (
    Open,
    RouteRefresh,
    decode_open,
    decode_route_refresh,
    encode_open,
    encode_route_refresh,
)
from onehop.proto.bgp.negotiated import Negotiated
from onehop.proto.bgp.notification import Notification
from onehop.proto.bgp.rib_out import Encodings, Flush, RibOut
from onehop.proto.bgp.status import State, Tally
from onehop.proto.bgp.terms import Local, Terms, agreed, refusal
from onehop.proto.bgp.update import end_of_rib

OPEN_HOLD_TIME = 240.0  # RFC 4271 8.2.2: four minutes until the peer's OPEN
LEAST_SEND_HOLD_TIME = 480.0  # RFC 9687 3: eight minutes, or twice the hold time
REFRESH_PAUSE = 1.0  # seconds between two answers to ROUTE-REFRESH: a flood of them costs little

_UNEXPECTED = {
    State.OPEN_SENT: FsmError.UNEXPECTED_IN_OPEN_SENT,
    State.OPEN_CONFIRM: FsmError.UNEXPECTED_IN_OPEN_CONFIRM,
    State.ESTABLISHED: FsmError.UNEXPECTED_IN_ESTABLISHED,
}
_BAD_AS = (Code.OPEN, OpenError.BAD_PEER_AS)
_COLLISION = notification.cease(Cease.COLLISION_RESOLUTION)
_IS_ALIVE = (MessageType.KEEPALIVE, MessageType.UPDATE)  # RFC 4271 8.2.2: what restarts hold


@dataclass(frozen=True, slots=True, kw_only=True)
class End:
    """How a session ended: `is_error` when one side found fault with what the other does."""

    why: str
    was_established: bool
    is_error: bool


COLLIDED = End(why="another connection is kept", was_established=False, is_error=False)


class Session:
    """One connection with a peer, on the terms given."""

    def __init__(
        self,
        connection: int,
        *,
        terms: Terms,
        local: Local,
        encodings: Encodings,
        tally: Tally,
        jitter: Callable[[], float],
    ) -> None:
        self.connection = connection
        self.terms = terms
        self.state = State.OPEN_SENT
        self.theirs: Open | None = None
        self.negotiated: Negotiated | None = None
        self.end: End | None = None
        self.fault = ""
        self.keepalive = terms.keepalive
        self._local = local
        self._encodings = encodings
        self._tally = tally
        self._jitter = jitter
        self._splitter = Splitter()
        self._rib: RibOut | None = None
        self._want: Routes = {}
        self._refreshes: set[Family] = set()
        self._refresh_at = 0.0
        self._pending = 0
        self._hold_at: float | None = None
        self._keepalive_at: float | None = None
        self._send_hold_at: float | None = None

    def open(self, now: float) -> BgpEffects:
        """The connection is there: say who we are."""
        self._hold_at = now + OPEN_HOLD_TIME
        return (self._send(MessageType.OPEN, encode_open(self.terms.ours), now),)

    @property
    def is_opened(self) -> bool:
        """Whether the peer's OPEN is accepted and `admit` is due."""
        return self.state is State.OPEN_SENT and self.theirs is not None

    @property
    def advertised(self) -> int:
        """How many prefixes the peer has from us."""
        return self._rib.advertised if self._rib is not None else 0

    def why_not(self, prefix: IPNetwork) -> str | None:
        """Why the peer does not have a prefix from us, or None when it has."""
        return "the session is not established" if self._rib is None else self._rib.why_not(prefix)

    def receive_bytes(self, octets: bytes, now: float) -> BgpEffects:
        """Octets arrived; all whole messages are dealt with, up to the peer's OPEN."""
        if self.state is State.CLOSED:
            return ()
        self._splitter.feed(octets)
        return tuple(self._read(now))

    def admit(self, now: float) -> BgpEffects:
        """No other connection is in the way: go on with what came behind the OPEN."""
        assert self.is_opened, "only an opened session can be admitted"
        self.state = State.OPEN_CONFIRM
        keepalive = self._send(MessageType.KEEPALIVE, KEEPALIVE, now)
        assert self.negotiated is not None, "the OPEN came before"
        if self.negotiated.hold_time:  # otherwise the four minutes go on until Established
            self._alive(now)
        return (keepalive, *self._read(now))

    def set_routes(self, routes: Routes, now: float) -> BgpEffects:
        """These routes, and no others, ought to be advertised; never changed afterwards."""
        self._want = routes
        return tuple(self._flush(now))

    def written(self, pending: int, now: float) -> BgpEffects:
        """The kernel took octets and has `pending` still to take; told until it is 0.

        Without a word from the driver everything counts as taken.
        """
        if self.state is State.CLOSED:
            return ()
        if pending == 0:
            self._send_hold_at = None
        elif self._pending == 0 or pending < self._pending:
            self._send_hold_at = now + self._send_hold_time()
        self._pending = pending
        return tuple(self._flush(now))

    def closed(self, why: str) -> BgpEffects:
        """The connection is over."""
        if self.state is State.CLOSED:
            return ()
        return (self._down(why, is_error=False),)

    def stop(self, message: Notification, why: str, now: float) -> BgpEffects:
        """End the session from our side, for a reason that is nobody's fault."""
        if self.state is State.CLOSED:
            return ()
        return self._notify(message, why, now, is_error=False)

    def abandon(self, why: str) -> BgpEffects:
        """End the connection without a word: a peer with graceful restart keeps our routes."""
        if self.state is State.CLOSED:
            return ()
        return (Close(connection=self.connection), self._down(why, is_error=False))

    @property
    def deadline(self) -> float | None:
        """When `wake` wants to be called, or None for never."""
        # A keepalive behind octets that wait would wait as well.
        keepalive_at = None if self._pending else self._keepalive_at
        refresh_at = self._refresh_at if self._refreshes and not self._pending else None
        instants = (self._hold_at, keepalive_at, self._send_hold_at, refresh_at)
        return min((at for at in instants if at is not None), default=None)

    def wake(self, now: float) -> BgpEffects:
        """Time has reached the deadline. What has arrived is to be handed in before."""
        if self._hold_at is not None and now >= self._hold_at:
            return self._expired(now)
        if self._send_hold_at is not None and now >= self._send_hold_at:
            why = f"the peer has taken nothing for {self._send_hold_time():g} s"
            message = Notification(code=Code.SEND_HOLD_TIMER_EXPIRED, subcode=0)
            return self._notify(message, why, now, is_error=False)
        effects = self._refreshed(now)
        if self._keepalive_at is not None and now >= self._keepalive_at and not self._pending:
            effects.append(self._send(MessageType.KEEPALIVE, KEEPALIVE, now))
        return tuple(effects)

    def _expired(self, now: float) -> BgpEffects:
        span = (self.negotiated and self.negotiated.hold_time) or OPEN_HOLD_TIME
        awaited = "no OPEN" if self.negotiated is None else "nothing"
        why = f"{awaited} from the peer for {span:g} s, the hold time"
        message = Notification(code=Code.HOLD_TIMER_EXPIRED, subcode=0)
        return self._notify(message, why, now, is_error=False)

    def _read(self, now: float) -> list[BgpEffect]:
        """Every whole message, until one is the OPEN or ends the session."""
        effects: list[BgpEffect] = []
        try:
            while self.state is not State.CLOSED and not self.is_opened:
                frame = self._splitter.next()
                if frame is None:
                    break
                effects += self._frame(frame, now)
        except BgpError as error:
            message = notification.of(error)
            return [*effects, *self._notify(message, _found(error), now, is_error=True)]
        effects += self._refreshed(now)
        return effects

    def _frame(self, frame: Frame, now: float) -> BgpEffects:
        kind, body = frame
        self._tally.received[kind] += 1
        if kind is MessageType.NOTIFICATION:
            return self._told(notification.decode(body), now)
        transition = _TRANSITIONS.get((self.state, kind))
        if transition is None:
            raise BgpError(
                Code.FSM,
                _UNEXPECTED[self.state],
                field="type",
                offset=18,
                why=f"{kind.name} in {self.state.value}",
                data=bytes((kind,)),  # RFC 6608 4
            )
        if kind in _IS_ALIVE:
            self._alive(now)
        return transition(self, body, now)

    def _told(self, message: Notification, now: float) -> BgpEffects:
        """RFC 4271 6.4: nothing is answered."""
        why = refusal(message, self.terms.ours)
        if message == _COLLISION and self.state is not State.ESTABLISHED:
            why = COLLIDED.why
        is_error = message.cause.code not in (Code.CEASE, Code.HOLD_TIMER_EXPIRED)
        return Close(connection=self.connection), self._down(why, is_error=is_error)

    def _opened(self, body: bytes, now: float) -> BgpEffects:
        """RFC 4271 6.2; the hold time is the lower of the two (RFC 4271 4.2)."""
        theirs = decode_open(body)
        self.negotiated = agreed(self.terms, theirs)
        self._splitter.max_length = self.negotiated.max_length
        self.theirs = theirs
        return ()

    def _confirmed(self, body: bytes, now: float) -> BgpEffects:
        """Established: all routes, then the End-of-RIB of each family (RFC 4724 2)."""
        assert self.negotiated is not None, "the OPEN came before"
        self.state = State.ESTABLISHED
        self._tally.established += 1
        outbound = self.terms.outbound(self.negotiated, self._local)
        self._rib = RibOut(outbound, self._encodings)
        flush = self._rib.flush(self._want)
        ends = [end_of_rib(family) for family in Family if family in self.negotiated.families]
        octets = flush.octets + b"".join(ends)
        return (
            SessionUp(negotiated=self.negotiated),
            self._send_updates(octets, flush.messages + len(ends), now),
            self._sent(flush),
        )

    def _kept_alive(self, body: bytes, now: float) -> BgpEffects:
        return ()

    def _updated(self, body: bytes, now: float) -> BgpEffects:
        """Counted and dropped, faults dealt with as RFC 7606 2 says."""
        assert self.negotiated is not None, "the OPEN came before"
        update = received.decode(body, self.negotiated)
        self._tally.prefixes_received += update.announced
        self._tally.prefixes_withdrawn += update.withdrawn
        self._tally.faults += len(update.faults)
        if update.faults:
            fault = update.faults[0]
            self.fault = f"UPDATE, attribute {fault.attribute}: {fault.why}"
        return ()

    def _asked(self, body: bytes, now: float) -> BgpEffects:
        """RFC 2918 4; several requests that wait together are answered once."""
        assert self.negotiated is not None, "the OPEN came before"
        message = decode_route_refresh(body)
        if message.subtype is RefreshSubtype.REQUEST and message.family is not None:
            self._refreshes |= {message.family} & self.negotiated.families
        return ()

    def _flush(self, now: float) -> list[BgpEffect]:
        """What is wanted and not sent, unless the peer has still to take what was sent."""
        if self._rib is None or self._pending:
            return []
        flush = self._rib.flush(self._want)
        effects: list[BgpEffect] = []
        if flush.octets:
            effects += [self._send_updates(flush.octets, flush.messages, now), self._sent(flush)]
        return [*effects, *self._refreshed(now)]

    def _refreshed(self, now: float) -> list[BgpEffect]:
        """RFC 7313 4: between a begin and an end, when both sides know of them."""
        if self._rib is None or self._pending or not self._refreshes or now < self._refresh_at:
            return []
        self._refresh_at = now + REFRESH_PAUSE
        assert self.negotiated is not None, "the OPEN came before"
        effects: list[BgpEffect] = []
        for family in Family:
            if family not in self._refreshes:
                continue
            flush = self._rib.again(family)
            octets = flush.octets
            if self.negotiated.enhanced_route_refresh:
                edges = (RefreshSubtype.BEGIN, RefreshSubtype.END)
                begin, end = (_edge(family, subtype) for subtype in edges)
                octets = begin + octets + end
                self._tally.sent[MessageType.ROUTE_REFRESH] += 2
            if octets:
                effects += [self._send_updates(octets, flush.messages, now), self._sent(flush)]
        self._refreshes.clear()
        return effects

    def _sent(self, flush: Flush) -> RoutesSent:
        return RoutesSent(
            announced=flush.announced, withdrawn=flush.withdrawn, advertised=self.advertised
        )

    def _alive(self, now: float) -> None:
        assert self.negotiated is not None, "the OPEN came before"
        span = self.negotiated.hold_time
        self._hold_at = now + span if span else None

    def _send_hold_time(self) -> float:
        hold_time = 0 if self.negotiated is None else self.negotiated.hold_time
        return max(LEAST_SEND_HOLD_TIME, 2.0 * hold_time)

    def _send_updates(self, octets: bytes, messages: int, now: float) -> SendBytes:
        return self._send(MessageType.UPDATE, octets, now, messages)

    def _send(self, kind: MessageType, octets: bytes, now: float, messages: int = 1) -> SendBytes:
        """Everything that is sent, in whole messages, restarts the keepalive timer."""
        self._tally.sent[kind] += messages
        if self.negotiated is not None and self.negotiated.hold_time:
            self._keepalive_at = now + self._keepalive_time(self.negotiated.hold_time)
        return SendBytes(connection=self.connection, octets=octets)

    def _keepalive_time(self, hold_time: float) -> float:
        """A third of the hold time or what is configured, less up to a quarter (RFC 4271 10)."""
        span = hold_time / 3
        if self.keepalive:
            span = min(span, self.keepalive)
        return span * (0.75 + 0.25 * self._jitter())

    def _notify(
        self, message: Notification, why: str, now: float, *, is_error: bool
    ) -> BgpEffects:
        assert self.state is not State.CLOSED, "nothing follows the end"
        room = self._splitter.max_length
        octets = notification.encode(message, room)
        return (
            self._send(MessageType.NOTIFICATION, octets, now),
            Close(connection=self.connection),
            self._down(why, is_error=is_error),
        )

    def _down(self, why: str, *, is_error: bool) -> SessionDown:
        was_established = self.state is State.ESTABLISHED
        self.end = End(why=why, was_established=was_established, is_error=is_error)
        self.state = State.CLOSED
        self._splitter = Splitter()
        self._rib = None
        self._hold_at = self._keepalive_at = self._send_hold_at = None
        return SessionDown(why=why, was_established=was_established)


def _found(error: BgpError) -> str:
    """What we hold against the peer; the field is named where the sentence does not do it."""
    says_it = error.code == Code.FSM or (error.code, error.subcode) == _BAD_AS
    field = "" if says_it else f"{error.field}: "
    return f"{notification.of(error)}: {field}{error.why}"


def _edge(family: Family, subtype: RefreshSubtype) -> bytes:
    return encode_route_refresh(RouteRefresh(family=family, subtype=subtype))


_Transition = Callable[[Session, bytes, float], BgpEffects]
_TRANSITIONS: dict[tuple[State, MessageType], _Transition] = {
    (State.OPEN_SENT, MessageType.OPEN): Session._opened,
    (State.OPEN_CONFIRM, MessageType.KEEPALIVE): Session._confirmed,
    (State.ESTABLISHED, MessageType.KEEPALIVE): Session._kept_alive,
    (State.ESTABLISHED, MessageType.UPDATE): Session._updated,
    (State.ESTABLISHED, MessageType.ROUTE_REFRESH): Session._asked,
}
