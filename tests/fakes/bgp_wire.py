"""Two BGP peers and the connections between them, in memory and in virtual time.

What a peer sends arrives at the next step of the other. While the wire is cut nothing arrives, nor
does a connection come about; what was under way arrives when it is whole again, as with TCP. A
side whose kernel holds takes no octets. Every effect is written down with its instant.
"""

from __future__ import annotations

from collections import deque
from dataclasses import replace
from ipaddress import IPv4Address, ip_network

from onehop.model.address import Family, IPNetwork
from onehop.model.bgp import BGPPeer, PeerDesired, RouteAttributes, Routes
from onehop.model.service import Key
from onehop.proto.bgp import notification, received
from onehop.proto.bgp.constants import MAX_EXTENDED_LENGTH, Cease, MessageType, RefreshSubtype
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
from onehop.proto.bgp.framing import KEEPALIVE, Frame, Splitter
from onehop.proto.bgp.message import encode_open
from onehop.proto.bgp.negotiated import Negotiated
from onehop.proto.bgp.peer import Peer
from onehop.proto.bgp.rib_out import Encodings
from onehop.proto.bgp.status import State
from onehop.proto.bgp.terms import Local, Restart, terms_of

LEFT, RIGHT = 0, 1


def desired(
    asn: int = 64600,
    peer_asn: int | None = 64512,
    router_id: str = "192.0.2.1",
    routes: Routes | None = None,
    **fields: object,
) -> PeerDesired:
    """One peer of a node in AS 64600, seen from the node."""
    peer = BGPPeer(
        key=Key("metallb-system", "router"),
        my_asn=asn,
        peer_asn=peer_asn,
        address=IPv4Address("192.0.2.254"),
    )
    peer = replace(peer, **fields)  # type: ignore[arg-type]
    return PeerDesired(
        name="router", peer=peer, router_id=IPv4Address(router_id), routes=routes or {}
    )


def router(**fields: object) -> PeerDesired:
    """The same session, seen from the router."""
    made = {"asn": 64512, "peer_asn": 64600, "router_id": "192.0.2.254", **fields}
    return desired(**made)  # type: ignore[arg-type]


def prefixes(count: int, first: int = 0) -> list[IPNetwork]:
    """So many different host routes."""
    return [ip_network(((10 << 24) + first + number, 32)) for number in range(count)]


def routes(count: int, first: int = 0, attributes: RouteAttributes | None = None) -> Routes:
    """So many routes with one set of attributes."""
    return dict.fromkeys(prefixes(count, first), attributes or RouteAttributes())


def made(wanted: PeerDesired, restart: Restart | None = None, jitter: float = 1.0) -> Peer:
    """A machine with a fixed jitter."""
    return Peer(wanted, jitter=lambda: jitter, encodings=Encodings(), restart=restart)


