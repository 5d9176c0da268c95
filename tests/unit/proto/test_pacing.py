"""When announcements and defences are due."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from onehop.proto.pacing import BATCH, DEFEND_INTERVAL, PACE, REBUT, SETTLE, Conflicts, Schedule

A, B = b"\x0a\x00\x00\x01", b"\x0a\x00\x00\x02"
M1, M2 = b"\x02\0\0\0\0\x01", b"\x02\0\0\0\0\x02"


def many(count: int, prefix: int = 1) -> list[bytes]:
    return [bytes((prefix,)) + number.to_bytes(3, "big") for number in range(count)]


class TestSchedule:
    def test_an_address_is_due_at_once_and_after_each_span(self) -> None:
        schedule = Schedule((1.0, 2.0))
        assert schedule.deadline is None
        schedule.start(A)
        seen = []
        now = 10.0
        assert schedule.deadline is not None
        assert schedule.deadline <= now
        while schedule.deadline is not None:
            now = max(now, schedule.deadline)
            seen += [(now, address) for address in schedule.due(now)]
        assert seen == [(10.0, A), (11.0, A), (13.0, A)]

    def test_a_loop_that_was_held_up_does_not_catch_up(self) -> None:
        schedule = Schedule((1.0, 2.0))
        schedule.start(A)
        assert schedule.due(0.0) == [A]
        assert schedule.due(9.0) == [A]
        assert schedule.deadline == 11.0

    def test_nothing_is_due_before_its_time(self) -> None:
        schedule = Schedule((1.0,))
        schedule.start(A)
        schedule.due(0.0)
        assert schedule.due(0.999) == []
        assert schedule.deadline == 1.0

    def test_a_forgotten_address_is_due_no_more(self) -> None:
        schedule = Schedule((1.0,))
        schedule.start(A)
        schedule.start(B)
        schedule.forget(B)
        assert schedule.due(0.0) == [A]
        schedule.forget(A)
        assert schedule.due(1.0) == []
        assert schedule.deadline is None

    def test_forgetting_what_was_never_there_is_no_error(self) -> None:
        Schedule(()).forget(A)

    def test_starting_anew_replaces_the_old_repeats(self) -> None:
        schedule = Schedule((1.0,))
        schedule.start(A)
        schedule.due(0.0)
        schedule.forget(A)
        schedule.start(A)
        assert schedule.due(0.5) == [A]
        assert schedule.due(1.0) == []
        assert schedule.due(1.5) == [A]

    def test_a_thousand_addresses_are_spread_over_time(self) -> None:
        schedule = Schedule(())
        addresses = many(2 * BATCH + 1)
        for address in addresses:
            schedule.start(address)
        assert schedule.due(0.0) == addresses[:BATCH]
        assert schedule.deadline == PACE
        assert schedule.due(PACE / 2) == []
        assert schedule.due(PACE) == addresses[BATCH : 2 * BATCH]
        assert schedule.due(2 * PACE) == addresses[2 * BATCH :]
        assert schedule.deadline is None

    def test_repeats_are_spread_too(self) -> None:
        schedule = Schedule((1.0,))
        addresses = many(BATCH + 2)
        for address in addresses:
            schedule.start(address)
        schedule.due(0.0)
        schedule.due(PACE)
        assert schedule.due(2.0) == addresses[:BATCH]
        assert schedule.deadline == 2.0 + PACE
        assert schedule.due(2.0) == []
        assert schedule.due(2.0 + PACE) == addresses[BATCH:]

    def test_a_new_address_does_not_wait_behind_repeats(self) -> None:
        schedule = Schedule((1.0,))
        for address in many(BATCH):
            schedule.start(address)
        schedule.due(0.0)
        assert len(schedule.due(1.0)) == BATCH
        schedule.start(A)
        assert schedule.due(1.001) == [A]

    @given(
        st.lists(
            st.tuples(
                st.sampled_from(["start", "forget", "due"]),
                st.integers(0, 3 * BATCH),
                st.floats(0, 2, allow_nan=False),
            ),
            max_size=60,
        )
    )
    def test_the_deadline_is_not_past_once_what_is_due_was_taken(
        self, steps: list[tuple[str, int, float]]
    ) -> None:
        schedule = Schedule((0.01, 0.3))
        now, wanted = 0.0, set()
        for step, number, span in steps:
            address = number.to_bytes(4, "big")
            if step == "start":
                for other in many(number):
                    wanted.add(other)
                    schedule.start(other)
            elif step == "forget":
                wanted.discard(address)
                schedule.forget(address)
            else:
                now += span
                due = schedule.due(now)
                assert set(due) <= wanted
                assert len(due) <= 2 * BATCH
                assert schedule.deadline is None or schedule.deadline > now


class TestConflicts:
    def test_a_claim_is_answered_and_reported_once_it_has_settled(self) -> None:
        conflicts = Conflicts()
        assert conflicts.deadline is None
        conflicts.claimed(A, M1, 5.0)
        assert conflicts.deadline == 5.0 + REBUT
        assert conflicts.rebuttals(5.0) == []
        assert conflicts.rebuttals(5.0 + REBUT) == [A]
        assert conflicts.deadline == 5.0 + SETTLE
        assert conflicts.due(5.0 + REBUT) == []
        assert conflicts.due(5.0 + SETTLE) == [(A, M1)]
        assert conflicts.deadline is None

    def test_a_claim_to_an_address_given_up_meanwhile_is_a_hand_over(self) -> None:
        conflicts = Conflicts()
        conflicts.claimed(A, M1, 0.0)
        conflicts.forget(A)
        assert conflicts.deadline is None
        assert conflicts.rebuttals(SETTLE) == []
        assert conflicts.due(SETTLE) == []

    def test_further_claims_wait_for_the_defend_interval(self) -> None:
        conflicts = Conflicts()
        conflicts.claimed(A, M1, 0.0)
        conflicts.claimed(A, M2, 0.1)
        assert conflicts.rebuttals(SETTLE) == [A]
        assert conflicts.due(SETTLE) == [(A, M1)]
        conflicts.claimed(A, M2, DEFEND_INTERVAL - 0.1)
        assert conflicts.deadline is None
        conflicts.claimed(A, M2, DEFEND_INTERVAL)
        assert conflicts.rebuttals(DEFEND_INTERVAL + REBUT) == [A]
        assert conflicts.due(DEFEND_INTERVAL + SETTLE) == [(A, M2)]

    def test_claims_to_two_addresses_settle_each_in_its_time(self) -> None:
        conflicts = Conflicts()
        conflicts.claimed(A, M1, 0.0)
        conflicts.claimed(B, M2, 0.25)
        assert conflicts.rebuttals(REBUT) == [A]
        assert conflicts.rebuttals(SETTLE) == [B]
        assert conflicts.due(SETTLE) == [(A, M1)]
        assert conflicts.deadline == 0.25 + SETTLE
        assert conflicts.due(1.0) == [(B, M2)]

    @pytest.mark.parametrize("forgotten", [False, True])
    def test_an_address_taken_up_again_starts_afresh(self, forgotten: bool) -> None:
        conflicts = Conflicts()
        conflicts.claimed(A, M1, 0.0)
        conflicts.rebuttals(SETTLE)
        conflicts.due(SETTLE)
        if forgotten:
            conflicts.forget(A)
        conflicts.claimed(A, M1, 1.0)
        assert (conflicts.deadline is not None) is forgotten
