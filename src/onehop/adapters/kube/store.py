"""The store: objects out of an API server; what is written there is a writer's work.

`refresh` takes in what was heard meanwhile and publishes it as one new frozen value. It does so
without waiting for the server; only where a thread hears, the first call waits for a while, until
every kind was listed once, as a folder's first call reads everything.
"""

from __future__ import annotations

import asyncio
import os
import select
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import replace
from types import MappingProxyType
from typing import Protocol

from onehop.adapters.kube.cache import Cache, News
from onehop.adapters.kube.kubeconfig import Access
from onehop.adapters.kube.reader import Reader, Recall
from onehop.adapters.kube.reflector import Timing
from onehop.adapters.kube.source import sources
from onehop.adapters.kube.structs import Live
from onehop.adapters.objects.fault import Value
from onehop.model.address import IPAddress
from onehop.model.desired import ClusterDesired, Report
from onehop.model.diff import edited
from onehop.model.objects import Objects
from onehop.model.service import Key, Service

LiveLookup = Callable[[str, Key], Live | None]
_PATIENCE = 1.0  # seconds for the first list; nothing else in the process runs meanwhile


class Writer(Protocol):
    """Writes what the controller decides. All but `wake` happens in the deciding thread."""

    @property
    def assumed(self) -> Mapping[Key, tuple[IPAddress, ...]]:
        """Addresses on their way into statuses; it changes only within `collect` and `sync`."""
        ...

    def start(self, wake: Callable[[], None]) -> None:
        """Told once how to ask for a round: `wake` may be called from any thread."""
        ...

    def collect(self) -> set[Key]:
        """Take in what became of writes; the Services whose assumption changed since."""
        ...

    def echoed(self, key: Key, live: Live | None) -> bool:
        """Whether a Service says only what we wrote there ourselves: nobody need look at it."""
        ...

    def sync(
        self, want: ClusterDesired, have: Objects, live: LiveLookup, touched: frozenset[Key]
    ) -> Report:
        """Write what differs. `touched` are Services that changed in any way since the last."""
        ...

    def close(self) -> None:
        """Write nothing more."""
        ...


