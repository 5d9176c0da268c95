"""What one node ought to do: its datapath, its announcements, and why it withholds the rest.

`node_desired` is a pure function of a Snapshot. `NodeDecider` gives the same answer faster: it
keeps each Service's result while the objects that made it are the identical objects, so one
changed object among ten thousand costs one Service's decision and some pointer comparisons.
"""

from __future__ import annotations

from bisect import bisect_right
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from functools import partial
from itertools import chain
from types import MappingProxyType

from onehop.core.advertiser import Advertised, Advertiser, ServiceAdvertised
from onehop.core.elect import owns, ranking
from onehop.core.eligible import (
    Eligibility,
    all_refusals,
    eligibility,
    pool_advertisements,
    selects,
    service_advertisements,
    serving_nodes,
    with_endpoints,
)
from onehop.core.frontends import frontends_of, unsupported
from onehop.core.request import is_ours
from onehop.core.slices import SliceIndex
from onehop.core.snapshot import Snapshot
from onehop.core.validate import usable_pools
from onehop.model.address import IPAddress
from onehop.model.config import L2Advertisement, Pool
from onehop.model.desired import Announcement, DatapathDesired, FrontendDesired, NodeDesired
from onehop.model.diff import Edition, edited, moved
from onehop.model.node import Node
from onehop.model.reason import Reason, Refusal
from onehop.model.service import EndpointSlice, Key, Service, TrafficPolicy

_NO_LOCAL_ENDPOINT = Refusal(reason=Reason.NO_LOCAL_ENDPOINT)
_NOT_OWNER = Refusal(reason=Reason.NOT_OWNER)


def _none_refused() -> Mapping[str, Refusal]:
    return MappingProxyType({})


@dataclass(frozen=True, slots=True, kw_only=True)
class ServiceVerdict:
    """What one Service asks of one node: frontends, announcements or why there are none."""

    frontends: tuple[FrontendDesired, ...] = ()
    announcements: tuple[Announcement, ...] = ()
    withheld: Refusal | None = None
    pool: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class DecisionRules:
    """What a speaker is told at start: who it is and what it may leave out.

    `datapath` False: frontends are another program's work, and so are the features that ours
    lacks. `lb_class` is the loadBalancerClass it serves, None for Services without one.
    """

    node: str
    datapath: bool = True
    ignore_exclude_label: bool = False
    lb_class: str | None = None


class _Configuration:
    """Pools, advertisements, nodes and links at one instant, indexed."""

    def __init__(self, snapshot: Snapshot, rules: DecisionRules) -> None:
        objects = snapshot.objects
        self.source = (objects.nodes, objects.pools, objects.l2_advertisements, snapshot.links)
        self.rules = rules
        self.nodes: tuple[Node, ...] = tuple(objects.nodes.values())
        self.here = next((node for node in self.nodes if node.name == rules.node), None)
        # Without any link it is not the node that asks, and what it has is not known.
        self.has_links = bool(snapshot.links)
        self.links = frozenset(link.name for link in snapshot.links if link.speaks)
        self._advertisements = tuple(objects.l2_advertisements.values())
        self.pools = usable_pools(objects)
        spans = sorted(
            (
                (range_.first.version, int(range_.first), int(range_.last), pool)
                for pool in self.pools
                for range_ in pool.ranges
            ),
            key=lambda span: span[:3],
        )
        self._starts = [span[:2] for span in spans]
        self._spans = spans
        self._by_pool: dict[Key, tuple[L2Advertisement, ...]] = {}
        self._candidates: dict[tuple[int, ...], Eligibility] = {}

    def unchanged(self, snapshot: Snapshot) -> bool:
        """Whether a later snapshot holds the same configuration."""
        objects = snapshot.objects
        now = (objects.nodes, objects.pools, objects.l2_advertisements, snapshot.links)
        return all(a is b or a == b for a, b in zip(self.source, now, strict=True))

    def pool_of(self, address: IPAddress) -> Pool | None:
        """The pool that owns an address."""
        at = bisect_right(self._starts, (address.version, int(address))) - 1
        if at < 0:
            return None
        version, _, last, pool = self._spans[at]
        return pool if version == address.version and int(address) <= last else None

    def advertisements(self, pool: Pool) -> tuple[L2Advertisement, ...]:
        """The advertisements of a pool."""
        found = self._by_pool.get(pool.key)
        if found is None:
            found = self._by_pool[pool.key] = pool_advertisements(pool, self._advertisements)
        return found

    def candidates(self, advertisements: tuple[L2Advertisement, ...]) -> Eligibility:
        """Nodes that these advertisements let announce."""
        key = tuple(map(id, advertisements))
        found = self._candidates.get(key)
        if found is None:
            found = self._candidates[key] = eligibility(
                self.nodes,
                advertisements,
                ignore_exclude_label=self.rules.ignore_exclude_label,
            )
        return found


