"""What holds for a BGP peer: whatever comes in whatever order."""

from __future__ import annotations

from hypothesis import given, settings
from hypothesis import strategies as st

from onehop.model.bgp import RouteAttributes, Routes
from onehop.proto.bgp.effect import (
    Accept,
    BgpEffects,
    Close,
    Connect,
    SendBytes,
)
from onehop.proto.bgp.framing import KEEPALIVE
from onehop.proto.bgp.peer import Peer
from onehop.proto.bgp.status import State
from tests.fakes.bgp_wire import (
    CEASE,
    GRACEFUL,
    LEFT,
    LOCAL,
    RIGHT,
    THEIR_OPEN,
    Wire,
    desired,
    made,
    prefixes,
    router,
    routes,
)

NAMES = [
    "connected",
    "accepted",
    "closed",
    "wake",
    "routes",
    "edit",
    "down",
    "written",
    "stop",
    "start",
    "drain",
    "withdraw",
    "leave",
    "open",
    "keepalive",
    "notify",
    "garbage",
    "graceful",
]
STEPS = st.lists(st.tuples(st.sampled_from(NAMES), st.integers(0, 12)), max_size=40)


def _play(peer: Peer, name: str, connection: int, now: float) -> BgpEffects:
    messages = {
        "open": THEIR_OPEN,
        "graceful": GRACEFUL,
        "keepalive": KEEPALIVE,
        "notify": CEASE,
        "garbage": b"GET /",
    }
    if name in messages:
        return peer.receive_bytes(connection, messages[name], now)
    fields: dict[str, object] = {"graceful_restart": True, "routes": routes(connection)}
    return {
        "connected": lambda: peer.connected(connection, LOCAL, now),
        "accepted": lambda: peer.accepted(LOCAL, now),
        "closed": lambda: peer.closed(connection, "closed", now),
        "wake": lambda: peer.wake(now),
        "routes": lambda: peer.set_desired(desired(**fields), now),  # type: ignore[arg-type]
        "edit": lambda: peer.set_desired(desired(hold_time=float(connection + 3)), now),
        "down": lambda: peer.path_down("down", now),
        "written": lambda: peer.written(connection, connection % 3, now),
        "stop": lambda: peer.stop(now),
        "start": lambda: peer.start(now),
        "drain": lambda: peer.set_draining(connection % 2 == 0, now),
        "withdraw": lambda: peer.withdraw_all(now),
        "leave": lambda: peer.leave(now),
    }[name]()


@given(steps=STEPS, jitter=st.floats(0, 1, exclude_max=True))
@settings(max_examples=400, deadline=None)
def test_no_input_raises_and_the_laws_of_connections_hold(
    steps: list[tuple[str, int]], jitter: float
) -> None:
    """Two connections at most, one session at most, no wait that never ends."""
    peer, twin = (made(desired(graceful_restart=True), jitter=jitter) for _ in range(2))
    now, is_open, is_stopped = 0.0, set[int](), True
    for name, connection in (("start", 0), *steps):
        now = max(now + 0.5, (peer.deadline or 0.0) if name == "wake" else 0.0)
        effects = _play(peer, name, connection, now)
        assert effects == _play(twin, name, connection, now)
        is_stopped = {"start": False, "stop": True, "leave": True}.get(name, is_stopped)
        for effect in effects:
            if isinstance(effect, Connect | Accept):
                assert effect.connection not in is_open
                is_open.add(effect.connection)
            if isinstance(effect, Close):
                is_open.remove(effect.connection)
            if isinstance(effect, SendBytes):
                assert effect.connection in is_open
        if name == "closed":
            is_open.discard(connection)
        assert len(is_open) <= 2
        states = [session.state for session in peer._sessions.values()]
        assert states.count(State.ESTABLISHED) <= 1
        assert is_open == {*peer._sessions, *({peer._dialling} - {None})}
        if name == "wake":
            assert peer.deadline is None or peer.deadline > now
        assert is_stopped or peer.deadline is not None
        assert not is_stopped or (not is_open and peer.deadline is None)


EDITS = st.lists(
    st.dictionaries(
        st.sampled_from(prefixes(5)),
        st.sampled_from([RouteAttributes(), RouteAttributes(med=1)]),
    ),
    min_size=1,
    max_size=8,
)


@given(edits=EDITS, seed=st.lists(st.sampled_from(["hold", "release", "cut", "heal"]), max_size=8))
@settings(max_examples=100, deadline=None)
def test_whatever_happens_the_router_ends_with_what_is_wanted(
    edits: list[Routes], seed: list[str]
) -> None:
    """Random edits, stalls and losses, then quiet."""
    wire = Wire(made(desired(hold_time=9.0)), made(router(hold_time=9.0)), (True, True))
    wire.start()
    peer = wire.peers[LEFT]
    for number, edit in enumerate(edits):
        wire.run(wire.now + 3.0)
        event = seed[number] if number < len(seed) else ""
        if event == "hold":
            wire.holds[LEFT] = True
        elif event == "release":
            wire.release(LEFT)
        elif event:
            wire.is_cut = event == "cut"
        wanted = desired(hold_time=9.0, routes=edit)
        wire.perform(LEFT, peer.set_desired(wanted, wire.now))
    wire.is_cut = False
    wire.release(LEFT)
    wire.run(wire.now + 120.0)
    status = wire.peers[LEFT].describe()
    assert status.state is State.ESTABLISHED
    assert status.advertised == len(edits[-1])
    counters = wire.peers[RIGHT].describe().counters
    assert counters.prefixes_received >= len(edits[-1])
