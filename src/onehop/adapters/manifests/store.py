"""The store: objects out of a folder, statuses into it.

`refresh` turns what changed on disk into one new frozen value, and keeps every object whose
content did not change the identical object. `sync` writes what the controller wants. The two meet
on disk only: what `sync` writes comes back through `refresh`, here and in every other process that
reads the same folder, so nobody ever sees a status that would not survive a crash.
"""

from __future__ import annotations

import gc
import os
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

from onehop.adapters.manifests.catalog import Catalog
from onehop.adapters.manifests.folder import Tree
from onehop.adapters.manifests.inotify import Event, Inotify
from onehop.adapters.manifests.state import State
from onehop.adapters.objects.fault import ObjectId, Value
from onehop.adapters.objects.kind import FIELDS
from onehop.model.address import IPAddress
from onehop.model.desired import ClusterDesired, Report
from onehop.model.diff import edited
from onehop.model.objects import Objects
from onehop.model.reason import Problem, Reason
from onehop.model.service import Key, Service

# Between an editor's rename or truncate and its close lie microseconds or a sync of the disk.
_SETTLE_SECONDS = 0.005
# Between an unlink and the create that follows it lie microseconds, unless the scheduler comes in
# between, and then five milliseconds are as short as this.
_UNLINKED_SECONDS = 0.0005
# No stream of changes may keep the others waiting for longer.
_PATIENCE_SECONDS = 0.020


class Manifests:
    """A folder of manifests, and the state folder in which statuses are kept.

    Raises:
        ValueError: when both are the same folder.
        OSError: when the system has no inotify instance left.
    """

    def __init__(self, folder: Path, *, state: Path | None = None) -> None:
        root = os.path.abspath(folder)
        self._shown = os.fspath(folder)
        kept = os.path.abspath(state or folder / ".onehop")
        if kept == root:
            raise ValueError(f"{state}: statuses cannot be kept in the folder of manifests itself")
        self._inotify = Inotify()
        self._state = State(kept, self._inotify)
        self._tree = Tree(self._inotify, root, skipped=self._state.root)
        self._catalog = Catalog()
        self._objects = Objects()
        self._lost_at: float | None = None

    def objects(self) -> Objects:
        """All objects as of the last `refresh`; the identical value while nothing changed."""
        return self._objects

    def fileno(self) -> int:
        """The descriptor that becomes readable when `refresh` has something to do."""
        return self._inotify.fileno()

    def refresh(self) -> bool:
        """Read again what changed on disk; whether `objects` is a new value.

        The first call reads everything.
        """
        if self._objects.complete:
            return self._refreshed()
        with _uncollected():
            return self._refreshed()

    def _refreshed(self) -> bool:
        events = self._inotify.events()
        touched = self._load(events)
        if self._tree.present:
            self._lost_at = None
        elif self._lost_at is None:
            self._lost_at = time.monotonic()
        keys = self._state.refresh(events)
        touched |= {ObjectId("Service", key) for key in keys}
        return self._publish(touched)

    def sync(self, want: ClusterDesired) -> Report:
        """Write the statuses that are wanted; unchanged ones cost nothing.

        What cannot be written is reported and tried again by the next call.
        """
        return self._state.sync(want)

    def staleness(self) -> float:
        """For how many seconds the folder has been out of reach; 0 while it is there."""
        return 0.0 if self._lost_at is None else time.monotonic() - self._lost_at

    def close(self) -> None:
        """Stop watching; twice is fine."""
        self._inotify.close()

    def _load(self, events: list[Event]) -> set[ObjectId]:
        """Read the files that changed; `events` grows by those that come meanwhile.

        A file that got worse is given a moment, in which whoever writes it may go on.
        """
        touched: set[ObjectId] = set()
        believed_at: dict[str, float] = {}
        now = time.monotonic()
        until = now + _PATIENCE_SECONDS if self._objects.complete else now
        pending = self._tree.changes(events)
        while True:
            for path in pending:
                believed_at[path] = min(now + self._settling(path), until)
            for path in self._tree.being_written(believed_at):
                del believed_at[path]
            for path, at in [*believed_at.items()]:
                # What was doubted and has not changed need not be read before its time is over.
                if (path in pending or at <= now) and self._loaded(path, touched, hasty=now < at):
                    del believed_at[path]
            if not believed_at:
                return touched
            more = self._inotify.events(timeout=max(0.0, min(believed_at.values()) - now))
            events += more
            now = time.monotonic()
            pending = self._tree.changes(more)

    def _settling(self, path: str) -> float:
        return _UNLINKED_SECONDS if self._tree.was_unlinked(path) else _SETTLE_SECONDS

    def _loaded(self, path: str, touched: set[ObjectId], *, hasty: bool) -> bool:
        names = self._catalog.load(path, hasty=hasty)
        if names is None:
            return False
        touched |= names
        if not self._catalog.holds(path):
            self._tree.forget(path)
        return True

    def _publish(self, touched: set[ObjectId]) -> bool:
        old = self._objects
        edits: dict[str, dict[Key, Value | None]] = {}
        released: dict[Key, tuple[IPAddress, ...]] = {}
        for name in touched:
            have = getattr(old, FIELDS[name.kind]).get(name.key)
            value = self._catalog.value(name)
            if name.kind == "Service":
                released[name.key] = self._state.released(name.key, present=value is not None)
                value = self._with_status(value)
            if value != have:
                edits.setdefault(FIELDS[name.kind], {})[name.key] = value
        fields = {kind: edited(getattr(old, kind), each) for kind, each in edits.items()}
        new = replace(
            old,
            complete=old.complete or self._tree.present,
            released=edited(
                old.released, {key: addresses or None for key, addresses in released.items()}
            ),
            problems=self._problems(),
            **fields,
        )
        if _same(old, new):
            return False
        self._objects = new
        return True

    def _with_status(self, value: Value | None) -> Value | None:
        if not isinstance(value, Service):
            return value
        ingress = self._state.ingress(value.key)
        if ingress is None or ingress == value.ingress:
            return value
        return replace(value, ingress=ingress)

    def _problems(self) -> tuple[Problem, ...]:
        found = [*self._catalog.problems(), *self._state.problems()]
        refused = self._tree.refused | self._state.refused
        found += [_unreadable(path, why) for path, why in refused.items()]
        if not self._tree.present and self._tree.root not in refused:
            found.append(_unreadable(self._tree.root, "there is no such folder"))
        found.sort(key=lambda each: (each.source, each.line, each.object, each.field))
        problems = tuple(replace(each, source=self._relative(each.source)) for each in found)
        return self._objects.problems if problems == self._objects.problems else problems

    def _relative(self, source: str) -> str:
        """The file as the user named its folder."""
        if source == self._tree.root:
            return self._shown
        if source.startswith(self._tree.root + "/"):
            return os.path.join(self._shown, source[len(self._tree.root) + 1 :])
        return source


@contextmanager
def _uncollected() -> Iterator[None]:
    """No garbage collection: a first load makes many objects and no garbage among them."""
    enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if enabled:
            gc.enable()


def _unreadable(path: str, why: str) -> Problem:
    return Problem(
        source=path, line=0, object="", field="", reason=Reason.MANIFEST_UNREADABLE, detail=why
    )


def _same(old: Objects, new: Objects) -> bool:
    return all(
        getattr(old, name) is getattr(new, name)
        for name in (*FIELDS.values(), "released", "problems", "complete")
    )