def _withheld(
    reason: Reason | Refusal, frontends: tuple[FrontendDesired, ...] = (), pool: str = ""
) -> ServiceVerdict:
    refusal = reason if isinstance(reason, Refusal) else Refusal(reason=reason)
    return ServiceVerdict(frontends=frontends, withheld=refusal, pool=pool)


def _verdict(
    service: Service, slices: tuple[EndpointSlice, ...], config: _Configuration
) -> ServiceVerdict:
    """The whole decision for one Service on one node."""
    rules = config.rules
    if service.type == "LoadBalancer" and not is_ours(service, rules.lb_class):
        return _withheld(
            Refusal(reason=Reason.CLASS_IGNORED, detail=str(service.load_balancer_class))
        )
    frontends: tuple[FrontendDesired, ...] = ()
    if rules.datapath:
        refusal = unsupported(service)
        if refusal is not None:
            return _withheld(refusal)
        frontends = frontends_of(service, slices, rules.node)
    if service.type != "LoadBalancer":
        return _withheld(Reason.NOT_LOAD_BALANCER, frontends)
    if not service.ingress:
        return _withheld(Reason.NO_ADDRESS, frontends)
    pool = config.pool_of(service.ingress[0])
    if pool is None:
        return _withheld(
            Refusal(reason=Reason.ADDRESS_IN_NO_POOL, detail=str(service.ingress[0])), frontends
        )
    return _announced(service, slices, config, pool, frontends)


def _standing(service: Service, config: _Configuration) -> Pool | Refusal:
    """The pool of a Service that this load balancer carries, or why it carries it not."""
    if service.type != "LoadBalancer":
        return Refusal(reason=Reason.NOT_LOAD_BALANCER)
    if not is_ours(service, config.rules.lb_class):
        return Refusal(reason=Reason.CLASS_IGNORED, detail=str(service.load_balancer_class))
    refusal = unsupported(service) if config.rules.datapath else None
    if refusal is not None:
        return refusal
    if not service.ingress:
        return Refusal(reason=Reason.NO_ADDRESS)
    pool = config.pool_of(service.ingress[0])
    if pool is None:
        return Refusal(reason=Reason.ADDRESS_IN_NO_POOL, detail=str(service.ingress[0]))
    return pool


def _announced(
    service: Service,
    slices: tuple[EndpointSlice, ...],
    config: _Configuration,
    pool: Pool,
    frontends: tuple[FrontendDesired, ...],
) -> ServiceVerdict:
    name = pool.key.name
    advertisements = service_advertisements(service, config.advertisements(pool))
    if isinstance(advertisements, Refusal):
        return _withheld(advertisements, frontends, name)
    any_usable, serving = serving_nodes(slices)
    if not any_usable:
        return _withheld(Reason.NO_ENDPOINTS, frontends, name)
    links = _links(config, advertisements)
    refusal = _own_refusal(service, config, advertisements, serving, links)
    if refusal is not None:
        return ServiceVerdict(frontends=frontends, withheld=refusal, pool=name)
    return ServiceVerdict(
        frontends=frontends,
        announcements=tuple(Announcement(address=a, links=links) for a in service.ingress),
        pool=name,
    )


