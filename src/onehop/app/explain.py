"""`explain`: the chain of reasons from pool to announcer to backend.

It runs the same pure functions as the controller and the speakers on the same objects, so it
cannot disagree with them; what each speaker last failed at stands beside it.
"""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from pathlib import Path

from onehop.app.bgp_why import node_answer, peers_in_words
from onehop.core.allocate import allocation_chain, cluster_desired
from onehop.core.decide import DecisionRules, ServiceVerdict, election, service_verdict
from onehop.core.snapshot import Snapshot
from onehop.model.objects import Objects
from onehop.model.reason import Reason
from onehop.model.service import Key


@dataclass(frozen=True, slots=True, kw_only=True)
class NodeExplanation:
    """One node's part: whether it announces, or why not, and what it forwards.

    `bgp` is what it tells each router, or why not; empty where there are no routers.
    """

    node: str
    announces: bool
    reason: str
    frontends: tuple[str, ...]
    bgp: tuple[str, ...] = ()
    reports: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Explanation:
    """The whole chain for one Service; `written` says who else wrote its addresses, if so."""

    service: str
    allocation: tuple[str, ...]
    addresses: tuple[str, ...]
    pool: str
    election: tuple[str, ...]
    nodes: tuple[NodeExplanation, ...]
    problems: tuple[str, ...] = field(default=())
    written: str = ""


def explanation(
    objects: Objects, key: Key, *, lb_class: str | None, state: Path, node: str | None = None
) -> Explanation | None:
    """Why a Service stands as it does, or None when there is no such Service."""
    if key not in objects.services:
        return None
    wanted = sorted(n.name for n in objects.nodes.values() if node is None or n.name == node)
    if node is not None and not wanted:
        wanted = [node]
    verdicts = {name: _verdict(objects, key, name, lb_class) for name in wanted}
    status = cluster_desired(objects, lb_class=lb_class).statuses.get(key)
    ballot = election(
        Snapshot(objects=objects), DecisionRules(node=node or "", lb_class=lb_class), key
    )
    return Explanation(
        service=str(key),
        allocation=tuple(map(str, allocation_chain(objects, key, lb_class=lb_class))),
        addresses=tuple(map(str, status.addresses if status is not None else ())),
        pool=status.pool if status is not None else "",
        election=ballot.ranked,
        nodes=tuple(
            _node(name, verdict, state, _bgp(objects, key, name, state, lb_class))
            for name, verdict in verdicts.items()
        ),
        problems=tuple(str(p) for p in objects.problems if str(key) in p.object),
    )


def _verdict(objects: Objects, key: Key, node: str, lb_class: str | None) -> ServiceVerdict:
    rules = DecisionRules(node=node, lb_class=lb_class)
    verdict = service_verdict(Snapshot(objects=objects), rules, key)
    assert verdict is not None, "the caller saw the Service"
    return verdict


def _bgp(
    objects: Objects, key: Key, node: str, state: Path, lb_class: str | None
) -> tuple[str, ...]:
    if not objects.bgp_peers:
        return ()
    return tuple(peers_in_words(node_answer(objects, key, node, state=state, lb_class=lb_class)))


def _node(
    name: str, verdict: ServiceVerdict, state: Path, bgp: tuple[str, ...]
) -> NodeExplanation:
    frontends = []
    for item in verdict.frontends:
        backends = ", ".join(f"{b.address}:{b.port} ({b.state.value})" for b in item.backends)
        frontends.append(
            f"{item.frontend.address}:{item.frontend.port}/{item.frontend.protocol.value} => "
            f"{backends or 'no backend'} ({len(item.backends)} of {item.total}, "
            f"{item.policy.value})"
        )
    return NodeExplanation(
        node=name,
        announces=bool(verdict.announcements),
        reason=str(verdict.withheld) if verdict.withheld is not None else "",
        frontends=tuple(frontends),
        bgp=bgp,
        reports=_reports(state / "nodes" / f"{name}.json"),
    )


def _reports(file: Path) -> tuple[str, ...]:
    """What a speaker last reported as failed or contested."""
    try:
        body = json.loads(file.read_text())
    except (OSError, ValueError):
        return ()
    failures = tuple(map(str, body.get("failures", ())))
    conflicts = tuple(
        f"{Reason.ADDRESS_CONFLICT.code}: {address} claimed {count} times by another host"
        for address, count in body.get("conflicts", {}).items()
    )
    return (*failures, *conflicts)
