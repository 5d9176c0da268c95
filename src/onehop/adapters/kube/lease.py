"""The Lease: of several controllers one writes (coordination.k8s.io/v1).

Who holds it renews it each five seconds and writes only until ten seconds after it *sent* its last
renewal that succeeded. Who waits takes it fifteen seconds after it *saw* the last change, by its
own clock: no two clocks are ever compared, only their rates. A write takes four seconds at most,
so the last one of a holder has ended a second before the next holder's first.

The clock counts on while the machine sleeps, and is asked before each write: a process that was
stopped wakes up deposed. What it sent the instant before is refused by the server, since each
write names the version of the object it was decided on.

A holder that ends empties the Lease after its last write, and who waits watches it: the hand-over
takes milliseconds. A holder whose `identity` is its pod's own name knows its Lease again after a
crash and need not wait for it.
"""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, replace
from random import random

import msgspec

from onehop.adapters.kube.connection import MERGE_PATCH, Answer, Connection, LostError, Request
from onehop.adapters.kube.instant import micro_instant
from onehop.adapters.kube.kubeconfig import Access
from onehop.adapters.kube.requests import message
from onehop.adapters.kube.structs import UNREADABLE

NAME = "onehop-controller"
_WATCH = 600  # seconds that the server holds a watch open
_encode = msgspec.json.Encoder().encode


class _Spec(msgspec.Struct, rename="camel"):
    holder_identity: str | None = None
    lease_duration_seconds: int | None = None
    renew_time: str | None = None
    lease_transitions: int | None = None


class _Meta(msgspec.Struct, rename="camel"):
    resource_version: str = ""


class _Lease(msgspec.Struct, rename="camel"):
    metadata: _Meta
    spec: _Spec | None = None


class _Event(msgspec.Struct):
    type: str
    object: msgspec.Raw


@dataclass(frozen=True, slots=True, kw_only=True)
class Timing:
    """Spans in seconds.

    `duration` without a change, and it may be taken. `renew` is a third of it, so that two
    renewals may fail. `valid` is how long a renewal entitles to write: 4 s for the last write and
    1 s of drift less than `duration`.
    """

    duration: float = 15.0
    renew: float = 5.0
    valid: float = 10.0
    retry: float = 1.0


TIMING = Timing()


@dataclass(frozen=True, slots=True, kw_only=True)
class Record:
    """The Lease as the server holds it; `holder` empty: nobody's."""

    version: str
    holder: str = ""
    duration: float = TIMING.duration
    transitions: int = 0
    renewed: str = ""


class Election:
    """When the Lease may be taken, and whether it is ours. No I/O; `now` is our own clock."""

    def __init__(self, identity: str, timing: Timing = TIMING) -> None:
        self.identity = identity
        self.timing = timing
        self._record: Record | None = None
        self._is_known = False
        self._changed_at = 0.0
        self._valid_until = -1.0

    @property
    def record(self) -> Record | None:
        """The Lease as it was seen last, None when there is none."""
        return self._record

    def seen(self, record: Record | None, now: float) -> None:
        """The server holds this. A change counts from when it was seen."""
        if not self._is_known or record != self._record:
            self._changed_at = now
        self._record, self._is_known = record, True
        if record is not None and record.holder != self.identity:
            self._valid_until = -1.0

    def free_in(self, now: float) -> float:
        """Seconds until it may be taken; 0: now."""
        record = self._record
        if record is None or record.holder in ("", self.identity):
            return 0.0
        return max(0.0, self._changed_at + record.duration - now)

    def renewed(self, record: Record, sent_at: float, now: float) -> None:
        """The server took our renewal, which was sent at `sent_at`."""
        self.seen(record, now)
        self._valid_until = sent_at + self.timing.valid

    def released(self) -> None:
        """We gave it up."""
        self._valid_until = -1.0

    def is_held(self, now: float) -> bool:
        """Whether we may write."""
        return now < self._valid_until


def boot_time() -> float:
    """Seconds that count on while the machine is suspended."""
    return time.clock_gettime(time.CLOCK_BOOTTIME)


