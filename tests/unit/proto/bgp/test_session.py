"""One BGP connection: every input in every state, then what each RFC asks for."""

from __future__ import annotations

from dataclasses import replace
from ipaddress import ip_network

import pytest

from onehop.model.address import Family
from onehop.model.bgp import Role, RouteAttributes
from onehop.proto.bgp import notification
from onehop.proto.bgp.constants import Cease, MessageType, RefreshSubtype
from onehop.proto.bgp.effect import RoutesSent, SendBytes, SessionDown, SessionUp
from onehop.proto.bgp.framing import KEEPALIVE, framed
from onehop.proto.bgp.message import (
    Open,
    RouteRefresh,
    decode_open,
    encode_open,
    encode_route_refresh,
)
from onehop.proto.bgp.notification import Notification
from onehop.proto.bgp.session import COLLIDED, OPEN_HOLD_TIME, REFRESH_PAUSE
from onehop.proto.bgp.status import State
from onehop.proto.bgp.terms import Restart, terms_of
from onehop.proto.bgp.update import end_of_rib, updates
from tests.fakes.bgp_session import (
    CEASE,
    LOCAL,
    MESSAGES,
    OPENED,
    OURS,
    REFRESH,
    STATES,
    TABLE,
    THEIRS,
    UPDATE,
    a_session,
    given_input,
    in_state,
    their_open,
)
from tests.fakes.bgp_wire import BOTH, desired, frames, router, routes, said


@pytest.mark.parametrize("state", STATES)
@pytest.mark.parametrize("name", TABLE)
def test_every_input_in_every_state_has_its_answer(name: str, state: str) -> None:
    """RFC 4271 8.2.2, RFC 6608 4, RFC 9687 3."""
    expected = TABLE[name][STATES.index(state)]
    session = in_state(state)
    if expected == "refused":
        with pytest.raises(AssertionError, match="only an opened session"):
            given_input(session, name)
        return
    words, after = ([], state) if isinstance(expected, str) else expected
    assert said(given_input(session, name)) == words
    assert (OPENED if session.is_opened else session.state.value) == after


def test_the_table_is_complete() -> None:
    assert set(MESSAGES) <= set(TABLE)
    assert all(len(row) == len(STATES) for row in TABLE.values())


def test_what_comes_behind_the_open_waits_for_the_admission() -> None:
    """RFC 4271 6.8: a collision is resolved before anything else is done."""
    session = a_session()
    session.open(0.0)
    assert session.receive_bytes(encode_open(THEIRS) + KEEPALIVE + UPDATE, 0.0) == ()
    words = said(session.admit(0.0))
    assert words == ["keepalive", "up", "end of rib", "routes +0 -0 =0"]
    assert session._tally.prefixes_received == 3


def test_the_open_says_what_is_configured() -> None:
    """RFC 4271 4.2."""
    (effect,) = a_session().open(0.0)
    assert isinstance(effect, SendBytes)
    (frame,) = frames(effect.octets)
    assert decode_open(frame.body) == OURS.ours


@pytest.mark.parametrize(
    ("theirs", "code", "words"),
    [
        (
            their_open(asn=64513, capabilities=replace(THEIRS.capabilities, asn=64513)),
            "2/2",
            "OPEN Message Error: Bad Peer AS: the peer says 64513, its BGPPeer wants 64512",
        ),
        (
            replace(
                THEIRS,
                capabilities=replace(THEIRS.capabilities, families=frozenset({Family.IPV6})),
            ),
            "2/7",
            "we offer IPv4, the peer IPv6",
        ),
    ],
    ids=["AS", "families"],
)
def test_an_open_that_does_not_fit_is_refused_and_says_which_side_wanted_what(
    theirs: Open, code: str, words: str
) -> None:
    """RFC 4271 6.2, RFC 5492 3."""
    session = in_state("OpenSent")
    effects = session.receive_bytes(encode_open(theirs), 0.0)
    assert said(effects) == [f"notify {code}", "close", "failed"]
    assert isinstance(effects[-1], SessionDown)
    assert words in effects[-1].why
    assert session.end is not None
    assert session.end.is_error


def test_an_unsupported_version_is_refused_with_ours() -> None:
    """RFC 4271 6.2."""
    octets = bytearray(encode_open(THEIRS))
    octets[19] = 3
    session = in_state("OpenSent")
    effects = session.receive_bytes(bytes(octets), 0.0)
    assert said(effects)[0] == "notify 2/1"
    assert isinstance(effects[0], SendBytes)
    assert effects[0].octets[-2:] == b"\0\4"


