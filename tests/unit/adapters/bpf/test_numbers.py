"""Numbers are given once, and again only after a rest."""

from __future__ import annotations

from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from onehop.adapters.bpf.numbers import REST, Numbers
from tests.unit.adapters.bpf.clock import Clock


def test_they_come_in_order_until_the_limit(clock: Clock) -> None:
    numbers = Numbers(1, 4, clock)
    assert [numbers.take() for _ in range(4)] == [1, 2, 3, None]


def test_one_given_back_rests_first(clock: Clock) -> None:
    numbers = Numbers(0, 1, clock)
    assert numbers.take() == 0
    numbers.give(0)
    clock.now = REST / 2
    assert numbers.take() is None
    clock.now = REST
    assert numbers.take() == 0


def test_a_rested_number_goes_before_a_new_one(clock: Clock) -> None:
    numbers = Numbers(0, 9, clock)
    numbers.take()
    numbers.give(0)
    clock.now = REST
    assert [numbers.take(), numbers.take()] == [0, 1]


def test_numbers_in_use_are_left_out(clock: Clock) -> None:
    numbers = Numbers(1, 6, clock)
    numbers.reserve([2, 4])
    assert [numbers.take() for _ in range(4)] == [1, 3, 5, None]


def test_nothing_in_use_leaves_all(clock: Clock) -> None:
    numbers = Numbers(1, 3, clock)
    numbers.reserve([])
    assert [numbers.take() for _ in range(3)] == [1, 2, None]


class AnyOrder(RuleBasedStateMachine):
    """Whatever is taken and given back, no two holders share a number."""

    def __init__(self) -> None:
        super().__init__()
        self.clock = Clock()
        self.numbers = Numbers(1, 8, self.clock)
        self.held: set[int] = set()
        self.rests: dict[int, float] = {}

    @rule()
    def take(self) -> None:
        number = self.numbers.take()
        if number is None:
            assert len(self.held) + sum(at > self.clock.now for at in self.rests.values()) >= 7
            return
        assert number not in self.held
        assert self.rests.get(number, 0.0) <= self.clock.now
        self.held.add(number)
        self.rests.pop(number, None)

    @precondition(lambda self: self.held)
    @rule(data=st.data())
    def give(self, data: st.DataObject) -> None:
        number = data.draw(st.sampled_from(sorted(self.held)))
        self.held.discard(number)
        self.rests[number] = self.clock.now + REST
        self.numbers.give(number)

    @rule(seconds=st.sampled_from([0.25, 1.0]))
    def wait(self, seconds: float) -> None:
        self.clock.now += seconds

    @invariant()
    def within_limits(self) -> None:
        assert self.held <= set(range(1, 8))


TestAnyOrder = AnyOrder.TestCase
