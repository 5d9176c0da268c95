"""Backends and Maglev tables as records in mapped memory: a change is a few stores, no call.

Both are counted: a backend is shared by every frontend that sends to it, a table by every
frontend with the same backends. What nobody needs any more is given back by `release`, which the
caller delays until no frontend leads there.
"""

from __future__ import annotations

from array import array
from collections import Counter
from collections.abc import Callable, Iterator, Sequence

from onehop.adapters.bpf import layout
from onehop.adapters.bpf.layout import Word
from onehop.adapters.bpf.numbers import Numbers
from onehop.adapters.bpf.syscall import Map
from onehop.model.address import IPAddress
from onehop.model.service import Backend

Ring = Callable[[tuple[Backend, ...], int], Sequence[int]]

# at fifty turns for each backend their shares differ by 2 % at most, and a table costs little
_SHARE = 50
_WORDS = layout.BACKEND.size // 4
_LINK = layout.LINK_OFFSET // 4


class Backends:
    """The records of `backends`, by address and port.

    `local` are the numbers of this node's own. `unplaced` are those of them whose device has yet
    to be found: whoever finds it takes the number out.
    """

    def __init__(self, kernel: Map, clock: Callable[[], float]) -> None:
        self._size = kernel.info.max_entries
        self._bytes = kernel.memory()
        self._links = self._bytes.cast("I")
        self._numbers = Numbers(1, self._size, clock)
        self._number_of: dict[bytes, int] = {}
        self._users = array("I", bytes(4 * self._size))
        self._ends: Counter[int] = Counter()
        self.local: set[int] = set()
        self.unplaced: set[int] = set()

    def adopt(self, members: Iterator[int]) -> None:
        """Count what a restart finds in use, once for each use; whatever else is there goes."""
        for number in members:
            self._users[number] += 1
        step, at = layout.BACKEND.size, layout.STATE_OFFSET
        states = bytes(self._bytes[at : self._size * step : step])
        for number, state in enumerate(states):
            if not self._users[number]:
                if state:
                    self._bytes[number * step + at] = 0
                continue
            self._number_of[bytes(self._bytes[number * step : number * step + 18])] = number
            if self._bytes[number * step + 19] & layout.BACKEND_LOCAL:
                self.local.add(number)
                self._ends[self.link(number)] += 1
        self.unplace()
        self._numbers.reserve(self._number_of.values())

    def acquire(self, backend: Backend) -> int | None:
        """The backend's number, with its record written; None when the map is full."""
        place = layout.pack_place(backend.address, backend.port)
        number = self._number_of.get(place)
        state, flags = layout.STATES[backend.state], int(backend.local) * layout.BACKEND_LOCAL
        if number is None:
            number = self._numbers.take()
            if number is None:
                return None
            self._number_of[place] = number
            layout.BACKEND.pack_into(
                self._bytes, number * layout.BACKEND.size, place, 0, flags, 0, 0
            )
        at = number * layout.BACKEND.size + layout.STATE_OFFSET
        if self._bytes[at + 1] != flags:
            self._bytes[at + 1] = flags
        if self._bytes[at] != state:
            self._bytes[at] = state  # last: from here on the record counts
        if not backend.local:
            self._leave(number)
        elif number not in self.local:
            self.local.add(number)
            self.unplaced.add(number)
            self._ends[self.link(number)] += 1
        self._users[number] += 1
        return number

    def share(self, backend: Backend) -> int | None:
        """The number of another node's backend, for one use more that changes no record.

        None when the map is full, or when this node has the address by now.
        """
        number = self._number_of.get(layout.pack_place(backend.address, backend.port))
        if number is None:
            return self.acquire(backend)
        if number in self.local:
            return None
        self._users[number] += 1
        return number

    def _leave(self, number: int) -> None:
        if number in self.local:
            self.set_link(number, 0)
            self._ends[0] -= 1
            self.local.discard(number)
            self.unplaced.discard(number)

    def unplace(self) -> None:
        """Every local backend may be reached by another device now."""
        self.unplaced = set(self.local)

    def release(self, number: int) -> None:
        """One use less; the last one marks the backend gone."""
        self._users[number] -= 1
        if self._users[number]:
            return
        start = number * layout.BACKEND.size
        self._bytes[start + layout.STATE_OFFSET] = 0
        del self._number_of[bytes(self._bytes[start : start + 18])]
        self._leave(number)
        self._numbers.give(number)

    def address(self, number: int) -> IPAddress:
        """The address of a backend."""
        start = number * layout.BACKEND.size
        return layout.unpack_place(bytes(self._bytes[start : start + 18]))[0]

    def link(self, number: int) -> int:
        """The device that delivers to a local backend, 0 for the host's stack."""
        return int(self._links[number * _WORDS + _LINK])

    def set_link(self, number: int, device: int) -> None:
        """Deliver to a local backend through this device from now on."""
        self._ends[self.link(number)] -= 1
        self._ends[device] += 1
        self._links[number * _WORDS + _LINK] = device

    def uses(self, device: int) -> bool:
        """Whether a local backend is delivered to through this device."""
        return self._ends[device] > 0


