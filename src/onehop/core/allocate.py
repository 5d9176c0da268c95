"""Allocation: which Service holds which addresses, and why another holds none.

Two passes over all Services. First every address that a status already names is kept while the
rules still allow it; then the rest are placed: those that have an earlier address to come back
to, then those that ask for one, then all others, each by age and name. So a restart with the own
statuses changes nothing, no order of arrival matters, and a Service without an address costs
nobody else theirs.

`Allocator` remembers the first pass from one decision to the next and redoes it for the Services
that changed; what it answers is always what `cluster_desired` answers.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import lru_cache
from types import MappingProxyType

from onehop.core.candidates import PoolTable
from onehop.core.placement import Held, Placement, keepable, lacks
from onehop.core.report import allocated, kept_in_doubt, refused
from onehop.core.request import Request, not_in_charge, request
from onehop.core.sharing import Ledger, number
from onehop.core.validate import identical, judged_pools
from onehop.model.address import Family, IPAddress
from onehop.model.config import Namespace, Pool
from onehop.model.desired import ClusterDesired, ServiceStatus
from onehop.model.diff import moved
from onehop.model.objects import Objects
from onehop.model.reason import Reason, Refusal
from onehop.model.service import Key, Service

_Released = Mapping[Key, tuple[IPAddress, ...]]


@dataclass(frozen=True, slots=True, kw_only=True)
class _Pending:
    """A Service that the first pass has not settled.

    `held` is what it keeps all the same and may add to; `before` what it could not keep as it is.
    """

    service: Service
    request: Request
    held: Held | None = None
    before: tuple[IPAddress, ...] = ()


def cluster_desired(objects: Objects, *, lb_class: str | None = None) -> ClusterDesired:
    """What the controller wants written: a status for every Service it is in charge of.

    Also for a Service that is no longer of type LoadBalancer and still carries addresses: they
    are taken from it.
    """
    return Allocator(lb_class=lb_class).decide(objects)


class Allocator:
    """Decides again and again, at the cost of what changed."""

    def __init__(self, *, lb_class: str | None = None) -> None:
        self._lb_class = lb_class
        self._inputs: tuple[Pool | Namespace, ...] = ()
        self._doubt = ""
        self._table = PoolTable((), {}, ())
        self._services: Mapping[Key, Service] = {}
        self._reset()

    def _reset(self) -> None:
        self._ledger = Ledger()
        self._held: dict[Key, Held] = {}
        self._statuses: dict[Key, ServiceStatus] = {}
        self._pending: dict[Key, _Pending] = {}
        self._lost: dict[Key, tuple[IPAddress, ...]] = {}
        self._contested = False
        self._claims: list[Held] = []

    def decide(self, objects: Objects) -> ClusterDesired:
        """What `cluster_desired` answers for the same objects."""
        for claim in self._claims:
            self._ledger.release(claim.share, claim.numbers)
        self._claims = []
        self._settle(objects)
        statuses = dict(self._statuses)
        reserved = {
            number(address)
            for key, addresses in (*objects.released.items(), *self._lost.items())
            if key not in self._held
            for address in addresses
        }
        placement = Placement(self._table, self._ledger, reserved)
        late: list[_Pending] = []
        for pending in self._in_order(objects.released):
            status = self._placed(placement, pending, objects.released)
            if status is None:
                late.append(pending)
            else:
                statuses[pending.service.key] = status
        for each in late:
            refusal = placement.exhausted(each.service, each.request)
            statuses[each.service.key] = refused(each.service, refusal)
        self._claims = placement.claims
        return ClusterDesired(
            statuses=MappingProxyType(statuses),
            released=MappingProxyType(self._still_released(objects.released, statuses)),
        )

    def _settle(self, objects: Objects) -> None:
        """Bring the first pass up to date."""
        services = objects.services.values()
        renewed = self._renew_table(objects)
        gone, come = moved(self._services, objects.services)
        self._services = objects.services
        if not renewed and 2 * len(come) <= len(services):
            for service in gone.values():
                self._forget(service)
            for service in come.values():
                self._consider(service)
            if not self._contested:
                return
        self._reset()
        for service in services:
            self._consider(service)
        if self._contested:
            # Only where two Services stand on one address does the order of the first pass
            # matter, and sorting all of them is most of its cost.
            self._reset()
            for service in sorted(services, key=_age):
                self._consider(service)

    def _renew_table(self, objects: Objects) -> bool:
        """Read the pools anew if they changed; whether they did."""
        pools = tuple(objects.pools.values())
        by_labels = any(pool.allocation and pool.allocation.namespace_selectors for pool in pools)
        namespaces = tuple(objects.namespaces.values()) if by_labels else ()
        inputs: tuple[Pool | Namespace, ...] = (*pools, *namespaces)
        doubt = doubt_about_pools(objects)
        if identical(inputs, self._inputs) and doubt == self._doubt:
            return False
        self._inputs = inputs
        self._doubt = doubt
        judgement = judged_pools(objects)
        self._table = PoolTable(judgement.usable, judgement.refused, namespaces)
        return True

    def _forget(self, service: Service) -> None:
        """Undo what `_consider` entered for a Service as it was."""
        key = service.key
        held = self._held.pop(key, None)
        if held is not None:
            self._ledger.release(held.share, held.numbers)
        self._statuses.pop(key, None)
        self._pending.pop(key, None)
        self._lost.pop(key, None)

    def _consider(self, service: Service) -> None:
        """The first pass over one Service."""
        key = service.key
        ignored = not_in_charge(service, self._lb_class)
        if ignored is not None:
            ours = service.load_balancer_class in (None, self._lb_class)
            if ignored.reason is Reason.NOT_LOAD_BALANCER and service.ingress and ours:
                self._refuse(service, ignored)
            return
        asked = request(service)
        if isinstance(asked, Refusal):
            self._refuse(service, asked)
            return
        if self._doubt and service.ingress and not any(map(self._owned, service.ingress)):
            self._statuses[key] = kept_in_doubt(service, self._doubt)
            return
        if not self._table.sources:
            self._refuse(service, self._no_pools())
            return
        held = None
        if service.ingress:
            held, contested = keepable(self._table, self._ledger, service, asked, service.ingress)
            self._contested = self._contested or contested
        if held is None:
            self._defer(service, asked)
        else:
            self._keep(service, asked, held)

    def _keep(self, service: Service, asked: Request, held: Held) -> None:
        """Settle a Service that may keep `held`, unless it asks for something else or more."""
        addresses = held.addresses
        if asked.addresses and asked.addresses != addresses:
            self._defer(service, asked)
            return
        # While a request cannot be read, nothing changes: neither is a family added.
        short = len(addresses) < len(asked.families) and asked.refusal is None
        if short and not asked.flexible:
            self._defer(service, asked, addresses)
            return
        self._ledger.claim(held.share, held.numbers)
        self._held[service.key] = held
        self._statuses[service.key] = _given(service, asked, held)
        if short and not asked.addresses and not lacks_other(held, asked):
            self._pending[service.key] = _Pending(service=service, request=asked, held=held)

    def _refuse(self, service: Service, refusal: Refusal) -> None:
        """Give nothing, and remember what the Service held, in case it may have it again."""
        self._statuses[service.key] = refused(service, refusal)
        if service.ingress:
            self._lost[service.key] = service.ingress

    def _defer(self, service: Service, asked: Request, before: tuple[IPAddress, ...] = ()) -> None:
        """Leave the Service to the second pass."""
        self._pending[service.key] = _Pending(service=service, request=asked, before=before)
        if service.ingress:
            self._lost[service.key] = service.ingress

    def _owned(self, address: IPAddress) -> bool:
        return self._table.owner(number(address)) is not None

    def _no_pools(self) -> Refusal:
        refused_pools = "; ".join(
            f"pool {name} is not in force: {why}" for name, why in self._table.refused.items()
        )
        return Refusal(reason=Reason.NO_POOLS, detail=refused_pools)

    def _in_order(self, released: _Released) -> list[_Pending]:
        def precedence(pending: _Pending) -> tuple[int, str, str, str]:
            comes_back = pending.before or pending.service.key in released
            rank = 0 if comes_back else 1 if pending.request.addresses else 2
            return (rank, *_age(pending.service))

        return sorted(self._pending.values(), key=precedence)

    def _placed(
        self, placement: Placement, pending: _Pending, released: _Released
    ) -> ServiceStatus | None:
        """The second pass over one Service; None when what it may use is used up."""
        service, asked = pending.service, pending.request
        if pending.held is not None:
            grown = placement.grown(pending.held, asked.families)
            return _given(service, asked, grown or pending.held)
        before = pending.before or released.get(service.key, ())
        outcome = placement.placed(service, asked, before)
        if outcome is None:
            return None
        if isinstance(outcome, Refusal):
            return refused(service, outcome)
        return _given(service, asked, outcome)

    def _still_released(
        self, released: _Released, statuses: Mapping[Key, ServiceStatus]
    ) -> dict[Key, tuple[IPAddress, ...]]:
        """Addresses lost by Services that hold none now, and that nobody else holds."""
        found = {}
        for key, addresses in (*released.items(), *self._lost.items()):
            status = statuses.get(key)
            if status is not None and status.addresses:
                continue
            free = tuple(each for each in addresses if number(each) not in self._ledger.held)
            if free:
                found[key] = free
        return found


def _age(service: Service) -> tuple[str, str, str]:
    return (service.created, service.key.namespace, service.key.name)


def _given(service: Service, asked: Request, held: Held) -> ServiceStatus:
    """The status of a Service that holds addresses, with what it asked for and did not get."""
    refusal = asked.refusal
    missing = [family for family in asked.families if family not in held.families]
    if refusal is None and missing and not asked.addresses:
        refusal = _one_family(held.source.name, missing[0], lacks_other(held, asked))
    return allocated(service, held, refusal)


@lru_cache(maxsize=1024)
def _one_family(pool: str, family: Family, lacks_range: bool) -> Refusal:
    what = f"has no {family.value} range" if lacks_range else f"has no free {family.value} address"
    return Refusal(reason=Reason.ONE_FAMILY, detail=f"pool {pool} {what}")


def lacks_other(held: Held, asked: Request) -> bool:
    """Whether the pool of `held` has no range of a family that the request would take as well."""
    return any(
        family not in held.families and not held.source.spans[family] for family in asked.families
    )


def doubt_about_pools(objects: Objects) -> str:
    """What may hide a pool: an object or a file that could not be read; empty when nothing does.

    What was read before stays in force, but a controller that starts now has read nothing before.
    """
    for problem in objects.problems:
        if not problem.object or problem.object.startswith("IPAddressPool "):
            return f"{problem.source}: {problem.detail}"
    return ""


def allocation_chain(
    objects: Objects, key: Key, *, lb_class: str | None = None
) -> tuple[str | Refusal, ...]:
    """Why the Service has the addresses it has, or none: what it asks, each pool, the outcome."""
    service = objects.services.get(key)
    if service is None:
        return (f"there is no Service {key}",)
    ignored = not_in_charge(service, lb_class)
    if ignored is not None:
        return (ignored,)
    judgement = judged_pools(objects)
    table = PoolTable(judgement.usable, judgement.refused, objects.namespaces.values())
    asked = request(service)
    if isinstance(asked, Refusal):
        return (asked,)
    allocator = Allocator(lb_class=lb_class)
    status = allocator.decide(objects).statuses[key]
    chain = [*_asks(asked), *_pools(table, service, asked)]
    if status.addresses:
        chain.append(_outcome(service, objects, status))
    return (*chain, status.refusal) if status.refusal else tuple(chain)


def _asks(asked: Request) -> Iterable[str]:
    wanted = (" or " if asked.flexible else " and ").join(each.value for each in asked.families)
    yield f"needs {wanted}"
    if asked.addresses:
        yield f"requests {', '.join(map(str, asked.addresses))}"
    if asked.pool:
        yield f"asks for pool {asked.pool}"
    if asked.share.sharing_key:
        yield f"shares by key {asked.share.sharing_key!r}"


def _pools(table: PoolTable, service: Service, asked: Request) -> Iterable[str]:
    explicit = bool(asked.pool or asked.addresses)
    drawn = [source for group in table.automatic(service) for source in group]
    for source in [*drawn, *(each for each in table.sources if each not in drawn)]:
        why = "" if explicit and table.admits(source, service) else table.why_not(source, service)
        if asked.pool and source.name != asked.pool:
            why = f"the annotation names pool {asked.pool}"
        yield f"pool {source.name}: {why or lacks(source, asked) or 'may serve it'}"
    for name, why in table.refused.items():
        yield f"pool {name}: not in force, {why}"


def _outcome(service: Service, objects: Objects, status: ServiceStatus) -> str:
    texts = ", ".join(map(str, status.addresses))
    if set(status.addresses) <= set(service.ingress):
        return f"keeps {texts} of pool {status.pool}"
    if set(status.addresses) & set(objects.released.get(service.key, ())):
        return f"gets back {texts} of pool {status.pool}"
    return f"gets {texts} of pool {status.pool}"
