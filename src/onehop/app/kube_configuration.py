"""What a cluster's speaker says of the configuration: its own ConfigurationState.

It is looked at when a round is over, like all that is only for those who look on.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable

from onehop.adapters.kube.configuration_state import ConfigurationState
from onehop.app.soonest import Soonest
from onehop.core.validate import Validator
from onehop.model.objects import Objects

_SOON = 0.05


class ConfigurationTeller:
    """All methods but `again` belong to the loop's own thread."""

    def __init__(self, state: ConfigurationState, objects: Callable[[], Objects]) -> None:
        self._state = state
        self._objects = objects
        self._validator = Validator()
        self._loop = asyncio.get_running_loop()
        self._next = Soonest(self._loop, self._step)
        state.start(self.again)

    def sync(self) -> None:
        """The objects may be others than before."""
        self._next.within(_SOON)

    def again(self) -> None:
        """Have another look; from any thread, also when the loop is gone."""
        if not self._loop.is_closed():
            self._loop.call_soon_threadsafe(self.sync)

    def close(self) -> None:
        """Say nothing more; what was said stays as long as the pod."""
        self._next.cancel()
        self._state.close()

    def _step(self) -> None:
        objects = self._objects()
        at = self._state.sync((*objects.problems, *self._validator.configuration(objects)))
        if at is not None:
            self._next.within(max(0.0, at - time.monotonic()))
