"""The reader: all reflectors, in a thread or on a loop, and what they have to say of the server.

While the server is away everything stays as it was read last, and one Problem says since when.
Secrets are read by name only, once a BGPPeer names them.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass

from onehop.adapters.kube.cache import Cache, Shelf
from onehop.adapters.kube.decode import problem
from onehop.adapters.kube.instant import instant
from onehop.adapters.kube.kubeconfig import Access
from onehop.adapters.kube.reflector import Pace, Reflector, Timing
from onehop.adapters.kube.running import start
from onehop.adapters.kube.source import Source, secret_source
from onehop.adapters.kube.watch import Answer, Channel, LostError
from onehop.model.address import IPAddress
from onehop.model.bgp import BGPPeer
from onehop.model.reason import Reason
from onehop.model.service import Key

_SERVER = "server"
_KEPT = "kept addresses"


@dataclass(frozen=True, slots=True, kw_only=True)
class Recall:
    """Where released addresses were written down, and how that is read."""

    path: str
    decoded: Callable[[bytes], Mapping[Key, tuple[IPAddress, ...]]]


class Reader:
    """Fills a cache until it is stopped."""

    def __init__(
        self,
        access: Access,
        sources: tuple[Source, ...],
        cache: Cache,
        *,
        timing: Timing,
        recall: Recall | None = None,
        crashed: Callable[[BaseException], None],
        loop: asyncio.AbstractEventLoop | None = None,
    ) -> None:
        self._access = access
        self._cache = cache
        self._timing = timing
        self._recall = recall
        self._shelves = [Shelf(source, cache) for source in sources]
        self._secrets: dict[Key, tuple[Shelf, asyncio.Task[None]]] = {}
        self._unsettled: set[Source | str] = {each.source for each in self._shelves}
        if recall is not None:
            self._unsettled.add(_KEPT)
        self._lost: set[Source] = set()
        self._unread: dict[Source, float] = {}  # since when
        self.lost_at: float | None = None
        self._group: asyncio.TaskGroup
        self._pace: Pace
        self._running = start(self._read, crashed, loop, "kube-read")

    def stop(self) -> None:
        """Read no more."""
        self._running.stop()

    async def _read(self) -> None:
        self._pace = Pace(self._timing.spacing)
        async with asyncio.TaskGroup() as self._group:
            if self._recall is not None:
                self._group.create_task(self._remember(self._recall))
            for shelf in self._shelves:
                self._reflect(shelf)

    def _reflect(self, shelf: Shelf) -> asyncio.Task[None]:
        reflector = Reflector(
            shelf,
            self._channel(),
            watcher=self,
            pace=self._pace,
            timing=self._timing,
        )
        return self._group.create_task(reflector.run())

    def _channel(self) -> Channel:
        timing = self._timing
        return Channel(
            self._access,
            answer_seconds=timing.answer,
            connect_seconds=timing.connect,
            keepalive=timing.keepalive,
        )

    async def _remember(self, recall: Recall) -> None:
        """Read once what was released before this process began."""
        channel = self._channel()
        try:
            answer, body = await self._recalled(channel, recall.path)
        finally:
            channel.close()
        if answer.status == 200:
            for key, addresses in recall.decoded(body).items():
                self._cache.release(key, addresses)
        self._settle(_KEPT)

    async def _recalled(self, channel: Channel, path: str) -> tuple[Answer, bytes]:
        while True:
            try:
                answer = await channel.ask(path)
                body = await channel.body(answer)
            except LostError:
                self._pace.failed()
            else:
                if answer.status < 500 and answer.status not in (401, 429):
                    return answer, body
            await self._pace.pause(self._timing.last_pause)

    def settled(self, shelf: Shelf) -> None:
        """The source was listed once, or it is clear that it cannot be."""
        if shelf.source.kind == "BGPPeer":
            self._follow_secrets(shelf)
        self._settle(shelf.source)

    def heard(self, shelf: Shelf) -> None:
        """Something was heard."""
        if shelf.source.kind == "BGPPeer":
            self._follow_secrets(shelf)
        self._cache.flush()

    def refused(self, shelf: Shelf, reason: Reason, detail: str) -> None:
        """The source cannot be read, though the server answers."""
        self._cache.complain(shelf.source, (problem(shelf.source.about, reason, detail),))
        self._unread.setdefault(shelf.source, time.monotonic())
        self._answered(shelf)
        self._cache.flush()

    def lost(self, shelf: Shelf, why: str) -> None:
        """The server cannot be reached."""
        is_first = not self._lost
        self._lost.add(shelf.source)
        self._unread.setdefault(shelf.source, time.monotonic())
        self._judge()
        if is_first:
            since = instant(time.time())
            detail = f"{self._access.server} has not answered since {since}: {why}"
            self._cache.complain(_SERVER, (problem("", Reason.API_UNREACHABLE, detail),))
            self._cache.flush()

    def fine(self, shelf: Shelf) -> None:
        """The source is read."""
        self._forget(shelf)
        self._cache.flush()

    def _forget(self, shelf: Shelf) -> None:
        """Nothing is wrong with this source any more."""
        self._cache.complain(shelf.source)
        self._unread.pop(shelf.source, None)
        self._answered(shelf)

    def _answered(self, shelf: Shelf) -> None:
        """The server answers who reads this source, well or not."""
        self._lost.discard(shelf.source)
        if not self._lost:
            self._cache.complain(_SERVER)
        self._judge()

    def _judge(self) -> None:
        """Since when nothing new is heard: of a server that is away, or that refuses all."""
        unread = self._unread
        if self._lost:
            self.lost_at = min(unread[source] for source in self._lost)
        elif all(shelf.source in unread for shelf in self._shelves):
            self.lost_at = max(unread.values())
        else:
            self.lost_at = None

    def _settle(self, what: Source | str) -> None:
        if what in self._unsettled:
            self._unsettled.discard(what)
            if not self._unsettled:
                self._cache.completed()

    def _follow_secrets(self, peers: Shelf) -> None:
        """Read the Secrets that the BGPPeers name now, and no others."""
        wanted = {
            peer.secret
            for peer in peers.values.values()
            if isinstance(peer, BGPPeer) and peer.secret is not None
        }
        for key in self._secrets.keys() - wanted:
            shelf, task = self._secrets.pop(key)
            task.cancel()
            shelf.clear()
            self._forget(shelf)
            self._settle(shelf.source)
        for key in wanted - self._secrets.keys():
            shelf = Shelf(secret_source(key), self._cache)
            if self._unsettled:
                self._unsettled.add(shelf.source)
            self._secrets[key] = (shelf, self._reflect(shelf))
