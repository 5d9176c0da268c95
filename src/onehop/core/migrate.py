"""Migration: what becomes of the addresses that Services hold today, before anything is changed.

The allocator is run over the statuses as another load balancer left them. What it would write is
laid beside what stands there, Service by Service; where an address would be lost, the rule that
takes it is named.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from enum import Enum

from onehop.core.allocate import cluster_desired
from onehop.core.candidates import PoolTable, forbidden, owned_by_one
from onehop.core.report import SUPPORTED
from onehop.core.request import Request, families_needed, not_in_charge, request, share_of
from onehop.core.sharing import Ledger, number, sharing_refusal
from onehop.core.validate import judged_pools, problems
from onehop.model.address import IPAddress, family_of
from onehop.model.desired import ServiceStatus
from onehop.model.objects import Objects
from onehop.model.reason import Problem, Reason, Refusal, Severity
from onehop.model.service import Key, Service


class Fate(Enum):
    """What the take-over does to a Service.

    STAYS: its status keeps every address, in the same order. GETS: it holds none and is given
    one. CHANGES: it keeps all it holds, in another order or beside another address. MOVES: it
    loses an address for another. REFUSED: it holds none afterwards. IGNORED: another load
    balancer's.
    """

    STAYS = "stays"
    GETS = "gets"
    CHANGES = "changes"
    MOVES = "moves"
    REFUSED = "refused"
    IGNORED = "ignored"


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    """One Service: its addresses before and after, and why they differ.

    `notes` are what else its owner ought to know. `in_danger` marks an ignored Service whose
    address lies in a pool, so that another Service may be given it.
    """

    service: Key
    fate: Fate
    before: tuple[IPAddress, ...] = ()
    after: tuple[IPAddress, ...] = ()
    pool: str = ""
    reasons: tuple[Refusal, ...] = ()
    notes: tuple[str, ...] = ()
    in_danger: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """The outcome for every Service of type LoadBalancer, by key, and what else is wrong."""

    outcomes: tuple[Outcome, ...]
    problems: tuple[Problem, ...] = ()

    @property
    def all_stay(self) -> bool:
        """Whether nothing changes for anybody, and all of the configuration is in force."""
        quiet = all(
            each.fate is Fate.STAYS or (each.fate is Fate.IGNORED and not each.in_danger)
            for each in self.outcomes
        )
        return quiet and not any(
            problem.reason.severity is Severity.ERROR for problem in self.problems
        )


def plan(objects: Objects, *, lb_class: str | None = None) -> Plan:
    """What would become of every Service that has, or ought to have, an external address."""
    statuses = cluster_desired(objects, lb_class=lb_class).statuses
    judgement = judged_pools(objects)
    table = PoolTable(judgement.usable, judgement.refused, objects.namespaces.values())
    ledger = _holders(objects.services, statuses)
    outcomes = []
    for key, service in sorted(objects.services.items()):
        status = statuses.get(key)
        if status is not None:
            outcomes.append(_outcome(service, status, table, ledger))
        elif service.type == "LoadBalancer":
            outcomes.append(_ignored(service, table, lb_class))
    return Plan(outcomes=tuple(outcomes), problems=(*objects.problems, *problems(objects)))


def _holders(services: Mapping[Key, Service], statuses: Mapping[Key, ServiceStatus]) -> Ledger:
    """Who holds which address afterwards."""
    ledger = Ledger()
    for key, status in statuses.items():
        if status.addresses:
            ledger.claim(share_of(services[key]), map(number, status.addresses))
    return ledger


def _ignored(service: Service, table: PoolTable, lb_class: str | None) -> Outcome:
    why = not_in_charge(service, lb_class)
    assert why is not None, "a Service without a status is not ours"
    owned = [
        f"{address} is in pool {source.name}: another Service may be given it"
        for address in service.ingress
        if (source := table.owner(number(address))) is not None
    ]
    return Outcome(
        service=service.key,
        fate=Fate.IGNORED,
        before=service.ingress,
        after=service.ingress,
        reasons=(why,),
        notes=tuple(owned),
        in_danger=bool(owned),
    )


def _outcome(service: Service, status: ServiceStatus, table: PoolTable, ledger: Ledger) -> Outcome:
    fate = _fate(service.ingress, status.addresses)
    lost = tuple(each for each in service.ingress if each not in status.addresses)
    reasons = (_why_lost(service, lost, table, ledger),) if lost else ()
    if status.refusal is not None and status.refusal not in reasons:
        reasons = (*reasons, status.refusal)
    notes = [each.message for each in status.conditions if each.type == SUPPORTED]
    if fate is Fate.CHANGES and set(service.ingress) == set(status.addresses):
        notes.append("the addresses change places: IPv4 comes before IPv6")
    return Outcome(
        service=service.key,
        fate=fate,
        before=service.ingress,
        after=status.addresses,
        pool=status.pool,
        reasons=reasons,
        notes=tuple(notes),
    )


def _fate(before: tuple[IPAddress, ...], after: tuple[IPAddress, ...]) -> Fate:
    if not after:
        return Fate.REFUSED
    if before == after:
        return Fate.STAYS
    if not before:
        return Fate.GETS
    return Fate.CHANGES if set(before) <= set(after) else Fate.MOVES


def _why_lost(
    service: Service, lost: tuple[IPAddress, ...], table: PoolTable, ledger: Ledger
) -> Refusal:
    """The rule that takes the lost addresses, the first that applies."""
    asked = not_in_charge(service, service.load_balancer_class) or request(service)
    if isinstance(asked, Refusal):
        return asked
    return _by_request(service, asked) or _by_pool(service, asked, lost, table, ledger)


def _by_request(service: Service, asked: Request) -> Refusal | None:
    """What the Service itself asks for that its addresses are not."""
    if asked.addresses and set(asked.addresses) != set(service.ingress):
        wanted = _texts(asked.addresses)
        detail = f"it requests {wanted} and holds {_texts(service.ingress)}"
        return Refusal(reason=Reason.REQUEST_CONFLICT, detail=detail)
    families = families_needed(service)
    held = [family_of(address) for address in service.ingress]
    if isinstance(families, Refusal) or (len(set(held)) == len(held) and set(held) <= {*families}):
        return None
    wanted = " and ".join(family.value for family in families)
    detail = f"it holds {_texts(service.ingress)} and needs one {wanted} address"
    return Refusal(reason=Reason.FAMILY_MISMATCH, detail=detail)


def _by_pool(
    service: Service,
    asked: Request,
    lost: tuple[IPAddress, ...],
    table: PoolTable,
    ledger: Ledger,
) -> Refusal:
    """What the pools say of the lost addresses."""
    for address in lost:
        if table.owner(number(address)) is None:
            return Refusal(reason=Reason.ADDRESS_IN_NO_POOL, detail=str(address))
        source = owned_by_one(table, (address,), asked.pool)
        if isinstance(source, Refusal):
            return source
        if not table.admits(source, service):
            return forbidden(source, service.key)
        holder = ledger.holder_against(number(address), asked.share)
        if holder is not None:
            return sharing_refusal(asked.share, holder, address)
    source = owned_by_one(table, service.ingress, asked.pool)
    if isinstance(source, Refusal):
        return source
    detail = f"pool {source.name} cannot give the Service all that it needs"
    return Refusal(reason=Reason.FAMILY_MISMATCH, detail=detail)


def _texts(addresses: Iterable[IPAddress]) -> str:
    return ", ".join(map(str, addresses))
