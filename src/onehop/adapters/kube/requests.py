"""Requests: writes to the API server by a few threads, so that whoever decides never waits.

A queue in lanes, statuses before events. There is at most one waiting request for a key, the
newest; and never two at once on their way for the same key. The pool steps back as a whole: a
server that throttles, fails or is away is left alone for a span that grows, and then asked by one
request alone before the others follow. It never tries a request again by itself: each ends in one
Outcome, which says when another try may make sense.

Before each request the fence is asked: a process that was stopped for a while and goes on finds
out here that its Lease is gone, and sends nothing.
"""

from __future__ import annotations

import threading
import time
from collections import OrderedDict
from collections.abc import Callable, Hashable
from dataclasses import dataclass, field
from enum import IntEnum
from random import random

from onehop.adapters.kube.connection import Answer, Connection, LostError, Request
from onehop.adapters.kube.kubeconfig import Access

_FIRST_PAUSE, _LAST_PAUSE = 0.2, 5.0  # seconds, doubled from try to try
_SLOW = 20.0  # seconds until something that needs a person is tried again
_SOON = 0.02  # seconds: a watch event of what stands in the way is due any moment


class Lane(IntEnum):
    """What goes first."""

    STATUS = 0
    REPORT = 1
    EVENT = 2


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    """What became of a request.

    `status` is HTTP's, 0 when there was no answer. `retry_at` (monotonic) is None when the
    request succeeded or can never succeed. `is_unclear`: the server may have done it.
    """

    status: int = 0
    body: bytes = b""
    why: str = ""
    retry_at: float | None = None
    is_unclear: bool = False

    @property
    def ok(self) -> bool:
        """Whether the server did it."""
        return 200 <= self.status < 300


@dataclass(slots=True, kw_only=True)
class _Job:
    key: Hashable
    lane: Lane
    request: Request
    done: Callable[[Outcome], None]


@dataclass(slots=True, kw_only=True)
class Counters:
    """What `Requests` did so far."""

    sent: int = 0
    failed: int = 0
    dropped: int = 0
    by_status: dict[int, int] = field(default_factory=dict)


