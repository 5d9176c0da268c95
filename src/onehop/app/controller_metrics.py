"""What a controller tells: how full the pools are, and how its rounds go."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping

from onehop.adapters.exposition import Family, Metric, Sample
from onehop.adapters.telemetry_http import Pages
from onehop.app.controller import Controller
from onehop.app.metrics import CONTROLLER, RoundFigures, process_families, round_families
from onehop.app.ports import Store
from onehop.core.usage import PoolUsage, pool_usage
from onehop.model import address
from onehop.model.config import Pool
from onehop.model.desired import ClusterDesired
from onehop.model.service import Key

_PREFIX = "metallb_allocator_"
_V4, _V6 = address.Family.IPV4, address.Family.IPV6


def _gauge(name: str, help_: str) -> Metric:
    metric = Metric(name=f"{_PREFIX}{name}", kind="gauge", help=help_, labels=("pool",))
    CONTROLLER.append(metric)
    return metric


TOTAL = _gauge("addresses_total", "Addresses that the pool can give.")
V4_TOTAL = _gauge("ipv4_addresses_total", "IPv4 addresses that the pool can give.")
V6_TOTAL = _gauge("ipv6_addresses_total", "IPv6 addresses that the pool can give.")
USED = _gauge("addresses_in_use_total", "Addresses of the pool that Services hold.")
V4_USED = _gauge("ipv4_addresses_in_use_total", "IPv4 addresses of the pool that Services hold.")
V6_USED = _gauge("ipv6_addresses_in_use_total", "IPv6 addresses of the pool that Services hold.")
SERVICES = _gauge("services_allocated_total", "Services that hold an address of the pool.")


class PoolFigures:
    """The usage of all pools, worked out when somebody asks and something has changed."""

    def __init__(self) -> None:
        self._of: tuple[Mapping[Key, Pool], ClusterDesired | None] = ({}, None)
        self._usage: tuple[PoolUsage, ...] = ()

    def usage(
        self, pools: Mapping[Key, Pool], decided: ClusterDesired | None
    ) -> tuple[PoolUsage, ...]:
        """The pools as the last decision left them; none before the first one."""
        if self._of[0] is not pools or self._of[1] is not decided:
            statuses = decided.statuses if decided is not None else {}
            self._of = (pools, decided)
            self._usage = pool_usage(pools.values(), statuses) if decided is not None else ()
        return self._usage


def pool_families(usage: tuple[PoolUsage, ...]) -> Iterator[Family]:
    """What is told of the pools."""
    parts: tuple[tuple[Metric, Callable[[PoolUsage], int]], ...] = (
        (TOTAL, lambda each: sum(each.capacity.values())),
        (V4_TOTAL, lambda each: each.capacity[_V4]),
        (V6_TOTAL, lambda each: each.capacity[_V6]),
        (USED, lambda each: sum(each.used.values())),
        (V4_USED, lambda each: each.used[_V4]),
        (V6_USED, lambda each: each.used[_V6]),
        (SERVICES, lambda each: each.services),
    )
    for metric, number in parts:
        samples: list[Sample] = [((each.pool.name,), number(each)) for each in usage]
        yield metric, samples


class ControllerFigures:
    """All that a controller tells."""

    def __init__(
        self, controller: Controller, *, store: Store, staleness: Callable[[], float]
    ) -> None:
        self._controller = controller
        self._store = store
        self._staleness = staleness
        self._pools = PoolFigures()
        self._rounds = controller.figures = RoundFigures()

    def unready(self) -> str:
        """Why no Service gets an address yet; empty when they do."""
        return self._rounds.unready()

    def pages(self) -> Pages:
        """None: all that it decides stands in the store."""
        return {}

    def families(self) -> Iterator[Family]:
        """Every metric with its samples."""
        yield from process_families()
        yield from round_families(self._rounds, self._staleness)
        usage = self._pools.usage(self._store.objects().pools, self._controller.decided)
        yield from pool_families(usage)
