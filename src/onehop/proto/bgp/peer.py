"""One BGP peer: when to connect, which connection to keep, what it is to be told.

All transitions of the peer live here (RFC 4271 8.2.2); those of one connection are in
`session.py`, whose states show through:

    Idle --start--> Connect --connected--> OpenSent -> OpenConfirm -> Established
     ^  ^              |  ^                    |            |              |
     |  |   no answer  v  | retry              v            v              v
     |  |           Active <----lost-----------+------------+--------------+
     |  +--------------|--------error (held for the retry span)------------+
     +------stop-------+---------------------------------------------------+

A peer may connect to us in every state but Idle. So there are two connections at most, the one
that we opened and the one that it opened; which of them stays is RFC 4271 6.8 with RFC 6286 2.3.
An edit of anything that is not said on the session never ends it; see `terms.affects_session`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import replace

from onehop.model.address import IPNetwork
from onehop.model.bgp import PeerDesired, Routes, no_routes
from onehop.proto.bgp import notification
from onehop.proto.bgp.constants import MAX_LENGTH, Cease
from onehop.proto.bgp.effect import (
    Accept,
    BgpEffect,
    BgpEffects,
    Close,
    Connect,
    SendBytes,
    SessionDown,
)
from onehop.proto.bgp.retry import STABLE, Retry
from onehop.proto.bgp.rib_out import Encodings
from onehop.proto.bgp.session import COLLIDED, Session
from onehop.proto.bgp.status import PeerStatus, State, Tally
from onehop.proto.bgp.terms import Local, Restart, affects_session, terms_of

CONNECT_TIME = 10.0  # until a connection that does not come about is begun anew
_ORDER = (State.OPEN_SENT, State.OPEN_CONFIRM, State.ESTABLISHED)
_COLLISION = notification.cease(Cease.COLLISION_RESOLUTION)
_REJECTED = notification.cease(Cease.CONNECTION_REJECTED)
# RFC 8538 4: the routes are not to outlive a session that does not come back by itself.
_FORGET = (Cease.ADMINISTRATIVE_SHUTDOWN, Cease.PEER_DECONFIGURED, Cease.BFD_DOWN)


class Peer:
    """Holds the session with one peer. Two peers share no state but `encodings`."""

    def __init__(
        self,
        desired: PeerDesired,
        *,
        jitter: Callable[[], float],
        encodings: Encodings,
        restart: Restart | None = None,
    ) -> None:
        self._desired = desired
        self._jitter = jitter
        self._encodings = encodings
        self._restart = restart or Restart()
        self._retry = Retry(jitter)
        self._tally = Tally()
        self._last_connection = 0
        self._dialling: int | None = None
        self._sessions: dict[int, Session] = {}
        self._opened_by_us: set[int] = set()
        self._is_stopped = True
        self._is_held = False
        self._is_draining = False
        self._is_withdrawn = False
        self._retry_at: float | None = None
        self._state = State.IDLE
        self._since_at = 0.0
        self._established_at: float | None = None
        self._up: int | None = None
        self._problem: tuple[str, float | None] = ("", None)
        self._fault = ""

    # What happened

    def connected(self, connection: int, local: Local, now: float) -> BgpEffects:
        """The connection that we asked for is there."""
        if connection != self._dialling:
            return ()
        self._dialling = self._retry_at = None
        self._opened_by_us.add(connection)
        return self._begun(connection, local, now)

    def accepted(self, local: Local, now: float) -> BgpEffects:
        """The peer has opened a connection; `Accept` in the answer says how we call it."""
        connection = self._number()
        accept = Accept(connection=connection)
        if self._is_stopped or self._is_held:
            octets = notification.encode(_REJECTED, MAX_LENGTH)
            return (
                accept,
                SendBytes(connection=connection, octets=octets),
                Close(connection=connection),
            )
        effects: list[BgpEffect] = []
        for session in tuple(self._sessions.values()):
            # A peer opens a second connection only when it has given up on its first.
            is_theirs = session.connection not in self._opened_by_us
            if is_theirs and session.state is not State.ESTABLISHED:
                effects += self._dropped(session, now)
        return (*effects, accept, *self._begun(connection, local, now))

    def receive_bytes(self, connection: int, octets: bytes, now: float) -> BgpEffects:
        """Octets arrived on a connection."""
        session = self._sessions.get(connection)
        if session is None:
            return ()
        return self._after(session, session.receive_bytes(octets, now), now)

    def written(self, connection: int, pending: int, now: float) -> BgpEffects:
        """So many octets still wait for the kernel to take them; told until there are none."""
        session = self._sessions.get(connection)
        if session is None:
            return ()
        return session.written(pending, now)

    def closed(self, connection: int, why: str, now: float) -> BgpEffects:
        """A connection is over, or did not come about."""
        if connection == self._dialling:
            return self._undialled(why, now)
        session = self._sessions.get(connection)
        if session is None:
            return ()
        return self._after(session, session.closed(why), now)

    def path_down(self, why: str, now: float) -> BgpEffects:
        """BFD says that the peer cannot be reached (RFC 5882 4.2, RFC 9384 3)."""
        return self._sessions_stopped(Cease.BFD_DOWN, "", why, now)

    # What is wanted

    def set_desired(self, desired: PeerDesired, now: float) -> BgpEffects:
        """This is wanted from now on; the routes are complete, and never changed afterwards."""
        old, self._desired = self._desired, desired
        if affects_session(old, desired):
            return self._begun_anew(now)
        effects: list[BgpEffect] = []
        for session in self._sessions.values():
            session.keepalive = desired.peer.keepalive_time
            effects += session.set_routes(self._routes(), now)
        return tuple(effects)

    def set_restart(self, restart: Restart) -> None:
        """What the next OPEN may say about our forwarding; a session that stands is left alone."""
        self._restart = restart

    def start(self, now: float) -> BgpEffects:
        """Hold a session from now on."""
        if not self._is_stopped:
            return ()
        self._is_stopped = self._is_draining = self._is_withdrawn = False
        self._retry.succeeded()
        return (*self._dial(now), *self._settled(now))

    def set_draining(self, is_draining: bool, now: float) -> BgpEffects:
        """Whether the peer is asked to use our routes last, while they still work (RFC 8326 4)."""
        self._is_draining = is_draining
        return self._routes_changed(now)

    def withdraw_all(self, now: float) -> BgpEffects:
        """Advertise nothing any more, until `start` after `stop`; the session stays."""
        self._is_withdrawn = True
        return self._routes_changed(now)

    def stop(
        self,
        now: float,
        communication: str = "",
        subcode: Cease = Cease.ADMINISTRATIVE_SHUTDOWN,
    ) -> BgpEffects:
        """Hold no session any more; `communication` tells the peer's operator (RFC 9003 2)."""
        self._is_stopped = True
        why = f"ended by us{communication and f': {communication}'}"
        return self._all_stopped(subcode, communication, why, now)

    def leave(self, now: float) -> BgpEffects:
        """Go without a word, so that a peer with graceful restart keeps our routes.

        RFC 4724 4.2: what follows a NOTIFICATION is withdrawn, what follows a lost connection
        is kept. For a process that another one takes over from.
        """
        self._is_stopped = True
        effects = self._undialled_silently()
        for session in tuple(self._sessions.values()):
            effects += self._after(session, session.abandon("left for a restart"), now)
        return (*effects, *self._settled(now))

    # Time

    @property
    def deadline(self) -> float | None:
        """When `wake` wants to be called, or None for never."""
        instants = [session.deadline for session in self._sessions.values()]
        return min((at for at in (*instants, self._retry_at) if at is not None), default=None)

    def wake(self, now: float) -> BgpEffects:
        """Time has reached the deadline. What has arrived is to be handed in before."""
        effects: list[BgpEffect] = []
        for session in tuple(self._sessions.values()):
            effects += self._after(session, session.wake(now), now)
        if self._retry_at is not None and now >= self._retry_at:
            effects += self._tried(now)
        return tuple(effects)

    def _tried(self, now: float) -> BgpEffects:
        """The span until the next attempt, or that of an attempt, is over."""
        if self._dialling is not None:
            why = f"no answer within {self._connect_time():g} s"
            return Close(connection=self._dialling), *self._undialled(why, now)
        if self._state is State.OPEN_CONFIRM:
            self._retry_at = None
            return ()
        # A connection of the peer's that has said nothing yet is no reason to wait.
        return (*self._dial(now), *self._settled(now))

    # What there is to see

    def describe(self) -> PeerStatus:
        """The peer now, for people and metrics."""
        session = self._foremost()
        return PeerStatus(
            name=self._desired.name,
            state=self._state,
            since_at=self._since_at,
            established_at=self._established_at,
            retry_at=self._retry_at if self._dialling is None else None,
            problem=self._problem[0],
            problem_at=self._problem[1],
            fault=self._fault if session is None else session.fault or self._fault,
            ours=None if session is None else session.terms.ours,
            theirs=None if session is None else session.theirs,
            negotiated=None if session is None else session.negotiated,
            wanted=len(self._routes()),
            advertised=0 if session is None else session.advertised,
            counters=self._tally.counters(),
        )

    def why_not(self, prefix: IPNetwork) -> str | None:
        """Why the peer does not have a prefix from us, or None when it has."""
        session = self._foremost()
        if session is None:
            return "there is no session with the peer"
        return session.why_not(prefix)

    # Connections

    def _number(self) -> int:
        self._last_connection += 1
        return self._last_connection

    def _connect_time(self) -> float:
        return self._desired.peer.connect_time or CONNECT_TIME

    def _dial(self, now: float) -> BgpEffects:
        self._is_held = False
        if self._desired.peer.passive:
            # RFC 4271 8.2.2: PassiveTcpEstablishment waits in Active, without a retry timer.
            self._retry_at = None
            return ()
        self._dialling = self._number()
        self._retry_at = now + self._connect_time()
        return (Connect(connection=self._dialling),)

    def _undialled(self, why: str, now: float) -> BgpEffects:
        """The connection that we asked for did not come about."""
        self._dialling = None
        self._problem = (why, now)
        self._wait(now, is_error=False)
        return (SessionDown(why=why, was_established=False), *self._settled(now))

    def _undialled_silently(self) -> list[BgpEffect]:
        """Nobody waits for a connection any more."""
        dialling, self._dialling, self._retry_at = self._dialling, None, None
        return [] if dialling is None else [Close(connection=dialling)]

    def _wait(self, now: float, *, is_error: bool) -> None:
        if self._is_stopped:
            return
        fixed = None if is_error else self._desired.peer.connect_time
        self._retry_at = now + self._retry.failed(is_error=is_error, fixed=fixed)
        self._is_held = is_error

    def _begun(self, connection: int, local: Local, now: float) -> BgpEffects:
        session = Session(
            connection,
            terms=terms_of(self._desired, restart=self._restart),
            local=local,
            encodings=self._encodings,
            tally=self._tally,
            jitter=self._jitter,
        )
        session.set_routes(self._routes(), now)
        self._sessions[connection] = session
        return self._after(session, session.open(now), now)

    def _after(self, session: Session, effects: BgpEffects, now: float) -> BgpEffects:
        """What follows from a session's input for the peer as a whole."""
        out = list(effects)
        if session.is_opened:
            out += self._resolved(session, now)
        if session.state is State.CLOSED and session.connection in self._sessions:
            del self._sessions[session.connection]
            self._opened_by_us.discard(session.connection)
            if session.end == COLLIDED and self._sessions:
                out = _without_end(out)
            else:
                self._ended(session, now)
        return (*out, *self._settled(now))

    def _resolved(self, session: Session, now: float) -> list[BgpEffect]:
        """RFC 4271 6.8: of two connections whose peer is known, one stays."""
        effects: list[BgpEffect] = []
        for other in tuple(self._sessions.values()):
            if other.state not in (State.OPEN_CONFIRM, State.ESTABLISHED):
                continue
            if not self._replaces(session, other, now):
                return [*effects, *self._dropped(session, now)]
            effects += self._dropped(other, now)
        return [*effects, *session.admit(now)]

    def _replaces(self, session: Session, other: Session, now: float) -> bool:
        is_ours = session.connection in self._opened_by_us
        if other.state is State.ESTABLISHED:
            # RFC 4724 4.2: the peer has started anew and cannot have told. A connection that
            # was under way while the other came up is no such sign.
            assert self._established_at is not None, "noted when it came up"
            is_kept = other.negotiated is not None and other.negotiated.graceful_restart
            return not is_ours and bool(is_kept) and now - self._established_at >= STABLE
        assert session.theirs is not None, "a collision is resolved when the OPEN is there"
        ours, theirs = session.terms.ours, session.theirs
        we_are_first = (int(ours.identifier), ours.asn) > (int(theirs.identifier), theirs.asn)
        return is_ours == we_are_first

    def _dropped(self, session: Session, now: float) -> list[BgpEffect]:
        """End a connection that another one takes over from; of that only an end is told."""
        del self._sessions[session.connection]
        self._opened_by_us.discard(session.connection)
        if session.state is State.ESTABLISHED:
            return list(session.abandon("the peer has started anew"))
        return _without_end(session.stop(_COLLISION, COLLIDED.why, now))

    def _ended(self, session: Session, now: float) -> None:
        """A session has closed: when to try again depends on why."""
        assert session.end is not None, "a closed session knows its end"
        self._problem = (session.end.why, now)
        self._fault = session.fault or self._fault
        if self._established_at is not None and now - self._established_at >= STABLE:
            self._retry.succeeded()
        if not self._sessions and self._dialling is None:
            self._wait(now, is_error=session.end.is_error)

    def _all_stopped(self, subcode: Cease, communication: str, why: str, now: float) -> BgpEffects:
        effects = self._undialled_silently()
        return (*effects, *self._sessions_stopped(subcode, communication, why, now))

    def _sessions_stopped(
        self, subcode: Cease, communication: str, why: str, now: float
    ) -> BgpEffects:
        effects: list[BgpEffect] = []
        cease = notification.cease(subcode, communication)
        for session in tuple(self._sessions.values()):
            is_hard = subcode in _FORGET and session.negotiated and session.negotiated.hard_reset
            message = notification.hard_reset(cease) if is_hard else cease
            effects += self._after(session, session.stop(message, why, now), now)
        return (*effects, *self._settled(now))

    def _begun_anew(self, now: float) -> BgpEffects:
        """The configuration of the session has changed."""
        why = "its configuration has changed"
        effects = self._all_stopped(Cease.OTHER_CONFIGURATION_CHANGE, "", why, now)
        if self._is_stopped:
            return effects
        self._retry.succeeded()
        return (*effects, *self._dial(now), *self._settled(now))

    # Routes and state

    def _routes(self) -> Routes:
        if self._is_withdrawn:
            return no_routes()
        routes = self._desired.routes
        return self._encodings.drained(routes) if self._is_draining else routes

    def _routes_changed(self, now: float) -> BgpEffects:
        routes = self._routes()
        effects: list[BgpEffect] = []
        for session in self._sessions.values():
            effects += session.set_routes(routes, now)
        return tuple(effects)

    def _foremost(self) -> Session | None:
        """The session that has got farthest."""
        sessions = self._sessions.values()
        return max(sessions, key=lambda session: _ORDER.index(session.state), default=None)

    def _settled(self, now: float) -> list[BgpEffect]:
        """Note the state; when it is Established no other connection is needed."""
        state = self._state_now()
        session = self._foremost()
        up = session.connection if session and session.state is State.ESTABLISHED else None
        if state is self._state and up == self._up:
            return []
        self._state, self._since_at, self._up = state, now, up
        self._established_at = None if up is None else now
        return [] if up is None else self._alone(up, now)

    def _alone(self, up: int, now: float) -> list[BgpEffect]:
        self._restart = replace(self._restart, is_restarting=False)
        effects = self._undialled_silently()
        for session in tuple(self._sessions.values()):
            if session.connection != up:
                effects += self._dropped(session, now)
        return effects

    def _state_now(self) -> State:
        session = self._foremost()
        if session is not None:
            return session.state
        if self._dialling is not None:
            return State.CONNECT
        if self._is_held or self._is_stopped:
            return State.IDLE
        is_waiting = self._retry_at is not None or self._desired.peer.passive
        return State.ACTIVE if is_waiting else State.IDLE


def _without_end(effects: Iterable[BgpEffect]) -> list[BgpEffect]:
    """The end of a connection that another one makes needless is nothing to tell."""
    return [effect for effect in effects if not isinstance(effect, SessionDown)]
