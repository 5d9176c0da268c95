"""One BGP peer: connecting, collisions, retries."""

from __future__ import annotations

import pytest

from onehop.proto.bgp import notification
from onehop.proto.bgp.constants import Cease, Code, MessageType
from onehop.proto.bgp.effect import (
    BgpEffects,
    Close,
    Connect,
    RoutesSent,
    SessionDown,
    SessionUp,
)
from onehop.proto.bgp.framing import KEEPALIVE
from onehop.proto.bgp.message import encode_open
from onehop.proto.bgp.notification import Notification
from onehop.proto.bgp.peer import CONNECT_TIME, Peer
from onehop.proto.bgp.status import State
from onehop.proto.bgp.terms import terms_of
from tests.fakes.bgp_wire import (
    CEASE,
    LEFT,
    LOCAL,
    RIGHT,
    THEIR_OPEN,
    Wire,
    desired,
    made,
    numbers,
    router,
    routes,
    said,
    started,
    up,
)


@pytest.mark.parametrize("dials", [(True, False), (False, True), (True, True)])
def test_two_peers_come_up_whoever_opens_the_connection(dials: tuple[bool, bool]) -> None:
    """RFC 4271 8.2.1: active, passive, and both at once."""
    wire = Wire(made(desired(routes=routes(100))), made(router(routes=routes(7, 1000))), dials)
    wire.start()
    wire.run(10.0)
    for side, count in ((LEFT, 100), (RIGHT, 7)):
        status = wire.peers[side].describe()
        assert status.state is State.ESTABLISHED
        assert status.advertised == status.wanted == count
        other = wire.peers[1 - side].describe()
        assert other.counters.prefixes_received == count
        assert len(wire.facts(side, SessionUp)) == 1
        assert len(wire.peers[side]._sessions) == 1


def test_a_session_stands_for_a_day() -> None:
    wire = Wire(made(desired(hold_time=9.0)), made(router(hold_time=9.0)), (True, False))
    wire.start()
    wire.run(3600.0)
    status = wire.peers[LEFT].describe()
    assert status.state is State.ESTABLISHED
    assert (status.since_at, status.established_at) == (0.0, 0.0)
    assert status.counters.sent[MessageType.KEEPALIVE] == pytest.approx(1200, abs=2)


def test_routes_that_change_on_a_session_reach_the_other_side() -> None:
    wire = Wire(made(desired(routes=routes(100))), made(router()), (True, False))
    wire.start()
    wire.run(1.0)
    peer = wire.peers[LEFT]
    wire.perform(LEFT, peer.set_desired(desired(routes=routes(60)), wire.now))
    wire.settle()
    assert wire.facts(LEFT, RoutesSent)[-1] == RoutesSent(announced=0, withdrawn=40, advertised=60)
    assert wire.peers[RIGHT].describe().counters.prefixes_withdrawn == 40
    assert len(wire.facts(LEFT, SessionDown)) == 0


def test_the_first_attempts_come_fast_and_then_ever_slower() -> None:
    """Decision 0090: 0.25 s, doubling to 30 s."""
    peer = made(desired())
    now = 0.0
    effects = peer.start(now)
    waits = []
    for _ in range(10):
        (connection,) = numbers(effects, Connect)
        assert said(peer.closed(connection, "connection refused", now)) == ["failed"]
        assert peer.describe().state is State.ACTIVE
        assert peer.deadline is not None
        waits.append(peer.deadline - now)
        now = peer.deadline
        effects = peer.wake(now)
        assert peer.describe().state is State.CONNECT
    assert waits == [0.25, 0.5, 1, 2, 4, 8, 16, 30, 30, 30]


def test_a_passive_peer_is_waited_for_and_never_called() -> None:
    """RFC 4271 8.2.2: ManualStart_with_PassiveTcpEstablishment goes to Active."""
    peer = made(desired(passive=True))
    assert peer.start(0.0) == ()
    assert (peer.describe().state, peer.deadline) == (State.ACTIVE, None)
    (connection,) = numbers(peer.accepted(LOCAL, 1.0))
    assert "up" in said(peer.receive_bytes(connection, THEIR_OPEN + KEEPALIVE, 1.0))
    assert said(peer.closed(connection, "closed by the peer", 5.0)) == ["down"]
    now = 5.0
    while peer.deadline is not None:
        now = peer.deadline
        assert peer.wake(now) == ()
    assert peer.describe().state is State.ACTIVE
    assert numbers(peer.accepted(LOCAL, now + 1)) != []


