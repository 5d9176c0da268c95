"""The store: objects out of a folder, statuses into it.

`refresh` turns what changed on disk into one new frozen value, and keeps every object whose
content did not change the identical object. `sync` writes what the controller wants. The two meet
on disk only: what `sync` writes comes back through `refresh`, here and in every other process that
reads the same folder, so nobody ever sees a status that would not survive a crash.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from types import MappingProxyType
from typing import TypeVar

from onehop.adapters.manifests.catalog import Catalog
from onehop.adapters.manifests.fault import ObjectId, Value
from onehop.adapters.manifests.folder import Tree
from onehop.adapters.manifests.inotify import Inotify
from onehop.adapters.manifests.state import State
from onehop.model.address import IPAddress
from onehop.model.desired import ClusterDesired, Report
from onehop.model.objects import Objects
from onehop.model.reason import Problem, Reason
from onehop.model.service import Key, Service

_FIELDS = {
    "Node": "nodes",
    "Namespace": "namespaces",
    "Service": "services",
    "EndpointSlice": "slices",
    "Pod": "pods",
    "IPAddressPool": "pools",
    "L2Advertisement": "l2_advertisements",
}

_V = TypeVar("_V")


class Manifests:
    """A folder of manifests, and the state folder in which statuses are kept."""

    def __init__(self, folder: Path, *, state: Path | None = None) -> None:
        root = os.path.abspath(folder)
        self._shown = os.fspath(folder)
        self._inotify = Inotify()
        self._state = State(os.path.abspath(state or folder / ".onehop"), self._inotify)
        self._tree = Tree(self._inotify, root, skipped=self._state.root)
        self._catalog = Catalog()
        self._objects = Objects()

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
        events = self._inotify.events()
        touched: set[ObjectId] = set()
        for path in self._tree.changes(events):
            there, names = self._catalog.load(path)
            touched |= names
            if not there:
                self._tree.forget(path)
        keys = self._state.refresh(events)
        touched |= {ObjectId("Service", key) for key in keys}
        return self._publish(touched)

    def sync(self, want: ClusterDesired) -> Report:
        """Write the statuses that are wanted; unchanged ones cost nothing.

        What cannot be written is reported and tried again by the next call.
        """
        return self._state.sync(want)

    def close(self) -> None:
        """Stop watching; twice is fine."""
        self._inotify.close()

    def _publish(self, touched: set[ObjectId]) -> bool:
        old = self._objects
        edits: dict[str, dict[Key, Value | None]] = {}
        released: dict[Key, tuple[IPAddress, ...]] = {}
        for name in touched:
            have = getattr(old, _FIELDS[name.kind]).get(name.key)
            value = self._catalog.value(name)
            if name.kind == "Service":
                released[name.key] = self._state.released(name.key, present=value is not None)
                value = self._with_status(value)
            if value != have:
                edits.setdefault(_FIELDS[name.kind], {})[name.key] = value
        fields = {kind: _edited(getattr(old, kind), each) for kind, each in edits.items()}
        new = replace(
            old,
            complete=old.complete or self._tree.present,
            released=_edited(
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
        if not self._tree.present:
            found.append(_missing(self._tree.root))
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


def _missing(root: str) -> Problem:
    return Problem(
        source=root,
        line=0,
        object="",
        field="",
        reason=Reason.MANIFEST_UNREADABLE,
        detail="there is no such folder",
    )


def _edited(have: Mapping[Key, _V], edits: Mapping[Key, _V | None]) -> Mapping[Key, _V]:
    """`have` with these entries set or, where None, taken away; itself when nothing changes."""
    edits = {key: value for key, value in edits.items() if have.get(key) != value}
    if not edits:
        return have
    new = dict(have)
    for key, value in edits.items():
        if value is None:
            del new[key]
        else:
            new[key] = value
    return MappingProxyType(new)


def _same(old: Objects, new: Objects) -> bool:
    return all(
        getattr(old, name) is getattr(new, name)
        for name in (*_FIELDS.values(), "released", "problems", "complete")
    )
