"""Numbers for services, backends and tables, used again only after a rest.

A packet may have read a number just before it was given back; it is done with it long before the
rest is over, so nobody meets somebody else's record under it.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable

REST = 1.0  # seconds; a program runs for microseconds


class Numbers:
    """The free numbers from `first` up to, not including, `limit`."""

    def __init__(self, first: int, limit: int, clock: Callable[[], float]) -> None:
        self._next = first
        self._limit = limit
        self._clock = clock
        self._resting: deque[tuple[float, int]] = deque()

    def take(self) -> int | None:
        """A number that nobody has used for a while, None when there is none."""
        if self._resting and self._resting[0][0] <= self._clock():
            return self._resting.popleft()[1]
        if self._next < self._limit:
            self._next += 1
            return self._next - 1
        return None

    def give(self, number: int) -> None:
        """Give a number back."""
        self._resting.append((self._clock() + REST, number))

    def reserve(self, used: Iterable[int]) -> None:
        """These are in use already: what a restart finds."""
        taken = set(used)
        first, self._next = self._next, max(taken, default=self._next - 1) + 1
        self._resting = deque(
            (0.0, each) for each in range(first, self._next) if each not in taken
        )
