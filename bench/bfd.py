"""BFD: how soon a silent loss is acted on, and how short a detection time holds under load.

A router runs BIRD 2 with a static route to the node that depends on BFD at 100 ms x 3, and the
route's end in the router's kernel is what counts. A loss takes the node's port off the bridge, so
that the carrier stays; a death closes the speaker's end of our BFD process, as its kill would.
The same loss is measured with BIRD on the node as well.

Then two of our processes hold a session at 50 ms x 3 while this one decides at 10 000 Services
from nothing, again and again, and a process on each CPU does nothing but count: `SECONDS` in each
round, so that the usual number of rounds makes ten minutes.
"""

from __future__ import annotations

import gc
import socket
import statistics
import struct
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from ipaddress import ip_address

from bench.cluster import node_name, objects
from bench.network import CPUS, Network, network
from bench.row import Measure
from onehop.app.bfd_client import PROCESS
from onehop.app.bfd_lines import Line, Statistics, decode, encode_wanted
from onehop.core.decide import DecisionRules, NodeDecider
from onehop.core.snapshot import Snapshot
from onehop.lab import namespace
from onehop.proto.bfd.session import Path, PathDown, PathUp, Terms

SECONDS = 30.0
ROUTER, NODE = "192.168.200.10", "192.168.200.100"
PORT = "p100"
ROUTE = "198.18.0.0/15"
LOSS = Terms(transmit=0.1, receive=0.1)
HELD = Terms(transmit=0.05, receive=0.05)
VERSUS = "100 ms x 3"
WITHIN = 10.0
SERVICES, ENDPOINTS, NODES = 10_000, 10, 50
RTM_NEWROUTE, RTM_DELROUTE, IPV4_ROUTES = 24, 25, 0x40
BURN = "import sys,time\nend=time.monotonic()+float(sys.argv[1])\nwhile time.monotonic()<end: pass"


class End:
    """Our BFD process with one session; the bench is its speaker."""

    def __init__(self, net: Network, where: str, peer: str, terms: Terms) -> None:
        self._socket, theirs = socket.socketpair()
        with theirs, namespace.entered(net.path(where)):
            self._process = subprocess.Popen(PROCESS, stdin=theirs.fileno())
        self._lines = self._socket.makefile("rb")
        self._socket.sendall(encode_wanted({Path(peer=ip_address(peer)): terms}))

    def until(self, kind: type[Line]) -> tuple[float, list[Line]]:
        """When a line of this kind came, and all lines until then."""
        self._socket.settimeout(WITHIN)
        seen: list[Line] = []
        while not seen or not isinstance(seen[-1], kind):
            seen.append(decode(self._lines.readline()))
        return time.monotonic(), seen

    def close(self) -> float:
        """The speaker dies; the answer is when."""
        self._lines.close()
        self._socket.close()
        at = time.monotonic()
        self._process.wait(WITHIN)
        return at


class Routes:
    """Hears of the router's IPv4 routes as its kernel changes them."""

    def __init__(self, net: Network, where: str) -> None:
        with namespace.entered(net.path(where)):
            self._socket = socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, socket.NETLINK_ROUTE)
        self._socket.bind((0, IPV4_ROUTES))
        self._socket.settimeout(WITHIN)

    def until(self, kind: int) -> float:
        """When a route was added or removed."""
        while True:
            message = self._socket.recv(1 << 16)
            at = time.monotonic()
            if struct.unpack_from("=H", message, 4)[0] == kind:
                return at

    def close(self) -> None:
        """Hear no more."""
        self._socket.close()


def _bird(net: Network, where: str, own: str, peer: str, route: str = "") -> None:
    folder = net.root / f"bird-{where}"
    folder.mkdir()
    config = folder / "bird.conf"
    config.write_text(
        f"log stderr all; router id {own};\n"
        "protocol device {}\n"
        "protocol kernel { ipv4 { export all; }; }\n"
        'protocol bfd { interface "*" { interval 100 ms; multiplier 3; };'
        f' neighbor {peer} dev "eno1" local {own}; }}\n'
        + (f"protocol static {{ ipv4; route {route} via {peer} bfd; }}\n" if route else "")
    )
    command = ["bird", "-f", "-c", str(config), "-s", str(folder / "ctl")]
    net.start(where, command, cpu=CPUS[-1])


@contextmanager
def _cut(net: Network) -> Iterator[float]:
    """The node's port off the bridge, since this instant."""
    net.ip("lan", f"link set {PORT} nomaster")
    try:
        yield time.monotonic()
    finally:
        net.ip("lan", f"link set {PORT} master br0")


