"""All that a controller writes: statuses of Services first, then what is said about them.

While this controller is not the leader nothing is wanted, and nothing is assumed.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import replace

from onehop.adapters.kube.configuration_state import ConfigurationState
from onehop.adapters.kube.events import (
    DeprecationEvents,
    Events,
    ProblemEvents,
    ServiceEvents,
)
from onehop.adapters.kube.kubeconfig import Access
from onehop.adapters.kube.pool_annotation import PoolAnnotation
from onehop.adapters.kube.pool_status import Counting, PoolStatuses
from onehop.adapters.kube.released import Released
from onehop.adapters.kube.requests import Counters, Requests
from onehop.adapters.kube.structs import Live
from onehop.adapters.kube.writer import LiveLookup, ServiceStatuses, Telling
from onehop.model.address import IPAddress
from onehop.model.config import Pool
from onehop.model.desired import ClusterDesired, Report
from onehop.model.objects import Objects
from onehop.model.service import Key


class ControllerWriter:
    """What the store of a controller writes with.

    `namespace` is that of the `metallb.io` objects, `own_namespace` the controller's, `instance`
    who writes, for Events. `fence` says whether this controller may write now. `annotate`: name
    the pool in MetalLB's annotation too.
    """

    def __init__(
        self,
        access: Access,
        *,
        namespace: str,
        own_namespace: str,
        instance: str,
        counting: Counting,
        fence: Callable[[], bool] = lambda: True,
        annotate: bool = False,
        threads: int = 4,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._fence = fence
        self._requests = Requests(access, threads=threads, fence=fence)
        events = Events(self._requests, instance=instance)
        telling: tuple[Telling, ...] = (ServiceEvents(events),)
        if annotate:
            telling = (*telling, PoolAnnotation(self._requests))
        self._services = ServiceStatuses(self._requests, telling=telling, clock=clock)
        self._problems = ProblemEvents(events)
        self._deprecations = DeprecationEvents(events)
        self._pools = PoolStatuses(self._requests, counting=counting, clock=clock)
        self._state = ConfigurationState(self._requests, access, namespace, clock=clock)
        self.released = Released(self._requests, own_namespace, clock=clock)
        self._was_leader = False
        self._counted: Mapping[Key, Pool] = {}

    @property
    def assumed(self) -> Mapping[Key, tuple[IPAddress, ...]]:
        """Addresses on their way into statuses."""
        return self._services.assumed

    @property
    def counters(self) -> Counters:
        """What was sent so far, and what became of it."""
        return self._requests.counters

    def start(self, wake: Callable[[], None]) -> None:
        """Learn how to have the ring go round."""
        for part in (self._services, self._pools, self._state, self.released):
            part.start(wake)

    def collect(self) -> set[Key]:
        """Take in what became of writes; the Services of which something else is assumed now."""
        if self._was_leader and not self._fence():
            self._was_leader = False
            self._requests.drop()
            self._services.forget()
            self._deprecations.forget()
        return self._services.collect()

    def echoed(self, key: Key, live: Live | None) -> bool:
        """Whether a Service says only what we wrote there ourselves."""
        return self._services.echoed(key, live)

    def sync(
        self, want: ClusterDesired, have: Objects, live: LiveLookup, touched: frozenset[Key]
    ) -> Report:
        """Queue what differs; failures of earlier writes are in the Report."""
        if not self._fence():
            return Report()
        self._was_leader = True
        report = self._services.sync(want.statuses, have, live, touched)
        self._problems.tell(frozenset(want.problems), live)
        self._deprecations.tell(have.services, want.statuses, live)
        changed = self._services.has_moved or have.pools is not self._counted
        self._counted = have.pools
        due = (
            self.released.sync(want.released),
            self._state.sync(want.problems),
            self._pools.sync(have, want.statuses, live, changed=changed),
        )
        return replace(report, again_at=min((at for at in due if at is not None), default=None))

    def close(self) -> None:
        """Send nothing more, but for addresses to be remembered, and wait for what is sent."""
        if self._was_leader and self._fence():
            self.released.flush()
        self._state.close()
        self._requests.close()
