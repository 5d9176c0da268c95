"""Routes of one Service: which BGP advertisements announce it from a node, and as what.

Every eligible node advertises: BGP needs no owner, since the router spreads over all of them. A
prefix that several advertisements make is one route with their communities united; two different
localPref values for it are refused, as MetalLB refuses them.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from ipaddress import IPv4Network, IPv6Network

from onehop.core.eligible import covers_pool, may_attract, selects, serving_nodes
from onehop.core.validate_bgp import (
    DRAIN_ANNOTATION,
    aggregation_length,
)
from onehop.model.address import IPAddress, IPNetwork
from onehop.model.bgp import BGPAdvertisement, LargeCommunity, RouteAttributes, Routes
from onehop.model.community import WELL_KNOWN, link_bandwidth, parse_community
from onehop.model.config import Pool, any_matches
from onehop.model.node import Node
from onehop.model.reason import Reason, Refusal
from onehop.model.service import Endpoint, EndpointSlice, Service, TrafficPolicy

# What one endpoint counts for: routers take the ratio, people read gigabits a second.
BYTES_PER_SECOND = 125_000_000.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Communities:
    """Community values of one advertisement, read; `refusal` is the first that cannot be."""

    standard: tuple[int, ...] = ()
    large: tuple[LargeCommunity, ...] = ()
    refusal: Refusal | None = None


def communities(texts: Iterable[str], aliases: Mapping[str, str]) -> Communities:
    """Values of communities as written: `A:B`, `large:A:B:C`, a well-known name or an alias."""
    standard: set[int] = set()
    large: set[LargeCommunity] = set()
    for text in texts:
        value = parse_community(aliases.get(text, text))
        if value is None:
            return Communities(refusal=Refusal(reason=Reason.COMMUNITY_UNKNOWN, detail=text))
        if isinstance(value, LargeCommunity):
            large.add(value)
        else:
            standard.add(value)
    return Communities(standard=tuple(sorted(standard)), large=tuple(sorted(large)))


def aggregated(address: IPAddress, advertisement: BGPAdvertisement) -> IPNetwork:
    """The prefix that an advertisement makes of an address."""
    kind = IPv4Network if address.version == 4 else IPv6Network
    length = aggregation_length(advertisement, address.version)
    return kind((int(address), length), strict=False)


def pool_bgp_advertisements(
    pool: Pool, advertisements: Iterable[BGPAdvertisement], node: Node
) -> tuple[BGPAdvertisement, ...]:
    """The advertisements that announce a pool from a node."""
    return tuple(adv for adv in advertisements if covers_pool(adv, pool) and selects(adv, node))


def is_draining(node: Node) -> bool:
    """Whether traffic is to leave a node while it still serves (RFC 8326)."""
    return node.annotations.get(DRAIN_ANNOTATION) == "true"


def serves(service: Service, slices: Iterable[EndpointSlice], node: Node) -> Refusal | None:
    """Why a node could not answer a Service's traffic, or None when it could."""
    any_usable, serving = serving_nodes(slices)
    if not any_usable:
        return Refusal(reason=Reason.NO_ENDPOINTS)
    if service.traffic_policy is TrafficPolicy.LOCAL and node.name not in serving:
        return Refusal(reason=Reason.NO_LOCAL_ENDPOINT)
    return None


def attracts(
    service: Service, slices: Iterable[EndpointSlice], node: Node, *, ignore_exclude_label: bool
) -> Refusal | None:
    """Why a node may not attract a Service's traffic, or None when it may."""
    refusal = may_attract(node, ignore_exclude_label=ignore_exclude_label)
    return refusal or serves(service, slices, node)


def local_weight(slices: Iterable[EndpointSlice], node: str, version: int) -> int:
    """How many endpoints of an IP version answer on a node; terminating ones when no other does.

    They are the backends that the node's datapath gives new traffic to.
    """
    found: dict[IPAddress, Endpoint] = {
        address: endpoint
        for slice_ in slices
        for endpoint in slice_.endpoints
        if endpoint.node == node and endpoint.usable
        for address in endpoint.addresses
        if address.version == version
    }
    return sum(endpoint.ready for endpoint in found.values()) or len(found)


def claims(
    service: Service, advertisements: Iterable[BGPAdvertisement]
) -> dict[IPNetwork, tuple[BGPAdvertisement, ...]]:
    """The prefixes of a Service, each with the advertisements that make it."""
    found: dict[IPNetwork, tuple[BGPAdvertisement, ...]] = {}
    mine: dict[IPNetwork, tuple[BGPAdvertisement, ...]]
    for adv in advertisements:
        if adv.service_selectors and not any_matches(adv.service_selectors, service.labels):
            continue
        mine = {aggregated(address, adv): (adv,) for address in service.ingress}
        if not found:  # a prefix is slow to hash, and most Services meet one advertisement
            found = mine
            continue
        for prefix in mine:
            found[prefix] = (*found.get(prefix, ()), adv)
    return found


def united(
    advertisements: Iterable[BGPAdvertisement], aliases: Mapping[str, str]
) -> RouteAttributes | Refusal:
    """The route that advertisements of one prefix make together, or what forbids it."""
    route: RouteAttributes | None = None
    for adv in advertisements:
        values = communities(adv.communities, aliases)
        if values.refusal is not None:
            return values.refusal
        new = RouteAttributes(
            local_pref=adv.local_pref or None,
            communities=values.standard,
            large_communities=values.large,
        )
        merged = new if route is None else merged_route(route, new)
        if merged is None:
            return Refusal(reason=Reason.LOCAL_PREF_CONFLICT, detail=str(adv.key))
        route = merged
    return route or RouteAttributes()


def merged_route(old: RouteAttributes, new: RouteAttributes) -> RouteAttributes | None:
    """One route of two for the same prefix, or None when their localPref differ.

    Of two weights the larger stays: Services that share an address share their endpoints.
    """
    if old == new:
        return old
    if old.local_pref != new.local_pref:
        return None
    extended = max(old.extended, new.extended)
    return replace(
        old,
        communities=tuple(sorted({*old.communities, *new.communities})),
        large_communities=tuple(sorted({*old.large_communities, *new.large_communities})),
        extended=extended,
    )


def weighted(route: RouteAttributes, asn: int, endpoints: int) -> RouteAttributes:
    """The route with the link bandwidth that so many endpoints make."""
    return replace(route, extended=(link_bandwidth(asn, endpoints * BYTES_PER_SECOND),))


def drained(route: RouteAttributes) -> RouteAttributes:
    """The route as a last resort: GRACEFUL_SHUTDOWN and localPref 0 (RFC 8326 4.1, 4.3)."""
    values = {*route.communities, WELL_KNOWN["graceful-shutdown"]}
    return replace(route, local_pref=0, communities=tuple(sorted(values)))


def service_routes(
    service: Service,
    advertisements: Iterable[BGPAdvertisement],
    peer: str,
    aliases: Mapping[str, str],
) -> Routes | Refusal:
    """The routes of one Service for one peer, before weight and drain, or what forbids them."""
    mine = (adv for adv in advertisements if not adv.peers or peer in adv.peers)
    routes: dict[IPNetwork, RouteAttributes] = {}
    for prefix, makers in claims(service, mine).items():
        route = united(makers, aliases)
        if isinstance(route, Refusal):
            return replace(route, detail=f"{prefix} to {peer}: {route.detail}")
        routes[prefix] = route
    if not routes:
        return Refusal(reason=Reason.NO_BGP_ADVERTISEMENT, detail=peer)
    return routes
