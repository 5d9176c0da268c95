"""One BGP peer: edits, ends, losses, and what there is to see."""

from __future__ import annotations

from dataclasses import replace

import pytest

from onehop.proto.bgp import notification
from onehop.proto.bgp.constants import Cease, MessageType
from onehop.proto.bgp.effect import (
    RoutesSent,
    SendBytes,
    SessionDown,
)
from onehop.proto.bgp.notification import Notification
from onehop.proto.bgp.peer import CONNECT_TIME
from onehop.proto.bgp.status import State
from onehop.proto.bgp.terms import Restart, terms_of
from tests.fakes.bgp_wire import (
    GRACEFUL,
    LEFT,
    LOCAL,
    RIGHT,
    Wire,
    desired,
    frames,
    made,
    prefixes,
    router,
    routes,
    said,
    started,
    up,
)


def last_notification(wire: Wire, side: int) -> Notification:
    found = [
        notification.decode(frame.body)
        for effect in wire.facts(side, SendBytes)
        for frame in frames(effect.octets)  # type: ignore[attr-defined]
        if frame.kind is MessageType.NOTIFICATION
    ]
    return found[-1]


def test_an_edit_that_the_session_is_about_begins_it_anew() -> None:
    """RFC 4486 4: Other Configuration Change."""
    peer = started()
    up(peer)
    words = said(peer.set_desired(desired(hold_time=9.0), 5.0))
    assert words == ["notify 6/6", "close", "down", "connect"]
    assert peer.describe().state is State.CONNECT
    assert said(peer.set_desired(desired(hold_time=12.0), 6.0)) == ["close", "connect"]
    up(peer, 7.0)
    status = peer.describe()
    assert status.ours is not None
    assert status.ours.hold_time == 12
    peer.stop(8.0)
    assert peer.set_desired(desired(hold_time=15.0), 9.0) == ()


def test_edits_that_the_session_is_not_about_leave_it_alone() -> None:
    peer = started()
    up(peer)
    before = peer.describe()
    for edit in ({"bfd_profile": "fast"}, {"connect_time": 5.0}, {"keepalive_time": 10.0}):
        assert peer.set_desired(desired(**edit), 5.0) == ()  # type: ignore[arg-type]
    assert said(peer.set_desired(desired(routes=routes(2)), 5.0)) == [
        "update", "routes +2 -0 =2"
    ]  # fmt: skip
    after = peer.describe()
    assert after.established_at == before.established_at
    assert after.counters.established == 1


def test_a_keepalive_time_that_changes_is_used_from_the_next_one_on() -> None:
    peer = started()
    up(peer)
    peer.set_desired(desired(keepalive_time=5.0), 1.0)
    assert peer.deadline == 30.0
    peer.wake(30.0)
    assert peer.deadline == 35.0


def test_a_shutdown_tells_the_peers_operator_why() -> None:
    """RFC 9003 2."""
    wire = Wire(made(desired()), made(router()), (True, False))
    wire.start()
    wire.run(1.0)
    wire.perform(LEFT, wire.peers[LEFT].stop(wire.now, "drain node-7, ticket 42"))
    wire.settle()
    status = wire.peers[RIGHT].describe()
    words = 'the peer ended it: Cease: Administrative Shutdown, "drain node-7, ticket 42"'
    assert status.problem == words
    assert wire.peers[LEFT].describe().problem == "ended by us: drain node-7, ticket 42"
    assert said(wire.peers[LEFT].accepted(LOCAL, 2.0)) == ["accept", "notify 6/5", "close"]
    assert wire.peers[LEFT].deadline is None


def test_a_peer_that_is_taken_out_of_the_configuration_is_told_so() -> None:
    """RFC 4486 4: Peer De-configured."""
    peer = started()
    assert said(peer.stop(0.0, subcode=Cease.PEER_DECONFIGURED)) == ["close"]
    assert said(peer.start(1.0)) == ["connect"]
    assert peer.start(1.0) == ()
    up(peer, 1.0)
    words = said(peer.stop(2.0, subcode=Cease.PEER_DECONFIGURED))
    assert words == ["notify 6/3", "close", "down"]


def test_leaving_asks_first_then_withdraws_then_ends() -> None:
    """RFC 8326 4, then RFC 4271 6.7."""
    wire = Wire(made(desired(routes=routes(50))), made(router()), (True, False))
    wire.start()
    wire.run(1.0)
    peer = wire.peers[LEFT]
    assert said(peer.set_draining(True, 1.0)) == ["update", "routes +50 -0 =50"]
    assert said(peer.set_desired(desired(routes=routes(51)), 2.0)) == [
        "update", "routes +1 -0 =51"
    ]  # fmt: skip
    assert said(peer.set_draining(False, 3.0)) == ["update", "routes +51 -0 =51"]
    assert said(peer.set_draining(True, 4.0)) == ["update", "routes +51 -0 =51"]
    assert said(peer.withdraw_all(5.0)) == ["update", "routes +0 -51 =0"]
    assert peer.set_desired(desired(routes=routes(60)), 6.0) == ()
    assert said(peer.stop(7.0)) == ["notify 6/2", "close", "down"]
    peer.start(8.0)
    up(peer, 8.0)
    assert peer.describe().advertised == 60


@pytest.mark.parametrize(
    ("subcode", "expected"),
    [
        (Cease.ADMINISTRATIVE_SHUTDOWN, "notify 6/9"),
        (Cease.PEER_DECONFIGURED, "notify 6/9"),
        (Cease.ADMINISTRATIVE_RESET, "notify 6/4"),
    ],
)
def test_a_peer_that_keeps_routes_over_a_notification_is_told_to_forget_them(
    subcode: Cease, expected: str
) -> None:
    """RFC 8538 4: only when the session does not come back by itself."""
    peer = started(graceful_restart=True)
    up(peer, opening=GRACEFUL)
    assert said(peer.stop(1.0, subcode=subcode))[0] == expected
    plain = started(graceful_restart=True)
    up(plain)
    assert said(plain.stop(1.0, subcode=subcode))[0] == f"notify 6/{subcode}"


