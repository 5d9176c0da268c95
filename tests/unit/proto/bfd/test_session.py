"""The BFD session, in the order of RFC 5880 6.8."""

from __future__ import annotations

import random
from dataclasses import replace
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from onehop.proto.bfd.packet import ControlPacket, Diagnostic, State
from onehop.proto.bfd.session import PathDown, PathUp, Session, Terms
from tests.unit.proto.bfd.test_packet import packets
from tests.unit.proto.bfd.wire import Pair, facts, half, pair, sent, session

D, I, U, A = State.DOWN, State.INIT, State.UP, State.ADMIN_DOWN  # noqa: E741
FAST = Terms(transmit=0.1, receive=0.1)


def heard(state: State, **fields: object) -> ControlPacket:
    """A packet of the peer, whose discriminator is 9."""
    usual: dict[str, object] = {
        "your_discriminator": 1,
        "desired_min_tx_us": 100_000,
        "required_min_rx_us": 100_000,
    }
    return ControlPacket(state=state, my_discriminator=9, **{**usual, **fields})  # type: ignore[arg-type]


def in_state(state: State, terms: Terms = FAST) -> Session:
    """A session that has come into a state at 0 s."""
    made = session(terms)
    made.wake(0.0)
    if state is A:
        made.disable(0.0)
    if state in (I, U):
        made.receive_packet(heard(D), 0.0)
    if state is U:
        made.receive_packet(heard(I), 0.0)
        made.receive_packet(heard(U, final=True), 0.0)
    assert made.state is state
    return made


# RFC 5880 6.8.6 and 6.2: every state with everything that can be heard in it.
TABLE = {
    (D, A): D, (D, D): I, (D, I): U, (D, U): D,
    (I, A): D, (I, D): I, (I, I): U, (I, U): U,
    (U, A): D, (U, D): D, (U, I): U, (U, U): U,
    (A, A): A, (A, D): A, (A, I): A, (A, U): A,
}  # fmt: skip


class TestTransitions:
    @pytest.mark.parametrize(("state", "remote"), TABLE)
    def test_each_state_goes_where_the_table_says(self, state: State, remote: State) -> None:
        made = in_state(state)
        effects = made.receive_packet(heard(remote), 1.0)
        after = TABLE[state, remote]
        assert made.state is after
        told = (
            [PathUp] if after is U is not state else [PathDown] if state is U is not after else []
        )
        assert [type(fact) for fact in facts(effects)] == told
        if state is not after:
            assert [packet.state for packet in sent(effects)] == [after]

    @pytest.mark.parametrize("state", list(State))
    def test_silence_takes_init_and_up_down(self, state: State) -> None:
        made = in_state(state)
        effects = made.wake(10.0)
        assert made.state is (D if state in (I, U) else state)
        if state in (I, U):
            assert made.diagnostic is Diagnostic.DETECTION_TIME_EXPIRED
            assert sent(effects)[0].state is D
            assert sent(effects)[0].your_discriminator == 0
        if state is U:
            assert facts(effects) == [
                PathDown(path=made.path, diagnostic=Diagnostic.DETECTION_TIME_EXPIRED)
            ]

    def test_a_peer_that_never_answered_is_forgotten_in_silence(self) -> None:
        made = in_state(D)
        made.receive_packet(heard(A), 0.1)
        (packet,) = sent(made.wake(5.0))
        assert (packet.state, packet.your_discriminator) == (D, 0)
        assert str(made.path) == "192.0.2.2"
        assert str(replace(made.path, link="net0")) == "192.0.2.2%net0"

    def test_a_peer_that_signals_down_is_the_diagnostic(self) -> None:
        made = in_state(U)
        (fact,) = facts(made.receive_packet(heard(D), 1.0))
        assert fact == PathDown(path=made.path, diagnostic=Diagnostic.NEIGHBOR_SIGNALED_DOWN)

    def test_a_peer_that_is_switched_off_says_nothing_about_the_path(self) -> None:
        (fact,) = facts(in_state(U).receive_packet(heard(A), 1.0))
        assert isinstance(fact, PathDown)
        assert fact.is_administrative

    def test_two_systems_are_up_after_one_exchange(self) -> None:
        both = pair()
        both.run(0.1)
        assert [end for _, end, fact in both.heard if isinstance(fact, PathUp)] == [0, 1]
        assert max(at for at, _, _ in both.heard) < 0.005


