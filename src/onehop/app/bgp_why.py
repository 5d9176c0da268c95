"""`onehop bgp why`: from the pool to the Service, the advertisement, the peer and its session.

It runs the functions that the speakers run, on the same objects, and puts beside each answer what
the node's speaker says of the session, so the chain ends at what the router really has.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

from onehop.app.bgp_report import (
    NodeState,
    PeerState,
    attributes_in_words,
    is_alive,
    read_reports,
)
from onehop.core.advertise import attracts, pool_bgp_advertisements, service_routes
from onehop.core.decide import DecisionRules, is_ours, node_desired
from onehop.core.peering import peering
from onehop.core.snapshot import Snapshot
from onehop.core.validate import usable_pools
from onehop.model.address import IPNetwork
from onehop.model.bgp import BGPAdvertisement, PeerDesired
from onehop.model.config import Pool
from onehop.model.node import Node
from onehop.model.objects import Objects
from onehop.model.reason import Reason, Refusal
from onehop.model.service import Service


@dataclass(frozen=True, slots=True, kw_only=True)
class PeerAnswer:
    """Whether one node advertises to one peer: as what, and what the session says; or why not."""

    peer: str
    routes: tuple[str, ...] = ()
    refusal: str = ""
    session: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class NodeAnswer:
    """One node's part; `refusal` when it advertises the Service to nobody."""

    node: str
    refusal: str = ""
    advertisements: tuple[str, ...] = ()
    peers: tuple[PeerAnswer, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class ServiceAnswer:
    """One Service with an address inside the prefix."""

    service: str
    addresses: tuple[str, ...]
    pool: str
    nodes: tuple[NodeAnswer, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Answer:
    """All that is known of a prefix; `pools` are those it lies in or that lie in it."""

    prefix: str
    pools: tuple[str, ...]
    services: tuple[ServiceAnswer, ...]


def answer(
    objects: Objects,
    prefix: IPNetwork,
    *,
    state: Path,
    lb_class: str | None = None,
    node: str | None = None,
) -> Answer:
    """Why the routers have or have not the routes to this prefix."""
    pools = tuple(pool for pool in usable_pools(objects) if _touches(pool, prefix))
    nodes = tuple(n for n in objects.nodes.values() if node is None or n.name == node)
    views = {n.name: _View(objects, n, state, lb_class) for n in nodes}
    services = [
        service
        for service in objects.services.values()
        if is_ours(service, lb_class) and any(a in prefix for a in service.ingress)
    ]
    return Answer(
        prefix=str(prefix),
        pools=tuple(pool.key.name for pool in pools),
        services=tuple(
            _service(service, objects, prefix, views.values())
            for service in sorted(services, key=lambda s: s.key)
        ),
    )


def _touches(pool: Pool, prefix: IPNetwork) -> bool:
    return any(
        each.first.version == prefix.version
        and int(each.first) <= int(prefix[-1])
        and int(prefix[0]) <= int(each.last)
        for each in pool.ranges
    )


class _View:
    """What one node wants and what its speaker says."""

    def __init__(self, objects: Objects, node: Node, state: Path, lb_class: str | None) -> None:
        snapshot = Snapshot(objects=objects)
        self.node = node
        self.peering = peering(snapshot, node)
        rules = DecisionRules(node=node.name, lb_class=lb_class)
        self.wanted: Mapping[str, PeerDesired] = {
            peer.name: peer for peer in node_desired(snapshot, rules).peers
        }
        self.report = next(iter(read_reports(state, node.name)), None)


def _service(
    service: Service, objects: Objects, prefix: IPNetwork, views: Iterable[_View]
) -> ServiceAnswer:
    address = service.ingress[0]
    pool = next((p for p in usable_pools(objects) if any(address in r for r in p.ranges)), None)
    return ServiceAnswer(
        service=str(service.key),
        addresses=tuple(str(a) for a in service.ingress if a in prefix),
        pool=pool.key.name if pool is not None else "",
        nodes=tuple(_node(service, objects, pool, view) for view in views),
    )


def _node(service: Service, objects: Objects, pool: Pool | None, view: _View) -> NodeAnswer:
    name = view.node.name
    if pool is None:
        refusal = Refusal(reason=Reason.ADDRESS_IN_NO_POOL, detail=str(service.ingress[0]))
        return NodeAnswer(node=name, refusal=str(refusal))
    slices = (s for s in objects.slices.values() if s.service == service.key)
    withheld = attracts(service, slices, view.node, ignore_exclude_label=False)
    if withheld is not None:
        return NodeAnswer(node=name, refusal=str(withheld))
    advertisements = pool_bgp_advertisements(pool, objects.bgp_advertisements.values(), view.node)
    if not advertisements:
        refusal = Refusal(reason=Reason.NO_BGP_ADVERTISEMENT, detail=f"pool {pool.key.name}")
        return NodeAnswer(node=name, refusal=str(refusal))
    sessions = [_peer(service, objects, advertisements, view, p) for p in view.peering.peers]
    refused = [
        PeerAnswer(peer=peer, refusal=str(why)) for peer, why in view.peering.refused.items()
    ]
    return NodeAnswer(
        node=name,
        advertisements=tuple(adv.key.name for adv in advertisements),
        peers=(*sessions, *refused),
    )


def _peer(
    service: Service,
    objects: Objects,
    advertisements: tuple[BGPAdvertisement, ...],
    view: _View,
    peer: PeerDesired,
) -> PeerAnswer:
    aliases = {
        name: value
        for community in objects.community_aliases.values()
        for name, value in community.aliases.items()
    }
    mine = service_routes(service, advertisements, peer.name, aliases)
    session = _session(view.report, peer.name)
    if isinstance(mine, Refusal):
        return PeerAnswer(peer=peer.name, refusal=str(mine), session=session)
    wanted = view.wanted.get(peer.name, peer).routes
    routes = tuple(
        " ".join([str(prefix), *(f"{k} {v}" for k, v in attributes_in_words(found).items())])
        for prefix in mine
        if (found := wanted.get(prefix)) is not None
    )
    # The Service's own routes may clash with another Service's of the same aggregate.
    missing = next((prefix for prefix in mine if prefix not in wanted), None)
    refusal = ""
    if missing is not None:
        detail = f"{missing} to {peer.name}, with another Service's"
        refusal = str(Refusal(reason=Reason.LOCAL_PREF_CONFLICT, detail=detail))
    return PeerAnswer(peer=peer.name, routes=routes, refusal=refusal, session=session)


def _session(report: NodeState | None, peer: str) -> str:
    """What the speaker says of the session, in a few words."""
    if report is None:
        return "its speaker has told nothing"
    if not is_alive(report):
        return "its speaker does not run"
    found = next((each for each in report.peers if each.name == peer), None)
    return "its speaker holds no such session" if found is None else _state(found)


def _state(peer: PeerState) -> str:
    return f"{peer.state}: {peer.info}" if peer.info else peer.state


def in_words(found: Answer) -> list[str]:
    """The answer as lines for people."""
    pools = ", ".join(found.pools) or "no pool holds it"
    lines = [f"{found.prefix}", f"  pool      {pools}"]
    if not found.services:
        lines.append("  service   none has an address in it, so nobody advertises it")
    for service in found.services:
        lines.append(f"  service   {service.service}: {', '.join(service.addresses)}")
        for node in service.nodes:
            lines += [f"  {line}" for line in _node_in_words(node)]
    return lines


def _node_in_words(node: NodeAnswer) -> list[str]:
    if node.refusal:
        return [f"{node.node}  advertises nothing: {node.refusal}"]
    lines = [f"{node.node}  by BGPAdvertisement {', '.join(node.advertisements)}"]
    for peer in node.peers:
        session = f" ({peer.session})" if peer.session else ""
        lines += [f"  to {peer.peer}{session}: {route}" for route in peer.routes]
        if peer.refusal:
            lines.append(f"  not to {peer.peer}{session}: {peer.refusal}")
    if not node.peers:
        lines.append("  to nobody: there is no BGPPeer")
    return lines
