"""Validation of the configuration as a whole: what no single object shows.

Pools that overlap, names used twice, pools that nobody defined, requests that contradict each
other. Each becomes a `Problem`; none of them disturbs what is right. Fields of one object by
themselves are read, and refused, where the object is read.
"""

from __future__ import annotations

from bisect import bisect_right, insort
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from operator import is_

from onehop.core.candidates import merged
from onehop.core.request import (
    annotation,
    asks,
    families_needed,
    requested_addresses,
)
from onehop.core.sharing import number
from onehop.core.validate_bgp import BgpValidator
from onehop.model.address import AddressRange, IPAddress, family_of
from onehop.model.annotation import ADDRESS_POOL, LOAD_BALANCER_IPS
from onehop.model.config import L2Advertisement, Pool
from onehop.model.diff import moved
from onehop.model.objects import Objects
from onehop.model.reason import Problem, Reason, Refusal
from onehop.model.service import Key, Service


@dataclass(frozen=True, slots=True, kw_only=True)
class Judgement:
    """Pools in force in the order of their names, and what is wrong with the others.

    `refused` maps the name of a pool that is not in force to why. A problem need not refuse its
    pool: ranges of one pool that overlap each other leave no doubt about what it holds.
    """

    usable: tuple[Pool, ...]
    refused: Mapping[str, str]
    problems: tuple[Problem, ...]


def usable_pools(objects: Objects) -> tuple[Pool, ...]:
    """The pools in force, by name; of two that overlap the one that comes first."""
    return judged_pools(objects).usable


def problems(objects: Objects) -> tuple[Problem, ...]:
    """Everything wrong with the configuration as a whole, in a fixed order."""
    return Validator().problems(objects)


def identical(one: Sequence[object], other: Sequence[object]) -> bool:
    """Whether both hold the identical objects in the identical order."""
    return len(one) == len(other) and all(map(is_, one, other))


class Validator:
    """Answers what `problems` answers, again and again, at the cost of what changed."""

    def __init__(self) -> None:
        self._pools: tuple[Pool, ...] = ()
        self._judgement = Judgement(usable=(), refused={}, problems=())
        self._names: frozenset[str] = frozenset()
        self._services: Mapping[Key, Service] = {}
        self._faults: dict[Key, tuple[Problem, ...]] = {}
        self._bgp = BgpValidator()

    def configuration(self, objects: Objects) -> tuple[Problem, ...]:
        """What is wrong with pools, advertisements and BGP objects; Services are not looked at."""
        self._renew_pools(objects)
        found = list(self._judgement.problems)
        for _, advertisement in sorted(objects.l2_advertisements.items()):
            found += _advertisement_problems(advertisement, self._names, self._judgement.refused)
        return (*found, *self._bgp.problems(objects, self._judgement.usable))

    def problems(self, objects: Objects) -> tuple[Problem, ...]:
        """Everything wrong with the configuration as a whole, in a fixed order."""
        found = list(self.configuration(objects))
        gone, come = moved(self._services, objects.services)
        self._services = objects.services
        for key in gone:
            self._faults.pop(key, None)
        for service in come.values():
            self._review(service)
        for _, faults in sorted(self._faults.items()):
            found += faults
        return tuple(found)

    def _renew_pools(self, objects: Objects) -> None:
        """Judge the pools anew if they changed, and forget what was said of Services then."""
        pools = tuple(objects.pools.values())
        if identical(pools, self._pools):
            return
        self._pools = pools
        self._judgement = judged_pools(objects)
        self._names = frozenset(pool.key.name for pool in self._judgement.usable)
        self._services = {}
        self._faults = {}

    def _review(self, service: Service) -> None:
        if service.type == "LoadBalancer" and asks(service):
            faults = _service_problems(service, self._names, self._judgement.refused)
            if faults:
                self._faults[service.key] = tuple(faults)


def judged_pools(objects: Objects) -> Judgement:
    """The pools in force and the problems of all pools."""
    taken: list[tuple[int, int, str]] = []
    usable: dict[str, Pool] = {}
    refused: dict[str, str] = {}
    found: list[Problem] = []
    for pool in sorted(objects.pools.values(), key=lambda pool: (pool.key.name, pool.key)):
        fault = _fault(pool, usable, taken)
        found += _own_overlaps(pool)
        if fault is None:
            usable[pool.key.name] = pool
            for first, last in merged(pool):
                insort(taken, (first, last, pool.key.name))
            continue
        found.append(fault)
        refused.setdefault(pool.key.name, fault.detail)
    for name in usable:
        refused.pop(name, None)
    return Judgement(usable=tuple(usable.values()), refused=refused, problems=tuple(found))


def _pool_problem(pool: Pool, field: str, reason: Reason, detail: str) -> Problem:
    return Problem(
        source="",
        line=0,
        object=f"IPAddressPool {pool.key}",
        field=field,
        reason=reason,
        detail=detail,
    )


