"""The ring: wait until dirty, decide on a frozen value, sync in order, take reports as facts.

The first fact after a quiet spell is acted on at once. Facts that arrive meanwhile are taken
together by the next round, so a burst costs a few rounds and a single change waits for nothing.
A ring that is told to `settle` rests after each round for four times as long as the round took,
that span at most: in a long burst it leaves the processor to whoever has to answer it.
"""

from __future__ import annotations

import asyncio
import signal
import time
from collections.abc import Callable
from contextlib import suppress

from onehop.adapters.telemetry import Log
from onehop.model.desired import Report

REST = 4  # how many times as long as a round took
RETRY_FLOOR = 0.05  # seconds: a failing effector may not spin the loop


class Ring:
    """Runs one round whenever a watched descriptor brought something new or a retry is due.

    `on_term` is told of a SIGTERM and says for how many seconds the rounds go on; another signal
    in that time ends them at once. `stopped_by` is the signal that ended them. `settle` is the
    longest rest between two rounds.
    """

    def __init__(
        self,
        round_: Callable[[], Report],
        log: Log,
        on_term: Callable[[], float] = lambda: 0.0,
        *,
        settle: float = 0.0,
    ) -> None:
        self._settle = settle
        self._rest_until = 0.0
        self._round = round_
        self._log = log
        self._on_term = on_term
        self.stopped_by: signal.Signals | None = None
        self._dirty = asyncio.Event()
        self._stop = asyncio.Event()
        self._retry: asyncio.TimerHandle | None = None

    def watch(self, fileno: int, refresh: Callable[[], bool]) -> None:
        """Call `refresh` when the descriptor is readable; True starts a round."""

        def readable() -> None:
            if refresh():
                self._dirty.set()

        asyncio.get_running_loop().add_reader(fileno, readable)

    def mark_dirty(self) -> None:
        """A fact arrived that the next round has to see."""
        self._dirty.set()

    def stop(self) -> None:
        """End after the round that is under way."""
        self._stop.set()
        self._dirty.set()

    def listen(self) -> None:
        """Take SIGTERM and SIGINT from now on, so that what is begun before `run` is ended."""
        loop = asyncio.get_running_loop()
        for signum in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(signum, self._signalled, signum)

    async def run(self) -> None:
        """Go round until stopped by SIGTERM or SIGINT."""
        self.listen()
        self._dirty.set()
        while True:
            await self._dirty.wait()
            await self._rest()
            if self._stop.is_set():
                return
            self._dirty.clear()
            begun = time.monotonic()
            self._after(self._round())
            ended = time.monotonic()
            self._rest_until = ended + min(self._settle, REST * (ended - begun))

    async def _rest(self) -> None:
        """Let facts gather for the rest of the span, or until the end."""
        left = self._rest_until - time.monotonic()
        if left > 0:
            with suppress(TimeoutError):
                await asyncio.wait_for(self._stop.wait(), left)

    def _signalled(self, signum: signal.Signals) -> None:
        is_first, self.stopped_by = self.stopped_by is None, signum
        delay = self._on_term() if is_first and signum is signal.SIGTERM else 0.0
        if delay > 0.0:
            asyncio.get_running_loop().call_later(delay, self.stop)
        else:
            self.stop()

    def _after(self, report: Report) -> None:
        for failure in report.failures:
            self._log("failed", subject=failure.subject, reason=str(failure.refusal))
        instants = (report.again_at, *(failure.retry_at for failure in report.failures))
        due = [at for at in instants if at is not None]
        if self._retry is not None:
            self._retry.cancel()
            self._retry = None
        if due:
            delay = max(RETRY_FLOOR, min(due) - time.monotonic())
            self._retry = asyncio.get_running_loop().call_later(delay, self._dirty.set)