class Losses:
    """Each round's spans, in milliseconds."""

    def __init__(self) -> None:
        self.spans: dict[str, list[float]] = {}

    def note(self, what: str, start: float, end: float) -> None:
        """One more."""
        self.spans.setdefault(what, []).append((end - start) * 1e3)

    def measures(self) -> list[Measure]:
        """The worst of each: a budget on a detection time is on every one."""
        return [
            Measure(
                what=what,
                versus=VERSUS,
                value=round(max(spans), 1),
                unit="ms",
                note=f"worst of {len(spans)}, median {statistics.median(spans):.0f}",
            )
            for what, spans in self.spans.items()
        ]


def _losses(net: Network, routes: Routes, losses: Losses) -> None:
    """A loss and a death of ours."""
    end = End(net, "node", ROUTER, LOSS)
    end.until(PathUp)
    routes.until(RTM_NEWROUTE)
    end.until(Statistics)  # the intervals have been negotiated by then
    with _cut(net) as cut_at:
        losses.note("link cut, until the router's kernel", cut_at, routes.until(RTM_DELROUTE))
        down_at, _ = end.until(PathDown)
        losses.note("link cut, until our speaker is told", cut_at, down_at)
    routes.until(RTM_NEWROUTE)
    end.until(PathUp)
    end.until(Statistics)
    died_at = end.close()
    losses.note("speaker dead, until the router's kernel", died_at, routes.until(RTM_DELROUTE))


def _birds_loss(net: Network, routes: Routes, losses: Losses) -> None:
    with _cut(net) as cut_at:
        losses.note(
            "link cut, BIRD on the node, until the router's kernel",
            cut_at,
            routes.until(RTM_DELROUTE),
        )
    routes.until(RTM_NEWROUTE)


def _held(net: Network, seconds: float, decide: Callable[[], object]) -> tuple[int, float, int]:
    """False alarms, worst lateness in milliseconds, and decisions in this time."""
    ends = [End(net, "node", ROUTER, HELD), End(net, "router", NODE, HELD)]
    for end in ends:
        end.until(PathUp)
    burning = [
        net.start("node", [sys.executable, "-ISc", BURN, str(seconds)], cpu=cpu, nice=0)
        for cpu in CPUS
    ]
    until, decisions = time.monotonic() + seconds, 0
    while time.monotonic() < until:
        decide()
        decisions += 1
    lines = [line for end in ends for line in _waiting(end)]
    for process in burning:
        process.communicate(timeout=WITHIN)
        net.children.remove(process)
    for end in ends:
        end.close()
    lateness = max(line.lateness for line in lines if isinstance(line, Statistics))
    return sum(isinstance(line, PathDown) for line in lines), lateness * 1e3, decisions


def _waiting(end: End) -> list[Line]:
    """Everything that came meanwhile: up to the first statistics that we have to wait for."""
    lines: list[Line] = []
    while True:
        asked_at = time.monotonic()
        at, more = end.until(Statistics)
        lines += more
        if at - asked_at > 0.1:
            return lines


def _decider() -> Callable[[], object]:
    cluster = objects(services=SERVICES, endpoints=ENDPOINTS, nodes=NODES)
    gc.collect()
    gc.freeze()
    rules = DecisionRules(node=node_name(0))
    return lambda: NodeDecider(rules).decide(Snapshot(objects=cluster))


def run(rounds: int) -> list[Measure]:
    """Losses beside a BIRD router, then a short detection time beside a busy speaker."""
    losses = Losses()
    with network("node", clients=("router",)) as net:
        _bird(net, "router", ROUTER, NODE, ROUTE)
        routes = Routes(net, "router")
        for _ in range(rounds):
            _losses(net, routes, losses)
        _bird(net, "node", NODE, ROUTER)
        routes.until(RTM_NEWROUTE)
        for _ in range(rounds):
            time.sleep(1.0)  # as long as ours has had
            _birds_loss(net, routes, losses)
        routes.close()
    with network("node", clients=("router",)) as net:
        decide = _decider()
        try:
            held = [_held(net, SECONDS, decide) for _ in range(rounds)]
        finally:
            gc.unfreeze()
    return [*losses.measures(), *_holding(held)]


def _holding(held: list[tuple[int, float, int]]) -> list[Measure]:
    versus = f"50 ms x 3, {len(held) * SECONDS:.0f} s, beside a speaker at 10 000 services"
    decisions = sum(made for _, _, made in held)
    return [
        Measure(
            what="false alarms",
            versus="50 ms x 3 beside a busy speaker",
            value=sum(alarms for alarms, _, _ in held),
            unit="alarms",
            note=f"{versus}, {decisions} decisions, every CPU busy",
        ),
        Measure(
            what="latest wake-up of a BFD process",
            versus="50 ms x 3 beside a busy speaker",
            value=round(max(lateness for _, lateness, _ in held), 2),
            unit="ms",
        ),
    ]
