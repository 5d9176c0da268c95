"""Backends and tables in the kernel's memory, counted by those who use them."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import pytest

from onehop.adapters.bpf import layout, syscall
from onehop.adapters.bpf.layout import Word
from onehop.adapters.bpf.records import Backends, TableSlots
from onehop.adapters.bpf.syscall import Map, MapInfo, MapType
from onehop.model.service import Backend
from tests.unit.adapters.bpf.wants import a_backend, by_turns, terminating

pytestmark = pytest.mark.root

Make = Callable[[int, int], Map]


@pytest.fixture
def make() -> Iterator[Make]:
    made: list[Map] = []

    def making(size: int, entries: int) -> Map:
        shape = MapInfo(
            type=MapType.ARRAY,
            key_size=4,
            value_size=size,
            max_entries=entries,
            flags=syscall.MMAPABLE,
            name="records",
        )
        made.append(Map(syscall.create_map(shape)))
        return made[-1]

    yield making
    for each in made:
        each.close()


class TestBackends:
    @pytest.fixture
    def kernel(self, make: Make) -> Map:
        return make(layout.BACKEND.size, 4)

    @pytest.fixture
    def backends(self, kernel: Map) -> Backends:
        return Backends(kernel, lambda: 0.0)

    def record(self, kernel: Map, number: int) -> tuple[bytes, int, int, int]:
        data = kernel.lookup(number.to_bytes(4, "little"))
        assert data is not None
        place, state, flags, link, _ = layout.BACKEND.unpack(data)
        return place, state, flags, link

    def test_a_record_holds_the_backend(self, kernel: Map, backends: Backends) -> None:
        backend = a_backend("10.0.2.233", local=True)
        number = backends.acquire(backend)
        assert number == 1
        place = layout.pack_place(backend.address, backend.port)
        assert self.record(kernel, number) == (place, 1, 1, 0)
        assert backends.address(number) == backend.address
        assert backends.local == {1}

    def test_the_last_user_makes_it_gone(self, kernel: Map, backends: Backends) -> None:
        backend = a_backend(local=True)
        assert backends.acquire(backend) == backends.acquire(backend) == 1
        backends.release(1)
        assert self.record(kernel, 1)[1] == 1
        backends.release(1)
        assert self.record(kernel, 1)[1] == 0
        assert backends.local == set()

    def test_its_state_follows(self, kernel: Map, backends: Backends) -> None:
        backends.acquire(a_backend("10.0.1.1"))
        backends.acquire(terminating("10.0.1.1"))
        assert self.record(kernel, 1)[1] == 2

    def test_one_that_is_no_longer_local_loses_its_device(
        self, kernel: Map, backends: Backends
    ) -> None:
        backends.acquire(a_backend("10.0.1.1", local=True))
        backends.set_link(1, 77)
        assert backends.link(1) == 77
        backends.acquire(a_backend("10.0.1.1", local=False))
        assert self.record(kernel, 1)[2:] == (0, 0)

    def test_a_full_map_gives_none(self, backends: Backends) -> None:
        numbers = [backends.acquire(a_backend(f"10.0.1.{n}")) for n in range(4)]
        assert numbers == [1, 2, 3, None]

    def test_a_restart_keeps_what_is_used_and_clears_the_rest(
        self, kernel: Map, backends: Backends
    ) -> None:
        used, left = a_backend("10.0.1.1", local=True), a_backend("10.0.1.2")
        backends.acquire(used)
        backends.acquire(left)
        again = Backends(kernel, lambda: 0.0)
        again.adopt(iter([1, 1]))
        assert self.record(kernel, 1)[1] == 1
        assert self.record(kernel, 2)[1] == 0
        assert again.local == {1}
        assert again.acquire(used) == 1
        assert again.acquire(left) == 2


class TestTableSlots:
    @pytest.fixture
    def kernels(self, make: Make) -> list[Map]:
        return [
            make(4 * turns, entries)
            for turns, entries in zip(layout.TURNS, (2, 1, 1), strict=True)
        ]

    @pytest.fixture
    def tables(self, kernels: list[Map]) -> TableSlots:
        return TableSlots(kernels, by_turns, lambda: 0.0)

    def backends(self, count: int) -> tuple[Backend, ...]:
        return tuple(a_backend(f"10.0.1.{n}") for n in range(count))

    def test_one_backend_needs_no_table(self, tables: TableSlots) -> None:
        assert tables.acquire((), ()) == Word()
        assert tables.acquire((9,), self.backends(1)) == Word(9, 1)

    def test_a_table_gives_each_turn_a_backend(
        self, kernels: list[Map], tables: TableSlots
    ) -> None:
        word = tables.acquire((7, 9), self.backends(2))
        assert word == Word(0, 2, 0)
        held = kernels[0].lookup(bytes(4))
        assert held is not None
        assert list(memoryview(held).cast("I")[:4]) == [7, 9, 7, 9]
        assert len(held) == 4 * layout.TURNS[0]

    def test_equal_backends_share_a_table(self, tables: TableSlots) -> None:
        assert tables.acquire((7, 9), self.backends(2)) == tables.acquire((7, 9), self.backends(2))

    @pytest.mark.parametrize(("count", "table"), [(2, 0), (5, 0), (6, 1), (20, 1), (21, 2)])
    def test_more_backends_get_a_larger_table(
        self, tables: TableSlots, count: int, table: int
    ) -> None:
        word = tables.acquire(tuple(range(1, count + 1)), self.backends(count))
        assert word is not None
        assert word.table == table

    def test_without_a_fitting_one_another_class_serves(self, tables: TableSlots) -> None:
        words = [tables.acquire((n, n + 1), self.backends(2)) for n in range(1, 6)]
        found = [None if word is None else word.table for word in words]
        assert found == [0, 0, 1, 2, None]

    def test_nobody_is_left_without_a_turn(self, make: Make) -> None:
        kernels = [make(4 * turns, 1) for turns in layout.TURNS]
        tables = TableSlots(kernels, by_turns, lambda: 0.0)
        many = tuple(a_backend(f"10.{n >> 8}.{n & 255}.1") for n in range(300))
        words = [tables.acquire((*range(1, 300), 1000 + n), many) for n in range(3)]
        assert [word and word.table for word in words] == [2, 1, None]

    def test_a_table_is_free_after_its_last_user_and_a_rest(self, kernels: list[Map]) -> None:
        now = [0.0]
        tables = TableSlots(kernels[1:2] * 3, by_turns, lambda: now[0])
        first = tables.acquire((1, 2), self.backends(2))
        again = tables.acquire((1, 2), self.backends(2))
        assert first == again
        assert first is not None
        tables.release((1, 2), first)
        assert tables.acquire((1, 2), self.backends(2)) == first
        tables.release((1, 2), first)
        tables.release((1, 2), first)
        now[0] = 5.0
        other = tables.acquire((3, 4), self.backends(2))
        assert other == first

    def test_a_restart_counts_what_is_used(self, kernels: list[Map], tables: TableSlots) -> None:
        tables.adopt((7, 9), Word(1, 2, 0))
        tables.adopted()
        assert tables.acquire((7, 9), self.backends(2)) == Word(1, 2, 0)
        assert tables.acquire((1, 2), self.backends(2)) == Word(0, 2, 0)
