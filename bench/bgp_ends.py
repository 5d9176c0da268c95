"""How a speaker ends: told to, while traffic is carried; and unheard, when its link is cut."""

from __future__ import annotations

import contextlib
import signal
import statistics
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

from bench.bgp_cluster import bfd_profile, peer, put, service, slice_of, vip
from bench.bgp_fib import WITHIN
from bench.bgp_rivals import ROUTER, started
from bench.bgp_rounds import FEW, NODES, PORT, Bench
from bench.network import Network
from bench.row import Measure
from onehop.lab import namespace

SECONDS, BEFORE = 1.5, 0.7  # of traffic, and of it before the end
OUTSIDE = "192.168.201"
TRAFFIC = str(Path(__file__).with_name("bgp_traffic.py"))
UNDER_LOAD = "eBPF datapath, 1 000 packets/s"


def client_behind(net: Network) -> None:
    """A client on a link of the router's own, and the way back to it."""
    net.add("client")
    net.ip(
        "router",
        f"link add eth1 type veth peer name eno1 netns {net.prefix}client",
        f"address add {OUTSIDE}.1/24 dev eth1",
        "link set eth1 up",
    )
    net.ip(
        "client",
        f"address add {OUTSIDE}.2/24 dev eno1",
        "link set eno1 up",
        f"route add default via {OUTSIDE}.1",
    )
    # The ports of a packet count as well: without them the client is one flow.
    sysctls = {"net/ipv4/ip_forward": "1", "net/ipv4/fib_multipath_hash_policy": "1"}
    namespace.write_sysctls(net.path("router"), sysctls)
    for node in NODES:
        net.ip(node, f"route add {OUTSIDE}.0/24 via {ROUTER}")
        command = [sys.executable, "-IS", TRAFFIC, "answer", str(PORT)]
        started(net, f"pod-{node}", command, stdout=subprocess.PIPE)
        _ready(net.children[-1])


class Ends:
    """Three speakers with their datapath end, or fall silent, again and again."""

    def __init__(self, bench: Bench) -> None:
        self._bench = bench
        self._folder = bench.folder(FEW)
        pods = {host.name: host.pod for host in bench.net.nodes.values()}
        asked = slice_of(FEW, pods, protocol="UDP", port=PORT)
        put(self._folder, "asked", service(FEW, protocol="UDP"), asked)
        self._asked = self._lost = 0

    def terminated(self) -> None:
        """One is told to end while a client asks."""
        with contextlib.ExitStack() as up:
            pins = {node: up.enter_context(_bpffs(self._bench.net, node)) for node in NODES}
            begin = time.monotonic()
            speakers = [
                self._bench.speaker(node, self._folder, "--bpf-dir", str(pins[node]))
                for node in NODES
            ]
            up.callback(self._bench.stop, speakers)
            until = self._bench.router.until("Established", len(NODES))
            self._bench.note("start to Established, three", begin, until)
            self._bench.fib.until_count(FEW + 1, len(NODES))
            self._end(speakers[0])

    def _end(self, speaker: subprocess.Popen[str]) -> None:
        net = self._bench.net
        command = [sys.executable, "-IS", TRAFFIC, "ask", vip(FEW), "80", str(SECONDS)]
        client = started(net, "client", command, stdout=subprocess.PIPE)
        _ready(client)
        time.sleep(BEFORE)
        self._bench.fib.forget()
        begin = time.monotonic()
        speaker.send_signal(signal.SIGTERM)
        wanted = {vip(at): len(NODES) - 1 for at in range(FEW + 1)}
        self._bench.note("SIGTERM to withdrawn", begin, self._bench.fib.until(wanted))
        out, _ = client.communicate(timeout=WITHIN)
        net.children.remove(client)
        asked, answered = map(int, out.split())
        self._asked += asked
        self._lost += asked - answered

    def cut(self, rounds: int) -> None:
        """One's link falls silent, with BFD watching."""
        bench = self._bench
        put(self._folder, "peer", peer("router", bfdProfile="fast"), bfd_profile("fast"))
        speakers = [bench.speaker(node, self._folder, "--datapath", "none") for node in NODES]
        wanted = {vip(at): len(NODES) - 1 for at in range(FEW + 1)}
        port = f"p{bench.net.nodes[NODES[0]].index}"
        for _ in range(rounds):
            bench.router.until("Established", len(NODES))
            bench.router.until("Up", len(NODES), of="bfd sessions")
            bench.fib.until_count(FEW + 1, len(NODES))
            time.sleep(1.0)  # the intervals have been negotiated by then
            bench.fib.forget()
            begin = time.monotonic()
            bench.net.ip("lan", f"link set {port} nomaster")
            bench.note("link cut to withdrawn", begin, bench.fib.until(wanted))
            bench.net.ip("lan", f"link set {port} master br0")
        bench.stop(speakers)

    def measures(self) -> list[Measure]:
        """The worst of each end, for each one counts."""
        spans = self._bench.spans
        starts = spans["start to Established, three"]
        return [
            Measure(
                what="start to Established, three",
                versus=f"{FEW} Services, eBPF datapath",
                value=round(statistics.median(starts), 1),
                unit="ms",
                note=f"{len(starts)} times, {min(starts):.2f} to {max(starts):.2f}",
            ),
            _worst("SIGTERM to withdrawn", UNDER_LOAD, spans["SIGTERM to withdrawn"]),
            Measure(
                what="packets lost around a SIGTERM",
                versus=UNDER_LOAD,
                value=self._lost,
                unit="packets",
                note=f"of {self._asked:,} in {len(starts)} rounds".replace(",", " "),
            ),
            _worst("link cut to withdrawn", "BFD 100 ms x 3", spans["link cut to withdrawn"]),
        ]


def _worst(what: str, versus: str, values: list[float]) -> Measure:
    note = f"worst of {len(values)}, median {statistics.median(values):.2f}"
    return Measure(what=what, versus=versus, value=round(max(values), 1), unit="ms", note=note)


@contextlib.contextmanager
def _bpffs(net: Network, node: str) -> Iterator[Path]:
    """Where a node's speaker pins its datapath, which is gone afterwards."""
    place = net.root / f"bpf-{node}"
    namespace.mount_bpf(place)
    try:
        yield place / "onehop"
    finally:
        namespace.unmount(place)


def _ready(child: subprocess.Popen[str]) -> None:
    assert child.stdout is not None
    if child.stdout.readline().strip() != "ready":
        raise RuntimeError(f"{child.args!r} did not start")
