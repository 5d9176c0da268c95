"""Have and want -> what to add, change and remove; and `grow`, have overlaid with want."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
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
