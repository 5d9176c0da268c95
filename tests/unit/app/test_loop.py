"""The ring: one change starts one round at once, a failure is retried, SIGTERM ends it."""

import asyncio
import io
import os
import signal
import time
from itertools import pairwise

from onehop.adapters.telemetry import Log
from onehop.app.loop import Ring
from onehop.model.desired import Failure, Report
from onehop.model.reason import Reason, Refusal

FAILED = Failure(subject="x", refusal=Refusal(reason=Reason.DATAPATH_FAILED), retry_at=0.0)


def run(body) -> tuple[list[float], str]:
    rounds: list[float] = []
    stream = io.StringIO()

    async def main() -> None:
        await asyncio.wait_for(body(rounds, Log(stream=stream)), 10)

    asyncio.run(main())
    return rounds, stream.getvalue()


def test_a_readable_descriptor_with_news_starts_a_round() -> None:
    read, write = os.pipe()

    async def body(rounds: list[float], log: Log) -> None:
        ring: Ring

        def round_() -> Report:
            rounds.append(time.monotonic())
            if len(rounds) == 1:
                os.write(write, b"x")
            else:
                ring.stop()
            return Report()

        ring = Ring(round_, log)
        ring.watch(read, lambda: bool(os.read(read, 16)))
        await ring.run()

    rounds, _ = run(body)
    os.close(read)
    os.close(write)
    assert len(rounds) == 2


def test_a_failure_is_told_and_tried_again() -> None:
    async def body(rounds: list[float], log: Log) -> None:
        ring: Ring

        def round_() -> Report:
            rounds.append(time.monotonic())
            if len(rounds) == 2:
                ring.stop()
                return Report()
            return Report(failures=(FAILED,))

        ring = Ring(round_, log)
        await ring.run()

    rounds, told = run(body)
    assert len(rounds) == 2
    assert "failed subject=x" in told


def test_sigterm_ends_the_ring() -> None:
    async def body(rounds: list[float], log: Log) -> None:
        def round_() -> Report:
            rounds.append(0.0)
            os.kill(os.getpid(), signal.SIGTERM)
            return Report()

        await Ring(round_, log).run()

    assert run(body)[0] == [0.0]


def test_rounds_go_on_while_the_end_is_put_off_and_a_second_signal_ends_them() -> None:
    async def body(rounds: list[float], log: Log) -> None:
        asked: list[str] = []

        def round_() -> Report:
            rounds.append(0.0)
            if len(rounds) == 1:
                os.kill(os.getpid(), signal.SIGTERM)
                asyncio.get_running_loop().call_later(0.02, ring.mark_dirty)
            else:
                os.kill(os.getpid(), signal.SIGTERM)
            return Report()

        def on_term() -> float:
            asked.append("end")
            return 60.0

        ring = Ring(round_, log, on_term)
        await ring.run()
        assert asked == ["end"]
        assert ring.stopped_by is signal.SIGTERM

    assert run(body)[0] == [0.0, 0.0]


def test_the_end_that_was_put_off_comes() -> None:
    async def body(rounds: list[float], log: Log) -> None:
        def round_() -> Report:
            rounds.append(0.0)
            os.kill(os.getpid(), signal.SIGTERM)
            return Report()

        await Ring(round_, log, lambda: 0.01).run()

    assert run(body)[0] == [0.0]


def test_an_interrupt_is_not_put_off() -> None:
    async def body(rounds: list[float], log: Log) -> None:
        def round_() -> Report:
            os.kill(os.getpid(), signal.SIGINT)
            return Report()

        ring = Ring(round_, log, lambda: 60.0)
        await ring.run()
        assert ring.stopped_by is signal.SIGINT

    run(body)


def test_a_sync_that_put_something_off_is_called_again_when_it_is_time() -> None:
    async def body(rounds: list[float], log: Log) -> None:
        ring: Ring

        def round_() -> Report:
            rounds.append(time.monotonic())
            if len(rounds) == 2:
                ring.stop()
            return Report(again_at=rounds[0] + 0.2)

        ring = Ring(round_, log)
        await ring.run()

    rounds, said = run(body)
    assert 0.2 <= rounds[1] - rounds[0] < 1.0
    assert said == ""


def test_in_a_burst_a_ring_that_settles_rests_and_a_single_change_waits_for_nothing() -> None:
    async def body(rounds: list[float], log: Log) -> None:
        ring: Ring

        def round_() -> Report:
            rounds.append(time.monotonic())
            time.sleep(0.02)
            if len(rounds) < 3:
                ring.mark_dirty()
            elif len(rounds) == 3:
                asyncio.get_running_loop().call_later(0.5, single)
            else:
                ring.stop()
            return Report()

        def single() -> None:
            rounds.append(time.monotonic())
            ring.mark_dirty()

        ring = Ring(round_, log, settle=0.05)
        await ring.run()

    rounds, _ = run(body)
    burst = [later - sooner for sooner, later in pairwise(rounds[:3])]
    assert all(0.07 <= span < 0.3 for span in burst)  # the round, and the longest rest
    assert rounds[4] - rounds[3] < 0.05


def test_the_end_does_not_wait_for_a_rest() -> None:
    async def body(rounds: list[float], log: Log) -> None:
        ring: Ring

        def round_() -> Report:
            rounds.append(time.monotonic())
            time.sleep(0.1)
            ring.mark_dirty()
            asyncio.get_running_loop().call_later(0.05, ring.stop)
            return Report()

        ring = Ring(round_, log, settle=5.0)
        await ring.run()
        rounds.append(time.monotonic())

    rounds, _ = run(body)
    assert rounds[1] - rounds[0] < 0.4