def test_a_passive_peer_that_erred_is_turned_away_for_a_while() -> None:
    peer = made(desired(passive=True, peer_asn=64999))
    peer.start(0.0)
    (connection,) = numbers(peer.accepted(LOCAL, 0.0))
    peer.receive_bytes(connection, THEIR_OPEN, 0.0)
    assert peer.describe().state is State.IDLE
    assert "close" in said(peer.accepted(LOCAL, 0.1))
    assert peer.deadline is not None
    assert peer.wake(peer.deadline) == ()
    assert peer.describe().state is State.ACTIVE
    assert peer.deadline is None


def test_a_connection_that_hangs_is_begun_anew() -> None:
    """RFC 4271 8.2.2: ConnectRetryTimer_Expires in Connect."""
    peer = started()
    assert peer.deadline == CONNECT_TIME
    assert peer.wake(CONNECT_TIME - 1) == ()
    assert said(peer.wake(CONNECT_TIME)) == ["close", "failed"]
    assert peer.describe().problem == "no answer within 10 s"
    assert peer.deadline == CONNECT_TIME + 0.25
    assert said(peer.wake(CONNECT_TIME + 0.25)) == ["connect"]


def test_a_configured_connect_time_is_the_span_between_attempts() -> None:
    peer = started(connect_time=3.0)
    assert peer.deadline == 3.0
    peer.wake(3.0)
    assert peer.deadline == 6.0


def test_what_comes_late_for_a_connection_that_is_over_is_ignored() -> None:
    peer = started()
    connection = up(peer)
    assert said(peer.stop(1.0)) == ["notify 6/2", "close", "down"]
    assert peer.receive_bytes(connection, KEEPALIVE, 2.0) == ()
    assert peer.written(connection, 5, 2.0) == ()
    assert peer.closed(connection, "late", 2.0) == ()
    assert peer.connected(connection, LOCAL, 2.0) == ()
    assert peer.deadline is None
    assert peer.describe().state is State.IDLE


def collision(left: str, right: str, **fields: object) -> tuple[Peer, int, int, BgpEffects]:
    """A peer whose own connection is in OpenConfirm when the other one's OPEN arrives."""
    peer = made(desired(router_id=left, **fields))  # type: ignore[arg-type]
    peer.start(0.0)
    ours = peer._dialling
    assert ours is not None
    (theirs,) = numbers(peer.accepted(LOCAL, 0.0))
    peer.connected(ours, LOCAL, 0.0)
    opening = encode_open(terms_of(router(router_id=right)).ours)
    peer.receive_bytes(ours, opening, 0.0)
    assert peer._sessions[ours].state is State.OPEN_CONFIRM
    return peer, ours, theirs, peer.receive_bytes(theirs, opening, 0.0)


@pytest.mark.parametrize(
    ("left", "right", "ours_stays"),
    [
        ("192.0.2.1", "192.0.2.254", False),
        ("192.0.2.254", "192.0.2.1", True),
        ("9.0.0.0", "192.0.2.1", False),
        ("192.0.2.1", "192.0.2.1", True),
    ],
    ids=["lower", "higher", "lower as a number", "equal, higher AS"],
)
def test_of_two_connections_the_higher_identifiers_stays(
    left: str, right: str, ours_stays: bool
) -> None:
    """RFC 4271 6.8; RFC 6286 2.3 for equal identifiers: our AS 64600 is the higher."""
    peer, ours, theirs, effects = collision(left, right)
    words = said(effects)
    if ours_stays:
        assert (words, list(peer._sessions)) == (["notify 6/7", "close"], [ours])
        assert numbers(effects, Close) == [theirs]
    else:
        assert (words, list(peer._sessions)) == (["notify 6/7", "close", "keepalive"], [theirs])
        assert numbers(effects, Close) == [ours]
    (stays,) = peer._sessions
    assert "up" in said(peer.receive_bytes(stays, KEEPALIVE, 0.0))