class TableSlots:
    """The slots of the three table maps; equal backends share one."""

    def __init__(self, kernels: Sequence[Map], ring: Ring, clock: Callable[[], float]) -> None:
        self._ring = ring
        self._memory = [each.memory() for each in kernels]
        self._numbers = [Numbers(0, each.info.max_entries, clock) for each in kernels]
        self._users: dict[tuple[int, int], int] = {}
        self._slot_of: dict[tuple[int, ...], tuple[int, int]] = {}

    def adopt(self, members: tuple[int, ...], word: Word) -> None:
        """Count a table that a restart finds in use."""
        slot = (word.table, word.slot)
        self._users[slot] = self._users.get(slot, 0) + 1
        self._slot_of[members] = slot

    def adopted(self) -> None:
        """Every table in use has been counted."""
        for table, numbers in enumerate(self._numbers):
            numbers.reserve(slot for each, slot in self._users if each == table)

    def acquire(self, members: tuple[int, ...], backends: tuple[Backend, ...]) -> Word | None:
        """The word for these backends, its table filled; None when no slot is free."""
        if len(members) < 2:
            return Word(members[0] if members else 0, len(members))
        slot = self._slot_of.get(members)
        if slot is None:
            slot = self._fill(members, backends)
            if slot is None:
                return None
            self._slot_of[members] = slot
        self._users[slot] = self._users.get(slot, 0) + 1
        return Word(slot[1], len(members), slot[0])

    def _fill(
        self, members: tuple[int, ...], backends: tuple[Backend, ...]
    ) -> tuple[int, int] | None:
        found = self._take(len(members))
        if found is None:
            return None
        table, number = found
        turns = layout.TURNS[table]
        content = array("I", map(members.__getitem__, self._ring(backends, turns))).tobytes()
        start = number * ((4 * turns + 7) & ~7)
        self._memory[table][start : start + len(content)] = content
        return found

    def _take(self, backends: int) -> tuple[int, int] | None:
        """A slot of the best class that has one: the fitting one, a smaller, a larger."""
        fitting = (n for n, turns in enumerate(layout.TURNS) if turns >= _SHARE * backends)
        best = next(fitting, len(layout.TURNS) - 1)
        for table in (*range(best, -1, -1), *range(best + 1, len(layout.TURNS))):
            if layout.TURNS[table] < backends:
                continue  # somebody would get no turn at all
            number = self._numbers[table].take()
            if number is not None:
                return table, number
        return None

    def release(self, members: tuple[int, ...], word: Word) -> None:
        """One use less of a word's table."""
        if len(members) < 2:
            return
        slot = (word.table, word.slot)
        self._users[slot] -= 1
        if self._users[slot]:
            return
        del self._users[slot]
        if self._slot_of.get(members) == slot:
            del self._slot_of[members]
        self._numbers[word.table].give(word.slot)
