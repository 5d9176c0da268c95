"""One BGP peer on the event loop: its machine, its connections and its one timer.

It performs what the machine returns, in order, and tells it what happened; it decides nothing.
A connection is known to the machine by its number alone, so what comes late for one that is over
finds no number and is dropped.
"""

from __future__ import annotations

import asyncio
import random
import socket
from collections import deque
from collections.abc import Callable

from onehop.adapters.linux import bgp_socket
from onehop.adapters.linux.bgp_socket import AuthenticationKey, Path
from onehop.app.bgp_connection import Connection
from onehop.model.address import IPAddress
from onehop.model.bgp import PeerDesired
from onehop.model.node import Link
from onehop.model.reason import Reason, Refusal
from onehop.proto.bgp.effect import (
    Accept,
    BgpEffect,
    BgpEffects,
    Close,
    Connect,
    RoutesSent,
    SendBytes,
    SessionDown,
    SessionUp,
)
from onehop.proto.bgp.peer import Peer
from onehop.proto.bgp.rib_out import Encodings
from onehop.proto.bgp.terms import DEFAULT_HOLD_TIME, Local, Restart

BgpFact = SessionUp | SessionDown | RoutesSent


def path_of(desired: PeerDesired) -> Path | Refusal:
    """How a peer is reached, or why it cannot be."""
    peer = desired.peer
    if peer.address is None:
        detail = f"BGPPeer {desired.name}, spec.interface: a peer needs spec.peerAddress here"
        return Refusal(reason=Reason.FIELD_INVALID, detail=detail)
    option = peer.authentication
    key = (
        None
        if option is None
        else AuthenticationKey(
            secret=peer.password, send_id=option.send_id, receive_id=option.receive_id
        )
    )
    return Path(
        address=peer.address,
        port=peer.port,
        source=peer.source,
        link=peer.link,
        vrf=peer.vrf,
        hops=peer.ttl_security,
        password="" if option is not None else peer.password,
        key=key,
        patience=DEFAULT_HOLD_TIME if peer.hold_time is None else peer.hold_time,
    )


def local_of(ours: IPAddress, theirs: IPAddress, links: tuple[Link, ...]) -> Local:
    """Our addresses on the link of a connection: the next hops that the peer may be given."""
    link = next((x for x in links if any(own.ip == ours for own in x.addresses)), None)
    known = [own.ip for own in link.addresses] if link is not None else []
    usable = [own for own in (ours, *known) if not (own.is_link_local or own.is_loopback)]
    is_neighbour = link is not None and any(theirs in own.network for own in link.addresses)
    scoped = [own for own in known if own.version == 6 and own.is_link_local]
    return Local(
        ipv4=next((own for own in usable if own.version == 4), None),
        ipv6=next((own for own in usable if own.version == 6), None),
        link_local=next(iter(scoped), None) if is_neighbour else None,
    )


