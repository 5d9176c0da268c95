"""Have and want -> what to add, change and remove; and `grow`, have overlaid with want."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import islice
from operator import is_
from typing import Generic, TypeVar

K = TypeVar("K")
V = TypeVar("V")


@dataclass(frozen=True, slots=True, kw_only=True)
class Diff(Generic[K, V]):
    """What turns `have` into `want`."""

    add: Mapping[K, V]
    change: Mapping[K, V]
    remove: tuple[K, ...]

    def __bool__(self) -> bool:
        return bool(self.add or self.change or self.remove)


def diff(have: Mapping[K, V], want: Mapping[K, V]) -> Diff[K, V]:
    """The steps from `have` to `want`; identical objects are never compared in depth."""
    add: dict[K, V] = {}
    change: dict[K, V] = {}
    for key, value in want.items():
        old = have.get(key)
        if old is value:
            continue
        if old is None:
            add[key] = value
        elif old != value:
            change[key] = value
    return Diff(add=add, change=change, remove=tuple(key for key in have if key not in want))


def grow(have: Mapping[K, V], want: Mapping[K, V]) -> dict[K, V]:
    """`have` overlaid with `want`: what must stand before traffic is attracted elsewhere."""
    return {**have, **want}


def moved(have: Mapping[K, V], want: Mapping[K, V]) -> tuple[dict[K, V], dict[K, V]]:
    """What went and what came, by identity: a value that was replaced is in both.

    A value must name its own key, as every object does. The parts that both begin and end with
    are stepped over in C, so one change among ten thousand costs a fraction of a look at each.
    """
    if have is want:
        return {}, {}
    old, new = tuple(have.values()), tuple(want.values())
    first = shared(old, new)
    last = shared(old[first:][::-1], new[first:][::-1])
    gone = dict(islice(have.items(), first, len(old) - last))
    come = dict(islice(want.items(), first, len(new) - last))
    for key in [key for key, value in gone.items() if come.get(key) is value]:
        del gone[key], come[key]
    return gone, come


def shared(have: Sequence[object], want: Sequence[object]) -> int:
    """How many identical values both begin with."""
    differs_at = bytes(map(is_, have, want)).find(0)
    return min(len(have), len(want)) if differs_at < 0 else differs_at
