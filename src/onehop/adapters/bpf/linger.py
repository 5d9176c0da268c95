"""The last backend of a node under Local, kept for a moment after it is gone from the objects.

The node that takes the address over hears of the change when this one does, and clients hear of
it a little later. Until then their packets come here, and a node without a backend would drop
them. A backend that has just ceased to be ready mostly serves on for that long.
"""

from __future__ import annotations

from collections.abc import Callable

from onehop.model.desired import FrontendDesired
from onehop.model.service import TrafficPolicy

LINGER = 0.25  # seconds; who takes over takes some milliseconds


class Lingering:
    """The frontends that keep their last backend, and since when; `seconds` 0 keeps none."""

    def __init__(self, seconds: float, clock: Callable[[], float]) -> None:
        self._seconds = seconds
        self._clock = clock
        self._since: dict[bytes, float] = {}
        self._before: dict[bytes, float] = {}

    def begin(self) -> None:
        """All frontends that may linger are asked for from now on; the others are forgotten."""
        self._before, self._since = self._since, {}

    def holds(self, key: bytes, want: FrontendDesired) -> bool:
        """Whether a frontend keeps the backend that it still has and that is wanted no more.

        Where no node has a backend, nobody takes over and there is nothing to wait for.
        """
        moved_away = want.policy is TrafficPolicy.LOCAL and not want.backends and want.total > 0
        if not moved_away:
            return False
        now = self._clock()
        since = self._before.get(key, now)
        if now >= since + self._seconds:
            return False
        self._since[key] = since
        return True

    @property
    def due(self) -> float | None:
        """When the first of them has been kept for long enough (monotonic)."""
        return min(self._since.values()) + self._seconds if self._since else None