def _own_refusal(
    service: Service,
    config: _Configuration,
    advertisements: tuple[L2Advertisement, ...],
    serving: frozenset[str],
    links: frozenset[str] | None,
) -> Refusal | None:
    """Why the deciding node does not announce, or None when it does."""
    node, here = config.rules.node, config.here
    if here is None:
        return Refusal(reason=Reason.NODE_UNKNOWN, detail=node)
    candidates = config.candidates(advertisements)
    if node in candidates.refused:
        return candidates.refused[node]
    if service.traffic_policy is TrafficPolicy.LOCAL and node not in serving:
        return _NO_LOCAL_ENDPOINT
    rivals = with_endpoints(candidates, service, serving)
    if not owns(here, service.ingress[0], rivals, advertisements):
        return _NOT_OWNER
    if links is not None and config.has_links and not links & config.links:
        return Refusal(reason=Reason.NO_LINK, detail=f"none of {', '.join(sorted(links))}")
    return None


def _links(
    config: _Configuration, advertisements: tuple[L2Advertisement, ...]
) -> frozenset[str] | None:
    """The links this node may announce on: the union of the lists, None when one has no list."""
    here = [adv for adv in advertisements if config.here is not None and selects(adv, config.here)]
    if any(not adv.links for adv in here):
        return None
    return frozenset(link for adv in here for link in adv.links)


class NodeDecider:
    """Answers `node_desired` again and again, keeping what cannot have changed."""

    def __init__(self, rules: DecisionRules) -> None:
        self._rules = rules
        self._config: _Configuration | None = None
        self._slices = SliceIndex()
        self._services: Mapping[Key, Service] = {}
        self._verdicts: dict[Key, ServiceVerdict] = {}
        self._frontends: Mapping[Key, tuple[FrontendDesired, ...]] = Edition({}, {})
        self._announced: Mapping[Key, tuple[Announcement, ...]] = Edition({}, {})
        self._withheld: Mapping[Key, Refusal] = Edition({}, {})
        self._announcements: tuple[Announcement, ...] = ()
        self._holders: Counter[IPAddress] = Counter()  # Services that announce an address
        self._advertiser = Advertiser(ignore_exclude_label=rules.ignore_exclude_label)

    def decide(self, snapshot: Snapshot) -> NodeDesired:
        """What the node ought to do, given all that is known."""
        services = snapshot.objects.services
        touched = self._slices.replace(snapshot.objects.slices)
        gone, come = moved(self._services, services)
        touched.update(gone, come)
        others = frozenset(touched)
        if self._config is None or not self._config.unchanged(snapshot):
            self._config = _Configuration(snapshot, self._rules)
            touched.update(services)
        self._services = services
        if touched:
            self._replace(touched)
        config = self._config
        advertised = self._advertiser.decide(
            snapshot.objects,
            config.here,
            config.pools,
            self._slices,
            others,
            partial(_standing, config=config),
        )
        return self._desired(advertised)

    def verdict(self, key: Key) -> ServiceVerdict | None:
        """The last decision about one Service, for `explain`."""
        return self._verdicts.get(key)

    def advertised(self, key: Key) -> ServiceAdvertised | None:
        """What the last decision lets each BGP peer have of one Service, for `explain`."""
        service = self._services.get(key)
        if service is None or self._config is None:
            return None
        standing = partial(_standing, config=self._config)
        return self._advertiser.service(service, self._slices.of(key), standing)

    def _replace(self, touched: set[Key]) -> None:
        assert self._config is not None, "a configuration precedes every verdict"
        frontends: dict[Key, tuple[FrontendDesired, ...] | None] = {}
        announced: dict[Key, tuple[Announcement, ...] | None] = {}
        withheld: dict[Key, Refusal | None] = {}
        for key in touched:
            service = self._services.get(key)
            if service is None:
                verdict = ServiceVerdict()
                self._verdicts.pop(key, None)
            else:
                verdict = _verdict(service, self._slices.of(key), self._config)
                self._verdicts[key] = verdict
            frontends[key] = verdict.frontends or None
            announced[key] = verdict.announcements or None
            withheld[key] = verdict.withheld
        self._frontends = edited(self._frontends, frontends)
        self._withheld = edited(self._withheld, withheld)
        self._announce(edited(self._announced, announced))

    def _announce(self, announced: Mapping[Key, tuple[Announcement, ...]]) -> None:
        gone, come = moved(self._announced, announced)
        if not gone and not come:
            return
        for item in chain.from_iterable(gone.values()):
            self._holders[item.address] -= 1
        self._holders.update(item.address for item in chain.from_iterable(come.values()))
        for item in chain.from_iterable(gone.values()):
            if not self._holders[item.address]:
                del self._holders[item.address]
        self._announced = announced
        self._announcements = self._merged(announced)

    def _merged(
        self, announced: Mapping[Key, tuple[Announcement, ...]]
    ) -> tuple[Announcement, ...]:
        every = tuple(chain.from_iterable(announced.values()))
        return every if len(every) == len(self._holders) else _united(every)

    def _desired(self, advertised: Advertised) -> NodeDesired:
        here = self._config.here if self._config is not None else None
        return NodeDesired(
            datapath=DatapathDesired(
                frontends=self._frontends,
                node_addresses=here.addresses if here is not None else (),
            ),
            announcements=self._announcements,
            withheld=self._withheld,
            peers=advertised.peers,
            peers_refused=advertised.refused,
            bgp_withheld=advertised.withheld,
            announced=self._announced,
            advertised=advertised.services,
        )