@pytest.mark.parametrize("hold_time", [1, 2])
def test_a_hold_time_below_three_seconds_is_refused(hold_time: int) -> None:
    """RFC 4271 6.2."""
    session = in_state("OpenSent")
    effects = session.receive_bytes(encode_open(their_open(hold_time=hold_time)), 0.0)
    assert said(effects)[0] == "notify 2/6"


def test_roles_that_do_not_go_together_are_refused() -> None:
    """RFC 9234 4.2."""
    terms = terms_of(desired(role=Role.CUSTOMER))
    theirs = terms_of(router(role=Role.CUSTOMER)).ours
    effects = in_state("OpenSent", terms).receive_bytes(encode_open(theirs), 0.0)
    assert said(effects) == ["notify 2/11", "close", "failed"]


@pytest.mark.parametrize(
    ("ours", "theirs", "agreed"), [(90, 30, 30), (9, 90, 9), (90, 0, 0), (0, 90, 0)]
)
def test_the_lower_hold_time_counts(ours: int, theirs: int, agreed: int) -> None:
    """RFC 4271 4.2; zero switches both timers off."""
    terms = terms_of(desired(hold_time=float(ours)))
    session = in_state("Established", terms, their_open(hold_time=theirs))
    assert session.negotiated is not None
    assert session.negotiated.hold_time == agreed
    if agreed == 0:
        assert session.deadline is None
        assert session.wake(1e9) == ()
        return
    assert session.deadline == pytest.approx(agreed / 3)
    now = 0.0
    while session.state is State.ESTABLISHED:
        assert session.deadline is not None
        now = session.deadline
        session.wake(now)
    assert now == agreed


@pytest.mark.parametrize(
    ("configured", "jitter", "expected"),
    [(None, 1.0, 30.0), (None, 0.0, 22.5), (10.0, 1.0, 10.0), (60.0, 1.0, 30.0)],
)
def test_keepalives_come_at_a_third_of_the_hold_time_with_jitter(
    configured: float | None, jitter: float, expected: float
) -> None:
    """RFC 4271 10: 75 to 100 % of the value; a longer one than a third is of no use."""
    terms = terms_of(desired(keepalive_time=configured))
    session = in_state("Established", terms, jitter=jitter)
    assert session.deadline == expected
    assert said(session.wake(expected)) == ["keepalive"]
    assert session.deadline == 2 * expected


def test_an_update_counts_as_a_keepalive_both_ways() -> None:
    """RFC 4271 8.2.2."""
    session = in_state("Established")
    session.set_routes(routes(1), 20.0)
    assert session.deadline == 50.0
    session.receive_bytes(UPDATE, 80.0)
    session.wake(80.0)
    session.wake(110.0)
    session.wake(140.0)
    assert session.state is State.ESTABLISHED
    assert said(session.wake(170.0)) == ["notify 4/0", "close", "down"]


def test_no_open_for_four_minutes_ends_the_connection() -> None:
    """RFC 4271 8.2.2: a large hold time until the peer's OPEN."""
    session = in_state("OpenSent")
    assert session.deadline == OPEN_HOLD_TIME
    assert session.wake(OPEN_HOLD_TIME - 1) == ()
    (*_, down) = session.wake(OPEN_HOLD_TIME)
    assert isinstance(down, SessionDown)
    assert "no OPEN from the peer for 240 s" in down.why


def test_without_a_hold_time_the_first_keepalive_is_waited_for_like_the_open() -> None:
    """RFC 4271 8.2.2 would wait for ever."""
    session = in_state("OpenConfirm", theirs=their_open(hold_time=0))
    assert session.deadline == OPEN_HOLD_TIME
    (*_, down) = session.wake(OPEN_HOLD_TIME)
    assert isinstance(down, SessionDown)
    assert down.why == "nothing from the peer for 240 s, the hold time"
    collided = in_state("OpenConfirm")
    octets = notification.encode(notification.cease(Cease.COLLISION_RESOLUTION), 4096)
    collided.receive_bytes(octets, 1.0)
    assert collided.end == COLLIDED


