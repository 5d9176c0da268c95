"""The timer that fires at the soonest time that was asked for."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

from onehop.app.soonest import Soonest

LATE = 60.0


def fired(ask: Callable[[Soonest], None], seconds: float = 0.05) -> int:
    """How often it fires within a while."""

    async def main() -> int:
        times: list[None] = []
        timer = Soonest(asyncio.get_running_loop(), lambda: times.append(None))
        ask(timer)
        await asyncio.sleep(seconds)
        timer.cancel()
        assert not timer
        return len(times)

    return asyncio.run(main())


def test_a_sooner_time_takes_the_place_of_a_later_one() -> None:
    def ask(timer: Soonest) -> None:
        timer.within(LATE)
        timer.within(0.0)
        timer.within(LATE)
        assert timer

    assert fired(ask) == 1


def test_what_was_cancelled_does_not_fire() -> None:
    def ask(timer: Soonest) -> None:
        timer.within(0.0)
        timer.cancel()
        assert not timer

    assert fired(ask) == 0


def test_it_can_be_asked_again_when_it_fires() -> None:
    async def main() -> int:
        count = 0

        def act() -> None:
            nonlocal count
            count += 1
            if count < 3:
                timer.within(0.0)
            else:
                done.set()

        done = asyncio.Event()
        timer = Soonest(asyncio.get_running_loop(), act)
        timer.within(0.0)
        await asyncio.wait_for(done.wait(), 5.0)
        return count

    assert asyncio.run(main()) == 3
