"""A timer for what is to be done again: it fires once, at the soonest time asked for."""

from __future__ import annotations

import asyncio
from collections.abc import Callable


class Soonest:
    """All methods belong to the loop's own thread."""

    def __init__(self, loop: asyncio.AbstractEventLoop, act: Callable[[], None]) -> None:
        self._loop = loop
        self._act = act
        self._handle: asyncio.TimerHandle | None = None

    def __bool__(self) -> bool:
        """Whether it is to fire."""
        return self._handle is not None

    def within(self, seconds: float) -> None:
        """Fire after so many seconds, unless it does sooner."""
        if self._handle is None or self._handle.when() > self._loop.time() + seconds:
            self.cancel()
            self._handle = self._loop.call_later(seconds, self._fire)

    def cancel(self) -> None:
        """Do not fire."""
        if self._handle is not None:
            self._handle.cancel()
        self._handle = None

    def _fire(self) -> None:
        self._handle = None
        self._act()
