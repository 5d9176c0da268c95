"""Runs any machine on asyncio: performs its effects in order and re-arms one timer.

The only code that knows an event loop and a machine at once. It decides nothing: bytes go out
through `send`, facts through `on_fact`, and time comes in from the loop's own monotonic clock.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable

from onehop.proto.machine import AddressConflict, Effect, Machine, Send

Fact = AddressConflict


class Driver:
    """One machine on one loop. All methods belong to the loop's own thread."""

    def __init__(
        self,
        machine: Machine,
        *,
        send: Callable[[bytes], None],
        on_fact: Callable[[Fact], None],
        loop: asyncio.AbstractEventLoop,
    ) -> None:
        self._machine = machine
        self._send = send
        self._on_fact = on_fact
        self._loop = loop
        self._timer: asyncio.TimerHandle | None = None
        self._armed_for: float | None = None

    def now(self) -> float:
        """The time that the machine is told."""
        return self._loop.time()

    def perform(self, effects: tuple[Effect, ...]) -> None:
        """Carry out what a machine's input returned."""
        for effect in effects:
            if isinstance(effect, Send):
                self._send(effect.frame)
            else:
                self._on_fact(effect)

    def rearm(self) -> None:
        """Wake the machine at its deadline; call it after every round of inputs."""
        deadline = self._machine.deadline
        if deadline == self._armed_for:
            return
        self.close()
        if deadline is not None:
            self._armed_for = deadline
            self._timer = self._loop.call_at(deadline, self._wake)

    def _wake(self) -> None:
        # A loop may call early by its clock's resolution; the machine would then find nothing due.
        now = max(self.now(), self._armed_for or 0.0)
        self._timer, self._armed_for = None, None
        self.perform(self._machine.wake(now))
        self.rearm()

    def close(self) -> None:
        """Stop waking the machine."""
        if self._timer is not None:
            self._timer.cancel()
        self._timer, self._armed_for = None, None
