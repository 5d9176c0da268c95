"""bpf(2): every map operation on a real map of the kernel."""

from __future__ import annotations

import errno
import os
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from onehop.adapters.bpf import syscall
from onehop.adapters.bpf.errors import KernelError
from onehop.adapters.bpf.syscall import Map, MapInfo, MapType
from onehop.model.reason import Reason

Make = Callable[..., Map]


@pytest.fixture
def make() -> Iterator[Make]:
    made: list[Map] = []

    def making(kind: MapType, *, entries: int = 8, value: int = 8, flags: int = 0) -> Map:
        shape = MapInfo(
            type=kind, key_size=4, value_size=value, max_entries=entries, flags=flags, name="tried"
        )
        made.append(Map(syscall.create_map(shape)))
        return made[-1]

    yield making
    for each in made:
        each.close()


def key(number: int) -> bytes:
    return number.to_bytes(4, "little")


def value(number: int) -> bytes:
    return number.to_bytes(8, "little")


@pytest.mark.parametrize(("text", "count"), [("0", 1), ("0-1\n", 2), ("0-3,8-11", 12), ("0,2", 3)])
def test_per_cpu_maps_have_a_copy_for_every_possible_cpu(text: str, count: int) -> None:
    assert syscall.possible_cpus(text) == count


@pytest.mark.root
class TestMap:
    def test_the_kernel_tells_its_shape(self, make: Make) -> None:
        assert make(MapType.HASH, entries=3).info == MapInfo(
            type=MapType.HASH, key_size=4, value_size=8, max_entries=3, flags=0, name="tried"
        )

    def test_what_is_written_is_read_until_it_is_deleted(self, make: Make) -> None:
        held = make(MapType.HASH)
        assert held.lookup(key(1)) is None
        held.update(key(1), value(7))
        assert held.lookup(key(1)) == value(7)
        assert held.delete(key(1))
        assert held.lookup(key(1)) is None

    def test_deleting_the_absent_is_no_failure(self, make: Make) -> None:
        assert not make(MapType.HASH).delete(key(1))

    def test_a_full_map_says_so(self, make: Make) -> None:
        held = make(MapType.HASH, entries=1)
        held.update(key(1), value(1))
        with pytest.raises(KernelError) as caught:
            held.update(key(2), value(2))
        assert caught.value.errno == errno.E2BIG
        assert caught.value.reason is Reason.MAP_FULL
        assert (
            caught.value.refusal.detail == "write map tried: the map has no room for another entry"
        )

    def test_items_and_keys_are_everything(self, make: Make) -> None:
        held = make(MapType.HASH)
        wanted = {key(number): value(number) for number in range(5)}
        assert held.update_batch(wanted.items()) == 5
        assert held.items() == wanted
        assert sorted(held.keys()) == sorted(wanted)

    def test_an_empty_map_has_no_items(self, make: Make) -> None:
        assert make(MapType.HASH).items() == {}
        assert list(make(MapType.HASH).keys()) == []

    def test_a_batch_tells_how_far_it_came(self, make: Make) -> None:
        held = make(MapType.HASH, entries=3)
        assert held.update_batch((key(n), value(n)) for n in range(5)) == 3
        assert held.update_batch([]) == 0

    def test_a_batch_deletes_around_the_absent(self, make: Make) -> None:
        held = make(MapType.HASH)
        held.update_batch((key(n), value(n)) for n in range(5))
        held.delete_batch(key(n) for n in (9, 0, 8, 7, 1, 6))
        assert sorted(held.items()) == [key(2), key(3), key(4)]

    def test_a_per_cpu_value_has_all_copies(self, make: Make) -> None:
        held = make(MapType.PERCPU_ARRAY)
        assert held.lookup(key(0)) == bytes(8 * syscall.possible_cpus())
        held.update(key(0), value(3) * syscall.possible_cpus())
        assert held.lookup(key(0)) == value(3) * syscall.possible_cpus()
        held.update(key(0), held.zero)
        assert held.lookup(key(0)) == held.zero

    def test_a_store_into_mapped_memory_is_an_update(self, make: Make) -> None:
        held = make(MapType.ARRAY, flags=syscall.MMAPABLE)
        held.memory().cast("Q")[5] = 0x1122334455667788
        assert held.lookup(key(5)) == value(0x1122334455667788)
        held.update(key(6), value(9))
        assert held.memory().cast("Q")[6] == 9

    def test_all_who_ask_get_the_same_mapping(self, make: Make) -> None:
        held = make(MapType.ARRAY, flags=syscall.MMAPABLE)
        assert held.memory() is held.memory()

    def test_elements_are_padded_to_eight_bytes(self, make: Make) -> None:
        held = make(MapType.ARRAY, value=12, flags=syscall.MMAPABLE)
        held.update(key(1), b"a" * 12)
        assert bytes(held.memory()[16:28]) == b"a" * 12

    def test_a_map_that_may_not_be_mapped_says_so(self, make: Make) -> None:
        with pytest.raises(KernelError, match="map tried into memory"):
            make(MapType.ARRAY).memory()

    def test_a_pin_outlives_the_descriptor(self, make: Make, pins: Path) -> None:
        held = make(MapType.HASH)
        held.update(key(1), value(1))
        syscall.pin(held.fd, pins / "kept")
        held.close()
        again = Map(syscall.pinned(pins / "kept"))
        assert again.lookup(key(1)) == value(1)
        again.close()

    def test_a_reader_cannot_write_into_memory(self, make: Make) -> None:
        held = make(MapType.ARRAY, flags=syscall.MMAPABLE)
        reader = Map(os.dup(held.fd), writable=False)
        assert reader.memory().readonly
        reader.close()


@pytest.mark.root
def test_an_absent_pin_is_an_error_that_names_it(pins: Path) -> None:
    with pytest.raises(KernelError, match="nothing") as caught:
        syscall.pinned(pins / "nothing")
    assert caught.value.errno == errno.ENOENT


@pytest.mark.root
def test_closing_gives_the_descriptor_back(make: Make) -> None:
    held = make(MapType.HASH)
    before = set(os.listdir("/proc/self/fd"))
    held.close()
    held.close()
    assert before - set(os.listdir("/proc/self/fd"))
