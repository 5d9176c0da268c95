"""Have and want -> what to add, change and remove; `grow`; and mappings that know their edits."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import islice
from operator import is_
from typing import Generic, NoReturn, TypeVar

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


class Edition(dict[K, V]):
    """A mapping made from another by a few edits, which it remembers; nobody writes to it.

    Whoever held the other one learns from `since` what differs, however many entries there are.
    """

    __slots__ = ("_base", "_edits", "_mark")

    def __init__(self, base: Mapping[K, V], edits: Mapping[K, V | None]) -> None:
        super().__init__(base or {k: v for k, v in edits.items() if v is not None})
        self._mark = object()  # not the mapping itself: an heir must not keep its forebears
        self._base = base._mark if isinstance(base, Edition) else None
        self._edits = tuple(edits)
        for key, value in edits.items() if base else ():
            if value is None:
                super().__delitem__(key)
            else:
                super().__setitem__(key, value)

    def since(self, base: Mapping[K, V]) -> tuple[K, ...] | None:
        """The keys that may differ from `base`; None when this was not made from it."""
        return self._edits if isinstance(base, Edition) and base._mark is self._base else None

    def _refuse(self, *_: object, **__: object) -> NoReturn:
        raise TypeError("an edition is never changed: make the next one by `edited`")

    __setitem__ = __delitem__ = __ior__ = _refuse
    clear = pop = popitem = setdefault = update = _refuse


def edited(have: Mapping[K, V], edits: Mapping[K, V | None]) -> Mapping[K, V]:
    """`have` with these entries set or, where None, taken away; itself when nothing changes.

    An entry keeps its place, and one that equals what stands there keeps the identical value.
    """
    told = {key: value for key, value in edits.items() if have.get(key) != value}
    return Edition(have, told) if told else have


def moved(have: Mapping[K, V], want: Mapping[K, V]) -> tuple[dict[K, V], dict[K, V]]:
    """What went and what came, by identity: a value that was replaced is in both.

    A value must name its own key, as every object does. An edition knows; of other mappings the
    parts that both begin and end with are stepped over in C, so one change among ten thousand
    costs a fraction of a look at each.
    """
    if have is want:
        return {}, {}
    told = want.since(have) if isinstance(want, Edition) else None
    if told is not None:
        differ = [key for key in told if have.get(key) is not want.get(key)]
        return (
            {key: have[key] for key in differ if key in have},
            {key: want[key] for key in differ if key in want},
        )
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
