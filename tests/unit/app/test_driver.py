"""The driver performs effects in order and keeps one timer at the machine's deadline."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from ipaddress import IPv4Address

from onehop.app.driver import Driver
from onehop.model.address import Mac
from onehop.proto.machine import AddressConflict, Effect, Send

CONFLICT = AddressConflict(address=IPv4Address("192.0.2.1"), claimant=Mac(b"\2\0\0\0\0\1"))


@dataclass
class Timer:
    when: float
    call: Callable[[], None]
    cancelled: bool = False

    def cancel(self) -> None:
        self.cancelled = True


@dataclass
class Clock:
    """A loop whose time stands still until told."""

    instant: float = 0.0
    timers: list[Timer] = field(default_factory=list)

    def time(self) -> float:
        return self.instant

    def call_at(self, when: float, call: Callable[[], None]) -> Timer:
        self.timers.append(Timer(when, call))
        return self.timers[-1]

    @property
    def armed(self) -> list[float]:
        return [timer.when for timer in self.timers if not timer.cancelled]

    def run_until(self, instant: float, *, early: float = 0.0) -> None:
        """Call every timer at its time, or a little before, as a coarse clock does."""
        while due := [t for t in self.timers if not t.cancelled and t.when <= instant]:
            timer = min(due, key=lambda t: t.when)
            self.timers.remove(timer)
            self.instant = timer.when - early
            timer.call()
        self.instant = instant


@dataclass
class Script:
    """A machine that has something to say at each of its instants."""

    steps: list[tuple[float, tuple[Effect, ...]]]
    woken: list[float] = field(default_factory=list)

    @property
    def deadline(self) -> float | None:
        return self.steps[0][0] if self.steps else None

    def wake(self, now: float) -> tuple[Effect, ...]:
        self.woken.append(now)
        if self.steps and self.steps[0][0] <= now:
            return self.steps.pop(0)[1]
        return ()


def driven(machine: Script) -> tuple[Driver, Clock, list[object]]:
    clock, seen = Clock(), []
    driver = Driver(machine, send=seen.append, on_fact=seen.append, loop=clock)
    return driver, clock, seen


def test_effects_are_performed_in_order() -> None:
    driver, _, seen = driven(Script([]))
    driver.perform((Send(frame=b"a"), CONFLICT, Send(frame=b"b")))
    assert seen == [b"a", CONFLICT, b"b"]


def test_the_machine_is_woken_at_each_deadline() -> None:
    machine = Script([(1.0, (Send(frame=b"a"),)), (2.5, (Send(frame=b"b"),))])
    driver, clock, seen = driven(machine)
    driver.rearm()
    clock.run_until(10.0)
    assert machine.woken == [1.0, 2.5]
    assert seen == [b"a", b"b"]
    assert clock.armed == []


def test_a_coarse_clock_wakes_the_machine_once() -> None:
    machine = Script([(1.0, (Send(frame=b"a"),))])
    driver, clock, seen = driven(machine)
    driver.rearm()
    clock.run_until(2.0, early=1e-9)
    assert machine.woken == [1.0]
    assert seen == [b"a"]


def test_only_one_timer_is_armed() -> None:
    machine = Script([(5.0, ())])
    driver, clock, _ = driven(machine)
    driver.rearm()
    driver.rearm()
    assert clock.armed == [5.0]
    machine.steps.insert(0, (2.0, ()))
    driver.rearm()
    assert clock.armed == [2.0]
    machine.steps.clear()
    driver.rearm()
    assert clock.armed == []


def test_a_closed_driver_wakes_nobody() -> None:
    machine = Script([(5.0, ())])
    driver, clock, _ = driven(machine)
    driver.rearm()
    driver.close()
    driver.close()
    clock.run_until(9.0)
    assert machine.woken == []


def test_time_is_the_loops_own() -> None:
    driver, clock, _ = driven(Script([]))
    clock.instant = 42.0
    assert driver.now() == 42.0
