"""Which nodes may announce a Service's addresses now, and why the others may not.

The rules are MetalLB's: a node is out when it carries the exclude label, when its network is
unavailable, when no L2Advertisement of the address's pool selects it, and, under
externalTrafficPolicy Local, when none of its endpoints can serve.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Protocol

from onehop.core.request import annotation
from onehop.model.annotation import ALLOW_SHARED_IP
from onehop.model.bgp import BGPAdvertisement
from onehop.model.config import L2Advertisement, LabelSelector, Pool, any_matches
from onehop.model.node import EXCLUDE_LABEL, Node
from onehop.model.reason import Reason, Refusal
from onehop.model.service import EndpointSlice, Service, TrafficPolicy


@dataclass(frozen=True, slots=True, kw_only=True)
class Eligibility:
    """The nodes that may announce, in the order of the Node list, and the others' reasons."""

    nodes: tuple[Node, ...]
    refused: Mapping[str, Refusal]


class Selective(Protocol):
    """A peer or an advertisement, of either protocol, that node selectors narrow."""

    @property
    def node_selectors(self) -> tuple[LabelSelector, ...]:
        """OR-ed selectors; none at all select every node."""
        ...


def selects(each: Selective, node: Node) -> bool:
    """Whether an object's node selectors select a node; without any they select all."""
    return not each.node_selectors or any_matches(each.node_selectors, node.labels)


def covers_pool(adv: L2Advertisement | BGPAdvertisement, pool: Pool) -> bool:
    """Whether an advertisement announces a pool; one that names none announces all."""
    return (
        (not adv.pools and not adv.pool_selectors)
        or pool.key.name in adv.pools
        or any_matches(adv.pool_selectors, pool.labels)
    )


def pool_advertisements(
    pool: Pool, advertisements: Iterable[L2Advertisement]
) -> tuple[L2Advertisement, ...]:
    """The L2Advertisements that announce a pool; one without pools announces all of them."""
    return tuple(adv for adv in advertisements if covers_pool(adv, pool))


def service_advertisements(
    service: Service, advertisements: Iterable[L2Advertisement]
) -> tuple[L2Advertisement, ...] | Refusal:
    """The advertisements of its pool that announce a Service, or why none may."""
    matching = tuple(
        adv
        for adv in advertisements
        if not adv.service_selectors or any_matches(adv.service_selectors, service.labels)
    )
    if not matching:
        return Refusal(reason=Reason.NO_ADVERTISEMENT)
    shared = annotation(service, ALLOW_SHARED_IP) is not None
    if shared:
        for adv in matching:
            if adv.service_selectors:
                return Refusal(reason=Reason.SHARED_WITH_SELECTOR, detail=str(adv.key))
    return matching


def may_attract(node: Node, *, ignore_exclude_label: bool) -> Refusal | None:
    """Why a node may not attract any traffic, or None when it may."""
    if not ignore_exclude_label and EXCLUDE_LABEL in node.labels:
        return Refusal(reason=Reason.NODE_EXCLUDED, detail=node.name)
    if node.network_unavailable:
        return Refusal(reason=Reason.NODE_NETWORK_UNAVAILABLE, detail=node.name)
    return None


def node_refusal(
    node: Node, advertisements: Iterable[L2Advertisement], *, ignore_exclude_label: bool = False
) -> Refusal | None:
    """Why a node may not announce whatever its endpoints are, or None when it may."""
    refusal = may_attract(node, ignore_exclude_label=ignore_exclude_label)
    if refusal is not None:
        return refusal
    if not any(selects(adv, node) for adv in advertisements):
        return Refusal(reason=Reason.NODE_NOT_SELECTED, detail=node.name)
    return None


def eligibility(
    nodes: Iterable[Node],
    advertisements: tuple[L2Advertisement, ...],
    *,
    ignore_exclude_label: bool = False,
) -> Eligibility:
    """Nodes that may announce before endpoints are looked at."""
    eligible: list[Node] = []
    refused: dict[str, Refusal] = {}
    for node in nodes:
        refusal = node_refusal(node, advertisements, ignore_exclude_label=ignore_exclude_label)
        if refusal is None:
            eligible.append(node)
        else:
            refused[node.name] = refusal
    return Eligibility(nodes=tuple(eligible), refused=refused)


def serving_nodes(slices: Iterable[EndpointSlice]) -> tuple[bool, frozenset[str]]:
    """Whether any endpoint can serve, and the nodes that have one which can."""
    nodes: set[str] = set()
    for slice_ in slices:
        nodes.update(e.node for e in slice_.endpoints if e.ready or e.serving)
    any_usable = bool(nodes)
    nodes.discard("")  # an endpoint that is on no node is local to none
    return any_usable, frozenset(nodes)


def with_endpoints(
    candidates: Eligibility, service: Service, serving: frozenset[str]
) -> tuple[Node, ...]:
    """The candidates, under Local cut to the nodes that have an endpoint which can serve."""
    if service.traffic_policy is TrafficPolicy.CLUSTER:
        return candidates.nodes
    return tuple(node for node in candidates.nodes if node.name in serving)


def all_refusals(
    candidates: Eligibility, service: Service, serving: frozenset[str]
) -> Mapping[str, Refusal]:
    """Why each node that may not announce a Service may not."""
    refused = dict(candidates.refused)
    kept = with_endpoints(candidates, service, serving)
    for node in candidates.nodes:
        if node not in kept:
            refused[node.name] = Refusal(reason=Reason.NO_LOCAL_ENDPOINT, detail=node.name)
    return refused
