"""Whether an object of our own still stands: one watch of it alone, in a thread of its own.

Somebody may delete what we keep, and we would not look again before we had something else to say.
A watch costs no request but its renewal each ten minutes. What it brings is a doubt, not an
answer: that the object was deleted, or that its version is too old to go on from. Whoever keeps it
looks then, and says from which version on it is followed again.

A watch that ends soon is followed by a rest, the longer the more often it happens in a row: a
server that is away is not pressed, and somebody who deletes each time is not fought.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from random import random

import msgspec

from onehop.adapters.kube.connection import Connection, LostError, Request
from onehop.adapters.kube.kubeconfig import Access
from onehop.adapters.kube.structs import UNREADABLE, Bookmark, Event

_WATCH = 600  # seconds that the server holds a watch open
_LATE = 20  # seconds more until one counts as broken
_LONG = 60.0  # seconds: a watch that stood so long did not end soon
_LAST_REST = 300.0
_BRIEF = "application/json;as=PartialObjectMetadata;g=meta.k8s.io;v=v1,application/json"
_event = msgspec.json.Decoder(Event)
_bookmark = msgspec.json.Decoder(Bookmark)


def version_of(body: bytes | msgspec.Raw) -> str:
    """The version of an object; empty when none can be read."""
    try:
        return _bookmark.decode(body).metadata.resource_version
    except UNREADABLE:
        return ""


class Standing:
    """Follows one object; `doubted` is called by its thread."""

    def __init__(
        self, access: Access, collection: str, name: str, doubted: Callable[[], None]
    ) -> None:
        self._connection = Connection(access)
        self._path = f"{collection}?watch=1&fieldSelector=metadata.name%3D{name}"
        self._doubted = doubted
        self._version = ""
        self._is_followed = threading.Event()
        self._stopping = threading.Event()
        self._thread: threading.Thread | None = None
        self._rest = 0.0

    def follow(self, version: str) -> None:
        """It was seen in this version; of no account while it is followed already."""
        if self._is_followed.is_set() or not version:
            return
        self._version = version
        self._is_followed.set()
        if self._thread is None:
            self._thread = threading.Thread(target=self._run, name="standing", daemon=True)
            self._thread.start()

    def close(self) -> None:
        """Follow it no more."""
        self._stopping.set()
        self._is_followed.set()
        self._connection.interrupt()
        if self._thread is not None:
            self._thread.join(2)

    def _run(self) -> None:
        while self._is_followed.wait() and not self._stopping.is_set():
            begun = time.monotonic()
            try:
                is_doubtful = self._watch()
            except LostError as lost:
                is_doubtful = lost.status != 0
            self._connection.close()
            self._stopping.wait(self._pause(time.monotonic() - begun))
            if is_doubtful and not self._stopping.is_set():
                self._is_followed.clear()
                self._doubted()

    def _watch(self) -> bool:
        """Follow it until the watch ends; whether it is doubtful then that it stands."""
        path = f"{self._path}&resourceVersion={self._version}&timeoutSeconds={_WATCH}"
        request = Request("GET", path, accept=_BRIEF)
        for line in self._connection.lines(request, idle=lambda: _WATCH + _LATE):
            try:
                event = _event.decode(line)
            except UNREADABLE:
                return True
            if event.type in ("DELETED", "ERROR"):
                return True
            self._version = version_of(event.object) or self._version
        return False

    def _pause(self, stood: float) -> float:
        """Seconds of rest after a watch that stood so long."""
        if stood >= _LONG:
            self._rest = 0.0
        rest, self._rest = self._rest, min(_LAST_REST, 2 * self._rest or 1.0)
        return rest * (0.5 + 0.5 * random())