class KubeStore:
    """An API server as a store; without a writer it only reads.

    With a `loop` it reads there, in the thread of whoever decides, and in a thread without one.
    """

    def __init__(
        self,
        access: Access,
        *,
        namespace: str,
        slices: bool = True,
        writer: Writer | None = None,
        recall: Recall | None = None,
        timing: Timing | None = None,
        patience: float = _PATIENCE,
        loop: asyncio.AbstractEventLoop | None = None,
    ) -> None:
        self._descriptor = os.eventfd(0, os.EFD_NONBLOCK | os.EFD_CLOEXEC)
        self._writer = writer
        self._patience = patience if loop is None else 0.0
        self._objects = Objects()
        self._heard: dict[Key, Service] = {}
        self._touched: set[Key] = set()
        self._asked = False
        self._crash: BaseException | None = None
        self._cache = Cache(self._wake, wake_for_status=writer is not None)
        self._reader = Reader(
            access,
            sources(namespace, slices=slices),
            self._cache,
            timing=timing or Timing(),
            recall=recall,
            crashed=self._crashed,
            loop=loop,
        )
        if writer is not None:
            writer.start(self._ask)

    def objects(self) -> Objects:
        """All objects as of the last `refresh`; the identical value while nothing changed.

        Raises:
            BaseException: whatever ended the thread that hears: better no decision than one on
                objects that nobody keeps up to date.
        """
        if self._crash is not None:
            raise self._crash
        return self._objects

    def live(self, kind: str, key: Key) -> Live | None:
        """What is known of an object beyond the model, possibly newer than `objects`."""
        return self._cache.live(kind, key)

    def fileno(self) -> int:
        """The descriptor that becomes readable when `refresh` has something to do."""
        return self._descriptor

    def refresh(self) -> bool:
        """Take in what was heard; whether a round is due: a new value, or a writer's wish."""
        self._await_first()
        with suppress(BlockingIOError):
            os.eventfd_read(self._descriptor)
        if self._crash is not None:
            return True
        asked, self._asked = self._asked, False
        changed = self._writer.collect() if self._writer is not None else set()
        news = self._cache.take()
        self._touched |= news.touched
        published = self._publish(news, changed)
        is_new = news.has_status and news.complete and not self._is_echo(news)
        return published or asked or is_new

    def sync(self, want: ClusterDesired) -> Report:
        """Have the statuses written that are wanted."""
        if self._writer is None:
            return Report()
        touched, self._touched = frozenset(self._touched), set()
        report = self._writer.sync(want, self._objects, self.live, touched)
        self._publish(News(complete=self._objects.complete), self._writer.collect())
        if self._objects.released != want.released:
            self._objects = replace(self._objects, released=want.released)
        return report

    def staleness(self) -> float:
        """For how many seconds the API server has been out of reach; 0 while it answers."""
        lost_at = self._reader.lost_at
        return 0.0 if lost_at is None else time.monotonic() - lost_at

    def close(self) -> None:
        """Stop reading and writing; twice is fine."""
        if self._descriptor < 0:
            return
        if self._writer is not None:
            self._writer.close()
        self._reader.stop()
        os.close(self._descriptor)
        self._descriptor = -1

    def _is_echo(self, news: News) -> bool:
        """Whether all that came of Services is what the writer wrote there."""
        writer = self._writer
        assert writer is not None, "only a writer asks for statuses"
        # Each is asked, since to be asked makes the writer forget what it assumed.
        answers = [writer.echoed(key, self.live("Service", key)) for key in news.touched]
        return all(answers)

    def _await_first(self) -> None:
        """Wait until everything was listed, or for as long as our patience lasts."""
        until, self._patience = time.monotonic() + self._patience, 0.0
        while not self._cache.complete and self._crash is None:
            left = until - time.monotonic()
            if left <= 0:
                return
            select.select([self._descriptor], [], [], left)
            if not self._cache.complete:
                with suppress(BlockingIOError):
                    os.eventfd_read(self._descriptor)

    def _publish(self, news: News, changed: set[Key]) -> bool:
        old = self._objects
        edits = dict(news.edits)
        services = edits.get("services", {})
        if self._writer is not None:
            edits["services"] = self._shown(services, changed)
        fields = {name: edited(getattr(old, name), each) for name, each in edits.items()}
        released = old.released
        if news.released and self._writer is not None:
            released = MappingProxyType({**old.released, **news.released})
        new = replace(
            old,
            complete=news.complete,
            released=released,
            problems=old.problems if news.problems is None else news.problems,
            **fields,
        )
        if all(getattr(old, name) is getattr(new, name) for name in _FIELDS):
            return False
        self._objects = new
        return True

    def _shown(
        self, services: Mapping[Key, Value | None], changed: set[Key]
    ) -> dict[Key, Value | None]:
        """Services with the addresses that are on their way to them.

        Else the next decision would not know of them, and give them to somebody else.
        """
        assert self._writer is not None, "only a writer assumes"
        for key, value in services.items():
            if isinstance(value, Service):
                self._heard[key] = value
            else:
                self._heard.pop(key, None)
        shown: dict[Key, Value | None] = {}
        for key in services.keys() | changed:
            service = self._heard.get(key)
            assumed = self._writer.assumed.get(key)
            if service is not None and assumed is not None and assumed != service.ingress:
                service = replace(service, ingress=assumed)
            shown[key] = service
        return shown

    def _ask(self) -> None:
        self._asked = True
        self._wake()

    def _wake(self) -> None:
        if self._descriptor >= 0:
            os.eventfd_write(self._descriptor, 1)

    def _crashed(self, error: BaseException) -> None:
        self._crash = error
        self._wake()


_FIELDS = tuple(Objects.__dataclass_fields__)
