"""A reflector: lists one source in pages, then watches it, for ever.

It goes on where it stopped as long as the server knows that version, and lists anew when it does
not (410). A list is compared with what is known: only what differs is news. After a lost
connection it first looks whether the server's version went back, as after a restore of its
database from a backup: a watch from a version that is still to come would hear nothing. Where the
server has come as far again since, the newest object that is known tells: unless it stands there
as it was, everything is listed.
"""

from __future__ import annotations

import asyncio
import random
import time
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, replace
from typing import Protocol
from urllib.parse import quote

import msgspec

from onehop.adapters.kube.cache import Shelf
from onehop.adapters.kube.stream import EndError
from onehop.adapters.kube.structs import UNREADABLE, Bookmark, Event, Page, Status
from onehop.adapters.kube.watch import KEEPALIVE, Answer, Channel, LostError, QuietError
from onehop.model.reason import Reason
from onehop.model.service import Key

_PAGE = msgspec.json.Decoder(Page)
_EVENT = msgspec.json.Decoder(Event)
_BOOKMARK = msgspec.json.Decoder(Bookmark)
_STATUS = msgspec.json.Decoder(Status)
_AT_ONCE = 25  # objects of a list that are read before others on the loop have their turn
_PATIENT = 8  # times the silence that is borne, after some that hid nothing
_UNAUTHORIZED, _MISSING, _GONE, _THROTTLED = 401, 404, 410, 429


@dataclass(frozen=True, slots=True, kw_only=True)
class Timing:
    """All spans, in seconds, and the size of a page."""

    answer: float = 30.0
    connect: float = 5.0
    keepalive: tuple[int, int, int] = KEEPALIVE
    inactivity: float = 100.0  # bookmarks come every 60 s
    watch: tuple[float, float] = (300.0, 590.0)
    brief: float = 1.0  # a watch that ends sooner with no event was none
    first_pause: float = 0.2
    last_pause: float = 3.0  # so that all are back within 5 s after the server is
    first_slow: float = 1.0  # for what needs a person
    last_slow: float = 30.0
    obeyed: float = 30.0  # the longest Retry-After that is: one said in error must not blind us
    enough: int = 8  # errors in a row after which others need not wait for this kind
    spacing: float = 2.0  # between tries of all reflectors while the server is away
    page: int = 500


class RefusedError(EndError):
    """The server answered with an error."""

    def __init__(self, status: int, why: str, retry_after: float | None = None) -> None:
        super().__init__(why)
        self.status = status
        self.why = why
        self.retry_after = retry_after


@dataclass(frozen=True, slots=True)
class Newest:
    """The object that was seen in the highest version."""

    key: Key
    version: str
    text: msgspec.Raw

    def stands_in(self, page: Page) -> bool:
        """Whether a list of its name alone has it unchanged."""
        items = page.items or ()
        return len(items) == 1 and _content(items[0]) == _content(self.text)


class GoneError(EndError):
    """The version, or the page of a list, that was asked for is there no longer."""


class Pace:
    """What all reflectors of a process share: how often a server that is away is tried.

    One of them tries and the others wait for it, so that a process asks as rarely as one
    reflector would; `spacing` is how long it waits at least, once the first tries have failed.
    """

    def __init__(self, spacing: float) -> None:
        self._spacing = spacing
        self._turns = asyncio.Lock()
        self._tries = 0
        self._back = asyncio.Event()

    def failed(self) -> None:
        """A try failed."""
        self._back.clear()

    def answered(self) -> None:
        """The server answered: nobody has to wait any longer."""
        self._tries = 0
        self._back.set()

    async def pause(self, seconds: float) -> None:
        """Wait for one's turn and then for a while, or until the server answers somebody."""
        async with self._turns:
            least = self._spacing if self._tries > 1 else 0.0
            try:
                async with asyncio.timeout(max(seconds, least)):
                    await self._back.wait()
            except TimeoutError:
                self._tries += 1  # whom an answer sets free makes no try of its own


