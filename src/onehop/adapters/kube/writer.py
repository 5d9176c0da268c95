"""The writer: what the controller decided goes into the Services' statuses, and nothing else.

`sync` compares with what the server holds, queues what differs and returns; it never waits. What
became of a write comes back later: `collect` takes it in, failures stand in the Report of the
next `sync` with the instant of another try. While an address is on its way it is *assumed*, so
that the next decision, a moment later, counts it as held. All methods but the done callbacks of
`Requests` belong to the ring's thread.

A Service is in at most one of three states: a write of it waits or is under way (`_sent`); it was
written and the watch has not shown that yet (`_written`); it failed (`_failed`).
"""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Protocol

import msgspec

from onehop.adapters.kube.contest import Contests
from onehop.adapters.kube.instant import instant
from onehop.adapters.kube.requests import Lane, Outcome, Requests
from onehop.adapters.kube.statuses import (
    addresses_agree,
    agrees,
    has_ours,
    status_write,
    together,
    withdrawal,
)
from onehop.adapters.kube.structs import UNREADABLE, Head, Live
from onehop.model.address import IPAddress
from onehop.model.desired import Failure, Report, ServiceStatus
from onehop.model.diff import moved
from onehop.model.objects import Objects
from onehop.model.reason import Reason, Refusal
from onehop.model.service import Key

LiveLookup = Callable[[str, Key], Live | None]
_CONFLICT, _GONE = 409, 404
_head = msgspec.json.Decoder(Head)