def test_leaving_for_a_restart_says_nothing() -> None:
    """RFC 4724 4.2: after a NOTIFICATION the routes would be gone."""
    peer = started(graceful_restart=True)
    up(peer, opening=GRACEFUL)
    assert said(peer.leave(1.0)) == ["close", "down"]
    assert peer.deadline is None
    assert said(started().leave(1.0)) == ["close"]


def test_restart_bits_stand_in_the_first_session_of_a_restarted_process_only() -> None:
    """RFC 4724 4.1."""
    restart = Restart(is_restarting=True)
    peer = made(desired(graceful_restart=True), restart=restart)
    peer.start(0.0)
    connection = up(peer, opening=GRACEFUL)
    status = peer.describe()
    assert status.ours is not None
    first = status.ours.capabilities.graceful_restart
    assert first is not None
    assert first.restarting
    assert not first.forwarding
    peer.set_restart(replace(restart, is_restarting=False, forwarding=frozenset(first.families)))
    peer.closed(connection, "gone", 1.0)
    peer.wake(1.25)
    up(peer, 1.25, GRACEFUL)
    status = peer.describe()
    assert status.ours is not None
    second = status.ours.capabilities.graceful_restart
    assert second is not None
    assert not second.restarting
    assert second.forwarding == first.families


def test_a_path_that_bfd_calls_down_ends_the_session_at_once() -> None:
    """RFC 9384 3, RFC 5882 4.2."""
    peer = started()
    up(peer)
    assert said(peer.path_down("BFD: no packet for 300 ms", 1.0)) == [
        "notify 6/10", "close", "down"
    ]  # fmt: skip
    status = peer.describe()
    assert (status.state, status.problem) == (State.ACTIVE, "BFD: no packet for 300 ms")
    assert peer.path_down("BFD: no packet for 300 ms", 1.1) == ()
    assert said(peer.wake(1.25)) == ["connect"]
    assert peer.path_down("BFD: no packet for 300 ms", 1.3) == ()
    assert peer.deadline == 1.25 + CONNECT_TIME


def test_a_silent_loss_is_noticed_by_the_hold_time_and_mended() -> None:
    """RFC 4271 6.5."""
    wire = Wire(
        made(desired(hold_time=9.0, routes=routes(5))), made(router(hold_time=9.0)), (True, False)
    )
    wire.start()
    wire.run(10.0)
    wire.is_cut = True
    wire.run(30.0)
    assert wire.peers[LEFT].describe().state is not State.ESTABLISHED
    assert last_notification(wire, LEFT) == Notification(code=4, subcode=0)
    downs = [at for at, e in wire.log[LEFT] if isinstance(e, SessionDown) and e.was_established]
    assert len(downs) == 1
    assert 15.0 <= downs[0] <= 19.0
    wire.is_cut = False
    wire.run(70.0)
    assert wire.peers[LEFT].describe().state is State.ESTABLISHED
    assert wire.peers[LEFT].describe().advertised == 5


def test_a_peer_that_stalls_costs_no_memory_and_gets_the_last_state() -> None:
    wire = Wire(made(desired(routes=routes(5))), made(router()), (True, False))
    wire.start()
    wire.run(1.0)
    wire.holds[LEFT] = True
    peer = wire.peers[LEFT]
    for first in range(1, 500):
        wire.perform(LEFT, peer.set_desired(desired(routes=routes(5, first)), wire.now))
    assert sum(map(len, wire.held[LEFT].values())) < 1000
    wire.release(LEFT)
    wire.settle()
    assert peer.describe().advertised == 5
    assert wire.facts(LEFT, RoutesSent)[-1] == RoutesSent(announced=5, withdrawn=5, advertised=5)


def test_a_peer_is_described_in_full() -> None:
    peer = made(desired(routes=routes(5)))
    idle = peer.describe()
    assert (idle.name, idle.state, idle.wanted, idle.advertised) == ("router", State.IDLE, 5, 0)
    assert (idle.ours, idle.theirs, idle.negotiated) == (None, None, None)
    (prefix, other) = prefixes(6)[::5]
    assert peer.why_not(prefix) == "there is no session with the peer"
    peer.start(3.0)
    assert peer.describe().retry_at is None
    up(peer, 4.0)
    status = peer.describe()
    assert (status.since_at, status.established_at, status.advertised) == (4.0, 4.0, 5)
    assert status.theirs == terms_of(router()).ours
    assert status.negotiated is not None
    assert status.counters.sent[MessageType.OPEN] == 1
    assert peer.why_not(prefix) is None
    assert peer.why_not(other) == "no route is wanted there"


def test_a_fault_outlives_its_session_in_the_description() -> None:
    peer = started()
    connection = up(peer)
    # ORIGIN 9 (RFC 7606 7.1) with a prefix to withdraw instead.
    body = bytes.fromhex("0000 000e 40010109 400200 400304c0000201 200a000001".replace(" ", ""))
    octets = b"\xff" * 16 + (19 + len(body)).to_bytes(2, "big") + b"\2" + body
    assert peer.receive_bytes(connection, octets, 1.0) == ()
    fault = peer.describe().fault
    assert fault.startswith("UPDATE, attribute 1")
    peer.closed(connection, "gone", 2.0)
    assert peer.describe().fault == fault
