"""Frontends and the services they stand for: what a client addresses, and the word behind it."""

from __future__ import annotations

import struct
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass

from onehop.adapters.bpf import layout
from onehop.adapters.bpf.layout import Title, Word
from onehop.adapters.bpf.numbers import Numbers
from onehop.adapters.bpf.predecessors import Predecessors
from onehop.adapters.bpf.records import Backends, Ring, TableSlots
from onehop.adapters.bpf.syscall import Map
from onehop.adapters.bpf.tables import Statistics, Tables, statistics
from onehop.model.desired import FrontendDesired
from onehop.model.reason import Reason, Refusal
from onehop.model.service import Backend, Key, TrafficPolicy

_NUMBER = struct.Struct("=I")


@dataclass(slots=True)
class Entry:
    """A frontend as it is programmed. `listed` is false while the map has no room for it.

    `elsewhere` is what was wanted last, and so where its connections went until the next change.
    """

    number: int
    owner: Key
    members: tuple[int, ...]
    word: Word
    title: Title
    listed: bool
    elsewhere: Backend | None = None


class FullError(Exception):
    """A map has no room for this frontend; `map` names it."""

    def __init__(self, name: str) -> None:
        super().__init__(name)
        self.refusal = Refusal(reason=Reason.MAP_FULL, detail=name)