class Telling(Protocol):
    """Who tells of what was written: as Events, say."""

    def written(self, key: Key, before: Live, status: ServiceStatus) -> None:
        """A status was written over another."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class _Write:
    """One write: of what, over what. `status` None takes away what is ours.

    `passed` are versions that the watch may still show although we have written over them.
    """

    key: Key
    live: Live
    status: ServiceStatus | None
    passed: frozenset[str] = frozenset()

    def is_over(self, live: Live) -> bool:
        """Whether `live` is the object as it was before this write."""
        version = live.resource_version
        return live.uid == self.live.uid and (
            version == self.live.resource_version or version in self.passed
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class _Failed:
    """A write that failed; it is due again at an instant, or when something else is wanted."""

    write: _Write
    failure: Failure


class ServiceStatuses:
    """Writes statuses of Services."""

    def __init__(
        self,
        requests: Requests,
        *,
        telling: tuple[Telling, ...] = (),
        clock: Callable[[], float] = time.monotonic,
        wall: Callable[[], float] = time.time,
    ) -> None:
        self._requests = requests
        self._telling = telling
        self._clock = clock
        self._wall = wall
        self._wake: Callable[[], None] = lambda: None
        self._results: deque[tuple[_Write, Outcome]] = deque()
        self._again: set[Key] = set()
        self._want: Mapping[Key, ServiceStatus] = {}
        self._live: LiveLookup = lambda kind, key: None
        self._sent: dict[Key, _Write] = {}
        self._written: dict[Key, tuple[_Write, str]] = {}
        self._failed: dict[Key, _Failed] = {}
        self._contests = Contests()
        self.has_moved = False  # whether the last `sync` wanted something else than that before
        self._changed = 0
        self._moved: set[Key] = set()
        self._assumed: dict[Key, tuple[IPAddress, ...]] = {}

    @property
    def assumed(self) -> Mapping[Key, tuple[IPAddress, ...]]:
        """Addresses on their way to a status, or taken away there: what it is going to say."""
        return self._assumed

    def start(self, wake: Callable[[], None]) -> None:
        """Learn how to have the ring go round."""
        self._wake = wake

    def collect(self) -> set[Key]:
        """Take in what became of writes; the Services of which something else is assumed now."""
        while self._results:
            self._settle(*self._results.popleft())
        changed, self._moved = self._moved, set()
        return changed

    def echoed(self, key: Key, live: Live | None) -> bool:
        """Whether a Service says only what we wrote there ourselves: no round need look at it."""
        if live is None:
            return False
        found = self._written.get(key)
        if found is None:
            sent = self._sent.get(key)
            return sent is not None and sent.status is not None and agrees(live, sent.status)
        write, version = found
        if (live.uid, live.resource_version) != (write.live.uid, version):
            return write.is_over(live)
        del self._written[key]
        self._assume(key, None)
        # What stays although it was left out is somebody else's as well, and wants another write.
        return write.status is None or agrees(live, write.status)

    def sync(
        self, want: Mapping[Key, ServiceStatus], have: Objects, live: LiveLookup,
        touched: frozenset[Key],
    ) -> Report:  # fmt: skip
        """Queue what differs; `touched` are Services of which the server holds something else."""
        while self._results:
            self._settle(*self._results.popleft())
        self._live = live
        gone, come = moved(self._want, want)
        self.has_moved = bool(gone or come)
        now = self._clock()
        stamp = instant(self._wall())
        due = [key for key, each in self._failed.items() if _is_due(each, now)]
        writes = {}
        for key in {*touched, *gone, *come, *due, *self._again}:
            write = self._considered(key, want.get(key), have, live("Service", key), now)
            if write is not None:
                writes[key] = write
        self._want = want
        order = together((key, writes[key].live) for key in sorted(writes))
        for key in order:
            self._contests.sent(key, writes[key].live, writes[key].status, now)
            self._send(writes[key], stamp)
        if self._again and self._results:
            self._wake()  # it ended after it was looked at and before somebody waited for it
        changed, self._changed = self._changed, 0
        return Report(
            changed=changed, failures=tuple(each.failure for each in self._failed.values())
        )

    def forget(self) -> None:
        """This controller is none any more: nothing is on its way, nothing is assumed."""
        self._moved.update(self._assumed)
        self._assumed.clear()
        for key in list(self._sent):
            if self._requests.withdraw(Lane.STATUS, ("Service", key)):
                del self._sent[key]
        self._written.clear()
        self._failed.clear()
        self._contests.forget()
        self._want = {}

    def _considered(
        self, key: Key, want: ServiceStatus | None, have: Objects, live: Live | None, now: float
    ) -> _Write | None:
        """What is to be written of one Service now, if anything."""
        self._again.discard(key)
        if live is None:
            self._drop(key)
            return None
        write = self._wanted(key, want, have, live)
        sent = self._sent.get(key)
        if sent is not None:
            return self._over(sent, write, want)
        failed = self._failed.get(key)
        if failed is not None:
            if write is not None and failed.write == write and not _is_due(failed, now):
                return None
            del self._failed[key]
        if write is None and key not in self._written:
            self._assume(key, None)
        return write if write is None else self._uncontested(write, now)

    def _uncontested(self, write: _Write, now: float) -> _Write | None:
        """The write, unless somebody else has overwritten it too often to be answered yet."""
        due = self._contests.wait(write.key, write.live, write.status, now)
        if due is None:
            return write
        theirs = ", ".join(each.ip or each.hostname or "" for each in write.live.ingress)
        refusal = Refusal(reason=Reason.STATUS_CONTESTED, detail=f"it holds {theirs}")
        failure = Failure(subject=f"Service {write.key}", refusal=refusal, retry_at=due)
        self._failed[write.key] = _Failed(write=write, failure=failure)
        self._assume(write.key, None)
        return None

    def _over(
        self, sent: _Write, write: _Write | None, want: ServiceStatus | None
    ) -> _Write | None:
        """What follows a write that is not done yet: nothing, if it is still the right one."""
        if write is not None and (write.status, write.live) == (sent.status, sent.live):
            return None
        if not self._requests.withdraw(Lane.STATUS, ("Service", sent.key)):
            # Under way: seen to when it has ended, unless the watch was faster than its answer.
            if write is not None or want != sent.status:
                self._again.add(sent.key)
            return None
        del self._sent[sent.key]
        self._assume(sent.key, None)
        return write

    def _wanted(
        self, key: Key, want: ServiceStatus | None, have: Objects, live: Live
    ) -> _Write | None:
        written = self._written.get(key)
        if written is not None and not written[0].is_over(live):
            del self._written[key]
            written = None
        if written is not None:
            return self._next(written, want, live)
        if want is not None:
            return None if agrees(live, want) else _Write(key=key, live=live, status=want)
        # Not in our charge. What another controller serves is left alone; of a Service that
        # no controller serves any more, our conditions go.
        service = have.services.get(key)
        if service is None or service.type == "LoadBalancer" or not has_ours(live):
            return None
        return _Write(key=key, live=live, status=None)

    def _next(
        self, written: tuple[_Write, str], want: ServiceStatus | None, live: Live
    ) -> _Write | None:
        """What follows our own last write, which the watch has not shown yet.

        That write was only possible on the version it was made for; so as long as the watch
        shows that version, ours is the next.
        """
        write, version = written
        if want is None or write.status == want:
            return None
        live = msgspec.structs.replace(live, resource_version=version)
        passed = write.passed | {write.live.resource_version}
        return _Write(key=write.key, live=live, status=want, passed=passed)

    def _send(self, write: _Write, stamp: str) -> None:
        key, status = write.key, write.status
        if status is None:
            request = withdrawal(key, write.live)
        else:
            request = status_write(key, write.live, status, stamp)
        done = _Done(self, write)
        self._written.pop(key, None)
        if not self._requests.submit(Lane.STATUS, ("Service", key), request, done):
            outcome = Outcome(why="too many writes wait", retry_at=self._clock() + 1.0)
            self._fail(write, outcome)
            return
        self._sent[key] = write
        addresses = status.addresses if status is not None else ()
        self._assume(key, None if addresses_agree(write.live, addresses) else addresses)

    def done(self, write: _Write, outcome: Outcome) -> None:
        """A write has ended. Called by a thread of the pool."""
        self._results.append((write, outcome))
        if not outcome.ok or write.key in self._again:
            self._wake()

    def _settle(self, write: _Write, outcome: Outcome) -> None:
        key = write.key
        if self._sent.get(key) is not write:
            return
        del self._sent[key]
        if outcome.ok:
            self._succeed(write, outcome)
        elif outcome.status == _GONE or (not outcome.status and outcome.retry_at is None):
            self._assume(key, None)  # deleted, or we are no controller: the watch will tell
        else:
            self._fail(write, outcome)

    def _succeed(self, write: _Write, outcome: Outcome) -> None:
        self._changed += 1
        live = self._live("Service", write.key)
        version = _version(outcome.body)
        if live is None or not write.is_over(live):
            self._assume(write.key, None)  # the watch was faster
        elif version:
            self._written[write.key] = (write, version)
        if write.status is not None:
            for each in self._telling:
                each.written(write.key, write.live, write.status)

    def _fail(self, write: _Write, outcome: Outcome) -> None:
        if outcome.status == _CONFLICT:
            self._assume(write.key, None)  # somebody changed it: decide again on what it is now
        refusal = Refusal(reason=Reason.STATUS_UNWRITABLE, detail=outcome.why)
        failure = Failure(
            subject=f"Service {write.key}", refusal=refusal, retry_at=outcome.retry_at
        )
        self._failed[write.key] = _Failed(write=write, failure=failure)

    def _drop(self, key: Key) -> None:
        """The Service is gone."""
        if key in self._sent and self._requests.withdraw(Lane.STATUS, ("Service", key)):
            del self._sent[key]
        self._written.pop(key, None)
        self._failed.pop(key, None)
        self._contests.forget(key)
        self._assume(key, None)

    def _assume(self, key: Key, addresses: tuple[IPAddress, ...] | None) -> None:
        if self._assumed.get(key) == addresses:
            return
        self._moved.add(key)
        if addresses is None:
            del self._assumed[key]
        else:
            self._assumed[key] = addresses


class _Done:
    """The callback of one write: smaller than a closure, of which there may be ten thousand."""

    __slots__ = ("_statuses", "_write")

    def __init__(self, statuses: ServiceStatuses, write: _Write) -> None:
        self._statuses = statuses
        self._write = write

    def __call__(self, outcome: Outcome) -> None:
        self._statuses.done(self._write, outcome)


def _version(body: bytes) -> str:
    try:
        return _head.decode(body).metadata.resource_version
    except UNREADABLE:
        return ""


def _is_due(failed: _Failed, now: float) -> bool:
    retry_at = failed.failure.retry_at
    return retry_at is not None and retry_at <= now
