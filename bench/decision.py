"""The decision at 10 000 Services with 100 000 endpoints on 50 nodes, as a speaker runs it.

Cold: a decider that has seen nothing decides everything. One object changed: it decided before,
then the endpoints of one Service are on other nodes. The controller's allocation stands beside
it. The collector is frozen and slowed before, as the speaker does at its start.
"""

from __future__ import annotations

import gc
import statistics
import time
from collections.abc import Callable

from bench.cluster import moved, node_name, objects, service_key
from bench.row import Measure, percentile
from onehop.core.allocate import Allocator
from onehop.core.decide import DecisionRules, NodeDecider
from onehop.core.snapshot import Snapshot

SERVICES, ENDPOINTS, NODES = 10_000, 10, 50
VERSUS = "10 000 services, 100 000 endpoints"
CHANGES = 100


def run(rounds: int) -> list[Measure]:
    """Cold, then single changes: the speaker's decision and the controller's."""
    cluster = objects(services=SERVICES, endpoints=ENDPOINTS, nodes=NODES)
    usual = gc.get_threshold()
    gc.collect()
    gc.freeze()
    gc.set_threshold(50_000, 20, 100)
    try:
        rules = DecisionRules(node=node_name(0))
        cold = [_milliseconds(lambda: _decide(NodeDecider(rules))(cluster)) for _ in range(rounds)]
        allocation = [_milliseconds(lambda: Allocator().decide(cluster)) for _ in range(rounds)]
        decider, allocator = NodeDecider(rules), Allocator()
        changed = _changes(_decide(decider))
        reallocated = _changes(allocator.decide)
    finally:
        gc.set_threshold(*usual)
        gc.unfreeze()
    return [
        _median("decision, cold", cold),
        *_one_changed("decision", changed),
        _median("allocation, cold", allocation),
        *_one_changed("allocation", reallocated),
    ]


def _decide(decider: NodeDecider) -> Callable[..., object]:
    def decide(cluster: object) -> object:
        return decider.decide(Snapshot(objects=cluster))  # type: ignore[arg-type]

    return decide


def _changes(decide: Callable[..., object]) -> list[float]:
    cluster = objects(services=SERVICES, endpoints=ENDPOINTS, nodes=NODES)
    decide(cluster)
    took = []
    for number in range(CHANGES):
        at = number * 97 % SERVICES
        assert service_key(at) in cluster.services
        cluster = moved(cluster, at, ENDPOINTS, NODES, shift=number + 1)
        took.append(_milliseconds(lambda now=cluster: decide(now)))  # type: ignore[misc]
    return took


def _milliseconds(call: Callable[[], object]) -> float:
    start = time.perf_counter()
    call()
    return (time.perf_counter() - start) * 1e3


def _median(what: str, values: list[float]) -> Measure:
    note = f"median of {len(values)}, worst {max(values):.3g}"
    value = round(statistics.median(values), 2)
    return Measure(what=what, value=value, unit="ms", versus=VERSUS, note=note)


def _one_changed(what: str, values: list[float]) -> list[Measure]:
    return [
        _median(f"{what}, one object changed", values),
        Measure(
            what=f"{what}, one object changed, p99",
            value=round(percentile(values, 99), 2),
            unit="ms",
            versus=VERSUS,
        ),
    ]
