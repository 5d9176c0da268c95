"""Candidates: which pools a Service may draw from, and which pool owns an address.

The rules of MetalLB's serviceAllocation and autoAssign, made deterministic: where MetalLB walks a
map or sorts by an incomplete order, equals here are sorted by name.

Deviation: a serviceAllocation whose namespaceSelectors select no namespace admits no Service; in
MetalLB it admits every one.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from onehop.core.sharing import V6, number
from onehop.model.address import Family, IPAddress
from onehop.model.config import Namespace, Pool, any_matches
from onehop.model.reason import Reason, Refusal
from onehop.model.service import Key, Service


@dataclass(frozen=True, slots=True, kw_only=True)
class Span:
    """A range as numbers (`sharing.number`), both ends included."""

    first: int
    last: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Source:
    """A pool as the search sees it: its spans by family, in the order of spec.addresses."""

    pool: Pool
    spans: Mapping[Family, tuple[Span, ...]]

    @property
    def name(self) -> str:
        """The pool's name."""
        return self.pool.key.name

    def avoids(self, where: int) -> bool:
        """Whether avoidBuggyIPs keeps this address from being used: v4 ending in .0 or .255."""
        return self.pool.avoid_buggy_ips and where < V6 and where & 0xFF in (0, 0xFF)


def _source(pool: Pool) -> Source:
    spans: dict[Family, list[Span]] = {family: [] for family in Family}
    for each in pool.ranges:
        spans[each.family].append(Span(first=number(each.first), last=number(each.last)))
    return Source(pool=pool, spans={family: tuple(spans[family]) for family in Family})


def merged(pool: Pool) -> tuple[tuple[int, int], ...]:
    """First and last of each stretch of addresses of the pool, ascending and disjoint."""
    stretches: list[tuple[int, int]] = []
    for first, last in sorted((number(each.first), number(each.last)) for each in pool.ranges):
        if stretches and first <= stretches[-1][1]:
            stretches[-1] = (stretches[-1][0], max(last, stretches[-1][1]))
        else:
            stretches.append((first, last))
    return tuple(stretches)


class PoolTable:
    """The pools in force, ready to be asked.

    `pools` are usable and in the order of their names; they share no address. `refused` says of
    the others why they are not in force, by name. `labels` are those of each namespace.
    """

    def __init__(
        self,
        pools: Iterable[Pool],
        refused: Mapping[str, str],
        namespaces: Iterable[Namespace],
    ) -> None:
        self.sources = tuple(_source(pool) for pool in pools)
        self.by_name = {source.name: source for source in self.sources}
        self.refused = refused
        self._labels = {namespace.name: namespace.labels for namespace in namespaces}
        stretches = sorted(
            (
                (first, last, source)
                for source in self.sources
                for first, last in merged(source.pool)
            ),
            key=lambda stretch: stretch[0],
        )
        self._starts = [first for first, _, _ in stretches]
        self._stretches = stretches
        automatic = [source for source in self.sources if source.pool.auto_assign]
        self.open_to_all = tuple(each for each in automatic if each.pool.allocation is None)
        pinned = [each for each in automatic if each.pool.allocation is not None]
        self._pinned = tuple(sorted(pinned, key=_precedence))

    def owner(self, where: int) -> Source | None:
        """The pool that holds the address with this number; None when no pool does."""
        index = bisect_right(self._starts, where) - 1
        if index < 0 or where > self._stretches[index][1]:
            return None
        return self._stretches[index][2]

    def admits(self, source: Source, service: Service) -> bool:
        """Whether the pool's serviceAllocation lets the Service in; without one it does."""
        allocation = source.pool.allocation
        if allocation is None:
            return True
        if (allocation.namespaces or allocation.namespace_selectors) and not (
            service.key.namespace in allocation.namespaces
            or any_matches(
                allocation.namespace_selectors, self._labels.get(service.key.namespace, {})
            )
        ):
            return False
        return not allocation.service_selectors or any_matches(
            allocation.service_selectors, service.labels
        )

    def automatic(self, service: Service) -> tuple[tuple[Source, ...], ...]:
        """Pools to draw from unasked, in groups: an earlier group is used up before a later one.

        First those whose serviceAllocation admits the Service, by priority (1 first, 0 last),
        then those without serviceAllocation; within equals by name.
        """
        if not self._pinned:
            return (self.open_to_all,)
        return (
            tuple(each for each in self._pinned if self.admits(each, service)),
            self.open_to_all,
        )

    def why_not(self, source: Source, service: Service) -> str:
        """Why the Service does not draw from the pool unasked; empty when it does."""
        if not source.pool.auto_assign:
            return "autoAssign is false"
        if not self.admits(source, service):
            return "its serviceAllocation does not admit the Service"
        return ""


def _precedence(source: Source) -> tuple[bool, int, str]:
    priority = source.pool.allocation.priority if source.pool.allocation else 0
    return (priority == 0, priority, source.name)


def owned_by_one(
    table: PoolTable, addresses: Iterable[IPAddress], annotated: str
) -> Source | Refusal:
    """The pool that owns all of the requested addresses and that the annotation allows."""
    owner: Source | None = None
    for address in addresses:
        source = table.owner(number(address))
        if source is None:
            return Refusal(reason=Reason.ADDRESS_NOT_IN_POOL, detail=f"{address} is in no pool")
        if source.avoids(number(address)):
            return Refusal(
                reason=Reason.BUGGY_ADDRESS, detail=f"pool {source.name} avoids {address}"
            )
        if owner is not None and owner is not source:
            return Refusal(
                reason=Reason.REQUEST_CONFLICT,
                detail=f"{address} is in pool {source.name}, the other in pool {owner.name}",
            )
        if annotated and source.name != annotated:
            return Refusal(
                reason=Reason.REQUEST_CONFLICT,
                detail=f"{address} is in pool {source.name}, the annotation names {annotated}",
            )
        owner = source
    assert owner is not None, "a request names at least one address"
    return owner


def forbidden(source: Source, key: Key) -> Refusal:
    """The refusal of a pool that does not admit the Service."""
    return Refusal(
        reason=Reason.POOL_FORBIDDEN,
        detail=f"serviceAllocation of pool {source.name} does not admit Service {key}",
    )
