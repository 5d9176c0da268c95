"""What a node advertises to each of its peers, kept from one decision to the next.

Peers that every advertisement treats alike form a group and share one table of routes. A Service
is looked at again when it or its endpoints are other objects, so one change among ten thousand
costs one Service's routes; everything is when the BGP configuration or the node itself changed.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field, replace
from itertools import compress
from operator import is_
from types import MappingProxyType

from onehop.core.advertise import (
    claims,
    drained,
    is_draining,
    local_weight,
    pool_bgp_advertisements,
    serves,
    united,
    weighted,
)
from onehop.core.eligible import may_attract, selects
from onehop.core.peering import Peering, none_refused, sessions
from onehop.core.route_table import RouteTable
from onehop.core.slices import SliceIndex
from onehop.core.validate_bgp import judged_bgp
from onehop.model.address import IPNetwork
from onehop.model.bgp import BGPAdvertisement, PeerDesired, RouteAttributes, Routes, no_routes
from onehop.model.config import Pool
from onehop.model.node import Node
from onehop.model.objects import Objects
from onehop.model.reason import Reason, Refusal
from onehop.model.service import EndpointSlice, Key, Service, TrafficPolicy

# The pool of a Service that this node carries, or why it carries it not.
Standing = Callable[[Service], Pool | Refusal]


def _no_withheld() -> Mapping[Key, Refusal]:
    return MappingProxyType({})


def _none_told() -> Mapping[Key, tuple[str, ...]]:
    return MappingProxyType({})


def _no_routes_by_peer() -> Mapping[str, Routes]:
    return MappingProxyType({})


@dataclass(frozen=True, slots=True, kw_only=True)
class Advertised:
    """The peers with their routes, why other BGPPeers have no session, and Services no route.

    `services` names the peers that get a route of a Service.
    """

    peers: tuple[PeerDesired, ...] = ()
    refused: Mapping[str, Refusal] = field(default_factory=none_refused)
    withheld: Mapping[Key, Refusal] = field(default_factory=_no_withheld)
    services: Mapping[Key, tuple[str, ...]] = field(default_factory=_none_told)


@dataclass(frozen=True, slots=True, kw_only=True)
class ServiceAdvertised:
    """Which peers get which routes of one Service, and why the others get none.

    `withheld` is why no peer at all does. A peer can be in both mappings: then some prefix of the
    Service is another Service's.
    """

    routes: Mapping[str, Routes] = field(default_factory=_no_routes_by_peer)
    refused: Mapping[str, Refusal] = field(default_factory=none_refused)
    withheld: Refusal | None = None


NOTHING = Advertised()


@dataclass(frozen=True, slots=True, kw_only=True)
class _Group:
    """Peers that get the same routes; `asn` is the AS in their weights, 0 when there are none."""

    names: tuple[str, ...]
    advertisements: tuple[BGPAdvertisement, ...]
    asn: int
    table: RouteTable = field(default_factory=RouteTable)


class _Configuration:
    """The BGP configuration as one node sees it, and all that follows from it alone."""

    def __init__(self, objects: Objects, pools: tuple[Pool, ...], node: Node) -> None:
        judgement = judged_bgp(objects, pools, (node,))
        self.node = node
        self.peering: Peering = sessions(judgement, node)
        self.aliases = judgement.aliases
        self.draining = is_draining(node)
        self.groups = _groups(
            self.peering.peers,
            tuple(adv for adv in judgement.advertisements if selects(adv, node)),
        )
        self._by_pool: dict[tuple[int, Key], tuple[BGPAdvertisement, ...]] = {}
        self._names: dict[tuple[bool, ...], tuple[str, ...]] = {}
        self._routes: dict[tuple[object, ...], RouteAttributes | Refusal] = {}

    def routes(
        self, service: Service, pool: Pool, slices: tuple[EndpointSlice, ...], at: int
    ) -> Routes | Refusal:
        """The routes of a Service for the group with this number."""
        group = self.groups[at]
        advertisements = self._by_pool.get((at, pool.key))
        if advertisements is None:
            advertisements = pool_bgp_advertisements(pool, group.advertisements, self.node)
            self._by_pool[at, pool.key] = advertisements
        routes: dict[IPNetwork, RouteAttributes] = {}
        for prefix, makers in claims(service, advertisements).items():
            weight = self._weight(service, slices, prefix, makers) if group.asn else 0
            route = self._route(makers, group.asn, weight)
            if isinstance(route, Refusal):
                return replace(route, detail=f"{prefix}: {route.detail}")
            routes[prefix] = route
        if not routes:
            detail = f"pool {pool.key.name}"
            return Refusal(reason=Reason.NO_BGP_ADVERTISEMENT, detail=detail)
        return routes

    def names(self, claimed: list[Routes | Refusal] | Refusal | None) -> tuple[str, ...]:
        """The peers of the groups where a Service claims a route, sorted."""
        if claimed is None or isinstance(claimed, Refusal):
            return ()
        which = tuple(not isinstance(found, Refusal) for found in claimed)
        names = self._names.get(which)
        if names is None:
            groups = compress(self.groups, which)
            names = tuple(sorted(name for group in groups for name in group.names))
            self._names[which] = names
        return names

    def _weight(
        self,
        service: Service,
        slices: tuple[EndpointSlice, ...],
        prefix: IPNetwork,
        makers: Iterable[BGPAdvertisement],
    ) -> int:
        """The endpoints to tell of; 0 for none, since under Cluster every node serves alike."""
        if service.traffic_policy is TrafficPolicy.CLUSTER or not any(
            adv.weighted for adv in makers
        ):
            return 0
        if prefix.prefixlen != prefix.max_prefixlen:
            return 0  # an aggregate stands for Services with other endpoints as well
        return local_weight(slices, self.node.name, prefix.version)

    def _route(
        self, makers: tuple[BGPAdvertisement, ...], asn: int, weight: int
    ) -> RouteAttributes | Refusal:
        key = (*map(id, makers), asn, weight)
        found = self._routes.get(key)
        if found is None:
            found = united(makers, self.aliases)
            if isinstance(found, RouteAttributes):
                found = weighted(found, asn, weight) if weight else found
                found = drained(found) if self.draining else found
            self._routes[key] = found
        return found


def _groups(
    peers: Iterable[PeerDesired], advertisements: tuple[BGPAdvertisement, ...]
) -> tuple[_Group, ...]:
    alike: dict[tuple[int, ...], list[str]] = {}
    heard: dict[tuple[int, ...], tuple[BGPAdvertisement, ...]] = {}
    for each in peers:
        mine = tuple(adv for adv in advertisements if not adv.peers or each.name in adv.peers)
        own = each.peer.local_asn or each.peer.my_asn
        trait = (own if any(adv.weighted for adv in mine) else 0, *map(id, mine))
        alike.setdefault(trait, []).append(each.name)
        heard[trait] = mine
    return tuple(
        _Group(names=tuple(names), advertisements=heard[trait], asn=trait[0])
        for trait, names in alike.items()
    )


class Advertiser:
    """Answers what a node advertises, again and again, keeping what cannot have changed."""

    def __init__(self, *, ignore_exclude_label: bool = False) -> None:
        self._ignores_label = ignore_exclude_label
        self._source: tuple[object, ...] = ()
        self._config: _Configuration | None = None
        self._refused: dict[Key, Refusal] = {}
        self._withheld: Mapping[Key, Refusal] = _no_withheld()
        self._claimants: dict[Key, tuple[str, ...]] = {}
        self._told: Mapping[Key, tuple[str, ...]] = _none_told()
        self._given: dict[str, tuple[Routes, Routes]] = {}  # by peer: the table's, and ours
        self._outcome = NOTHING

    def decide(
        self,
        objects: Objects,
        node: Node | None,
        pools: tuple[Pool, ...],
        slices: SliceIndex,
        touched: Iterable[Key],
        standing: Standing,
    ) -> Advertised:
        """What to advertise; `touched` are Services that are other than at the last time."""
        source = (
            objects.bgp_peers,
            objects.bgp_advertisements,
            objects.bfd_profiles,
            objects.community_aliases,
            objects.secrets,
            pools,
            node,
        )
        if self._source != source:
            self._source = source
            self._config = _Configuration(objects, pools, node) if node is not None else None
            self._refused, self._withheld = {}, _no_withheld()
            self._claimants, self._told = {}, _none_told()
            touched = objects.services
        if self._config is not None and self._config.groups:
            self._replace(self._config, objects, slices, touched, standing)
        self._outcome = self._renewed(self._config)
        return self._outcome

    def service(
        self, service: Service, slices: tuple[EndpointSlice, ...], standing: Standing
    ) -> ServiceAdvertised:
        """What the last decision says of one Service, for `explain`."""
        config = self._config
        if config is None or not config.groups:
            refused = config.peering.refused if config is not None else none_refused()
            return ServiceAdvertised(refused=refused)
        claimed = self._claimed(config, service, slices, standing)
        if isinstance(claimed, Refusal):
            return ServiceAdvertised(refused=config.peering.refused, withheld=claimed)
        routes: dict[str, Routes] = {}
        refused = dict(config.peering.refused)
        for group, found in zip(config.groups, claimed, strict=True):
            mine = group.table.of(service.key)
            lost = group.table.lost_by(service.key)
            for name in group.names:
                if isinstance(found, Refusal):
                    refused[name] = found
                elif lost:
                    refused[name] = _lost(lost)
                if mine:
                    routes[name] = mine
        return ServiceAdvertised(
            routes=routes, refused=refused, withheld=self._withheld.get(service.key)
        )

    def _replace(
        self,
        config: _Configuration,
        objects: Objects,
        slices: SliceIndex,
        touched: Iterable[Key],
        standing: Standing,
    ) -> None:
        refusals: dict[Key, Refusal | None] = {}
        claimants = dict(self._claimants)
        for key in touched:
            service = objects.services.get(key)
            claimed: list[Routes | Refusal] | Refusal | None = None
            if service is not None:
                claimed = self._claimed(config, service, slices.of(key), standing)
            refusals[key] = _put(config.groups, key, claimed)
            names = config.names(claimed)
            if names:
                claimants[key] = names
            else:
                claimants.pop(key, None)
        self._refuse(refusals)
        for group in config.groups:
            group.table.settle()
        self._settle(config, claimants)

    def _settle(self, config: _Configuration, claimants: dict[Key, tuple[str, ...]]) -> None:
        """Take in which claims count; whatever comes out the same stays the identical object."""
        losers = _losers(config.groups)
        withheld = self._refused | _in_vain(config.groups, losers)
        if withheld != self._withheld:
            self._withheld = withheld
        told = claimants
        if losers:
            told = claimants | {key: _told(config.groups, key) for key in losers}
            told = {key: names for key, names in told.items() if names}
        self._claimants = claimants
        if told != self._told:
            self._told = told

    def _refuse(self, refusals: Mapping[Key, Refusal | None]) -> None:
        if all(self._refused.get(key) == refusal for key, refusal in refusals.items()):
            return
        refused = dict(self._refused)
        for key, refusal in refusals.items():
            if refusal is not None:
                refused[key] = refusal
            else:
                refused.pop(key, None)
        self._refused = refused

    def _claimed(
        self,
        config: _Configuration,
        service: Service,
        slices: tuple[EndpointSlice, ...],
        standing: Standing,
    ) -> list[Routes | Refusal] | Refusal:
        """What a Service claims of each group, or why nothing of any."""
        pool = standing(service)
        if isinstance(pool, Refusal):
            return pool
        refusal = may_attract(config.node, ignore_exclude_label=self._ignores_label)
        refusal = refusal or serves(service, slices, config.node)
        if refusal is not None:
            return refusal
        return [config.routes(service, pool, slices, at) for at in range(len(config.groups))]

    def _renewed(self, config: _Configuration | None) -> Advertised:
        """The outcome; whatever equals its like in the last one is the identical object."""
        if config is None:
            self._given = {}
            return NOTHING
        old = self._outcome
        before = {each.name: each for each in old.peers}
        tables = {name: group.table for group in config.groups for name in group.names}
        self._given = {name: self._kept(name, table.routes) for name, table in tables.items()}
        peers = tuple(
            _same(before.get(each.name), replace(each, routes=self._given[each.name][1]))
            for each in config.peering.peers
        )
        if (
            len(peers) == len(old.peers)
            and all(map(is_, peers, old.peers))
            and self._withheld is old.withheld
            and config.peering.refused is old.refused
            and self._told is old.services
        ):
            return old
        return Advertised(
            peers=peers,
            refused=config.peering.refused,
            withheld=self._withheld,
            services=self._told,
        )

    def _kept(self, name: str, routes: Routes) -> tuple[Routes, Routes]:
        source, given = self._given.get(name, (no_routes(), no_routes()))
        if source is routes:
            return source, given
        return routes, given if given == routes else routes


def _same(old: PeerDesired | None, new: PeerDesired) -> PeerDesired:
    if old is None or old.routes is not new.routes:
        return new
    return old if old == new else new


def _put(
    groups: tuple[_Group, ...], key: Key, claimed: list[Routes | Refusal] | Refusal | None
) -> Refusal | None:
    """Enter a Service's claims into the tables; why there are none."""
    if claimed is None or isinstance(claimed, Refusal):
        for group in groups:
            group.table.put(key, no_routes())
        return claimed
    refusals: list[Refusal] = []
    for group, found in zip(groups, claimed, strict=True):
        if isinstance(found, Refusal):
            refusals.append(found)
            group.table.put(key, no_routes())
        else:
            group.table.put(key, found)
    return refusals[0] if len(refusals) == len(groups) else None


def _losers(groups: tuple[_Group, ...]) -> dict[Key, _Group]:
    """Services that claim some prefix in vain, each with a group where it does."""
    return {key: group for group in groups for keys in group.table.lost.values() for key in keys}


def _told(groups: tuple[_Group, ...], key: Key) -> tuple[str, ...]:
    """The peers that get at least one route of a Service."""
    return tuple(sorted(n for group in groups if group.table.of(key) for n in group.names))


def _in_vain(groups: tuple[_Group, ...], losers: Mapping[Key, _Group]) -> dict[Key, Refusal]:
    """Services whose every claim is lost to another Service, with the refusal."""
    return {
        key: _lost(group.table.lost_by(key))
        for key, group in losers.items()
        if not _told(groups, key)
    }


def _lost(prefixes: Iterable[IPNetwork]) -> Refusal:
    detail = f"{', '.join(map(str, prefixes))}: another Service's advertisement counts"
    return Refusal(reason=Reason.LOCAL_PREF_CONFLICT, detail=detail)