class TestTiming:
    def test_six_seconds_take_fewer_than_a_hundred_steps(self) -> None:
        both = pair()
        both.run(6.0)
        assert both.steps < 100
        assert [one.state for one in both.ends] == [U, U]

    @pytest.mark.parametrize("multiplier", [1, 3])
    def test_intervals_are_shortened_by_up_to_a_quarter(self, multiplier: int) -> None:
        most = 0.9 if multiplier == 1 else 1.0
        for jitter, share in ((0.0, 0.75), (0.999999, most)):
            made = Session(
                path=session().path, discriminator=1, terms=Terms(multiplier=multiplier),
                jitter=lambda value=jitter: value, now=0.0,
            )  # fmt: skip
            made.wake(0.0)
            assert made.deadline == pytest.approx(share * 1.0, rel=1e-4)

    def test_a_session_that_is_not_up_is_slow(self) -> None:
        made = session(FAST)
        assert made.deadline == 0.0
        (first,) = sent(made.wake(0.0))
        assert first.desired_min_tx_us == 1_000_000
        assert first.required_min_rx_us == 100_000
        assert made.transmit_interval == 1.0

    def test_the_peers_required_interval_slows_us(self) -> None:
        made = in_state(U)
        made.receive_packet(heard(U, required_min_rx_us=500_000), 0.1)
        assert made.transmit_interval == 0.5
        assert made.deadline == pytest.approx(0.1 + 3 * 0.1)

    def test_a_peer_that_wants_no_packets_gets_none(self) -> None:
        made = in_state(U)
        made.receive_packet(heard(U, required_min_rx_us=0), 0.1)
        assert made.deadline == pytest.approx(0.1 + 0.3)  # only the detection time is left
        assert not sent(made.receive_packet(heard(U, required_min_rx_us=0), 0.2))

    def test_the_detection_time_is_the_peers_multiplier_of_the_slower_interval(self) -> None:
        made = in_state(U)
        made.receive_packet(heard(U, multiplier=5, desired_min_tx_us=400_000), 1.0)
        assert made.detection_time == pytest.approx(2.0)
        made.receive_packet(heard(U, multiplier=2, desired_min_tx_us=50_000), 1.0)
        assert made.detection_time == pytest.approx(0.2)

    def test_a_packet_in_time_keeps_the_session(self) -> None:
        made = in_state(U)
        made.receive_packet(heard(U), 0.299)
        made.wake(0.301)
        assert made.state is U

    @pytest.mark.parametrize("seed", range(5))
    def test_a_silent_loss_is_seen_within_the_detection_time(self, seed: int) -> None:
        both = pair(FAST, FAST, seed)
        both.run(5.0)
        both.cut, both.heard = {0, 1}, []
        both.run(0.301)
        assert [end for _, end, _ in sorted(both.heard, key=lambda one: one[1])] == [0, 1]

    def test_a_loss_in_one_direction_takes_both_ends_down(self) -> None:
        both = pair(FAST, FAST)
        both.run(2.0)
        both.cut, both.heard = {0}, []
        both.run(0.4)
        diagnostics = [fact.diagnostic for _, _, fact in both.heard if isinstance(fact, PathDown)]
        assert diagnostics == [
            Diagnostic.DETECTION_TIME_EXPIRED,
            Diagnostic.NEIGHBOR_SIGNALED_DOWN,
        ]

    def test_the_path_comes_back(self) -> None:
        both = pair(FAST, FAST)
        both.run(2.0)
        both.cut = {0, 1}
        both.run(2.0)
        both.cut = set()
        both.run(2.0)
        assert [one.state for one in both.ends] == [U, U]

    def test_two_packets_of_three_may_get_lost(self) -> None:
        both = pair(FAST, FAST)
        both.run(2.0)
        both.heard = []
        both.cut = {0}
        both.run(0.18)
        both.cut = set()
        both.run(2.0)
        assert both.heard == []


def polls(both: Pair, end: int) -> list[bool]:
    """Whether each packet of an end polls."""
    return [packet.poll for _, sender, packet in both.packets if sender == end]


