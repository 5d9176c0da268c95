"""Where a coroutine that never ends runs: in a thread with a loop of its own, or on a given loop.

Whoever has a loop reads on it, and so hears of a change without waiting for another thread to be
woken and for the interpreter's lock. Whoever has none reads in a thread.
"""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable, Coroutine
from contextlib import suppress
from typing import Protocol

Main = Callable[[], Coroutine[object, object, None]]
Crashed = Callable[[BaseException], None]


class Running(Protocol):
    """A coroutine that runs."""

    def stop(self) -> None:
        """End it."""
        ...


def start(
    main: Main, crashed: Crashed, loop: asyncio.AbstractEventLoop | None, name: str
) -> Running:
    """Run it on the loop, to be called in the loop's thread; without one, in a thread."""
    return _InThread(main, crashed, name) if loop is None else _OnLoop(main, crashed, loop)


class _InThread:
    """`stop` returns once it has ended."""

    def __init__(self, main: Main, crashed: Crashed, name: str) -> None:
        self._main = main
        self._crashed = crashed
        self._loop: asyncio.AbstractEventLoop
        self._task: asyncio.Task[None]
        self._ready = threading.Event()
        self._thread = threading.Thread(target=self._run, name=name, daemon=True)
        self._thread.start()

    def stop(self) -> None:
        self._ready.wait()
        with suppress(RuntimeError):  # it ended by itself, and its loop is closed
            self._loop.call_soon_threadsafe(self._task.cancel)
        self._thread.join()

    def _run(self) -> None:
        try:
            asyncio.run(self._begun())
        except asyncio.CancelledError:
            return
        except BaseException as error:
            self._crashed(error)
            raise

    async def _begun(self) -> None:
        self._loop = asyncio.get_running_loop()
        self._task = self._loop.create_task(self._main())
        self._ready.set()
        await self._task


class _OnLoop:
    """It has ended once the loop has gone round after `stop`."""

    def __init__(self, main: Main, crashed: Crashed, loop: asyncio.AbstractEventLoop) -> None:
        self._crashed = crashed
        self._task = loop.create_task(main())
        self._task.add_done_callback(self._ended)

    def stop(self) -> None:
        self._task.cancel()

    def _ended(self, task: asyncio.Task[None]) -> None:
        error = None if task.cancelled() else task.exception()
        if error is not None:
            self._crashed(error)
