"""A loop in a thread inside a namespace: where the effectors under test live."""

from __future__ import annotations

import asyncio
import threading
from abc import ABC, abstractmethod
from collections.abc import Callable, Coroutine
from pathlib import Path
from typing import TypeVar

from onehop.lab import namespace

T = TypeVar("T")
WAIT = 15.0


class OnLoop(ABC):
    """Begins at once; every method but `_begin` and `_end` may be called from any thread."""

    patience = WAIT

    def __init__(self, path: Path) -> None:
        self._loop = asyncio.new_event_loop()
        self._ready = threading.Event()
        self._thread = threading.Thread(target=self._run, args=(path,))
        self._thread.start()
        assert self._ready.wait(self.patience)

    @abstractmethod
    def _begin(self) -> None:
        """Make the effector, inside the namespace and before the loop runs."""

    @abstractmethod
    def _end(self) -> None:
        """Let go of it, after the loop has run."""

    def _run(self, path: Path) -> None:
        with namespace.entered(path):
            self._begin()
            self._loop.call_soon(self._ready.set)
            self._loop.run_forever()
            self._end()
            self._loop.close()

    def call(self, what: Callable[[], T]) -> T:
        """Do something on the loop."""

        async def on_loop() -> T:
            return what()

        return self.wait_for(on_loop())

    def wait_for(self, what: Coroutine[None, None, T]) -> T:
        """What a coroutine gives that runs on the loop."""
        return asyncio.run_coroutine_threadsafe(what, self._loop).result(self.patience)

    def close(self) -> None:
        """End the loop and its thread; twice is fine."""
        if self._thread.is_alive():
            self._loop.call_soon_threadsafe(self._loop.stop)
            self._thread.join(self.patience)
        assert not self._thread.is_alive()
