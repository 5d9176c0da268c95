"""The controller: gives Services their addresses and writes them down, nothing else.

Of several controllers one leads; the others read and wait.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import replace
from typing import TYPE_CHECKING

from onehop.adapters.telemetry import Log
from onehop.app.long_lived import sparing
from onehop.app.loop import Ring
from onehop.app.ports import Leadership, Store
from onehop.app.problem_log import ProblemLog
from onehop.core.allocate import Allocator
from onehop.core.validate import Validator
from onehop.model.desired import ClusterDesired, Report
from onehop.model.diff import moved
from onehop.model.objects import Objects
from onehop.model.reason import Problem

_SETTLE = 0.02  # seconds: a burst of Services is answered in rounds this far apart

if TYPE_CHECKING:
    from onehop.app.metrics import RoundFigures


class Controller:
    """One round: objects in, statuses out."""

    def __init__(
        self,
        store: Store,
        log: Log,
        *,
        lb_class: str | None = None,
        leadership: Leadership | None = None,
    ) -> None:
        self._leadership = leadership
        self._standing = (False, "", "")
        self._store = store
        self._log = log
        self._allocator = Allocator(lb_class=lb_class)
        self._validator = Validator()
        self._problems: tuple[Problem, ...] = ()
        self._told = ProblemLog(log)
        self.figures: RoundFigures | None = None
        self.decided: ClusterDesired | None = None

    def round(self) -> Report:
        """Decide and write; a store that has not listed everything yet is only read."""
        begun = time.monotonic()
        objects = self._store.objects()
        self._tell(objects)
        if self.figures is not None:
            self.figures.problems = len(self._told)
            self.figures.is_complete = objects.complete
        if not objects.complete or not self._is_leader():
            return Report()
        want = replace(self._allocator.decide(objects), problems=self._problems)
        decided = time.monotonic()
        self._tell_changes(want)
        report = self._store.sync(want)
        if self.figures is not None:
            self.figures.ended(begun=begun, decided=decided, failures=len(report.failures))
        return report

    async def run(self, begin: Callable[[], None] = lambda: None) -> None:
        """Serve until SIGTERM; `begin` is called once that would be heard."""
        round_ = sparing(self.round, lambda: self.decided is not None)
        ring = Ring(round_, self._log, settle=_SETTLE)
        ring.listen()
        begin()
        if self._leadership is not None:
            ring.watch(self._leadership.fileno(), self._leadership.refresh)
        self._store.refresh()
        ring.watch(self._store.fileno(), self._store.refresh)
        self._log("controller-started")
        await ring.run()

    def _is_leader(self) -> bool:
        """Whether this controller may write now."""
        if self._leadership is None:
            return True
        leadership = self._leadership
        leads = leadership.is_held()
        standing = (leads, leadership.holder, "" if leads else leadership.why)
        if standing != self._standing:
            self._standing = standing
            if any(standing):
                event = "leading" if leads else "standing-by"
                self._log(event, holder=standing[1], why=standing[2])
        return leads

    def _tell(self, objects: Objects) -> None:
        self._problems = (*objects.problems, *self._validator.problems(objects))
        self._told.tell(self._problems)

    def _tell_changes(self, want: ClusterDesired) -> None:
        before = self.decided.statuses if self.decided is not None else {}
        for key, status in moved(before, want.statuses)[1].items():
            if before.get(key) == status:
                continue
            if status.refusal is not None:
                self._log("refused", service=key, reason=str(status.refusal))
            if status.addresses:
                addresses = ",".join(map(str, status.addresses))
                self._log("allocated", service=key, addresses=addresses, pool=status.pool)
        self.decided = want