class Watcher(Protocol):
    """Who is told how a reflector fares."""

    def settled(self, shelf: Shelf) -> None:
        """The source was listed once, or it is clear that it cannot be."""
        ...

    def heard(self, shelf: Shelf) -> None:
        """Something was heard: what was heard may be told on."""
        ...

    def refused(self, shelf: Shelf, reason: Reason, detail: str) -> None:
        """The source cannot be read, though the server answers."""
        ...

    def lost(self, shelf: Shelf, why: str) -> None:
        """The server cannot be reached, again."""
        ...

    def fine(self, shelf: Shelf) -> None:
        """The source is read."""
        ...


class Reflector:
    """One source, on a connection of its own."""

    def __init__(
        self,
        shelf: Shelf,
        channel: Channel,
        *,
        watcher: Watcher,
        pace: Pace,
        timing: Timing,
        jitter: Callable[[float, float], float] = random.uniform,
        sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
    ) -> None:
        self._shelf = shelf
        self._source = shelf.source
        self._channel = channel
        self._watcher = watcher
        self._pace = pace
        self._timing = timing
        self._jitter = jitter
        self._sleep = sleep
        self._served = self._source.versions[0]
        self._version = ""  # to watch from; empty: list first
        self._highest = 0  # the highest version seen, to notice a server that went back
        self._newest: Newest | None = None  # None: there is none, or it was deleted
        self._unsure = False  # whether it may have gone back
        self._connects = 0  # of the channel, when the server's version was looked at
        # In a row: a watch that stands a while, or brings anything, ends the row.
        self._failures = 0
        self._gone = 0  # times that the version was gone
        self._denied = 0  # times in a row that a person had to do something first
        self._paged = True
        # Not every server sends bookmarks of what nobody changes: etcd tells it every ten minutes
        # how far it is, unless it is told otherwise, as kubeadm does.
        self._patience = timing.inactivity
        self._silenced: Mapping[Key, str] | None = None  # what was known when it fell silent

    async def run(self) -> None:
        """Read until cancelled."""
        try:
            while True:
                await self._round()
        finally:
            self._channel.close()

    async def _round(self) -> None:
        try:
            if self._version and self._unsure:
                await self._look_back()
            if not self._version:
                await self._list()
            await self._watch()
        except GoneError:
            self._version = ""
            self._gone += 1
            if self._gone > 2:
                await self._sleep(self._backoff())
        except RefusedError as error:
            await self._refused(error)
        except LostError as error:
            await self._lost(error)

    async def _list(self) -> None:
        """Read the whole list and take over what differs."""
        size = self._timing.page if self._paged else 0
        keys: set[Key] = set()
        self._newest = None
        first, after = True, ""
        while first or after:
            query = f"&limit={size}" if size else ""
            query += f"&continue={quote(after)}" if after else ""
            try:
                page = await self._page(query)
            except GoneError:
                self._paged = False  # the list took longer than the server remembers
                raise
            if first:
                self._look_at(page.metadata.resource_version)
            for number, raw in enumerate(page.items or ()):
                key = self._shelf.put(raw)
                keys.add(key)
                self._note(key, raw)
                if not number % _AT_ONCE:
                    await asyncio.sleep(0)
            self._watcher.heard(self._shelf)
            first, after = False, page.metadata.continue_ or ""
        self._paged = True
        self._shelf.keep_only(keys)
        self._judge_silence()
        self._version = page.metadata.resource_version
        self._unsure = False
        self._connects = self._channel.connects
        self._fine()
        self._watcher.settled(self._shelf)
        self._watcher.heard(self._shelf)

    def _judge_silence(self) -> None:
        """Wait longer the next time if a silence hid nothing: it is this server's way."""
        before, self._silenced = self._silenced, None
        if before is None:
            return
        least = self._timing.inactivity
        hid = before != self._shelf.versions
        self._patience = least if hid else min(2 * self._patience, _PATIENT * least)

    async def _page(self, query: str, only: Key | None = None) -> Page:
        source = self._source
        if only is not None:
            source = replace(source, namespace=only.namespace, name=only.name)
        path = source.path(self._served) + query
        answer = await self._asked(path, listing=True)
        try:
            return _PAGE.decode(await self._channel.body(answer))
        except UNREADABLE as error:
            raise RefusedError(answer.status, f"the list cannot be read: {error}") from None

    async def _look_back(self) -> None:
        """List anew unless the server is at our version or further, by way of what we saw."""
        newest = self._newest
        if newest is None and self._shelf.versions:
            self._shelf.distrust()  # a deletion is seen nowhere
            self._version = ""
            return
        page = await self._page("&limit=1", newest.key if newest else None)
        self._unsure = False
        self._connects = self._channel.connects
        is_behind = _number(page.metadata.resource_version) < self._highest
        if is_behind or not (newest.stands_in(page) if newest else not page.items):
            self._shelf.distrust()
            self._version = ""

    def _note(self, key: Key, raw: msgspec.Raw) -> None:
        """Remember the object if none that is known is newer."""
        version = self._shelf.versions.get(key, "")
        if self._newest is None or _number(version) >= _number(self._newest.version):
            self._newest = Newest(key, version, raw.copy())  # not a view of a whole page

    def _look_at(self, version: str) -> None:
        number = _number(version)
        if number < self._highest:
            self._shelf.distrust()
        self._highest = number

    async def _watch(self) -> None:
        """Hear events until the server ends the watch, which it does every few minutes."""
        seconds = self._jitter(*self._timing.watch)
        path = (
            f"{self._source.path(self._served)}&watch=1&allowWatchBookmarks=true"
            f"&resourceVersion={self._version}&timeoutSeconds={seconds:.0f}"
        )
        answer = await self._asked(path, listing=False)
        if self._channel.connects != self._connects:
            self._unsure = True
            self._channel.close()
            return
        self._fine()
        steady = time.monotonic() + self._timing.brief
        try:
            heard = await self._hear(answer)
        finally:
            if time.monotonic() >= steady:
                self._failures = self._gone = 0
        if not heard and time.monotonic() < steady:
            raise LostError("the server ends each watch at once")
        if self._served != self._source.versions[0]:
            self._serve(self._source.versions[0])  # by now it may be there

    async def _hear(self, answer: Answer) -> bool:
        """Take over all events of a watch; whether there were any."""
        heard, rest = False, b""

        def hear(piece: bytes) -> None:
            nonlocal heard, rest
            *lines, rest = (rest + piece if rest else piece).split(b"\n")
            for line in lines:
                self._event(line)
            if lines:
                heard = True
                self._failures = self._gone = 0
                self._watcher.heard(self._shelf)

        await self._channel.attend(answer, self._patience, hear)
        return heard

    def _event(self, line: bytes) -> None:
        try:
            event = _EVENT.decode(line)
            if event.type == "ERROR":
                self._error(_STATUS.decode(event.object))
            version = _BOOKMARK.decode(event.object).metadata.resource_version
        except UNREADABLE as error:
            raise LostError(f"a watch event cannot be read: {error}") from None
        number = _number(version)
        if number < self._highest:
            self._shelf.distrust()
            raise GoneError
        self._highest = number
        if event.type in ("ADDED", "MODIFIED"):
            self._note(self._shelf.put(event.object), event.object)
        elif event.type == "DELETED":
            self._shelf.drop(event.object)
            self._newest = None
        self._version = version

    def _error(self, status: Status) -> None:
        if status.code == _GONE or status.reason in ("Expired", "Gone"):
            raise GoneError
        raise RefusedError(status.code or 500, status.message)

    async def _asked(self, path: str, *, listing: bool) -> Answer:
        answer = await self._channel.ask(path, self._source.accept(listing=listing))
        if answer.status == 200:
            self._pace.answered()
            return answer
        body = await self._channel.body(answer)
        if answer.status == _GONE:
            self._pace.answered()
            raise GoneError
        try:
            why = _STATUS.decode(body).message
        except UNREADABLE:
            why = body[:200].decode(errors="replace").strip()
        raise RefusedError(answer.status, why, answer.retry_after)

    async def _refused(self, error: RefusedError) -> None:
        """The server answers, and does not give what was asked for."""
        if error.status == _MISSING and self._another_version():
            return
        if error.status == _MISSING or self._served != self._source.versions[0]:
            self._serve(self._source.versions[0])
        detail = f"{error.why or 'no reason given'} (HTTP {error.status})"
        if error.status >= 500 or error.status in (_THROTTLED, _UNAUTHORIZED):
            if error.status >= 500:
                self._unsure = True  # it may be asked for a version that it has not reached yet
            if self._failures:
                self._watcher.refused(self._shelf, Reason.KIND_REFUSED, detail)
            if self._failures >= self._timing.enough and not self._source.essential:
                self._watcher.settled(self._shelf)
            await self._wait(error.retry_after, in_trouble=error.status >= 500)
            return
        reason = Reason.KIND_MISSING if error.status == _MISSING else Reason.KIND_REFUSED
        self._watcher.refused(self._shelf, reason, detail)
        if not self._source.essential:
            self._watcher.settled(self._shelf)
        first, last = self._timing.first_slow, self._timing.last_slow
        await self._sleep(self._pause(first, last, self._denied))
        self._denied += 1

    async def _wait(self, retry_after: float | None, *, in_trouble: bool) -> None:
        """As long as the server asks, within reason, or longer each time."""
        pause = self._backoff()
        if retry_after:
            await self._sleep(max(pause, min(retry_after, self._timing.obeyed)))
            return
        if not in_trouble:  # it answers: no reason to try it more seldom than this kind wants
            await self._sleep(pause)
            return
        self._pace.failed()
        await self._sleep(pause)  # that other kinds are answered does not help this one
        await self._pace.pause(0.0)

    def _another_version(self) -> bool:
        """Whether there is another version of the kind to try before it counts as missing."""
        versions = self._source.versions
        index = versions.index(self._served) + 1
        if index == len(versions):
            return False
        self._serve(versions[index])
        return True

    def _serve(self, version: str) -> None:
        """Read the kind in another version, from a list on."""
        self._served, self._version = version, ""
        self._shelf.use(version)

    async def _lost(self, error: LostError) -> None:
        self._unsure = True
        if isinstance(error, QuietError):
            # Half-open, or the server waits for a version that will not come: ask for all.
            self._version = ""
            self._silenced = dict(self._shelf.versions)
            return
        self._pace.failed()
        if self._failures:
            self._watcher.lost(self._shelf, str(error))
        await self._pace.pause(self._backoff())

    def _backoff(self) -> float:
        pause = self._pause(self._timing.first_pause, self._timing.last_pause, self._failures)
        self._failures += 1
        return pause

    def _pause(self, first: float, last: float, before: int) -> float:
        return min(last, first * float(1 << min(before, 10))) * self._jitter(0.5, 1.0)

    def _fine(self) -> None:
        self._denied = 0
        self._watcher.fine(self._shelf)


def _content(raw: msgspec.Raw) -> object:
    """What an object says; its kind is said in a watch and not in a list."""
    plain = msgspec.json.decode(raw)
    if isinstance(plain, dict):
        plain.pop("kind", None)
        plain.pop("apiVersion", None)
    return plain


def _number(version: str) -> int:
    """A version as a number: Kubernetes lets clients compare those that are (KEP-5504)."""
    return int(version) if version.isdecimal() else 0