def _fault(
    pool: Pool, usable: dict[str, Pool], taken: list[tuple[int, int, str]]
) -> Problem | None:
    """What keeps the pool out of force, given the pools that came before it."""
    name = pool.key.name
    if name in usable:
        detail = f"pool {usable[name].key} has the same name and stays in force"
        return _pool_problem(pool, "metadata.name", Reason.DUPLICATE_OBJECT, detail)
    if not pool.ranges:
        detail = "a pool needs at least one range"
        return _pool_problem(pool, "spec.addresses", Reason.FIELD_INVALID, detail)
    for index, each in enumerate(pool.ranges):
        field = f"spec.addresses[{index}]"
        if each.first.version != each.last.version or int(each.first) > int(each.last):
            detail = f"{each.text} is not a range of one family that ends after its start"
            return _pool_problem(pool, field, Reason.FIELD_INVALID, detail)
        other = _overlapping(each, taken)
        if other is not None:
            text = next(theirs.text for theirs in usable[other].ranges if theirs.overlaps(each))
            detail = f"{each.text} overlaps {text} of pool {other}, which stays in force"
            return _pool_problem(pool, field, Reason.POOL_OVERLAP, detail)
    return None


def _overlapping(each: AddressRange, taken: list[tuple[int, int, str]]) -> str | None:
    """The pool in force that shares an address with `each`; `taken` is sorted and disjoint."""
    index = bisect_right(taken, number(each.last), key=lambda stretch: stretch[0]) - 1
    if index >= 0 and taken[index][1] >= number(each.first):
        return taken[index][2]
    return None


def _own_overlaps(pool: Pool) -> list[Problem]:
    """Ranges of the pool that share addresses with another range of it."""
    found: dict[int, Problem] = {}
    furthest = -1
    order = sorted(range(len(pool.ranges)), key=lambda index: number(pool.ranges[index].first))
    for index in order:
        each = pool.ranges[index]
        if furthest >= 0 and each.overlaps(pool.ranges[furthest]):
            early, late = sorted((index, furthest))
            texts = pool.ranges[late].text, pool.ranges[early].text
            detail = f"{texts[0]} overlaps {texts[1]} of the same pool"
            field = f"spec.addresses[{late}]"
            found[late] = _pool_problem(pool, field, Reason.POOL_OVERLAP, detail)
        if furthest < 0 or number(each.last) > number(pool.ranges[furthest].last):
            furthest = index
    return [found[index] for index in sorted(found)]


def _unknown(name: str, refused: Mapping[str, str]) -> str:
    if name in refused:
        return f"pool {name} is not in force: {refused[name]}"
    return f"there is no pool {name}"


def _advertisement_problems(
    advertisement: L2Advertisement, names: frozenset[str], refused: Mapping[str, str]
) -> list[Problem]:
    found = []
    for index, name in enumerate(advertisement.pools):
        if name in advertisement.pools[:index]:
            reason, detail = Reason.FIELD_INVALID, f"pool {name} is named twice"
        elif name in names:
            continue
        else:
            reason, detail = Reason.UNKNOWN_POOL, _unknown(name, refused)
        found.append(
            Problem(
                source="",
                line=0,
                object=f"L2Advertisement {advertisement.key}",
                field=f"spec.ipAddressPools[{index}]",
                reason=reason,
                detail=detail,
            )
        )
    return found


def _service_problems(
    service: Service, names: frozenset[str], refused: Mapping[str, str]
) -> list[Problem]:
    """What is wrong with the annotations and the address request of one Service."""
    found = []
    pool = annotation(service, ADDRESS_POOL)
    if pool is not None and pool[1] and pool[1] not in names:
        field = f"metadata.annotations[{pool[0]}]"
        found.append((field, Reason.UNKNOWN_POOL, _unknown(pool[1], refused)))
    asked = requested_addresses(service)
    named = annotation(service, LOAD_BALANCER_IPS)
    field = f"metadata.annotations[{named[0]}]" if named else "spec.loadBalancerIP"
    if isinstance(asked, Refusal):
        found.append((field, asked.reason, asked.detail))
    elif asked:
        mismatch = _family_mismatch(service, asked)
        if mismatch:
            found.append((field, Reason.FAMILY_MISMATCH, mismatch))
    return [
        Problem(
            source="",
            line=0,
            object=f"Service {service.key}",
            field=field,
            reason=reason,
            detail=detail,
        )
        for field, reason, detail in found
    ]


def _family_mismatch(service: Service, asked: tuple[IPAddress, ...]) -> str:
    """How the families of the requested addresses differ from the Service's; empty if not."""
    families = families_needed(service)
    if isinstance(families, Refusal):
        return ""
    if {family_of(address) for address in asked} == set(families):
        return ""
    wanted = " and ".join(sorted(family.value for family in families))
    return f"requested {', '.join(map(str, asked))}, the Service needs {wanted}"
