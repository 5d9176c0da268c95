"""Routes for each BGP peer of a node: which Services it may attract, and with what attributes.

Every eligible node advertises: BGP needs no owner, since the router spreads over all of them. A
prefix that several advertisements make is one route with their communities united; two different
localPref values for it are refused, as MetalLB refuses them.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from ipaddress import IPv4Address, ip_network
from types import MappingProxyType

from onehop.core.eligible import serving_nodes
from onehop.core.snapshot import Snapshot
from onehop.model.address import IPAddress, IPNetwork
from onehop.model.bgp import (
    BFDProfile,
    BGPAdvertisement,
    BGPPeer,
    LargeCommunity,
    PeerDesired,
    RouteAttributes,
)
from onehop.model.community import parse_community
from onehop.model.config import Pool, any_matches
from onehop.model.node import EXCLUDE_LABEL, Node
from onehop.model.reason import Reason, Refusal
from onehop.model.service import EndpointSlice, Service, TrafficPolicy


def _none_refused() -> Mapping[str, Refusal]:
    return MappingProxyType({})


@dataclass(frozen=True, slots=True, kw_only=True)
class Communities:
    """Community values of one advertisement, read; `refusal` is the first that cannot be."""

    standard: tuple[int, ...] = ()
    large: tuple[LargeCommunity, ...] = ()
    refusal: Refusal | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Peering:
    """What is wanted of a node's peers, and why each other BGPPeer has no session here."""

    peers: tuple[PeerDesired, ...] = ()
    refused: Mapping[str, Refusal] = field(default_factory=_none_refused)


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
    length = (
        advertisement.aggregation_length
        if address.version == 4
        else advertisement.aggregation_length_v6
    )
    return ip_network((address, length), strict=False)


def pool_bgp_advertisements(
    pool: Pool, advertisements: Iterable[BGPAdvertisement], node: Node
) -> tuple[BGPAdvertisement, ...]:
    """The advertisements that announce a pool from a node."""
    return tuple(
        adv
        for adv in advertisements
        if (
            (not adv.pools and not adv.pool_selectors)
            or pool.key.name in adv.pools
            or any_matches(adv.pool_selectors, pool.labels)
        )
        and (not adv.node_selectors or any_matches(adv.node_selectors, node.labels))
    )


def attracts(
    service: Service, slices: Iterable[EndpointSlice], node: Node, *, ignore_exclude_label: bool
) -> Refusal | None:
    """Why a node may not attract a Service's traffic, or None when it may."""
    if not ignore_exclude_label and EXCLUDE_LABEL in node.labels:
        return Refusal(reason=Reason.NODE_EXCLUDED, detail=node.name)
    if node.network_unavailable:
        return Refusal(reason=Reason.NODE_NETWORK_UNAVAILABLE, detail=node.name)
    any_usable, serving = serving_nodes(slices)
    if not any_usable:
        return Refusal(reason=Reason.NO_ENDPOINTS)
    if service.traffic_policy is TrafficPolicy.LOCAL and node.name not in serving:
        return Refusal(reason=Reason.NO_LOCAL_ENDPOINT)
    return None


def service_routes(
    service: Service,
    advertisements: Iterable[BGPAdvertisement],
    peer: str,
    aliases: Mapping[str, str],
) -> Mapping[IPNetwork, RouteAttributes] | Refusal:
    """The routes of one Service for one peer, or the conflict that forbids them."""
    routes: dict[IPNetwork, RouteAttributes] = {}
    for adv in advertisements:
        if adv.peers and peer not in adv.peers:
            continue
        if adv.service_selectors and not any_matches(adv.service_selectors, service.labels):
            continue
        values = communities(adv.communities, aliases)
        if values.refusal is not None:
            return values.refusal
        route = RouteAttributes(
            local_pref=adv.local_pref or None,
            communities=values.standard,
            large_communities=values.large,
        )
        for address in service.ingress:
            prefix = aggregated(address, adv)
            merged = merged_route(routes.get(prefix), route)
            if merged is None:
                detail = f"{prefix} to {peer}"
                return Refusal(reason=Reason.LOCAL_PREF_CONFLICT, detail=detail)
            routes[prefix] = merged
    if not routes:
        return Refusal(reason=Reason.NO_BGP_ADVERTISEMENT, detail=peer)
    return routes


def merged_route(old: RouteAttributes | None, new: RouteAttributes) -> RouteAttributes | None:
    """One route of two for the same prefix, or None when their localPref differ."""
    if old is None or old == new:
        return new
    if old.local_pref != new.local_pref:
        return None
    return replace(
        old,
        communities=tuple(sorted({*old.communities, *new.communities})),
        large_communities=tuple(sorted({*old.large_communities, *new.large_communities})),
    )


def router_id(peer: BGPPeer, node: Node) -> IPv4Address | None:
    """The BGP identifier: the BGPPeer's, else the node's first IPv4 address (RFC 6286 2.1)."""
    if peer.router_id is not None:
        return peer.router_id
    return next((a for a in node.addresses if isinstance(a, IPv4Address)), None)


def peering(snapshot: Snapshot, node: Node) -> Peering:
    """The sessions a node ought to hold, without their routes."""
    peers: list[PeerDesired] = []
    refused: dict[str, Refusal] = {}
    profiles = {p.key.name: p for p in snapshot.objects.bfd_profiles.values()}
    for peer in snapshot.objects.bgp_peers.values():
        name = peer.key.name
        outcome = _session(peer, node, profiles)
        if isinstance(outcome, Refusal):
            refused[name] = outcome
        else:
            peers.append(outcome)
    return Peering(peers=tuple(sorted(peers, key=lambda p: p.name)), refused=refused)


def _session(
    peer: BGPPeer, node: Node, profiles: Mapping[str, BFDProfile]
) -> PeerDesired | Refusal:
    if peer.node_selectors and not any_matches(peer.node_selectors, node.labels):
        return Refusal(reason=Reason.PEER_NOT_SELECTED, detail=node.name)
    identifier = router_id(peer, node)
    if identifier is None:
        return Refusal(reason=Reason.NO_ROUTER_ID, detail=node.name)
    if peer.bfd_profile and peer.bfd_profile not in profiles:
        return Refusal(reason=Reason.BFD_PROFILE_UNKNOWN, detail=peer.bfd_profile)
    return PeerDesired(
        name=peer.key.name,
        peer=peer,
        router_id=identifier,
        bfd=profiles.get(peer.bfd_profile),
    )
