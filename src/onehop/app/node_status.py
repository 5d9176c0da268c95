"""What a speaker says of its Services, told a little later and a little at a time.

Routes and frames come first: statuses are for people and programs that look on, so they are made
and written when the round is over, and take a small part of the time however many there are.
"""

from __future__ import annotations

import asyncio
from typing import Protocol

from onehop.adapters.telemetry import Log
from onehop.app.soonest import Soonest
from onehop.core.node_status import NodeStatusBuilder
from onehop.model.desired import NodeDesired
from onehop.model.status import NodeStatuses

_SOON, _RETRY = 0.05, 1.0
_BATCH = 10
_SHARE = 10  # of the time, how small a part goes into writing
_ALL = 1 << 30


class Files(Protocol):
    """Where statuses are written."""

    def want(self, statuses: NodeStatuses) -> None:
        """Take over what is to be said."""
        ...

    def step(self, limit: int) -> bool:
        """Write so many of those that differ; whether some are left."""
        ...


class NodeStatusTeller:
    """All methods belong to the loop's own thread."""

    def __init__(
        self,
        node: str,
        files: Files,
        *,
        log: Log,
        loop: asyncio.AbstractEventLoop | None = None,
    ) -> None:
        self._builder = NodeStatusBuilder(node)
        self._files = files
        self._log = log
        self._loop = loop or asyncio.get_running_loop()
        self._desired: NodeDesired | None = None
        self._next = Soonest(self._loop, self._step)

    def sync(self, want: NodeDesired) -> None:
        """From now on, say this."""
        self._desired = want
        if not self._next:
            self._next.within(_SOON)

    def _step(self) -> None:
        begin = self._loop.time()
        if self._desired is not None:
            self._files.want(self._builder.statuses(self._desired))
            self._desired = None
        try:
            is_unfinished = self._files.step(_BATCH)
        except OSError as error:
            self._log("status-not-written", file=error.filename, why=error.strerror)
            self._next.within(_RETRY)
            return
        if is_unfinished:
            self._next.within(_SHARE * (self._loop.time() - begin))

    def again(self, after: float) -> None:
        """Have another step in so many seconds. From any thread."""
        self._loop.call_soon_threadsafe(self._next.within, after)

    def close(self) -> None:
        """A node whose speaker is gone carries nothing new: it takes its words back."""
        self._next.cancel()
        self._files.want(NodeStatuses())
        try:
            self._files.step(_ALL)
        except OSError as error:
            self._log("status-not-written", file=error.filename, why=error.strerror)