class Frontends:
    """Every frontend of the node, written in the order that a packet reads backwards."""

    def __init__(
        self,
        maps: Mapping[str, Map],
        ring: Ring,
        clock: Callable[[], float],
        linger: float = 0.0,
    ) -> None:
        self._frontends = maps["frontends"]
        self._statistics = maps["service_stats"]
        self._words = maps["services"].memory().cast("Q")
        self._titles = maps["titles"].memory()
        self._numbers = Numbers(1, maps["services"].info.max_entries, clock)
        self._tables = TableSlots([maps[name] for name in layout.TABLES], ring, clock)
        self.backends = Backends(maps["backends"], clock)
        self.predecessors = Predecessors(maps["predecessors"], self.backends, linger, clock)
        self.entries: dict[bytes, Entry] = {}
        self._unlisted: dict[bytes, Entry] = {}
        self._stale: list[tuple[tuple[int, ...], Word]] = []

    def adopt(self, tables: Tables) -> None:
        """Take over what an earlier process wrote."""
        self.predecessors.clear()
        for key, number in tables.frontends().items():
            word, title = tables.word(number), tables.title(number)
            members = tables.members(word)
            owner = Key(title.namespace, title.name)
            self.entries[key] = Entry(number, owner, members, word, title, True)
            if len(members) > 1:
                self._tables.adopt(members, word)
        self._tables.adopted()
        self.backends.adopt(each for entry in self.entries.values() for each in entry.members)
        used = {entry.number for entry in self.entries.values()}
        self._numbers.reserve(used)
        for number, stored in enumerate(self._words):
            if stored and number not in used:
                self._words[number] = 0

    def put(self, key: bytes, want: FrontendDesired, *, keep_last: bool) -> tuple[bool, bool]:
        """Write a frontend's backends, table and word; the name itself follows in `flush`.

        With `keep_last` a frontend is not robbed of its last backend yet.

        Returns:
            Whether something was written, and whether nothing is left to do.

        Raises:
            FullError: when a map has no room; what stood before stands.
        """
        entry = self.entries.get(key)
        if entry is None:
            self._add(key, want)
            return True, True
        if keep_last and entry.members and not want.backends:
            entry.elsewhere = want.elsewhere
            return False, False
        return self._change(key, entry, want), True

    def _add(self, key: bytes, want: FrontendDesired) -> None:
        members, word = self._acquire(want)
        number = self._numbers.take()
        if number is None:
            self._release(members, word)
            raise FullError("services")
        entry = Entry(number, want.service, members, word, _title(want), False, want.elsewhere)
        self._write_title(entry)
        self._words[number] = word.pack()
        self.entries[key] = self._unlisted[key] = entry

    def _change(self, key: bytes, entry: Entry, want: FrontendDesired) -> bool:
        members, word = self._acquire(want)
        title = _title(want)
        changed = title != entry.title or word != entry.word or not entry.listed
        if not entry.listed:
            self._unlisted[key] = entry
        old = (entry.members, entry.word)
        self._succeed(entry, want)  # first: nobody may be sent here before it
        entry.owner = want.service
        if title != entry.title:
            entry.title = title
            self._write_title(entry)
        if word != entry.word:
            entry.members, entry.word = members, word
            self._words[entry.number] = word.pack()  # the change itself: one aligned store
            self._stale.append(old)
        else:
            self._release(members, word)  # counted twice for a moment
        return changed

    def _succeed(self, entry: Entry, want: FrontendDesired) -> None:
        """What another node had alone so far may be this one's from now on."""
        before, entry.elsewhere = entry.elsewhere, want.elsewhere
        if before is None or not want.backends:
            return
        has_gone = want.elsewhere is None or want.elsewhere.address != before.address
        if has_gone or not entry.members:
            self.predecessors.begin(entry.number, before)

    def _acquire(self, want: FrontendDesired) -> tuple[tuple[int, ...], Word]:
        members: list[int] = []
        for backend in want.backends:
            number = self.backends.acquire(backend)
            if number is None:
                self._give_back(members)
                raise FullError("backends")
            members.append(number)
        word = self._tables.acquire(tuple(members), want.backends)
        if word is None:
            self._give_back(members)
            raise FullError("tables")
        local = want.policy is TrafficPolicy.LOCAL
        return tuple(members), word._replace(flags=int(local) * layout.SERVICE_LOCAL)

    def _give_back(self, members: Iterable[int]) -> None:
        for number in members:
            self.backends.release(number)

    def _release(self, members: tuple[int, ...], word: Word) -> None:
        self._tables.release(members, word)
        self._give_back(members)

    def _write_title(self, entry: Entry) -> None:
        start = entry.number * layout.TITLE_SIZE
        self._titles[start : start + layout.TITLE_SIZE] = entry.title.pack()

    def flush(self) -> dict[bytes, Entry]:
        """Make the new frontends known; those that the map has no room for come back."""
        pairs = [(key, _NUMBER.pack(each.number)) for key, each in self._unlisted.items()]
        while done := self._frontends.update_batch(pairs):  # 0 when full, or nothing is left
            for key, _ in pairs[:done]:
                self._unlisted.pop(key).listed = True
            del pairs[:done]
        return dict(self._unlisted)

    def remove(self, keys: Iterable[bytes]) -> int:
        """Take frontends away: first their names, then what they stood for."""
        entries = {key: self.entries.pop(key) for key in keys}
        self._frontends.delete_batch(key for key, entry in entries.items() if entry.listed)
        for key, entry in entries.items():
            self._unlisted.pop(key, None)
            self._words[entry.number] = 0
            self.predecessors.end(entry.number)
            self._stale.append((entry.members, entry.word))
            self._statistics.update(_NUMBER.pack(entry.number), self._statistics.zero)
            self._numbers.give(entry.number)
        return len(entries)

    def statistics(self) -> Iterator[tuple[Key, Statistics]]:
        """What each Service has carried, read from the kernel one by one."""
        numbers: dict[Key, list[int]] = {}
        for entry in self.entries.values():
            numbers.setdefault(entry.owner, []).append(entry.number)
        for owner, mine in numbers.items():
            yield owner, statistics(self._statistics, mine)

    def settle(self) -> None:
        """Give back the backends and tables that no word leads to any more, or no longer."""
        self.predecessors.expire()
        for members, word in self._stale:
            self._release(members, word)
        self._stale.clear()


def _title(want: FrontendDesired) -> Title:
    return Title(
        namespace=want.service.namespace,
        name=want.service.name,
        policy=want.policy,
        total=want.total,
    )