def test_an_established_session_is_not_disturbed_by_another_connection() -> None:
    """RFC 4271 6.8."""
    peer = started()
    up(peer)
    (theirs,) = numbers(peer.accepted(LOCAL, 50.0))
    words = said(peer.receive_bytes(theirs, THEIR_OPEN, 50.0))
    assert words == ["notify 6/7", "close"]
    assert peer.describe().state is State.ESTABLISHED


def test_a_peer_that_came_back_unheard_takes_over_under_graceful_restart() -> None:
    """RFC 4724 4.2: its new connection ends the old one, without a NOTIFICATION."""
    opening = encode_open(terms_of(router(graceful_restart=True)).ours)
    peer = started(graceful_restart=True)
    old = up(peer, opening=opening)
    (early,) = numbers(peer.accepted(LOCAL, 5.0))
    assert said(peer.receive_bytes(early, opening, 5.0)) == ["notify 6/7", "close"]
    (new,) = numbers(peer.accepted(LOCAL, 50.0))
    effects = peer.receive_bytes(new, opening, 50.0)
    assert said(effects) == ["close", "down", "keepalive"]
    assert numbers(effects, Close) == [old]
    assert "up" in said(peer.receive_bytes(new, KEEPALIVE, 50.0))
    assert peer.describe().established_at == 50.0


def test_a_new_session_in_place_of_an_old_one_counts_from_its_own_beginning() -> None:
    opening = encode_open(terms_of(router(graceful_restart=True)).ours)
    peer = started(graceful_restart=True)
    up(peer, opening=opening)
    (new,) = numbers(peer.accepted(LOCAL, 50.0))
    words = said(peer.receive_bytes(new, opening + KEEPALIVE, 50.0))
    assert words[:4] == ["close", "down", "keepalive", "up"]
    status = peer.describe()
    assert (status.since_at, status.established_at) == (50.0, 50.0)
    assert status.counters.established == 2


def test_there_are_never_more_than_two_connections() -> None:
    """A peer opens a second one only when it has given up on its first."""
    peer = started()
    (first,) = numbers(peer.accepted(LOCAL, 0.0))
    effects = peer.accepted(LOCAL, 1.0)
    assert said(effects) == ["notify 6/7", "close", "accept", "open"]
    assert numbers(effects, Close) == [first]
    ours = peer._dialling
    assert ours is not None
    peer.connected(ours, LOCAL, 1.0)
    assert len(peer._sessions) == 2
    peer.accepted(LOCAL, 2.0)
    assert len(peer._sessions) == 2


def test_a_session_that_is_up_makes_all_other_attempts_needless() -> None:
    peer = started()
    (theirs,) = numbers(peer.accepted(LOCAL, 0.0))
    words = said(peer.receive_bytes(theirs, THEIR_OPEN + KEEPALIVE, 0.0))
    assert words == ["keepalive", "up", "end of rib", "routes +0 -0 =0", "close"]
    assert peer._dialling is None
    peer = started()
    (theirs,) = numbers(peer.accepted(LOCAL, 0.0))
    ours = peer._dialling
    assert ours is not None
    peer.connected(ours, LOCAL, 0.0)
    words = said(peer.receive_bytes(ours, THEIR_OPEN + KEEPALIVE, 0.0))
    assert words[-2:] == ["notify 6/7", "close"]
    assert list(peer._sessions) == [ours]


def test_a_connection_of_the_peers_that_says_nothing_does_not_hold_up_our_own() -> None:
    peer = started()
    (theirs,) = numbers(peer.accepted(LOCAL, 0.0))
    ours = peer._dialling
    assert ours is not None
    assert said(peer.closed(ours, "connection refused", 0.0)) == ["failed"]
    assert peer.deadline == 0.25
    assert peer.describe().state is State.OPEN_SENT
    assert said(peer.wake(0.25)) == ["connect"]
    peer.closed(theirs, "closed by the peer", 1.0)
    assert peer.describe().state is State.CONNECT