class TestPoll:
    def test_going_up_polls_for_the_faster_interval(self) -> None:
        made = in_state(I)
        effects = made.receive_packet(heard(U), 0.0)
        (packet,) = sent(effects)
        assert packet.poll
        assert packet.desired_min_tx_us == 100_000
        assert made.transmit_interval == 0.1

    def test_a_slow_session_goes_up_without_a_poll(self) -> None:
        made = in_state(I, Terms(transmit=2.0))
        (packet,) = sent(made.receive_packet(heard(U), 0.0))
        assert not packet.poll

    def test_a_poll_is_answered_at_once_and_ends(self) -> None:
        both = pair(FAST, FAST)
        both.run(1.0)
        for end in (0, 1):
            assert True in polls(both, end)
            assert polls(both, end)[-3:] == [False] * 3
        assert any(packet.final for _, _, packet in both.packets)
        assert not any(packet.final and packet.poll for _, _, packet in both.packets)

    def test_a_longer_interval_waits_for_the_end_of_the_poll(self) -> None:
        made = in_state(U)
        (packet,) = sent(made.set_terms(replace(FAST, transmit=0.5), 0.1))
        assert packet.poll
        assert packet.desired_min_tx_us == 500_000
        assert made.transmit_interval == 0.1
        made.receive_packet(heard(U, final=True), 0.15)
        assert made.transmit_interval == 0.5

    def test_a_shorter_interval_counts_at_once(self) -> None:
        made = in_state(U, Terms(transmit=0.5, receive=0.5))
        made.receive_packet(heard(U), 0.0)
        made.set_terms(replace(FAST, receive=0.5), 0.1)
        assert made.transmit_interval == 0.1

    def test_a_shorter_detection_time_waits_for_the_end_of_the_poll(self) -> None:
        made = in_state(U, Terms(transmit=0.1, receive=0.5))
        made.set_terms(FAST, 0.1)
        assert made.detection_time == pytest.approx(1.5)
        made.receive_packet(heard(U, final=True), 0.2)
        assert made.detection_time == pytest.approx(0.3)

    def test_a_longer_detection_time_counts_at_once(self) -> None:
        made = in_state(U)
        made.set_terms(replace(FAST, receive=0.5), 0.1)
        assert made.detection_time == pytest.approx(1.5)

    def test_a_change_during_a_poll_has_a_poll_of_its_own(self) -> None:
        made = in_state(U)
        for transmit in (0.5, 0.7, 0.9):
            made.set_terms(replace(FAST, transmit=transmit), 0.1)
        made.receive_packet(heard(U, final=True), 0.15)
        assert made.transmit_interval == 0.1
        assert sent(made.wake(0.25))[0].poll
        made.receive_packet(heard(U, final=True), 0.3)
        assert made.transmit_interval == 0.9
        assert not sent(made.wake(1.0))[0].poll or made.state is not U

    def test_a_multiplier_needs_no_poll(self) -> None:
        made = in_state(U)
        (packet,) = sent(made.set_terms(replace(FAST, multiplier=5), 0.1))
        assert packet.multiplier == 5
        assert not packet.poll

    def test_the_same_terms_do_nothing(self) -> None:
        assert in_state(U).set_terms(FAST, 0.1) == ()

    def test_an_answer_nobody_waits_for_changes_nothing(self) -> None:
        made = in_state(U)
        made.receive_packet(heard(U, final=True), 0.1)
        assert made.transmit_interval == 0.1

    def test_a_session_stays_up_while_intervals_change(self) -> None:
        both = pair(FAST, FAST)
        both.run(2.0)
        both.heard = []
        for terms in (Terms(transmit=0.5, receive=0.5), Terms(transmit=0.05, receive=0.05), FAST):
            both.take(0, both.ends[0].set_terms(terms, both.now))
            both.run(5.0)
            assert both.ends[0].transmit_interval == max(terms.transmit, 0.1)
        assert both.heard == []


class TestDemandMode:
    def test_a_peer_in_demand_mode_gets_no_periodic_packets(self) -> None:
        made = in_state(U)
        made.receive_packet(heard(U, demand=True), 0.1)
        assert made.deadline == pytest.approx(0.1 + 0.3)
        (answer,) = sent(made.receive_packet(heard(U, demand=True, poll=True), 0.2))
        assert answer.final

    def test_a_poll_goes_to_a_peer_in_demand_mode_all_the_same(self) -> None:
        made = in_state(U)
        made.receive_packet(heard(U, demand=True), 0.1)
        (packet,) = sent(made.set_terms(replace(FAST, transmit=0.2), 0.15))
        assert packet.poll
        assert made.deadline is not None
        assert made.deadline < 0.3

    def test_a_peer_that_leaves_demand_mode_is_told_again(self) -> None:
        made = in_state(U)
        made.receive_packet(heard(U, demand=True), 0.1)
        made.receive_packet(heard(U), 0.2)
        assert made.deadline == pytest.approx(0.2, abs=0.1)
        assert sent(made.wake(0.29))


