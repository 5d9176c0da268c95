"""How full each pool is: what it can give, and what Services hold of it."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from types import MappingProxyType

from onehop.core.candidates import merged
from onehop.core.sharing import V6, number
from onehop.model.address import Family
from onehop.model.config import Pool
from onehop.model.desired import ServiceStatus
from onehop.model.service import Key


def _none() -> Mapping[Family, int]:
    return MappingProxyType(dict.fromkeys(Family, 0))


@dataclass(frozen=True, slots=True, kw_only=True)
class PoolUsage:
    """One pool: addresses by family, and how many Services draw from it.

    `capacity` leaves out those that avoidBuggyIPs keeps back. An address that Services share is
    in use once.
    """

    pool: Key
    capacity: Mapping[Family, int] = field(default_factory=_none)
    used: Mapping[Family, int] = field(default_factory=_none)
    services: int = 0

    def free(self, family: Family) -> int:
        """Addresses that can still be given; never below 0, though what is held stays held."""
        return max(0, self.capacity[family] - self.used[family])


def capacity(pool: Pool) -> Mapping[Family, int]:
    """How many addresses a pool can give, by family."""
    found = dict.fromkeys(Family, 0)
    for first, last in merged(pool):
        family = Family.IPV6 if first >= V6 else Family.IPV4
        count = last - first + 1
        if pool.avoid_buggy_ips and family is Family.IPV4:
            count -= _ending(first, last, 0) + _ending(first, last, 255)
        found[family] += count
    return found


def _ending(first: int, last: int, octet: int) -> int:
    """How many of the numbers between both, which count too, end in this octet."""
    return (last - octet) // 256 - (first - 1 - octet) // 256


def pool_usage(
    pools: Iterable[Pool], statuses: Mapping[Key, ServiceStatus]
) -> tuple[PoolUsage, ...]:
    """The pools in the order given, with what the Services hold of each."""
    held: dict[str, set[int]] = {}
    services: dict[str, int] = {}
    for status in statuses.values():
        if status.pool and status.addresses:
            held.setdefault(status.pool, set()).update(map(number, status.addresses))
            services[status.pool] = services.get(status.pool, 0) + 1
    found = []
    for pool in pools:
        name = pool.key.name
        addresses = held.get(name, set())
        v6 = sum(where >= V6 for where in addresses)
        found.append(
            PoolUsage(
                pool=pool.key,
                capacity=capacity(pool),
                used={Family.IPV4: len(addresses) - v6, Family.IPV6: v6},
                services=services.get(name, 0),
            )
        )
    return tuple(found)
