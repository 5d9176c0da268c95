"""What the hop costs: the same requests by NodePort, L2 Cluster and L2 Local, measured.

Each path is measured on two labs that stand side by side, one forwarded by onehop's datapath and
one by nftables rules of kube-proxy's form, in interleaved rounds; medians are kept. Client and
server share one CPU, so that no wake-up across CPUs hides the path. Only what was measured is
said: namespaces on one machine show shares and shapes, not what a network card would do.
"""

from __future__ import annotations

import os
import statistics
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from ipaddress import ip_address
from pathlib import Path

from onehop.lab import baseline, observe
from onehop.lab.kafka_answers import Load
from onehop.lab.kafka_remote import KafkaClient
from onehop.lab.lab import Lab, LabSpec
from onehop.lab.probe import connected, received
from onehop.lab.scenes import BOOTSTRAP, NODE_ADDRESS, PORT, Stage
from onehop.lab.topology import CLIENT

ROUNDS, SECONDS, REQUEST_BYTES = 5, 0.4, 64
ONEHOP, NFTABLES = "onehop", "nftables"
_TICK = os.sysconf("SC_CLK_TCK")


@dataclass(frozen=True, slots=True, kw_only=True)
class Way:
    """A way to the same broker: which policy, address and port."""

    name: str
    policy: str
    address: str
    port: int


PATHS = (
    Way(name="NodePort, node0", policy="Cluster", address=NODE_ADDRESS["node0"], port=30793),
    Way(name="L2, Cluster", policy="Cluster", address="192.168.200.241", port=PORT),
    Way(name="L2, Local", policy="Local", address="192.168.200.241", port=PORT),
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Cost:
    """One path's figures: medians over rounds of 64-byte requests and answers on one connection.

    `rate` is requests a second, latencies and CPU are microseconds a request, `node_bytes` the
    bytes on each node's uplink, in and out, for a byte of payload.
    """

    path: str
    forwarder: str
    rate: float
    p50_us: float
    p99_us: float
    cpu_us: float
    source: str
    node_bytes: dict[str, float]


@dataclass(frozen=True, slots=True, kw_only=True)
class KafkaCost:
    """What a Kafka client reached by one policy; rates in MB/s of payload, latencies in ms."""

    policy: str
    forwarder: str
    produce_mb_s: float
    consume_mb_s: float
    p50_ms: float
    p99_ms: float


def hop_costs(name: str, say: Callable[[str], None]) -> tuple[Cost, ...]:
    """Measure all paths on two fresh labs with responders in the pods.

    Raises:
        LabError: when a lab cannot be built or a path does not answer.
    """
    with ExitStack() as stack:
        stages = {
            ONEHOP: Stage(stack.enter_context(Lab.up(LabSpec(name=f"{name}-o"))), None),
            NFTABLES: Stage(
                stack.enter_context(Lab.up(LabSpec(name=f"{name}-n", datapath="none"))), None
            ),
        }
        rounds: dict[tuple[str, str], list[Cost]] = {}
        for path in PATHS:
            say(f"measuring {path.name}")
            for forwarder, stage in stages.items():
                _take(stage, forwarder, path.policy)
            for _ in range(ROUNDS):
                for forwarder, stage in stages.items():
                    cost = _measured(stage, forwarder, path)
                    rounds.setdefault((path.name, forwarder), []).append(cost)
    return tuple(map(_median, rounds.values()))


def kafka_costs(stage: Stage, forwarder: str, say: Callable[[str], None]) -> Iterator[KafkaCost]:
    """Load Kafka through both policies with a real client.

    Raises:
        KafkaError: when the client cannot reach it.
    """
    for policy in ("Cluster", "Local"):
        say(f"Kafka by L2, {policy}, {forwarder}")
        _take(stage, forwarder, policy)
        client = KafkaClient(stage.lab.run, CLIENT, f"{BOOTSTRAP}:{PORT}")
        load: Load = client.load(seconds=2.0, samples=300)
        yield KafkaCost(
            policy=policy,
            forwarder=forwarder,
            produce_mb_s=load.produce_rate / 1e6,
            consume_mb_s=load.consume_rate / 1e6,
            p50_ms=load.latency_p50 * 1e3,
            p99_ms=load.latency_p99 * 1e3,
        )


def _take(stage: Stage, forwarder: str, policy: str) -> None:
    stage.policy(policy)
    if forwarder == NFTABLES:
        baseline.apply(stage.lab)


def _measured(stage: Stage, forwarder: str, path: Way) -> Cost:
    address = ip_address(path.address)
    seen = stage.probe(path.address, path.port, 1)
    with (
        _one_cpu(stage.lab, seen.server),
        connected(stage.lab, CLIENT, address, path.port) as connection,
    ):
        while received(connection, 1) != b"\n":
            pass  # the greeting
        before, busy = observe.uplink_counters(stage.lab), _busy()
        spans = _ping_pong(connection.sendall, lambda: received(connection, REQUEST_BYTES))
        busy = _busy() - busy
        after = observe.uplink_counters(stage.lab)
    payload = 2 * REQUEST_BYTES * len(spans)
    ordered = sorted(spans)
    return Cost(
        path=path.name,
        forwarder=forwarder,
        rate=len(spans) / sum(spans),
        p50_us=ordered[len(ordered) // 2] * 1e6,
        p99_us=ordered[len(ordered) * 99 // 100] * 1e6,
        cpu_us=busy / len(spans) * 1e6,
        source=seen.source,
        node_bytes={
            node: (delta.received_bytes + delta.sent_bytes) / payload
            for node in after
            for delta in (after[node] - before[node],)
        },
    )


def _ping_pong(send: Callable[[bytes], object], receive: Callable[[], object]) -> list[float]:
    request = b"x" * REQUEST_BYTES
    spans = []
    now = time.perf_counter()
    end = now + SECONDS
    while now < end:
        send(request)
        receive()
        then = time.perf_counter()
        spans.append(then - now)
        now = then
    return spans


@contextmanager
def _one_cpu(lab: Lab, server: str) -> Iterator[None]:
    """Client and server on one CPU, and back where they were afterwards."""
    pids = [0, *(r.pid for r in lab.supervisor.records() if r.name == f"responder-{server}")]
    before = {pid: os.sched_getaffinity(pid) for pid in pids}
    try:
        for pid in pids:
            os.sched_setaffinity(pid, {min(before[0])})
        yield
    finally:
        for pid, cpus in before.items():
            os.sched_setaffinity(pid, cpus)


def _busy() -> float:
    """Seconds of CPU that the whole machine has spent, softirq included."""
    words = Path("/proc/stat").read_text().split("\n", 1)[0].split()[1:9]
    user, nice, system, _, _, irq, softirq, _ = map(int, words)
    return (user + nice + system + irq + softirq) / _TICK


def _median(costs: list[Cost]) -> Cost:
    def middle(figure: Callable[[Cost], float]) -> float:
        return statistics.median(map(figure, costs))

    def on(node: str) -> Callable[[Cost], float]:
        return lambda cost: cost.node_bytes[node]

    return Cost(
        path=costs[0].path,
        forwarder=costs[0].forwarder,
        rate=middle(lambda cost: cost.rate),
        p50_us=middle(lambda cost: cost.p50_us),
        p99_us=middle(lambda cost: cost.p99_us),
        cpu_us=middle(lambda cost: cost.cpu_us),
        source=" ".join(sorted({cost.source for cost in costs})),
        node_bytes={node: middle(on(node)) for node in costs[0].node_bytes},
    )
