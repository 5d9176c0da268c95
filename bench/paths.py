"""What the hop costs: the same server over several paths, in interleaved rounds.

    client -- LAN -- direct:  pod's own address, routed by its node, no rules anywhere
                  -- fast:    the VIP at the pod's node, onehop's datapath, policy Local
                  -- rules:   the VIP at the pod's node, kube-proxy in nftables mode, policy Local
                  -- cluster: the VIP at a node that has no pod, onehop's datapath with SNAT,
                              policy Cluster, to direct's pod
                  -- relay:   NodePort of a node that has no pod, kube-proxy, to direct's pod

Every path has nodes of its own, so nothing is loaded or unloaded between measurements, and the
nodes differ in nothing else. A round measures each path once, in random order; a ratio is taken
within a round and the median over the rounds is what counts. Client and server share a CPU,
because a wake-up across CPUs costs more than the paths differ, and because a TCP stream between
two CPUs is sent from both of them (acknowledgements clock it on the reader's), which reorders it.
Only the sink of datagrams has a CPU of its own, so that it never holds the sender up.
"""

from __future__ import annotations

import contextlib
import random
import socket
import statistics
import sys
from collections.abc import Iterator
from pathlib import Path

from bench.kube_rules import served, write_rules
from bench.network import CPUS, Network, network
from bench.row import Measure, ratio
from bench.served import Served, datapath
from onehop.lab import namespace
from onehop.model.service import Protocol

VIP, RULES_VIP, CLUSTER_VIP = "192.168.200.241", "192.168.200.242", "192.168.200.243"
PORT, BULK = 9096, 5201
ETH_P_IP, ETH_P_ALL = 0x0800, 3
KINDS = {"rr": PORT, "udp": PORT, "bulk": BULK}
NODE_PORTS = {PORT: 30793, BULK: 30201}
SECONDS = {"rr": 0.15, "crr": 0.2, "udp": 0.15, "up": 0.3}
NAMES = {
    "rr": ("request/response rate", "1/s"),
    "crr": ("connect rate", "1/s"),
    "udp": ("UDP packets/s", "1/s"),
    "up": ("bulk TCP up", "Gbit/s"),
}
VERSUS = {
    "direct": "pod's own address, routed",
    "rules": "kube-proxy, nftables mode, Local",
    "relay": "NodePort through another node, kube-proxy",
}
Samples = dict[str, dict[str, list[float]]]


def run(rounds: int) -> list[Measure]:
    """All paths, all loads."""
    with (
        network("relay", "direct", "rules", "fast", "cluster") as net,
        contextlib.ExitStack() as up,
    ):
        _rules(net)
        _neighbours(net)
        _servers(net)
        up.enter_context(datapath(net, "fast", _served(VIP, net.nodes["fast"].pod, local=True)))
        up.enter_context(
            datapath(net, "cluster", _served(CLUSTER_VIP, net.nodes["direct"].pod, local=False))
        )
        targets = _targets(net)
        for path, target in targets.items():
            _once(net, path, target)  # neighbours and routes are known before anything counts
        with _listening(net, "relay") as link:
            _once(net, "fast", targets["fast"])
            crossed = _packets_of(link)
        samples = _measure(net, targets, rounds)
    return [*_ratios(samples), _untouched(crossed)]


def _ratios(samples: Samples) -> Iterator[Measure]:
    for load, (what, unit) in NAMES.items():
        for path, versus in VERSUS.items():
            yield ratio(what, versus, samples[load]["fast"], samples[load][path], unit)
        relay = samples[load]["relay"]
        yield ratio(f"{what}, Cluster", VERSUS["relay"], samples[load]["cluster"], relay, unit)
    for load, (what, unit) in NAMES.items():
        for path, values in samples[load].items():
            value = statistics.median(values)
            yield Measure(what=what, value=float(f"{value:.5g}"), unit=unit, versus=f"path {path}")


def _untouched(crossed: int) -> Measure:
    return Measure(
        what="bytes through the node that has no part in the flow",
        value=crossed,
        unit="bytes",
        versus="Local, fast",
        note="IP packets to or from its link while the VIP was loaded",
    )


