"""When each pool will be full, told from the Services that hold its addresses today.

The pace is that of the Services created within the last 30 days, or since the first of them when
that is less; what was deleted meanwhile is not known, so a pool lasts at least that long.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta

from onehop.core.candidates import PoolTable
from onehop.core.sharing import number
from onehop.core.usage import PoolUsage, pool_usage
from onehop.core.validate import judged_pools
from onehop.model.address import Family
from onehop.model.config import Pool
from onehop.model.desired import ServiceStatus
from onehop.model.objects import Objects
from onehop.model.service import Key, Service

WINDOW = timedelta(days=30)
FEWEST = 2  # births that make a pace


@dataclass(frozen=True, slots=True, kw_only=True)
class PoolForecast:
    """A pool, how full it is, and when it will be full at the present pace.

    `refused` says why a pool is not in force; `days_left` is None when nothing tells a pace.
    """

    pool: Pool
    usage: PoolUsage
    refused: str = ""
    days_left: float | None = None


def forecasts(objects: Objects, now: datetime) -> tuple[PoolForecast, ...]:
    """Every pool by name; `now` has a time zone."""
    judgement = judged_pools(objects)
    table = PoolTable(judgement.usable, judgement.refused, objects.namespaces.values())
    held = _held(objects.services.values(), table)
    births: dict[str, list[datetime]] = {}
    for key, status in held.items():
        born = _born(objects.services[key])
        if born is not None:
            births.setdefault(status.pool, []).append(born)
    pools = sorted(objects.pools.values(), key=lambda pool: pool.key)
    return tuple(
        _forecast(pool, usage, judgement.refused.get(pool.key.name, ""), births, now)
        for pool, usage in zip(pools, pool_usage(pools, held), strict=True)
    )


def _held(services: Iterable[Service], table: PoolTable) -> Mapping[Key, ServiceStatus]:
    """What Services hold now, under the pool of their first address."""
    held: dict[Key, ServiceStatus] = {}
    for service in services:
        if service.type != "LoadBalancer" or not service.ingress:
            continue
        source = table.owner(number(service.ingress[0]))
        if source is not None:
            held[service.key] = ServiceStatus(
                key=service.key, addresses=service.ingress, pool=source.name
            )
    return held


def _forecast(
    pool: Pool,
    usage: PoolUsage,
    refused: str,
    births: Mapping[str, list[datetime]],
    now: datetime,
) -> PoolForecast:
    recent = [born for born in births.get(pool.key.name, ()) if now - born <= WINDOW]
    plain = PoolForecast(pool=pool, usage=usage, refused=refused)
    if refused or len(recent) < FEWEST:
        return plain
    span = (now - min(recent)) / timedelta(days=1)
    # The family that most addresses come from is the one that runs out.
    family = max(Family, key=lambda each: usage.used[each])
    if span <= 0:
        return plain
    left = usage.free(family) * span / len(recent)
    return PoolForecast(pool=pool, usage=usage, days_left=left)


def _born(service: Service) -> datetime | None:
    """When a Service was created; None when its source does not say."""
    try:
        born = datetime.fromisoformat(service.created)
    except ValueError:
        return None
    return born if born.tzinfo is not None else None