class Requests:
    """A pool of kept connections. `submit` and `withdraw` may be called from any thread."""

    def __init__(
        self,
        access: Access,
        *,
        threads: int = 4,
        limit: int = 50_000,
        timeout: float = 4.0,
        fence: Callable[[], bool] = lambda: True,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._access = access
        self._limit = limit
        self._timeout = timeout
        self._fence = fence
        self._clock = clock
        self._lanes: dict[Lane, OrderedDict[Hashable, _Job]] = {
            lane: OrderedDict() for lane in Lane
        }
        self._busy: set[Hashable] = set()
        self._changed = threading.Condition()
        self._open_at = 0.0
        self._pause = 0.0  # the last one taken, 0 while all is well
        self._lane_open_at = dict.fromkeys(Lane, 0.0)
        self._closed = False
        self.counters = Counters()
        self._threads = [
            threading.Thread(target=self._work, name=f"kube-write-{n}", daemon=True)
            for n in range(threads)
        ]
        for thread in self._threads:
            thread.start()

    def submit(
        self,
        lane: Lane,
        key: Hashable,
        request: Request,
        done: Callable[[Outcome], None],
        *,
        limit: int | None = None,
    ) -> bool:
        """Queue a request in place of one that waits for the same key; False: no room.

        `done` is called by a thread of the pool, once, unless the request is replaced, withdrawn
        or still waits at the end.
        """
        with self._changed:
            queue = self._lanes[lane]
            if key not in queue and len(queue) >= (self._limit if limit is None else limit):
                self.counters.dropped += 1
                return False
            if self._closed:
                return False
            queue[key] = _Job(key=key, lane=lane, request=request, done=done)
            self._changed.notify()
            return True

    def withdraw(self, lane: Lane, key: Hashable) -> bool:
        """Take back what still waits; False when nothing does."""
        with self._changed:
            return self._lanes[lane].pop(key, None) is not None

    def waiting(self) -> int:
        """How many requests wait or are on their way."""
        with self._changed:
            return sum(map(len, self._lanes.values())) + len(self._busy)

    def drop(self) -> None:
        """Forget all that waits, as a controller does that is none any more."""
        with self._changed:
            for queue in self._lanes.values():
                queue.clear()

    def close(self) -> None:
        """Send nothing more, and return when what is on its way has ended."""
        self.drop()
        with self._changed:
            self._closed = True
            self._changed.notify_all()
        for thread in self._threads:
            thread.join(self._timeout + 1.0)

    def _work(self) -> None:
        connection = Connection(self._access, timeout=self._timeout)
        try:
            while (job := self._next()) is not None:
                outcome = self._sent(connection, job)
                with self._changed:
                    self._busy.discard(job.key)
                    self._changed.notify()
                job.done(outcome)
        finally:
            connection.close()

    def _next(self) -> _Job | None:
        """Wait for the next request that may go; None at the end."""
        with self._changed:
            while not self._closed:
                now = self._clock()
                wait = self._open_at - now
                # After a failure one request goes ahead alone.
                if wait <= 0 and not (self._pause and self._busy):
                    job = self._pick(now)
                    if job is not None:
                        self._busy.add(job.key)
                        return job
                    wait = self._lanes_open_in(now)
                self._changed.wait(wait if wait > 0 else None)
            return None

    def _pick(self, now: float) -> _Job | None:
        for lane, queue in self._lanes.items():
            if self._lane_open_at[lane] > now:
                continue
            for key in queue:
                if key not in self._busy:
                    return queue.pop(key)
        return None

    def _lanes_open_in(self, now: float) -> float:
        """Seconds until a lane opens in which something waits; 0 when nothing is shut."""
        shut = [
            self._lane_open_at[lane] - now
            for lane, queue in self._lanes.items()
            if queue and self._lane_open_at[lane] > now
        ]
        return min(shut, default=0.0)

    def _sent(self, connection: Connection, job: _Job) -> Outcome:
        if not self._fence():
            return Outcome(why="this controller is not the leader")
        try:
            answer = connection.exchange(job.request)
        except LostError as lost:
            return self._lost(lost)
        return self._answered(answer, job.lane)

    def _lost(self, lost: LostError) -> Outcome:
        with self._changed:
            self.counters.failed += 1
            retry_at = self._step_back()
        return Outcome(why=str(lost), retry_at=retry_at, is_unclear=lost.was_sent)

    def _answered(self, answer: Answer, lane: Lane) -> Outcome:
        status = answer.status
        with self._changed:
            counters = self.counters
            counters.sent += 1
            counters.by_status[status] = counters.by_status.get(status, 0) + 1
            retry_at = self._retry_at(answer, lane)
        why = "" if status < 300 else f"HTTP {status}: {message(answer.body)}"
        return Outcome(status=status, body=answer.body, why=why, retry_at=retry_at)

    def _retry_at(self, answer: Answer, lane: Lane) -> float | None:
        """When another try may make sense, and what the answer means for other requests."""
        status = answer.status
        if status in (401, 429) or status >= 500:
            return self._step_back(answer.retry_after)
        if self._pause:
            self._pause = 0.0
            self._changed.notify_all()
        now = self._clock()
        if status == 409:
            return now + _SOON
        slow = now + _SLOW * (1 + random() / 4)
        if status == 403:
            self._lane_open_at[lane] = slow
        return slow if status in (400, 403, 415, 422) else None

    def _step_back(self, at_least: float | None = None) -> float:
        """Leave the server alone for a while; the instant at which it is asked again.

        Requests that were on their way together and fail together are one failure.
        """
        now = self._clock()
        if now >= self._open_at:
            self._pause = min(_LAST_PAUSE, max(_FIRST_PAUSE, 2 * self._pause))
            self._open_at = now + self._pause * (1 + random() / 2)
        if at_least is not None:
            self._open_at = max(self._open_at, now + at_least)
        self._changed.notify_all()
        return self._open_at


def message(body: bytes) -> str:
    """What a Status object says, cut to a line."""
    start = body.find(b'"message":"')
    text = body[start + 11 :] if start >= 0 else body
    end = text.find(b'","') if start >= 0 else -1
    return text[: end if end >= 0 else 200].decode(errors="replace").replace('\\"', '"')[:300]