def test_routes_and_the_end_of_rib_of_each_family_follow_the_session_up() -> None:
    """RFC 4724 2."""
    terms = terms_of(desired(dual_stack=True))
    theirs = terms_of(router(dual_stack=True)).ours
    want = {**routes(3), ip_network("2001:db8:1::/64"): RouteAttributes()}
    session = in_state("OpenConfirm", terms, theirs, want)
    effects = session.receive_bytes(KEEPALIVE, 0.0)
    assert isinstance(effects[0], SessionUp)
    assert effects[0].negotiated.families == frozenset(Family)
    assert said(effects[1:]) == [
        "update", "update", "end of rib", "end of rib", "routes +4 -0 =4"
    ]  # fmt: skip
    assert isinstance(effects[1], SendBytes)
    assert effects[1].octets.endswith(end_of_rib(Family.IPV4) + end_of_rib(Family.IPV6))


def test_a_refresh_is_answered_with_everything_between_two_marks() -> None:
    """RFC 2918 4, RFC 7313 4."""
    session = in_state("Established", want=routes(3))
    words = said(session.receive_bytes(REFRESH, 1.0))
    assert words == ["refresh begin", "update", "refresh end", "routes +3 -0 =3"]


def test_a_peer_without_the_enhanced_refresh_gets_no_marks() -> None:
    """RFC 7313 3.1."""
    plain = replace(THEIRS.capabilities, enhanced_route_refresh=False)
    theirs = their_open(capabilities=plain)
    session = in_state("Established", theirs=theirs, want=routes(3))
    assert said(session.receive_bytes(REFRESH, 1.0)) == ["update", "routes +3 -0 =3"]
    empty = in_state("Established", theirs=theirs)
    assert empty.receive_bytes(REFRESH, 1.0) == ()


@pytest.mark.parametrize(
    "message",
    [
        encode_route_refresh(RouteRefresh(family=Family.IPV6)),
        encode_route_refresh(RouteRefresh(family=Family.IPV4, subtype=RefreshSubtype.BEGIN)),
        encode_route_refresh(RouteRefresh(family=Family.IPV4, subtype=RefreshSubtype.END)),
        framed(MessageType.ROUTE_REFRESH, b"\0\1\7\1"),
        framed(MessageType.ROUTE_REFRESH, b"\x40\4\0\x47"),
    ],
    ids=["family not agreed on", "begin", "end", "unknown subtype", "unknown family"],
)
def test_a_refresh_that_asks_nothing_of_us_is_ignored(message: bytes) -> None:
    """RFC 2918 4, RFC 7313 4."""
    session = in_state("Established", want=routes(3))
    assert session.receive_bytes(message, 1.0) == ()


def test_a_begin_of_a_wrong_length_ends_the_session() -> None:
    """RFC 7313 5."""
    session = in_state("Established")
    words = said(session.receive_bytes(framed(MessageType.ROUTE_REFRESH, b"\0\1\1\1x"), 1.0))
    assert words == ["notify 7/1", "close", "down"]


def test_a_flood_of_refreshes_is_answered_once_in_a_second() -> None:
    session = in_state("Established", want=routes(3))
    effects = session.receive_bytes(REFRESH * 100, 1.0)
    assert said(effects).count("refresh begin") == 1
    assert session.receive_bytes(REFRESH * 100, 1.5) == ()
    assert session.deadline == 1.0 + REFRESH_PAUSE
    assert said(session.wake(2.0)) == ["refresh begin", "update", "refresh end", "routes +3 -0 =3"]
    assert session.wake(3.0) == ()


def test_a_peer_that_stalls_gets_one_difference_when_it_takes_again() -> None:
    """Nothing is queued behind octets that wait: memory stays bounded."""
    session = in_state("Established", want=routes(3))
    assert session.written(50, 1.0) == ()
    for first in range(1000):
        assert session.set_routes(routes(5, first), 2.0) == ()
    assert session.receive_bytes(REFRESH, 2.5) == ()
    assert session.wake(31.0) == ()
    assert session.written(20, 3.0) == ()
    words = said(session.written(0, 40.0))
    assert words[:3] == ["update", "update", "routes +5 -3 =5"]
    assert words[3:] == ["refresh begin", "update", "refresh end", "routes +5 -0 =5"]
    assert session.deadline == 70.0


def test_a_peer_that_takes_nothing_is_given_up_after_eight_minutes() -> None:
    """RFC 9687 3: progress starts the span anew, and no word from the kernel does not."""
    session = in_state("Established", theirs=their_open(hold_time=0))
    session.written(50, 100.0)
    session.written(50, 200.0)
    assert session.deadline == 580.0
    session.written(40, 300.0)
    assert session.deadline == 780.0
    session.written(0, 400.0)
    assert session.deadline is None
    session.written(60, 500.0)
    (*_, down) = session.wake(980.0)
    assert isinstance(down, SessionDown)
    assert down.why == "the peer has taken nothing for 480 s"


