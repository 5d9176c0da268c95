"""Files in which a node says what it carries: one a Service and protocol, as the API would hold.

`nodes/NODE/KIND/NAMESPACE/NAME.json` below the state folder; JSON is YAML. Written a few at a
time, since ten thousand at once would hold up the loop that answers for addresses. A node takes
away its own files only, but for one case: who has become the owner of an address takes away what
a node that died has left, so that one node at a time says that it answers.
"""

from __future__ import annotations

import os
import time
from collections.abc import Iterator, Mapping
from contextlib import suppress
from pathlib import Path

import msgspec

from onehop.adapters.manifests.state import NODES
from onehop.adapters.manifests.status import remove, write
from onehop.adapters.service_status import ServiceNodeStatus, status_object
from onehop.model.diff import diff
from onehop.model.service import Key
from onehop.model.status import NodeStatuses

NAMESPACE = "metallb-system"
_L2, _BGP = "servicel2status", "servicebgpstatus"
_SUFFIX = ".json"
_LEFT_BEHIND = 1.0  # seconds: what is younger may belong to an owner that is just taking over

_Place = tuple[str, Key]


class NodeStatusFiles:
    """The status files of one node."""

    def __init__(self, state: Path, node: str) -> None:
        self._nodes = state / NODES
        self._node = node
        self._want = NodeStatuses()
        self._pending: dict[_Place, ServiceNodeStatus | None] = {}
        self._is_known = False

    def want(self, statuses: NodeStatuses) -> None:
        """Take over what is to be said; `step` writes it."""
        if not self._is_known:
            # What an earlier speaker of this node said, unless it is to be said again.
            self._pending.update(dict.fromkeys(_found(self._nodes / self._node)))
            self._is_known = True
        self._note(_L2, self._want.l2, statuses.l2)
        self._note(_BGP, self._want.bgp, statuses.bgp)
        self._want = statuses

    def _note(
        self,
        kind: str,
        have: Mapping[Key, ServiceNodeStatus],
        want: Mapping[Key, ServiceNodeStatus],
    ) -> None:
        if have is want:
            return
        steps = diff(have, want)
        for key, status in (*steps.add.items(), *steps.change.items()):
            self._pending[kind, key] = status
        for key in steps.remove:
            self._pending[kind, key] = None

    def step(self, limit: int) -> bool:
        """Write so many of the files that differ; whether some are left.

        Raises:
            OSError: when one cannot be written; the next step tries it again.
        """
        for place in list(self._pending)[:limit]:
            self._put(place, self._pending[place])
            del self._pending[place]
        return bool(self._pending)

    def _put(self, place: _Place, status: ServiceNodeStatus | None) -> None:
        path = self._path(self._node, place)
        if status is None:
            remove(path)
            return
        text = msgspec.json.format(
            msgspec.json.encode(status_object(status, NAMESPACE)), indent=2
        ).decode()
        if _text(path) != text:
            write(path, text + "\n")
        if place[0] == _L2:
            self._clear(place)

    def _clear(self, place: _Place) -> None:
        """Take away what another node left behind about a Service that is ours now."""
        with suppress(OSError):
            others = [entry.name for entry in os.scandir(self._nodes) if entry.is_dir()]
            for node in others:
                if node != self._node:
                    self._forget(self._path(node, place))

    def _forget(self, path: str) -> None:
        with suppress(OSError):
            if time.time() - os.stat(path).st_mtime > _LEFT_BEHIND:
                remove(path)

    def _path(self, node: str, place: _Place) -> str:
        kind, key = place
        return f"{self._nodes}/{node}/{kind}/{key.namespace}/{key.name}{_SUFFIX}"


def _text(path: str) -> str | None:
    try:
        return Path(path).read_text().removesuffix("\n")
    except (OSError, ValueError):
        return None


def _found(folder: Path) -> Iterator[_Place]:
    for kind in (_L2, _BGP):
        for path in (folder / kind).glob(f"*/*{_SUFFIX}"):
            if not path.name.startswith("."):
                yield kind, Key(path.parent.name, path.name.removesuffix(_SUFFIX))