def _targets(net: Network) -> dict[str, tuple[str, int, int]]:
    """Address, port and bulk port that the client uses on each path."""
    return {
        "direct": (net.nodes["direct"].pod, PORT, BULK),
        "fast": (VIP, PORT, BULK),
        "rules": (RULES_VIP, PORT, BULK),
        "cluster": (CLUSTER_VIP, PORT, BULK),
        "relay": (net.nodes["relay"].address, NODE_PORTS[PORT], NODE_PORTS[BULK]),
    }


def _served(vip: str, pod: str, *, local: bool) -> list[Served]:
    return [
        Served(address=vip, port=port, protocol=protocol, pod=pod, local=local)
        for protocol, port in ((Protocol.TCP, PORT), (Protocol.UDP, PORT), (Protocol.TCP, BULK))
    ]


def _neighbours(net: Network) -> None:
    """What a gratuitous ARP would have taught the client."""
    for vip, node in ((VIP, "fast"), (RULES_VIP, "rules"), (CLUSTER_VIP, "cluster")):
        net.ip("client", f"neigh add {vip} lladdr {net.nodes[node].mac} dev eno1")


def _servers(net: Network) -> None:
    for name in ("direct", "rules", "fast"):
        pod = f"pod-{name}"
        net.serve(pod, "tcp-server", str(PORT), cpu=CPUS[0])
        net.serve(pod, "udp-sink", str(PORT), cpu=CPUS[-1])
        net.serve(pod, "tcp-sink", str(BULK), cpu=CPUS[0])


def _rules(net: Network) -> None:
    """Give the nodes `rules` and `relay` kube-proxy's rules, and the routes to direct's pod."""
    direct = net.nodes["direct"]
    for node in ("relay", "cluster"):
        net.ip(node, f"route add 10.0.{direct.index}.0/24 via {direct.address}")
    ports = {kind: (port, NODE_PORTS[port]) for kind, port in KINDS.items()}
    objects = [*served(net.nodes["rules"], ports, RULES_VIP), *served(direct, ports)]
    write_rules(net, ("rules", "relay"), objects)


def _once(net: Network, path: str, target: tuple[str, int, int]) -> dict[str, float]:
    address, port, bulk = target
    pod = "pod-direct" if path in ("relay", "cluster") else f"pod-{path}"

    def load(kind: str, at: int) -> tuple[float, float]:
        words = net.load("client", kind, address, str(at), str(SECONDS[kind]), cpu=CPUS[0])
        count, took = map(float, words.split())
        return count, took

    def rate(kind: str, at: int) -> float:
        count, took = load(kind, at)
        return count / took

    before = _datagrams(net, pod)
    _, took = load("udp", port)
    return {
        "udp": (_datagrams(net, pod) - before) / took,
        "rr": rate("rr", port),
        "crr": rate("crr", port),
        "up": rate("up", bulk) * 8 / 1e9,
    }


def _datagrams(net: Network, name: str) -> int:
    """How many datagrams the sockets of a namespace have been given."""
    with namespace.entered(net.path(name)):
        lines = Path("/proc/thread-self/net/snmp").read_text().splitlines()
    names, values = (line.split() for line in lines if line.startswith("Udp:"))
    return int(values[names.index("InDatagrams")])


@contextlib.contextmanager
def _listening(net: Network, node: str) -> Iterator[socket.socket]:
    """Every IPv4 packet that comes to a node's LAN link for it, or leaves there."""
    with namespace.entered(net.path(node)):
        link = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, socket.htons(ETH_P_ALL))
        link.bind(("eno1", ETH_P_ALL))
    link.setblocking(False)
    with link:
        yield link


def _packets_of(link: socket.socket) -> int:
    """Their bytes; what a bridge floods (broadcasts, frames for others) is no part of a flow."""
    total = 0
    with contextlib.suppress(BlockingIOError):
        while True:
            frame, where = link.recvfrom(65535)
            if where[1] == ETH_P_IP and where[2] in (socket.PACKET_HOST, socket.PACKET_OUTGOING):
                total += len(frame)
    return total


def _measure(net: Network, targets: dict[str, tuple[str, int, int]], rounds: int) -> Samples:
    samples: Samples = {kind: {path: [] for path in targets} for kind in NAMES}
    order = list(targets)
    for number in range(rounds):
        random.shuffle(order)
        for path in order:
            for kind, value in _once(net, path, targets[path]).items():
                samples[kind][path].append(value)
        print(f"paths: round {number + 1} of {rounds}", file=sys.stderr, flush=True)
    return samples
