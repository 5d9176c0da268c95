"""The ring: wait until dirty, decide on a frozen value, sync in order, take reports as facts.

The first fact after a quiet spell is acted on at once, in the very callback that brought it. Facts
that arrive meanwhile are taken together by the next round, so a burst costs a few rounds and a
single change waits for nothing. A ring that is told to `settle` rests after each round for four
times as long as the round took, that span at most: in a long burst it leaves the processor to
whoever has to answer it.
"""

from __future__ import annotations

import asyncio
import signal
from collections.abc import Callable

from onehop.adapters.telemetry import Log
from onehop.model.desired import Report

REST = 4  # how many times as long as a round took
RETRY_FLOOR = 0.05  # seconds: a failing effector may not spin the loop


class Ring:
    """Runs one round whenever a watched descriptor brought something new or a retry is due.

    `on_term` is told of a SIGTERM and says for how many seconds the rounds go on; another signal
    in that time ends them at once. `stopped_by` is the signal that ended them. `settle` is the
    longest rest between two rounds. It is made where a loop runs, and belongs to it.
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
        self._loop = asyncio.get_running_loop()
        self._ended = self._loop.create_future()
        self._is_running = False
        self._next: asyncio.Handle | None = None  # the round that is to come
        self._retry: asyncio.TimerHandle | None = None

    def watch(self, fileno: int, refresh: Callable[[], bool]) -> None:
        """Call `refresh` when the descriptor is readable; True starts a round."""

        def readable() -> None:
            if not self._ended.done() and refresh():
                self._at_once()

        self._loop.add_reader(fileno, readable)

    def mark_dirty(self) -> None:
        """A fact arrived that the next round has to see."""
        if self._is_running and self._next is None:
            self._next = self._loop.call_soon(self._rested)

    def stop(self) -> None:
        """End after the round that is under way."""
        if not self._ended.done():
            self._ended.set_result(None)

    def listen(self) -> None:
        """Take SIGTERM and SIGINT from now on, so that what is begun before `run` is ended."""
        for signum in (signal.SIGTERM, signal.SIGINT):
            self._loop.add_signal_handler(signum, self._signalled, signum)

    async def run(self) -> None:
        """Go round until stopped by SIGTERM or SIGINT; what a round raises is raised here."""
        self.listen()
        self._is_running = True
        self._go()
        try:
            await self._ended
        finally:
            for waiting in (self._next, self._retry):
                if waiting is not None:
                    waiting.cancel()

    def _at_once(self) -> None:
        """Go round in this very callback, unless it has to rest."""
        if self._is_running:  # the first round sees what came before it
            self._rested()

    def _rested(self) -> None:
        """Go round once the rest is over."""
        if self._loop.time() >= self._rest_until:
            self._go()
        elif not isinstance(self._next, asyncio.TimerHandle):
            self._next = self._loop.call_at(self._rest_until, self._go)

    def _go(self) -> None:
        if self._next is not None:
            self._next.cancel()
            self._next = None
        if self._ended.done():
            return
        begun = self._loop.time()
        try:
            self._after(self._round())
        except BaseException as error:
            self._ended.set_exception(error)
            raise
        ended = self._loop.time()
        self._rest_until = ended + min(self._settle, REST * (ended - begun))

    def _signalled(self, signum: signal.Signals) -> None:
        is_first, self.stopped_by = self.stopped_by is None, signum
        delay = self._on_term() if is_first and signum is signal.SIGTERM else 0.0
        if delay > 0.0:
            self._loop.call_later(delay, self.stop)
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
            delay = max(RETRY_FLOOR, min(due) - self._loop.time())
            self._retry = self._loop.call_later(delay, self.mark_dirty)