class Wire:
    """Two peers that reach each other; `dials` says whose connections come about."""

    def __init__(self, left: Peer, right: Peer, dials: tuple[bool, bool] = (True, True)) -> None:
        self.peers = [left, right]
        self.dials = list(dials)
        self.now = 0.0
        self.is_cut = False
        self.holds = [False, False]
        self.held: list[dict[int, bytes]] = [{}, {}]
        self.log: tuple[list[tuple[float, BgpEffect]], list[tuple[float, BgpEffect]]] = ([], [])
        self._ends: dict[tuple[int, int], int] = {}
        self._queue: deque[tuple[int, int, bytes | None]] = deque()

    def start(self) -> None:
        """Both at once, so that each is there when the other connects."""
        begun = [peer.start(self.now) for peer in self.peers]
        for side, effects in enumerate(begun):
            self.perform(side, effects)

    def perform(self, side: int, effects: BgpEffects) -> None:
        for effect in effects:
            self.log[side].append((self.now, effect))
            if isinstance(effect, Connect):
                self._connect(side, effect.connection)
            elif isinstance(effect, SendBytes):
                self._send(side, effect)
            elif isinstance(effect, Close):
                self._close(side, effect.connection)

    def _connect(self, side: int, connection: int) -> None:
        if self.is_cut:
            return
        if not self.dials[side]:
            refused = self.peers[side].closed(connection, "connection refused", self.now)
            self.perform(side, refused)
            return
        other = 1 - side
        local = Local(ipv4=IPv4Address(f"192.0.2.{254 if other else 1}"))
        effects = self.peers[other].accepted(local, self.now)
        theirs = next(e.connection for e in effects if isinstance(e, Accept))
        self._ends[side, connection] = theirs
        self._ends[other, theirs] = connection
        local = Local(ipv4=IPv4Address(f"192.0.2.{254 if side else 1}"))
        self.perform(side, self.peers[side].connected(connection, local, self.now))
        self.perform(other, effects)

    def _send(self, side: int, effect: SendBytes) -> None:
        if self.holds[side]:
            waiting = self.held[side].get(effect.connection, b"") + effect.octets
            self.held[side][effect.connection] = waiting
            peer = self.peers[side]
            self.perform(side, peer.written(effect.connection, len(waiting), self.now))
            return
        self._arrives(side, effect.connection, effect.octets)

    def _arrives(self, side: int, connection: int, octets: bytes | None) -> None:
        if (side, connection) in self._ends:
            self._queue.append((1 - side, self._ends[side, connection], octets))

    def _close(self, side: int, connection: int) -> None:
        self._arrives(side, connection, None)
        self._ends.pop((side, connection), None)

    def release(self, side: int) -> None:
        """The kernel takes everything again."""
        self.holds[side] = False
        held, self.held[side] = self.held[side], {}
        for connection, octets in held.items():
            self._arrives(side, connection, octets)
            self.perform(side, self.peers[side].written(connection, 0, self.now))

    def settle(self) -> None:
        """Deliver all that is under way."""
        for _ in range(10_000):
            if self.is_cut or not self._queue:
                return
            side, connection, octets = self._queue.popleft()
            peer = self.peers[side]
            if octets is not None:
                self.perform(side, peer.receive_bytes(connection, octets, self.now))
            elif self._ends.pop((side, connection), None) is not None:
                self.perform(side, peer.closed(connection, "closed by the peer", self.now))
        raise AssertionError("the two never come to rest")

    def run(self, until: float) -> None:
        """Let virtual time pass, every deadline kept."""
        self.settle()
        for _ in range(100_000):
            due = [(p.deadline, side) for side, p in enumerate(self.peers) if p.deadline]
            if not due or min(due)[0] > until:
                self.now = until
                return
            at, side = min(due)
            self.now = max(self.now, at)
            self.perform(side, self.peers[side].wake(self.now))
            self.settle()
        raise AssertionError("deadlines without end")

    def facts(self, side: int, *kinds: type) -> list[BgpEffect]:
        """The effects of these kinds on one side, in order."""
        return [effect for _, effect in self.log[side] if isinstance(effect, kinds)]


def said(effects: BgpEffects) -> list[str]:
    """Effects in a word or two each, messages one by one."""
    words: list[str] = []
    for effect in effects:
        if isinstance(effect, SendBytes):
            words += [message(frame) for frame in frames(effect.octets)]
        elif isinstance(effect, SessionDown):
            words.append("down" if effect.was_established else "failed")
        elif isinstance(effect, RoutesSent):
            words.append(f"routes +{effect.announced} -{effect.withdrawn} ={effect.advertised}")
        else:
            words.append(_WORDS[type(effect)])
    return words


def frames(octets: bytes) -> list[Frame]:
    """The messages in these octets."""
    splitter = Splitter()
    splitter.max_length = MAX_EXTENDED_LENGTH
    splitter.feed(octets)
    found = []
    while (frame := splitter.next()) is not None:
        found.append(frame)
    assert splitter.pending == 0, "a message was cut"
    return found


def message(frame: Frame) -> str:
    """A message in a word or two."""
    if frame.kind is MessageType.NOTIFICATION:
        return f"notify {frame.body[0]}/{frame.body[1]}"
    if frame.kind is MessageType.ROUTE_REFRESH:
        return f"refresh {RefreshSubtype(frame.body[2]).name.lower()}"
    if frame.kind is MessageType.UPDATE and received.decode(frame.body, BOTH).end_of_rib:
        return "end of rib"
    return frame.kind.name.lower()


_WORDS: dict[type, str] = {
    Connect: "connect", Accept: "accept", Close: "close", SessionUp: "up"
}  # fmt: skip
LOCAL = Local(ipv4=IPv4Address("192.0.2.1"))
THEIR_OPEN = encode_open(terms_of(router()).ours)
CEASE = notification.encode(notification.cease(Cease.ADMINISTRATIVE_SHUTDOWN), 4096)
GRACEFUL = encode_open(terms_of(router(graceful_restart=True)).ours)
BOTH = Negotiated(families=frozenset(Family), four_octet=True, extended_next_hop=True)


def up(peer: Peer, now: float = 0.0, opening: bytes = THEIR_OPEN) -> int:
    """Bring a started peer to Established on the connection that it asked for."""
    connection = peer._dialling
    assert connection is not None
    peer.connected(connection, LOCAL, now)
    peer.receive_bytes(connection, opening + KEEPALIVE, now)
    assert peer.describe().state is State.ESTABLISHED
    return connection


def started(**fields: object) -> Peer:
    peer = made(desired(**fields))  # type: ignore[arg-type]
    assert said(peer.start(0.0)) == ["connect"]
    return peer


def numbers(effects: BgpEffects, kind: type = Accept) -> list[int]:
    return [e.connection for e in effects if isinstance(e, kind)]  # type: ignore[attr-defined]
