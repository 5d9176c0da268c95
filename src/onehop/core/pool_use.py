"""How much of each pool is used, counted as MetalLB counts it.

An address that several Services share counts once. A pool that avoids .0 and .255 has none of
them to give. What is assigned is never part of what is available.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping

from onehop.core.candidates import merged
from onehop.core.sharing import V6
from onehop.model.address import IPAddress
from onehop.model.config import Pool
from onehop.model.desired import ServiceStatus
from onehop.model.objects import Objects
from onehop.model.pool_use import PoolUse
from onehop.model.service import Key

_MOST = (1 << 63) - 1


def pools_used(objects: Objects, statuses: Mapping[Key, ServiceStatus]) -> Mapping[Key, PoolUse]:
    """The use of every pool, given what the Services' statuses ought to say."""
    held: defaultdict[str, set[IPAddress]] = defaultdict(set)
    for status in statuses.values():
        if status.pool:
            held[status.pool].update(status.addresses)
    return {key: _use(pool, held[pool.key.name]) for key, pool in objects.pools.items()}


def _use(pool: Pool, held: set[IPAddress]) -> PoolUse:
    total4 = total6 = 0
    for first, last in merged(pool):
        if first >= V6:
            total6 += last - first + 1
        else:
            total4 += last - first + 1
            if pool.avoid_buggy_ips:
                total4 -= _buggy(last) - _buggy(first - 1)
    assigned4 = sum(each.version == 4 for each in held)
    assigned6 = len(held) - assigned4
    return PoolUse(
        assigned_ipv4=assigned4,
        assigned_ipv6=assigned6,
        available_ipv4=max(0, min(_MOST, total4 - assigned4)),
        available_ipv6=max(0, min(_MOST, total6 - assigned6)),
    )


def _buggy(last: int) -> int:
    """How many IPv4 addresses up to `last` end in .0 or .255."""
    return 2 * (last >> 8) + 1 + (last & 0xFF == 0xFF)
