"""The state folder: statuses and released addresses, read by everyone, written by one.

A status file speaks for its Service as long as it exists. When the Service is gone, the addresses
in it count as released until `sync` has moved them, so a crash at any point between two files
loses no address: the new file is always written before the old one is taken away.
"""

from __future__ import annotations

import errno
import os
import time
from collections.abc import Iterable

from onehop.adapters.manifests.folder import Tree, UnreadableError, text_of
from onehop.adapters.manifests.inotify import Event, Inotify
from onehop.adapters.manifests.status import (
    RELEASED,
    STATUS,
    addresses_in,
    key_of,
    path_of,
    released_text,
    remove,
    status_text,
    write,
)
from onehop.model.address import IPAddress
from onehop.model.desired import ClusterDesired, Failure, Report, ServiceStatus
from onehop.model.reason import Problem, Reason, Refusal
from onehop.model.service import Key

_Addresses = tuple[IPAddress, ...]
# By part and key: the text on disk and the addresses in it, as last read or written.
_Known = dict[str, dict[Key, tuple[str, _Addresses]]]
_SPOILT: tuple[str, _Addresses] = ("", ())
NODES = "nodes"
_RETRY_SECONDS = 1.0
# Errors that every further write would meet as well.
_HOPELESS = (errno.ENOSPC, errno.EROFS, errno.EDQUOT)


class State:
    """One state folder."""

    def __init__(self, root: str, inotify: Inotify) -> None:
        self.root = root
        # What nodes say of themselves is for others to read.
        self._tree = Tree(inotify, root, skipped=f"{root}/{NODES}")
        self._addresses: dict[str, dict[Key, _Addresses]] = {STATUS: {}, RELEASED: {}}
        self._known: _Known = {STATUS: {}, RELEASED: {}}
        self._problems: dict[str, Problem] = {}
        self._done: dict[Key, ServiceStatus] = {}

    def ingress(self, key: Key) -> _Addresses | None:
        """What the status file of a Service says; None when there is none."""
        return self._addresses[STATUS].get(key)

    def released(self, key: Key, *, present: bool) -> _Addresses:
        """The addresses kept for a Service that was deleted (`present`: it exists)."""
        kept = self._addresses[RELEASED].get(key, ())
        return kept if present else self._addresses[STATUS].get(key) or kept

    @property
    def refused(self) -> dict[str, str]:
        """Directories that cannot be read, and why."""
        return self._tree.refused

    def problems(self) -> Iterable[Problem]:
        """Files of the folder that cannot be read; what they said before stays in force."""
        return self._problems.values()

    def refresh(self, events: Iterable[Event]) -> set[Key]:
        """Read again what changed; the Services that this may concern."""
        touched: set[Key] = set()
        for path in self._tree.changes(events):
            found = key_of(self.root, path)
            if found is not None:
                self._load(path, *found)
                touched.add(found[1])
        return touched

    def _load(self, path: str, part: str, key: Key) -> None:
        self._problems.pop(path, None)
        known = self._known[part]
        try:
            text = text_of(path)
            if text is None:
                self._tree.forget(path)
                self._addresses[part].pop(key, None)
                known.pop(key, None)
                self._not_done(part, key)
                return
            if key not in known or known[key][0] != text:
                self._not_done(part, key)
                known[key] = (text, addresses_in(part, text))
            self._addresses[part][key] = known[key][1]
        except (UnreadableError, ValueError) as error:
            self._not_done(part, key)
            known[key] = _SPOILT
            self._problems[path] = _problem(path, part, key, str(error))

    def _not_done(self, part: str, key: Key) -> None:
        if part == STATUS:
            self._done.pop(key, None)

    def sync(self, want: ClusterDesired) -> Report:
        """Write what is wanted: first all that adds, then all that takes away."""
        return _Sync(self.root, self._known, self._done).run(want)


class _Sync:
    """One run of `sync`."""

    def __init__(self, root: str, known: _Known, done: dict[Key, ServiceStatus]) -> None:
        self._root = root
        self._known = known
        self._done = done
        self._changed = 0
        self._failures: list[Failure] = []
        self._failed_keys: set[Key] = set()
        self._hopeless = False

    def run(self, want: ClusterDesired) -> Report:
        for key, addresses in want.released.items():
            if self._known[RELEASED].get(key, _SPOILT)[1] == addresses:
                continue
            self._write(RELEASED, key, released_text(key, addresses), addresses)
        for key, status in want.statuses.items():
            if self._done.get(key) is not status and self._write(
                STATUS, key, status_text(status), status.addresses
            ):
                self._done[key] = status
        # An address whose new file could not be written stays in the old one.
        for key in self._known[STATUS].keys() - want.statuses.keys() - self._failed_keys:
            self._remove(STATUS, key)
            self._done.pop(key, None)
        for key in self._known[RELEASED].keys() - want.released.keys() - self._failed_keys:
            self._remove(RELEASED, key)
        return Report(changed=self._changed, failures=tuple(self._failures))

    def _write(self, part: str, key: Key, text: str, addresses: _Addresses) -> bool:
        if self._known[part].get(key, _SPOILT)[0] == text:
            return True
        path = path_of(self._root, part, key)
        if path is None:
            self._failed_keys.add(key)
            detail = f"{key} is not a name that Kubernetes allows"
            self._failures.append(
                Failure(
                    subject=f"Service {key}",
                    refusal=Refusal(reason=Reason.FIELD_INVALID, detail=detail),
                )
            )
            return False
        if self._hopeless:
            self._failed_keys.add(key)
            return False
        try:
            write(path, text)
        except OSError as error:
            self._failed(key, path, error)
            return False
        self._known[part][key] = (text, addresses)
        self._changed += 1
        return True

    def _remove(self, part: str, key: Key) -> None:
        path = path_of(self._root, part, key)
        assert path is not None, "only what could be written or read is known"
        try:
            remove(path)
        except OSError as error:
            self._failed(key, path, error)
            return
        del self._known[part][key]
        self._changed += 1

    def _failed(self, key: Key, path: str, error: OSError) -> None:
        self._failed_keys.add(key)
        self._hopeless = self._hopeless or error.errno in _HOPELESS
        detail = f"{os.path.relpath(path, self._root)} in {self._root}: {error.strerror}"
        self._failures.append(
            Failure(
                subject=f"Service {key}",
                refusal=Refusal(reason=Reason.STATUS_UNWRITABLE, detail=detail),
                retry_at=time.monotonic() + _RETRY_SECONDS,
            )
        )


def _problem(path: str, part: str, key: Key, detail: str) -> Problem:
    return Problem(
        source=path,
        line=0,
        object=f"Service {key}",
        field="status" if part == STATUS else "addresses",
        reason=Reason.MANIFEST_UNREADABLE,
        detail=detail,
    )
