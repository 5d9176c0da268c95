"""How much of each pool is used, as the status of an IPAddressPool tells it.

What is assigned is never part of what is available, and no count exceeds what the API holds.
"""

from __future__ import annotations

from collections.abc import Mapping

from onehop.core.usage import PoolUsage, pool_usage
from onehop.model.address import Family
from onehop.model.desired import ServiceStatus
from onehop.model.objects import Objects
from onehop.model.pool_use import PoolUse
from onehop.model.service import Key

_MOST = (1 << 63) - 1


def pools_used(objects: Objects, statuses: Mapping[Key, ServiceStatus]) -> Mapping[Key, PoolUse]:
    """The use of every pool, given what the Services' statuses ought to say."""
    return {each.pool: _use(each) for each in pool_usage(objects.pools.values(), statuses)}


def _use(usage: PoolUsage) -> PoolUse:
    return PoolUse(
        assigned_ipv4=usage.used[Family.IPV4],
        assigned_ipv6=usage.used[Family.IPV6],
        available_ipv4=min(_MOST, usage.free(Family.IPV4)),
        available_ipv6=min(_MOST, usage.free(Family.IPV6)),
    )
