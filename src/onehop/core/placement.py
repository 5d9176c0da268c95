"""Placement: the search for addresses, one decision long.

Within a pool the lowest address wins that is free or may be shared, in the order of
spec.addresses; which pools are asked in which order is `candidates`' business. Addresses that a
deleted Service held are taken only when nothing else is free.

A `Placement` only ever adds holders, so whatever was found occupied or not shareable stays so
while it lives; its cursors and heaps rest on that and make a search O(log n) amortised. No range
is ever enumerated.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence, Set
from dataclasses import dataclass
from heapq import heapify, heappop, heappush
from ipaddress import IPv4Address, IPv6Address
from itertools import islice

from onehop.core.candidates import PoolTable, Source, Span, forbidden, owned_by_one
from onehop.core.request import Request
from onehop.core.sharing import V6, Ledger, Share, number, sharing_refusal
from onehop.model.address import Family, IPAddress, family_of
from onehop.model.reason import Reason, Refusal
from onehop.model.service import Service


@dataclass(frozen=True, slots=True, kw_only=True)
class Held:
    """Addresses of one pool that a Service holds, v4 before v6; `numbers` are the same ones."""

    share: Share
    source: Source
    numbers: tuple[int, ...]
    addresses: tuple[IPAddress, ...]

    @property
    def families(self) -> tuple[Family, ...]:
        """The families of the addresses."""
        return tuple(family_of(each) for each in self.addresses)


def held_of(share: Share, source: Source, numbers: Iterable[int]) -> Held:
    """The addresses with these numbers, in their order."""
    ordered = tuple(sorted(numbers))
    return Held(
        share=share, source=source, numbers=ordered, addresses=tuple(map(_address, ordered))
    )


def _address(where: int) -> IPAddress:
    return IPv4Address(where) if where < V6 else IPv6Address(where - V6)


def keepable(
    table: PoolTable,
    ledger: Ledger,
    service: Service,
    request: Request,
    addresses: Sequence[IPAddress],
) -> tuple[Held | None, bool]:
    """What the Service may keep of `addresses`, and whether another Service stood in its way.

    All that is kept lies in one pool: that of the address of the preferred family, or of the
    other one when the first cannot be kept.
    """
    wanted: dict[Family, IPAddress] = {}
    for address in addresses:
        wanted.setdefault(family_of(address), address)
    source: Source | None = None
    numbers: list[int] = []
    contested = False
    for family in request.families:
        if family not in wanted:
            continue
        where = number(wanted[family])
        owner = table.owner(where)
        if owner is None or not _may_own(table, service, request, where, owner):
            continue
        if source is not None and owner is not source:
            continue
        if not ledger.admits(where, request.share):
            contested = True
            continue
        source = owner
        numbers.append(where)
    if source is None:
        return None, contested
    return held_of(request.share, source, numbers), contested


def _may_own(
    table: PoolTable, service: Service, request: Request, where: int, owner: Source
) -> bool:
    """Whether the pool that owns the address allows the Service to have it."""
    if request.pool and request.pool != owner.name:
        return False
    return not owner.avoids(where) and table.admits(owner, service)


class Placement:
    """One search over all pools; `reserved` are numbers to leave alone while others are free."""

    def __init__(self, table: PoolTable, ledger: Ledger, reserved: Set[int]) -> None:
        self.claims: list[Held] = []
        self._table = table
        self._ledger = ledger
        self._reserved = reserved
        self._reach = (False, True) if reserved else (False,)
        self._cursors: dict[int, int] = {}
        self._refusals: dict[tuple[tuple[Family, ...], bool], Refusal] = {}
        self._spent: dict[tuple[tuple[Family, ...], bool], int] = {}
        self._heaps: dict[
            tuple[str, str], dict[tuple[Span, frozenset[tuple[str, int]]], list[int]]
        ]
        self._heaps = {}

    def placed(
        self, service: Service, request: Request, before: Sequence[IPAddress]
    ) -> Held | Refusal | None:
        """Addresses for a Service that has none; `before` are those to prefer if it may.

        None means that what it may use is used up: `exhausted` tells more, when all are placed.
        """
        if request.refusal is not None:
            return request.refusal
        if request.addresses:
            return self._requested(service, request)
        if before:
            restored = self._restored(service, request, before)
            if restored is not None:
                return restored
        if request.pool:
            return self._from_named_pool(service, request)
        return self._automatic(service, request)

    def grown(self, held: Held, families: Iterable[Family]) -> Held | None:
        """`held` and an address of the family it lacks, from the same pool; None when none is."""
        numbers = list(held.numbers)
        for family in families:
            if family in held.families:
                continue
            found = self._lowest(held.source, family, held.share, reserved=True)
            if found is not None:
                self._claim(held_of(held.share, held.source, (found,)))
                numbers.append(found)
        if len(numbers) == len(held.numbers):
            return None
        return held_of(held.share, held.source, numbers)

    def _requested(self, service: Service, request: Request) -> Held | Refusal:
        if {family_of(address) for address in request.addresses} != set(request.families):
            texts = ", ".join(map(str, request.addresses))
            wanted = " and ".join(sorted(family.value for family in request.families))
            return Refusal(
                reason=Reason.FAMILY_MISMATCH,
                detail=f"requested {texts}, the Service needs {wanted}",
            )
        if request.pool and request.pool not in self._table.by_name:
            return self._unknown_pool(request.pool)
        source = owned_by_one(self._table, request.addresses, request.pool)
        if isinstance(source, Refusal):
            return source
        if not self._table.admits(source, service):
            return forbidden(source, service.key)
        for address in request.addresses:
            holder = self._ledger.holder_against(number(address), request.share)
            if holder is not None:
                return sharing_refusal(request.share, holder, address)
        numbers = tuple(number(address) for address in request.addresses)
        return self._claim(held_of(request.share, source, numbers))

    def _restored(
        self, service: Service, request: Request, before: Sequence[IPAddress]
    ) -> Held | None:
        held, _ = keepable(self._table, self._ledger, service, request, before)
        if held is None:
            return None
        missing = [family for family in request.families if family not in held.families]
        for family in missing:
            found = self._lowest(held.source, family, request.share, reserved=True)
            if found is None:
                return self._claim(held) if request.flexible else None
            numbers = tuple(sorted((*held.numbers, found)))
            held = held_of(held.share, held.source, numbers)
        return self._claim(held)

    def _from_named_pool(self, service: Service, request: Request) -> Held | Refusal | None:
        source = self._table.by_name.get(request.pool)
        if source is None:
            return self._unknown_pool(request.pool)
        if not self._table.admits(source, service):
            return forbidden(source, service.key)
        lacking = lacks(source, request)
        if lacking:
            return Refusal(reason=Reason.FAMILY_MISMATCH, detail=f"pool {source.name} {lacking}")
        return self._drawn(((source,),), request)

    def _unknown_pool(self, name: str) -> Refusal:
        why = self._table.refused.get(name)
        detail = f"pool {name} is not in force: {why}" if why else f"there is no pool {name}"
        return Refusal(reason=Reason.UNKNOWN_POOL, detail=detail)

    def _automatic(self, service: Service, request: Request) -> Held | Refusal | None:
        groups = self._table.automatic(service)
        held = self._drawn(groups, request)
        if held is not None:
            return held
        if any(not lacks(source, request) for group in groups for source in group):
            return None
        reasons = (
            f"pool {each.name}: {self._table.why_not(each, service) or lacks(each, request)}"
            for each in self._table.sources
        )
        return Refusal(reason=Reason.NO_POOL_FOR_SERVICE, detail=some(reasons))

    def exhausted(self, service: Service, request: Request) -> Refusal:
        """Which families the pools that the Service may use have run out of.

        To be asked when all Services are placed, so that the answer is the same when the
        decision is repeated upon its own outcome.
        """
        groups = self._table.automatic(service)
        if request.pool:
            groups = ((self._table.by_name[request.pool],),)
        alike = None
        if groups == (self._table.open_to_all,) and not request.share.sharing_key:
            alike = (request.families, request.flexible)
            if alike in self._refusals:
                return self._refusals[alike]
        sources = (each for group in groups for each in group if not lacks(each, request))
        shortages = (f"pool {each.name} {self._shortage(each, request)}" for each in sources)
        refusal = Refusal(reason=Reason.POOL_EXHAUSTED, detail=some(shortages))
        if alike:
            self._refusals[alike] = refusal
        return refusal

    def _shortage(self, source: Source, request: Request) -> str:
        out = [
            family.value
            for family in request.families
            if self._lowest(source, family, request.share, reserved=True) is None
        ]
        return f"has no free {' and '.join(out)} address"

    def _drawn(self, groups: Iterable[Sequence[Source]], request: Request) -> Held | None:
        """The first addresses that fit, over groups in order.

        A request that will do with one family gets both if any pool of the group has both, then
        one family, before the next group is asked. Reserved addresses of a group stand behind the
        free ones of all groups, save that they still make two families where one would be given:
        otherwise the next decision would add the second, and a decision must stand when repeated.
        """
        if not request.flexible:
            return self._first(groups, self._reach, (request.families,), request.share)
        singles = tuple((family,) for family in request.families)
        for group in groups:
            held = self._first((group,), self._reach, (request.families,), request.share)
            held = held or self._first((group,), (False,), singles, request.share)
            if held is not None:
                return held
        return self._first(groups, self._reach[1:], singles, request.share)

    def _first(
        self,
        groups: Iterable[Sequence[Source]],
        reach: Iterable[bool],
        choices: Iterable[tuple[Family, ...]],
        share: Share,
    ) -> Held | None:
        for reserved in reach:
            for group in groups:
                for families in choices:
                    held = self._from_group(group, families, share, reserved)
                    if held is not None:
                        return held
        return None

    def _from_group(
        self, group: Sequence[Source], families: tuple[Family, ...], share: Share, reserved: bool
    ) -> Held | None:
        """An address of each family from the first pool of the group that has them.

        What a pool could not give to a Service that shares nothing it can give to none of its
        like, so the pools open to all are asked from where the last one ended.
        """
        alike = (families, reserved) if group is self._table.open_to_all else None
        start = self._spent.get(alike, 0) if alike and not share.sharing_key else 0
        found = None
        index = start
        for index in range(start, len(group)):
            found = self._fit(group[index], families, share, reserved)
            if found is not None:
                break
        if alike and not share.sharing_key:
            self._spent[alike] = index if found is not None else len(group)
        return None if found is None else self._claim(held_of(share, group[index], found))

    def _fit(
        self, source: Source, families: tuple[Family, ...], share: Share, reserved: bool
    ) -> tuple[int, ...] | None:
        numbers = []
        for family in families:
            found = self._lowest(source, family, share, reserved=reserved)
            if found is None:
                return None
            numbers.append(found)
        return tuple(sorted(numbers))

    def _claim(self, held: Held) -> Held:
        share = held.share
        if share.sharing_key:
            self._offer(share, held.numbers)
        self._ledger.claim(share, held.numbers)
        self.claims.append(held)
        return held

    def _offer(self, share: Share, numbers: Iterable[int]) -> None:
        """Let searches of the same sharing group see addresses that it did not hold yet."""
        group = (share.sharing_key, share.backend_key)
        known = self._ledger.groups.get(group, set())
        for (span, _), heap in self._heaps.get(group, {}).items():
            for where in numbers:
                if span.first <= where <= span.last and where not in known:
                    heappush(heap, where)

    def _lowest(
        self, source: Source, family: Family, share: Share, *, reserved: bool
    ) -> int | None:
        """The first address of the pool that is free or may be shared.

        With `reserved`, a reserved one when there is no other.
        """
        found = self._searched(source, family, share, self._reserved)
        if found is None and reserved and self._reserved:
            return self._searched(source, family, share, frozenset())
        return found

    def _searched(
        self, source: Source, family: Family, share: Share, spared: Set[int]
    ) -> int | None:
        for span in source.spans[family]:
            free = self._lowest_free(source, span, spared)
            shared = self._lowest_shared(span, share) if share.sharing_key else None
            if shared is not None and (free is None or shared < free):
                return shared
            if free is not None:
                return free
        return None

    def _lowest_free(self, source: Source, span: Span, spared: Set[int]) -> int | None:
        """The first free address of the span that is not spared.

        Where the ledger's search ended is kept for later decisions; where it ended among spared
        addresses only for this one, since they change without the ledger's knowing.
        """
        held, last = self._ledger.held, span.last
        avoids = source.pool.avoid_buggy_ips
        where = self._ledger.lowest.get(span.first, span.first)
        while where <= last and (where in held or (avoids and source.avoids(where))):
            where += 1
        self._ledger.lowest[span.first] = where
        if spared:
            where = max(where, self._cursors.get(span.first, where))
            while where <= last and (
                where in held or where in spared or (avoids and source.avoids(where))
            ):
                where += 1
            self._cursors[span.first] = where
        return where if where <= last else None

    def _lowest_shared(self, span: Span, share: Share) -> int | None:
        group = (share.sharing_key, share.backend_key)
        heaps = self._heaps.setdefault(group, {})
        heap = heaps.get((span, share.ports))
        if heap is None:
            members = self._ledger.groups.get(group, set())
            heap = [where for where in members if span.first <= where <= span.last]
            heapify(heap)
            heaps[span, share.ports] = heap
        while heap and not self._ledger.admits(heap[0], share):
            heappop(heap)
        return heap[0] if heap else None


def lacks(source: Source, request: Request) -> str:
    """Which families the request needs that the pool has no range of; empty when it will do."""
    missing = [family for family in request.families if not source.spans[family]]
    if not missing or (request.flexible and len(missing) == 1):
        return ""
    return f"has no {' and no '.join(family.value for family in missing)} range"


def some(reasons: Iterable[str], most: int = 5) -> str:
    """The first few reasons, and a word when there are more: a status holds no hundreds."""
    listed = list(islice(reasons, most + 1))
    return "; ".join([*listed[:most], "and more"] if len(listed) > most else listed)