class PeerDriver:
    """All methods belong to the loop's own thread."""

    def __init__(
        self,
        desired: PeerDesired,
        path: Path,
        *,
        encodings: Encodings,
        loop: asyncio.AbstractEventLoop,
        on_fact: Callable[[str, BgpFact], None],
        restart: Restart | None = None,
        links: tuple[Link, ...] = (),
    ) -> None:
        self.desired = desired
        self.path = path
        self.links = links
        self.machine = Peer(desired, jitter=random.random, encodings=encodings, restart=restart)
        self._loop = loop
        self._on_fact = on_fact
        self._connections: dict[int, Connection] = {}
        self._numbers: dict[Connection, int] = {}
        self._offered: Connection | None = None
        self._effects: deque[BgpEffect] = deque()
        self._is_performing = False
        self._timer: asyncio.TimerHandle | None = None
        self._armed_for: float | None = None

    def start(self) -> None:
        """Begin to hold the session."""
        self.perform(self.machine.start)

    def set_desired(self, desired: PeerDesired, path: Path) -> None:
        """What is wanted is another thing now; what there is to send leaves before it returns."""
        self.desired, self.path = desired, path
        self._perform(self.machine.set_desired(desired, self._loop.time()))

    def perform(self, input_: Callable[[float], BgpEffects]) -> None:
        """Tell the machine of something else that happened, and carry out what follows."""
        self._perform(input_(self._loop.time()))

    def offer(self, sock: socket.socket) -> None:
        """The peer has connected to us; the machine takes it or refuses it."""
        offered = bgp_socket.adopted(sock, self.path)
        if isinstance(offered, Refusal):
            return
        self._offered = Connection(offered, self, loop=self._loop, is_connected=True)
        local = local_of(self._offered.local, self.path.address, self.links)
        self._perform(self.machine.accepted(local, self._loop.time()))

    def connected(self, connection: Connection) -> None:
        """A connection that we opened stands."""
        number = self._numbers[connection]
        local = local_of(connection.local, self.path.address, self.links)
        self._perform(self.machine.connected(number, local, self._loop.time()))

    def received(self, connection: Connection, octets: bytes) -> None:
        """Octets have come."""
        number = self._numbers[connection]
        self._perform(self.machine.receive_bytes(number, octets, self._loop.time()))

    def written(self, connection: Connection) -> None:
        """The kernel has taken octets that waited."""
        number = self._numbers[connection]
        now = self._loop.time()
        self._perform(self.machine.written(number, connection.waiting, now))

    def ended(self, connection: Connection, refusal: Refusal) -> None:
        """A connection is over, or has never come about."""
        number = self._forget(connection)
        self._perform(self.machine.closed(number, self._words(refusal), self._loop.time()))

    @property
    def problem(self) -> str:
        """Why the last attempt or session ended, with what a silent peer may mean."""
        problem = self.machine.describe().problem
        is_silence = problem.startswith("no answer within")
        return f"{problem}{self.path.silence[len('no answer') :]}" if is_silence else problem

    def connections(self) -> tuple[Connection, ...]:
        """Those that stand or are being opened: two at most."""
        return tuple(self._connections.values())

    @property
    def is_delivered(self) -> bool:
        """Whether the peer's kernel has all that was sent."""
        return all(connection.is_delivered for connection in self._connections.values())

    def _words(self, refusal: Refusal) -> str:
        return refusal.detail.removeprefix(f"{self.path}: ")

    def _perform(self, effects: BgpEffects) -> None:
        """Carry out; inputs that this brings about are heard after what was asked before them."""
        self._effects += effects
        if self._is_performing:
            return
        self._is_performing = True
        try:
            while self._effects:
                self._one(self._effects.popleft())
        finally:
            self._is_performing = False
        self._rearm()

    def _one(self, effect: BgpEffect) -> None:
        if isinstance(effect, SendBytes):
            self._send(effect)
        elif isinstance(effect, Connect):
            self._dial(effect.connection)
        elif isinstance(effect, Accept):
            self._adopt(effect.connection)
        elif isinstance(effect, Close):
            self._close(effect.connection)
        else:
            self._on_fact(self.desired.name, effect)

    def _send(self, effect: SendBytes) -> None:
        """Sends that follow each other go out as one."""
        parts = [effect.octets]
        while self._effects and isinstance(following := self._effects[0], SendBytes):
            if following.connection != effect.connection:
                break
            parts.append(following.octets)
            self._effects.popleft()
        connection = self._connections.get(effect.connection)
        if connection is None:
            return
        connection.send(b"".join(parts))
        if connection.waiting:
            now = self._loop.time()
            self._effects += self.machine.written(effect.connection, connection.waiting, now)

    def _dial(self, number: int) -> None:
        sock = bgp_socket.dial(self.path)
        if isinstance(sock, Refusal):
            words = self._words(sock)
            self._effects += self.machine.closed(number, words, self._loop.time())
            return
        self._know(number, Connection(sock, self, loop=self._loop))

    def _adopt(self, number: int) -> None:
        assert self._offered is not None, "only an offered connection is accepted"
        self._know(number, self._offered)
        self._offered = None

    def _know(self, number: int, connection: Connection) -> None:
        self._connections[number] = connection
        self._numbers[connection] = number

    def _close(self, number: int) -> None:
        connection = self._connections.get(number)
        if connection is not None:
            self._forget(connection)
            connection.close()

    def _forget(self, connection: Connection) -> int:
        number = self._numbers.pop(connection)
        del self._connections[number]
        return number

    def _rearm(self) -> None:
        deadline = self.machine.deadline
        if deadline == self._armed_for:
            return
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        self._armed_for = deadline
        if deadline is not None:
            self._timer = self._loop.call_at(deadline, self._wake)

    def _wake(self) -> None:
        # A loop may call early by its clock's resolution; the machine would find nothing due.
        now = max(self._loop.time(), self._armed_for or 0.0)
        self._timer, self._armed_for = None, None
        self._perform(self.machine.wake(now))

    def close(self) -> None:
        """End every connection without another word, and wake nobody any more."""
        if self._timer is not None:
            self._timer.cancel()
        self._timer, self._armed_for = None, None
        for number in list(self._connections):
            self._close(number)
