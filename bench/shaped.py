"""Three brokers on three nodes, each node's link shaped to 1 Gbit/s: what the clients get in sum.

    client -- LAN ==1G== a (pod)     direct:   each pod's own address, routed by its node
                  ==1G== b (pod)     Local:    each broker's VIP at its own node
                  ==1G== c (pod)     Cluster:  all three VIPs at node a, which forwards to b and c

The links are the bottleneck here and the processors are not, so the figure is about paths. The
token bucket's burst of 256 KiB lets segments of 64 KiB pass whole.
"""

from __future__ import annotations

import contextlib
import random
import statistics
import subprocess
import sys

from bench.network import CPUS, LOAD, Network, network
from bench.row import Measure, ratio
from bench.served import Served, datapath
from onehop.model.service import Protocol

PORT, SECONDS = 5201, 2.0
NODES = ("a", "b", "c")
RATE = "tbf rate 1gbit burst 256kb limit 4mb"
LOCAL = {node: f"192.168.200.{241 + at}" for at, node in enumerate(NODES)}
CLUSTER = {node: f"192.168.200.{231 + at}" for at, node in enumerate(NODES)}
DIRECT = "pods' own addresses, routed"


def run(rounds: int) -> list[Measure]:
    """Up and down over each path, in interleaved rounds."""
    with network(*NODES) as net, contextlib.ExitStack() as up:
        _shape(net)
        for node in NODES:
            served = [_served(net, node, LOCAL[node])]
            if node == "a":
                served += [_served(net, pod, CLUSTER[pod], at=node) for pod in NODES]
            up.enter_context(datapath(net, node, served))
            net.serve(f"pod-{node}", "tcp-sink", str(PORT), cpu=CPUS[-1])
        paths = _paths(net)
        samples = _measure(net, paths, rounds)
    return _rows(samples)


def _rows(samples: dict[tuple[str, str], list[float]]) -> list[Measure]:
    rows = []
    for way in ("up", "down"):
        what = f"three clients, three brokers, {way}"
        direct = samples[way, "direct"]
        rows.append(ratio(what, DIRECT, samples[way, "Local"], direct, "Gbit/s"))
        rows.append(ratio(f"{what}, Cluster", DIRECT, samples[way, "Cluster"], direct, "Gbit/s"))
    for (way, path), values in samples.items():
        value = round(statistics.median(values), 3)
        what = f"three clients, three brokers, {way}"
        rows.append(Measure(what=what, value=value, unit="Gbit/s", versus=f"path {path}"))
    return rows


def _served(net: Network, pod: str, vip: str, *, at: str = "") -> Served:
    return Served(
        address=vip,
        port=PORT,
        protocol=Protocol.TCP,
        pod=net.nodes[pod].pod,
        local=at in ("", pod),
    )


def _shape(net: Network) -> None:
    """Both directions of each node's link: the node's end and the bridge's."""
    for node in net.nodes.values():
        for where, link in ((node.name, "eno1"), ("lan", f"p{node.index}")):
            device = ["tc", "-n", net.prefix + where, "qdisc", "add", "dev", link, "root"]
            subprocess.run([*device, *RATE.split()], check=True)
    for name in ("b", "c"):
        there = net.nodes[name]
        net.ip("a", f"route add 10.0.{there.index}.0/24 via {there.address}")


def _paths(net: Network) -> dict[str, tuple[str, ...]]:
    """The addresses that the three clients use; the client knows each VIP's owner."""
    net.ip(
        "client",
        *(f"neigh add {LOCAL[n]} lladdr {net.nodes[n].mac} dev eno1" for n in NODES),
        *(f"neigh add {CLUSTER[n]} lladdr {net.nodes['a'].mac} dev eno1" for n in NODES),
    )
    return {
        "direct": tuple(net.nodes[node].pod for node in NODES),
        "Local": tuple(LOCAL.values()),
        "Cluster": tuple(CLUSTER.values()),
    }


def _measure(
    net: Network, paths: dict[str, tuple[str, ...]], rounds: int
) -> dict[tuple[str, str], list[float]]:
    samples: dict[tuple[str, str], list[float]] = {
        (way, path): [] for way in ("up", "down") for path in paths
    }
    order = list(samples)
    for number in range(rounds):
        random.shuffle(order)
        for way, path in order:
            samples[way, path].append(_together(net, way, paths[path]))
        print(f"shaped: round {number + 1} of {rounds}", file=sys.stderr, flush=True)
    return samples


def _together(net: Network, way: str, addresses: tuple[str, ...]) -> float:
    """The sum of three clients' rates in Gbit/s, at the same time."""
    running = [
        net.start(
            "client",
            [sys.executable, "-IS", str(LOAD), way, address, str(PORT), str(SECONDS)],
            cpu=CPUS[0],
        )
        for address in addresses
    ]
    total = 0.0
    for child in running:
        out, err = child.communicate(timeout=60)
        net.children.remove(child)
        if child.returncode != 0:
            raise RuntimeError(f"{way} {addresses}: {err.strip()}")
        count, took = map(float, out.split())
        total += count / took * 8 / 1e9
    return total
