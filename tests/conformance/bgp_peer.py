"""A conformance case of the BGP machines: what happens to a peer, and what it does about it.

    title   what the page shows
    clause  the standard and its sections
    given   bgp peer, then fields of its BGPPeer as NAME=VALUE

We are AS 64600 with router ID 192.0.2.1, the peer is AS 64512 with 192.0.2.254. Jitter is 1.
Connections have numbers, in the order in which they were asked for or came.

    > TIME start | stop [WORD ...] | drain | withdraw | path-down | wake
    > TIME want COUNT | edit NAME=VALUE ...
    > TIME connected N | accepted | closed N | pending N OCTETS
    > TIME open N [NAME=VALUE ...] | keepalive N | update N | refresh N | garbage N
    > TIME notification N CODE SUBCODE
    < connect N | accept N | send N MESSAGE | close N | up | down: WHY | failed: WHY
    < routes +ANNOUNCED -WITHDRAWN =ADVERTISED | state STATE | wake at TIME | wake never

For `open`, names are asn, id, and fields of a BGPPeer. State and deadline are told when changed.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator

from onehop.proto.bgp import notification
from onehop.proto.bgp.effect import BgpEffect, BgpEffects, SendBytes, SessionDown
from onehop.proto.bgp.framing import KEEPALIVE
from onehop.proto.bgp.message import encode_open
from onehop.proto.bgp.notification import Notification
from onehop.proto.bgp.terms import terms_of
from tests.fakes.bgp_session import REFRESH, UPDATE
from tests.fakes.bgp_wire import LOCAL, desired, frames, made, message, router, routes, said


def played(page: str) -> str:
    """The page with what the machine really does."""
    lines = [line for line in page.splitlines() if not line.startswith("<")]
    given = next(line.split()[3:] for line in lines if line.startswith("given"))
    scene = _Scene(_fields(given))
    out: list[str] = []
    for line in lines:
        out.append(line)
        if line.startswith(">"):
            words = line[1:].split()
            out += [f"< {word}" for word in scene.step(float(words[0]), words[1], words[2:])]
    return "\n".join(out) + "\n"


def _fields(words: list[str]) -> dict[str, object]:
    names = dict(word.split("=") for word in words)
    return {name: True if value == "true" else float(value) for name, value in names.items()}


class _Scene:
    def __init__(self, fields: dict[str, object]) -> None:
        self._given = fields
        self._count = 0
        self._peer = made(self._desired())
        self._state = self._peer.describe().state
        self._deadline: float | None = None

    def _desired(self) -> object:
        return desired(routes=routes(self._count), **self._given)  # type: ignore[arg-type]

    def step(self, now: float, verb: str, words: list[str]) -> Iterator[str]:
        for effect in self._effects(now, verb, words):
            yield from _words(effect)
        state = self._peer.describe().state
        if state is not self._state:
            self._state = state
            yield f"state {state.value}"
        if self._peer.deadline != self._deadline:
            self._deadline = self._peer.deadline
            yield "wake never" if self._deadline is None else f"wake at {self._deadline:.2f}"

    def _effects(self, now: float, verb: str, words: list[str]) -> BgpEffects:
        peer = self._peer
        if verb in ("want", "edit"):
            if verb == "want":
                self._count = int(words[0])
            else:
                self._given = {**self._given, **_fields(words)}
            return peer.set_desired(self._desired(), now)  # type: ignore[arg-type]
        inputs: dict[str, Callable[[], BgpEffects]] = {
            "start": lambda: peer.start(now),
            "stop": lambda: peer.stop(now, " ".join(words)),
            "drain": lambda: peer.set_draining(True, now),
            "withdraw": lambda: peer.withdraw_all(now),
            "path-down": lambda: peer.path_down("BFD: the path is down", now),
            "wake": lambda: peer.wake(now),
            "accepted": lambda: peer.accepted(LOCAL, now),
        }
        if verb in inputs:
            return inputs[verb]()
        connection, rest = int(words[0]), words[1:]
        if verb == "connected":
            return peer.connected(connection, LOCAL, now)
        if verb == "closed":
            return peer.closed(connection, "closed by the peer", now)
        if verb == "pending":
            return peer.written(connection, int(rest[0]), now)
        return peer.receive_bytes(connection, _octets(verb, rest), now)


def _octets(verb: str, words: list[str]) -> bytes:
    if verb == "open":
        return _open(words)
    if verb == "notification":
        code, subcode = map(int, words)
        return notification.encode(Notification(code=code, subcode=subcode), 4096)
    known = {"keepalive": KEEPALIVE, "update": UPDATE, "refresh": REFRESH, "garbage": b"GET /"}
    return known[verb]


def _open(words: list[str]) -> bytes:
    names = dict(word.split("=") for word in words)
    changed: dict[str, object] = {}
    if "id" in names:
        changed["router_id"] = names.pop("id")
    if "asn" in names:
        changed["asn"] = int(names.pop("asn"))
    changed |= _fields([f"{name}={value}" for name, value in names.items()])
    return encode_open(terms_of(router(**changed)).ours)


def _words(effect: BgpEffect) -> Iterator[str]:
    if isinstance(effect, SendBytes):
        for frame in frames(effect.octets):
            yield f"send {effect.connection} {message(frame)}"
    elif isinstance(effect, SessionDown):
        yield f"{said((effect,))[0]}: {effect.why}"
    else:
        connection = getattr(effect, "connection", None)
        yield " ".join(said((effect,)) + ([] if connection is None else [str(connection)]))