class Lease:
    """Takes part in the election in a thread of its own, over a connection of its own."""

    def __init__(
        self,
        access: Access,
        namespace: str,
        *,
        identity: str,
        name: str = NAME,
        timing: Timing = TIMING,
        clock: Callable[[], float] = boot_time,
        wall: Callable[[], float] = time.time,
    ) -> None:
        self._access = access
        self._collection = f"/apis/coordination.k8s.io/v1/namespaces/{namespace}/leases"
        self._namespace = namespace
        self._name = name
        self._clock = clock
        self._wall = wall
        self._election = Election(identity, timing)
        self._connection = Connection(access)
        self._eventfd = os.eventfd(0, os.EFD_NONBLOCK | os.EFD_CLOEXEC)
        self._stopping = threading.Event()
        self._noted = self._told = (False, "", "")
        self.why = ""
        self._thread = threading.Thread(target=self._run, name="lease", daemon=True)

    def start(self) -> None:
        """Begin to stand for election."""
        self._thread.start()

    def is_held(self) -> bool:
        """Whether we may write at this instant; asked before each write, by any thread."""
        return self._election.is_held(self._clock())

    @property
    def holder(self) -> str:
        """Who holds it, as far as is known."""
        record = self._election.record
        return record.holder if record is not None else ""

    def fileno(self) -> int:
        """A descriptor that turns readable when we hold it, no longer, or cannot for a new why."""
        return self._eventfd

    def refresh(self) -> bool:
        """Whether that changed since the last call."""
        with suppress(BlockingIOError):
            os.eventfd_read(self._eventfd)
        state = self._state()
        changed, self._told = state != self._told, state
        return changed

    def close(self) -> None:
        """Give it up, if it is ours. Whoever writes must have ended before. Twice is fine."""
        if self._eventfd < 0:
            return
        self._stopping.set()
        # A watch that is under way ends with its connection.
        self._connection.interrupt()
        if self._thread.is_alive():
            self._thread.join(10)
        connection = Connection(self._access)
        with suppress(LostError):
            self._release(connection)
        connection.close()
        os.close(self._eventfd)
        self._eventfd = -1

    def _run(self) -> None:
        while not self._stopping.is_set():
            try:
                self._turn()
                self.why = ""
            except LostError as lost:
                self.why = str(lost)
                self._connection.close()
            self._tell()
            self._stopping.wait(self._pause())
        self._connection.close()

    def _turn(self) -> None:
        """Renew it, take it, or watch it until it may be taken."""
        if self.is_held() and self._put():
            return
        self._look()
        self._tell()
        if self._election.free_in(self._clock()) > 0:
            self._watch()
        if not self._stopping.is_set() and self._election.free_in(self._clock()) == 0:
            self._put()

    def _pause(self) -> float:
        timing = self._election.timing
        if self.is_held() and not self.why:
            return timing.renew * (0.8 + 0.2 * random())
        return timing.retry * (0.5 + 0.5 * random())

    def _tell(self) -> None:
        state = self._state()
        if state != self._noted:
            self._noted = state
            os.eventfd_write(self._eventfd, 1)

    def _state(self) -> tuple[bool, str, str]:
        """What somebody may want to know: also of one that never gets it, who does and why."""
        return (True, "", "") if self.is_held() else (False, self.holder, self.why)

    def _look(self) -> None:
        answer = self._connection.exchange(Request("GET", f"{self._collection}/{self._name}"))
        if answer.status not in (200, 404):
            raise _refused(answer)
        record = _record(answer.body) if answer.status == 200 else None
        self._election.seen(record, self._clock())

    def _watch(self) -> None:
        """Follow it until it is nobody's; raises when it was not renewed in time."""
        record = self._election.record
        assert record is not None, "only what exists is not free"
        path = (
            f"{self._collection}?watch=1&fieldSelector=metadata.name%3D{self._name}"
            f"&resourceVersion={record.version}&timeoutSeconds={_WATCH}"
        )
        try:
            for line in self._connection.lines(Request("GET", path), idle=self._patience):
                event = msgspec.json.decode(line, type=_Event)
                if event.type == "ERROR":
                    break
                gone = event.type == "DELETED"
                self._election.seen(None if gone else _record(event.object), self._clock())
                if self._stopping.is_set() or self._election.free_in(self._clock()) == 0:
                    break
        except LostError:
            if self._election.free_in(self._clock()) > 0:
                raise
        except UNREADABLE as error:
            raise LostError(str(error), was_sent=True) from None
        finally:
            self._connection.close()

    def _patience(self) -> float:
        return max(0.01, self._election.free_in(self._clock()))

    def _put(self) -> bool:
        """Write that it is ours; False when somebody else changed it meanwhile."""
        sent_at, election = self._clock(), self._election
        record = election.record
        answer = self._connection.exchange(self._renewal(record, election.identity))
        if answer.status in (404, 409):
            return False
        if answer.status not in (200, 201):
            raise _refused(answer)
        election.renewed(_record(answer.body), sent_at, self._clock())
        self._tell()
        return True

    def _renewal(self, record: Record | None, holder: str) -> Request:
        stamp = micro_instant(self._wall())
        spec: dict[str, object] = {
            "holderIdentity": holder,
            "leaseDurationSeconds": int(self._election.timing.duration) if holder else 1,
            "renewTime": stamp,
        }
        if record is None:
            spec |= {"acquireTime": stamp, "leaseTransitions": 0}
            body: dict[str, object] = {
                "apiVersion": "coordination.k8s.io/v1",
                "kind": "Lease",
                "metadata": {"name": self._name, "namespace": self._namespace},
                "spec": spec,
            }
            return Request("POST", self._collection, _encode(body))
        if holder and record.holder != holder:
            spec |= {"acquireTime": stamp, "leaseTransitions": record.transitions + 1}
        # A merge patch leaves labels and fields of others alone; the version makes it ours or
        # nobody's.
        body = {"metadata": {"resourceVersion": record.version}, "spec": spec}
        path = f"{self._collection}/{self._name}"
        return Request("PATCH", path, _encode(body), MERGE_PATCH)

    def _release(self, connection: Connection) -> None:
        record = self._election.record
        if record is None or record.holder != self._election.identity or not self.is_held():
            return
        self._election.released()
        connection.exchange(self._renewal(record, ""))


def _record(body: bytes | msgspec.Raw) -> Record:
    try:
        lease = msgspec.json.decode(body, type=_Lease)
    except UNREADABLE as error:
        raise LostError(f"no Lease: {error}", was_sent=True) from None
    record = Record(version=lease.metadata.resource_version)
    spec = lease.spec
    if spec is None:
        return record
    return replace(
        record,
        holder=spec.holder_identity or "",
        duration=float(spec.lease_duration_seconds or TIMING.duration),
        transitions=spec.lease_transitions or 0,
        renewed=spec.renew_time or "",
    )


def _refused(answer: Answer) -> LostError:
    return LostError(f"HTTP {answer.status}: {message(answer.body)}", was_sent=True)