def test_a_connection_whose_peer_is_known_is_waited_for() -> None:
    peer = started()
    (theirs,) = numbers(peer.accepted(LOCAL, 0.0))
    ours = peer._dialling
    assert ours is not None
    peer.closed(ours, "connection refused", 0.0)
    peer.receive_bytes(theirs, THEIR_OPEN, 0.1)
    assert peer.wake(0.25) == ()
    assert peer.deadline == 30.1
    peer.closed(theirs, "closed by the peer", 1.0)
    assert peer.deadline == 1.5


def test_a_collision_is_no_end_that_anybody_needs_to_know_of() -> None:
    wire = Wire(made(desired()), made(router()), (True, True))
    wire.start()
    wire.run(10.0)
    for side in (LEFT, RIGHT):
        assert wire.facts(side, SessionDown) == []
        assert wire.peers[side].describe().problem == ""
    peer = started()
    ours = peer._dialling
    assert ours is not None
    peer.connected(ours, LOCAL, 0.0)
    (theirs,) = numbers(peer.accepted(LOCAL, 0.0))
    collision = notification.encode(notification.cease(Cease.COLLISION_RESOLUTION), 4096)
    assert said(peer.receive_bytes(theirs, collision, 0.0)) == ["close"]
    assert said(peer.receive_bytes(ours, collision, 0.0)) == ["close", "failed"]
    assert peer.describe().problem == "another connection is kept"
    assert peer.deadline == 0.25


@pytest.mark.parametrize(
    ("octets", "hold"),
    [
        (encode_open(terms_of(router(asn=64513)).ours), 1.0),
        (b"SSH-2.0-OpenSSH_9.2\r\n", 1.0),
        (notification.encode(Notification(code=Code.OPEN, subcode=2), 4096), 1.0),
    ],
    ids=["wrong AS", "another protocol", "told of an error"],
)
def test_after_an_error_the_peer_is_kept_out_for_a_while(octets: bytes, hold: float) -> None:
    """RFC 4271 8.1.1 (IdleHoldTimer, DampPeerOscillations)."""
    peer = started()
    connection = peer._dialling
    assert connection is not None
    peer.connected(connection, LOCAL, 0.0)
    words = said(peer.receive_bytes(connection, octets, 0.0))
    assert words[-2:] == ["close", "failed"]
    status = peer.describe()
    assert (status.state, status.retry_at) == (State.IDLE, hold)
    effects = peer.accepted(LOCAL, 0.5)
    assert said(effects) == ["accept", "notify 6/5", "close"]
    assert said(peer.wake(hold)) == ["connect"]
    assert "accept" in said(peer.accepted(LOCAL, hold))
    assert len(peer._sessions) == 1


def test_a_lost_session_is_tried_again_at_once_and_lets_the_peer_in() -> None:
    peer = started()
    connection = up(peer)
    assert said(peer.closed(connection, "connection reset", 100.0)) == ["down"]
    status = peer.describe()
    assert (status.state, status.retry_at, status.established_at) == (State.ACTIVE, 100.25, None)
    assert (status.problem, status.problem_at) == ("connection reset", 100.0)
    assert said(peer.accepted(LOCAL, 100.1)) == ["accept", "open"]


def test_a_session_that_flaps_is_slowed_and_one_that_stood_is_not() -> None:
    peer = made(desired())
    peer.start(0.0)
    waits, now = [], 0.0
    for stood in (1.0, 1.0, 1.0, 20.0, 1.0):
        connection = up(peer, now)
        now += stood
        peer.closed(connection, "gone", now)
        assert peer.deadline is not None
        waits.append(peer.deadline - now)
        now = peer.deadline
        peer.wake(now)
    assert waits == [0.25, 0.5, 1.0, 0.25, 0.5]


def test_a_peer_that_was_shut_down_by_its_operator_may_come_back() -> None:
    """RFC 4486 4: a Cease is no error of ours."""
    peer = started()
    connection = up(peer)
    assert said(peer.receive_bytes(connection, CEASE, 20.0)) == ["close", "down"]
    status = peer.describe()
    assert (status.state, status.retry_at) == (State.ACTIVE, 20.25)
    assert status.problem == "the peer ended it: Cease: Administrative Shutdown"
