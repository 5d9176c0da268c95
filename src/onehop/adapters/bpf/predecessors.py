"""Where a Service's connections went until they come to this node's backend, for a moment.

A client that has just learnt who answers now sends here what belongs to connections that began
on the node before: the last packet of a handshake, or the rest of a short answer. Without its
help the new backend would reset them. What stands here is how the datapath finds the old one.
"""

from __future__ import annotations

import struct
from collections.abc import Callable

from onehop.adapters.bpf.records import Backends
from onehop.adapters.bpf.syscall import Map
from onehop.model.service import Backend

_NUMBER = struct.Struct("=I")


class Predecessors:
    """The backends before, by the number of the Service; each for `seconds`, with 0 none."""

    def __init__(
        self, kernel: Map, backends: Backends, seconds: float, clock: Callable[[], float]
    ) -> None:
        self._kernel = kernel
        self._backends = backends
        self._seconds = seconds
        self._clock = clock
        self._until: dict[int, tuple[float, int]] = {}  # the first one ends first

    def clear(self) -> None:
        """Forget what an earlier process left: nobody knows for how long it was meant."""
        self._kernel.delete_batch(list(self._kernel.keys()))

    def begin(self, service: int, before: Backend) -> None:
        """Connections that began at this backend go on there from now on."""
        self.end(service)
        number = self._backends.share(before) if self._seconds > 0 else None
        if number is None:
            return
        self._kernel.update(_NUMBER.pack(service), _NUMBER.pack(number))
        self._until[service] = (self._clock() + self._seconds, number)

    def end(self, service: int) -> None:
        """They do so no longer; a Service that never had one is no error."""
        _, number = self._until.pop(service, (0.0, 0))
        if number:
            self._kernel.delete_batch([_NUMBER.pack(service)])
            self._backends.release(number)

    def expire(self) -> None:
        """End those whose moment is over."""
        now = self._clock()
        for service in [each for each, (until, _) in self._until.items() if until <= now]:
            self.end(service)

    @property
    def due(self) -> float | None:
        """When the first of them ends (monotonic)."""
        return next((until for until, _ in self._until.values()), None)
