"""A lab's `up` that is asked to end unwinds, also when what the signal raised was lost."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator
from contextlib import suppress

import pytest

from onehop.cli.lab import ended_by_signals
from onehop.lab.state import Layout

ASKED = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
NAME = f"unit-{os.getpid()}"


@pytest.fixture(autouse=True)
def _handlers() -> Iterator[None]:
    before = {number: signal.getsignal(number) for number in ASKED}
    signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    for number, handler in before.items():
        signal.signal(number, handler)


@pytest.mark.parametrize(
    ("number", "raised"),
    [
        (signal.SIGINT, KeyboardInterrupt),
        (signal.SIGTERM, SystemExit),
        (signal.SIGHUP, SystemExit),
    ],
)
def test_a_signal_unwinds(number: int, raised: type[BaseException]) -> None:
    steps = iter((lambda: os.kill(os.getpid(), number), lambda: pytest.fail("it went on")))
    with pytest.raises(raised), ended_by_signals(Layout(NAME)):
        any(step() for step in steps)


@pytest.mark.parametrize("number", ASKED)
def test_a_signal_whose_exception_was_lost_still_ends_it(number: int) -> None:
    lost = suppress(KeyboardInterrupt, SystemExit)  # as Python does in a destructor
    with pytest.raises(KeyboardInterrupt), ended_by_signals(Layout(NAME)), lost:
        os.kill(os.getpid(), number)


def test_who_ignores_ctrl_c_goes_on_doing_so() -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    with ended_by_signals(Layout(NAME)):
        os.kill(os.getpid(), signal.SIGINT)