def test_a_long_hold_time_makes_the_send_hold_time_longer() -> None:
    """RFC 9687 3: twice the hold time when that is more than eight minutes."""
    terms = terms_of(desired(hold_time=600.0))
    session = in_state("Established", terms, their_open(hold_time=600))
    session.written(50, 0.0)
    session.receive_bytes(KEEPALIVE, 590.0)
    session.receive_bytes(KEEPALIVE, 1180.0)
    assert session.deadline == 1200.0


def test_a_withdrawal_says_how_many_prefixes_are_left() -> None:
    session = in_state("Established", want=routes(10))
    effects = session.set_routes(routes(4), 1.0)
    assert effects[-1] == RoutesSent(announced=0, withdrawn=6, advertised=4)
    assert session.advertised == 4
    assert session.set_routes(routes(4), 1.0) == ()


def test_what_a_peer_sends_is_counted_and_dropped() -> None:
    """RFC 8212 2."""
    session = in_state("Established")
    gone = updates({}, routes(2), terms_of(router()).outbound(BOTH, LOCAL))[0]
    assert session.receive_bytes(UPDATE * 3 + gone, 1.0) == ()
    tally = session._tally.counters()
    assert (tally.prefixes_received, tally.prefixes_withdrawn) == (9, 2)
    assert tally.received[MessageType.UPDATE] == 4


def test_a_fault_that_the_session_survives_is_counted_and_named() -> None:
    """RFC 7606 7.1."""
    octets = bytearray(UPDATE)
    octets[octets.index(b"\x40\x01\x01\x00") + 3] = 9
    session = in_state("Established")
    assert session.receive_bytes(bytes(octets), 1.0) == ()
    assert session.state is State.ESTABLISHED
    assert session._tally.faults == 1
    assert session.fault.startswith("UPDATE, attribute 1: ")


def test_extended_messages_are_taken_once_both_sides_have_offered_them() -> None:
    """RFC 8654 4."""
    long = framed(MessageType.UPDATE, b"\0\0\0\0" + b"\x20\x0a\0\0\1" * 2000)
    session = in_state("Established")
    session.receive_bytes(long, 1.0)
    assert session.state is State.ESTABLISHED
    plain = their_open(capabilities=replace(THEIRS.capabilities, extended_message=False))
    session = in_state("Established", theirs=plain)
    assert said(session.receive_bytes(long, 1.0))[0] == "notify 1/2"


@pytest.mark.parametrize(
    ("message", "is_error"),
    [
        (CEASE, False),
        (notification.cease(Cease.COLLISION_RESOLUTION), False),
        (Notification(code=4, subcode=0), False),
        (Notification(code=2, subcode=2), True),
        (Notification(code=3, subcode=1), True),
        (notification.hard_reset(Notification(code=3, subcode=1)), True),
        (Notification(code=99, subcode=99), True),
    ],
)
def test_what_a_notification_means_for_the_next_attempt(
    message: Notification, is_error: bool
) -> None:
    """RFC 4271 6.4, RFC 8538 3.1."""
    session = in_state("Established")
    session.receive_bytes(notification.encode(message, 4096), 1.0)
    assert session.end is not None
    assert session.end.is_error is is_error
    assert "the peer ended it: " in session.end.why


def test_restart_bits_are_those_that_were_told() -> None:
    """RFC 4724 3, RFC 8538 2."""
    for restart in (
        Restart(),
        Restart(is_restarting=True),
        Restart(is_restarting=True, forwarding=frozenset(Family)),
    ):
        terms = terms_of(desired(graceful_restart=True), restart=restart)
        (effect,) = a_session(terms).open(0.0)
        assert isinstance(effect, SendBytes)
        told = decode_open(frames(effect.octets)[0].body).capabilities.graceful_restart
        assert told is not None
        assert told.notification
        assert told.restarting is restart.is_restarting
        assert told.forwarding == restart.forwarding & {Family.IPV4}


def test_a_prefix_that_is_not_advertised_says_why() -> None:
    (prefix,) = routes(1)
    assert in_state("OpenSent").why_not(prefix) == "the session is not established"
    assert in_state("Established").why_not(prefix) == "no route is wanted there"
    assert in_state("Established", want=routes(1)).why_not(prefix) is None
