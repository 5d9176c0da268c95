"""`onehop bgp why`: from the pool to the Service, the advertisement, the peer and its session.

It runs the functions that the speakers run, on the same objects, and puts beside each answer what
the node's speaker says of the session, so the chain ends at what the router really has.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from onehop.app.bgp_report import (
    NodeState,
    PeerState,
    attributes_in_words,
    is_alive,
    read_reports,
)
from onehop.core.advertiser import ServiceAdvertised
from onehop.core.decide import DecisionRules, NodeDecider
from onehop.core.request import is_ours
from onehop.core.snapshot import Snapshot
from onehop.core.validate import problems, usable_pools
from onehop.model.address import IPNetwork
from onehop.model.bgp import PeerDesired, no_routes
from onehop.model.config import Pool
from onehop.model.objects import Objects
from onehop.model.service import Key, Service

_KINDS = ("BGPPeer", "BGPAdvertisement", "Community", "BFDProfile", "Secret")


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
    """All that is known of a prefix; `pools` are those it lies in or that lie in it.

    `problems` are faults of BGP objects, which are out of force.
    """

    prefix: str
    pools: tuple[str, ...]
    services: tuple[ServiceAnswer, ...]
    problems: tuple[str, ...] = ()


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
    views = [_View(objects, n.name, state, lb_class) for n in nodes]
    services = [
        service
        for service in objects.services.values()
        if is_ours(service, lb_class) and any(a in prefix for a in service.ingress)
    ]
    return Answer(
        prefix=str(prefix),
        pools=tuple(pool.key.name for pool in pools),
        services=tuple(
            _service(service, objects, prefix, views)
            for service in sorted(services, key=lambda s: s.key)
        ),
        problems=tuple(
            str(problem)
            for problem in (*objects.problems, *problems(objects))
            if problem.object.startswith(_KINDS)
        ),
    )


def node_answer(
    objects: Objects, key: Key, node: str, *, state: Path, lb_class: str | None = None
) -> NodeAnswer:
    """What one node tells its routers of one Service; the caller has seen the Service."""
    return _node(objects.services[key], _View(objects, node, state, lb_class))


def _touches(pool: Pool, prefix: IPNetwork) -> bool:
    return any(
        each.first.version == prefix.version
        and int(each.first) <= int(prefix[-1])
        and int(prefix[0]) <= int(each.last)
        for each in pool.ranges
    )


class _View:
    """What one node decides and what its speaker says."""

    def __init__(self, objects: Objects, node: str, state: Path, lb_class: str | None) -> None:
        self.node = node
        self._decider = NodeDecider(DecisionRules(node=node, lb_class=lb_class))
        self.wanted = self._decider.decide(Snapshot(objects=objects))
        self.report = next(iter(read_reports(state, node)), None)

    def advertised(self, key: Key) -> ServiceAdvertised:
        """Which peers get which routes of a Service, and why the others get none."""
        found = self._decider.advertised(key)
        assert found is not None, "the caller saw the Service, and the node has decided"
        return found


def _service(
    service: Service, objects: Objects, prefix: IPNetwork, views: Iterable[_View]
) -> ServiceAnswer:
    address = service.ingress[0]
    pool = next((p for p in usable_pools(objects) if any(address in r for r in p.ranges)), None)
    return ServiceAnswer(
        service=str(service.key),
        addresses=tuple(str(a) for a in service.ingress if a in prefix),
        pool=pool.key.name if pool is not None else "",
        nodes=tuple(_node(service, view) for view in views),
    )


def _node(service: Service, view: _View) -> NodeAnswer:
    decided = view.advertised(service.key)
    peers = tuple(_peer(peer, decided, view) for peer in view.wanted.peers)
    refused = tuple(
        PeerAnswer(peer=peer, refusal=str(why)) for peer, why in view.wanted.peers_refused.items()
    )
    withheld = "" if decided.withheld is None else str(decided.withheld)
    if withheld:
        peers = ()
    return NodeAnswer(node=view.node, refusal=withheld, peers=(*peers, *refused))


def _peer(peer: PeerDesired, decided: ServiceAdvertised, view: _View) -> PeerAnswer:
    refusal = decided.refused.get(peer.name)
    return PeerAnswer(
        peer=peer.name,
        routes=tuple(
            " ".join([str(prefix), *(f"{k} {v}" for k, v in attributes_in_words(found).items())])
            for prefix, found in decided.routes.get(peer.name, no_routes()).items()
        ),
        refusal="" if refusal is None else str(refusal),
        session=_session(view.report, peer.name),
    )


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
    return [*lines, *(f"  problem   {problem}" for problem in found.problems)]


def _node_in_words(node: NodeAnswer) -> list[str]:
    if node.refusal:
        return [f"{node.node}  {line}" for line in peers_in_words(node)]
    return [f"{node.node}", *(f"  {line}" for line in peers_in_words(node))]


def peers_in_words(node: NodeAnswer) -> list[str]:
    """What one node tells each of its routers, as lines for people."""
    if node.refusal:
        return [f"advertises it to nobody: {node.refusal}"]
    lines = []
    for peer in node.peers:
        session = f" ({peer.session})" if peer.session else ""
        lines += [f"to {peer.peer}{session}: {route}" for route in peer.routes]
        if peer.refusal:
            lines.append(f"not to {peer.peer}{session}: {peer.refusal}")
    return lines or ["to nobody: there is no BGPPeer"]