def _united(every: Iterable[Announcement]) -> tuple[Announcement, ...]:
    """All announcements, each address once: Services that share one unite their links."""
    merged: dict[IPAddress, Announcement] = {}
    for item in every:
        old = merged.setdefault(item.address, item)
        if old is not item and old != item:
            links = None if old.links is None or item.links is None else old.links | item.links
            merged[item.address] = Announcement(address=item.address, links=links)
    return tuple(merged.values())


def node_desired(snapshot: Snapshot, rules: DecisionRules) -> NodeDesired:
    """What a node ought to do, computed from nothing."""
    return NodeDecider(rules).decide(snapshot)


def service_verdict(snapshot: Snapshot, rules: DecisionRules, key: Key) -> ServiceVerdict | None:
    """The decision about one Service on one node, or None when there is no such Service."""
    service = snapshot.objects.services.get(key)
    if service is None:
        return None
    slices = tuple(s for s in snapshot.objects.slices.values() if s.service == key)
    return _verdict(service, slices, _Configuration(snapshot, rules))


@dataclass(frozen=True, slots=True, kw_only=True)
class Election:
    """Eligible nodes in the order in which they would own an address, and why others are out."""

    ranked: tuple[str, ...] = ()
    refused: Mapping[str, Refusal] = field(default_factory=_none_refused)


def election(snapshot: Snapshot, rules: DecisionRules, key: Key) -> Election:
    """The whole election for a Service, for `explain`; empty when there is none to hold."""
    config = _Configuration(snapshot, rules)
    service = snapshot.objects.services.get(key)
    pool = config.pool_of(service.ingress[0]) if service is not None and service.ingress else None
    if service is None or pool is None:
        return Election()
    advertisements = service_advertisements(service, config.advertisements(pool))
    if isinstance(advertisements, Refusal):
        return Election()
    slices = (s for s in snapshot.objects.slices.values() if s.service == key)
    _, serving = serving_nodes(slices)
    candidates = config.candidates(advertisements)
    ranked = ranking(
        service.ingress[0], with_endpoints(candidates, service, serving), advertisements
    )
    return Election(
        ranked=tuple(node.name for node in ranked),
        refused=all_refusals(candidates, service, serving),
    )