class TestPassiveRole:
    PASSIVE = replace(FAST, is_passive=True)

    def test_it_waits_until_the_peer_has_spoken(self) -> None:
        made = session(self.PASSIVE)
        assert made.deadline is None
        assert made.wake(5.0) == ()
        (packet,) = sent(made.receive_packet(heard(D), 5.0))
        assert packet.state is I

    def test_it_falls_silent_with_the_path(self) -> None:
        made = session(self.PASSIVE)
        made.receive_packet(heard(D), 0.0)
        made.receive_packet(heard(I), 0.0)
        assert not sent(made.wake(10.0))
        assert made.deadline is None

    def test_two_passive_ends_never_meet(self) -> None:
        both = pair(self.PASSIVE, self.PASSIVE)
        both.run(10.0)
        assert both.steps == 0


class TestAdministrativeControl:
    def test_switching_off_tells_the_peer(self) -> None:
        both = pair(FAST, FAST)
        both.run(2.0)
        both.heard = []
        both.take(0, both.ends[0].disable(both.now))
        both.run(2.0)
        assert [(end, fact) for _, end, fact in both.heard] == [
            (
                0,
                PathDown(
                    path=both.ends[0].path,
                    diagnostic=Diagnostic.ADMINISTRATIVELY_DOWN,
                    is_administrative=True,
                ),
            ),
            (
                1,
                PathDown(
                    path=both.ends[1].path,
                    diagnostic=Diagnostic.NEIGHBOR_SIGNALED_DOWN,
                    is_administrative=True,
                ),
            ),
        ]
        assert both.ends[0].disable(both.now) == ()
        both.take(0, both.ends[0].enable(both.now))
        both.run(2.0)
        assert [one.state for one in both.ends] == [U, U]

    def test_only_what_is_off_can_be_switched_on(self) -> None:
        made = in_state(U)
        assert made.enable(1.0) == ()
        assert made.state is U

    def test_it_is_deaf_while_off(self) -> None:
        made = in_state(A)
        assert made.receive_packet(heard(D, poll=True), 1.0) == ()


INPUTS = st.one_of(
    packets(),
    st.builds(
        Terms,
        transmit=st.floats(0.01, 60),
        receive=st.floats(0.01, 60),
        multiplier=st.integers(1, 255),
        is_passive=st.booleans(),
    ),
    st.sampled_from(["wake", "disable", "enable"]),
)
STEPS = st.lists(st.tuples(st.floats(0, 5), INPUTS), max_size=30)


def _put(made: Session, what: object, now: float) -> tuple[object, ...]:
    if isinstance(what, ControlPacket):
        return made.receive_packet(what, now)
    if isinstance(what, Terms):
        return made.set_terms(what, now)
    if what == "wake":
        return made.wake(now)
    return made.disable(now) if what == "disable" else made.enable(now)


@given(STEPS, st.integers(0, 1000))
def test_no_input_raises_and_no_deadline_lies_in_the_past(
    steps: list[tuple[float, object]], seed: int
) -> None:
    made = Session(
        path=session().path, discriminator=1, terms=Terms(), jitter=random.Random(seed).random,
        now=0.0,
    )  # fmt: skip
    now, is_up = 0.0, False
    for span, what in steps:
        now += span
        if made.deadline is not None and made.deadline < now:
            effects = made.wake(made.deadline)
            is_up = _follows(is_up, facts(effects))
        is_up = _follows(is_up, facts(_put(made, what, now)))  # type: ignore[arg-type]
        assert is_up == (made.state is U)
        made.wake(now)
        is_up = made.state is U
        assert made.deadline is None or made.deadline > now


def _follows(is_up: bool, told: list[PathUp | PathDown]) -> bool:
    for fact in told:
        assert isinstance(fact, PathDown) == is_up, "ups and downs alternate"
        is_up = not is_up
    return is_up


@given(STEPS)
def test_equal_inputs_have_equal_effects(steps: list[tuple[float, object]]) -> None:
    one, other = session(), session()
    assert half() == 0.5
    now = 0.0
    for span, what in steps:
        now += span
        assert _put(one, what, now) == _put(other, what, now)
        assert one.deadline == other.deadline


@given(st.integers(0, 1 << 32))
def test_packets_never_come_faster_than_the_peer_allows(seed: int) -> None:
    both = pair(FAST, Terms(transmit=0.05, receive=0.2), seed)
    both.run(3.0)
    instants = [
        at for at, end, packet in both.packets if end == 0 and at > 0.5 and not packet.final
    ]
    gaps = [later - earlier for earlier, later in pairwise(instants)]
    assert min(gaps) >= 0.2 * 0.75 - 1e-9
    assert max(gaps) <= 0.2 + 1e-9
