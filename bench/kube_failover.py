"""A node or its speaker ends: until another node announces its addresses, and what clients lose.

The plant of bench/kube_plant.py. Every node serves every address itself, so that only who answers
for it matters. Twelve addresses are spread over three nodes; each trial ends another node's
speaker and watches one address that it owns: until the client's kernel stamps the first gratuitous
ARP of another node, and how long the datagrams that it sends each 5 ms stay without answer.

- node death: SIGKILL, and the link is set down on the switch's side at the same time;
- SIGKILL and SIGTERM of the speaker, on a node that goes on serving.

MetalLB runs as it is, and with a memberlist that is tuned as far as it goes without false alarms.
Our speakers do not watch each other: an address moves when the Node object says that its node is
not Ready, which in a cluster takes kube-controller-manager 40 s to say. So for ours the clock
starts when the API server has taken that word; and for ends of which no word comes, it is counted
how often the address was taken over within four seconds.
"""

from __future__ import annotations

import contextlib
import json
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from ipaddress import IPv4Address
from pathlib import Path

from bench.clocks import arp_wire, frames
from bench.kube_moves import POOL, PORT, SERVICES, SPACE, name, vip
from bench.kube_plant import ANY, Plant, lan_address, lan_mac, node, plant
from bench.kube_sides import (
    METALLB,
    US,
    Side,
    both,
    service,
    start_speaker,
    stop_speaker,
)
from bench.row import Measure, percentile
from onehop.core.elect import weight
from onehop.lab import namespace
from onehop.lab.kube_build import METALLB as METALLB_PROGRAMS
from onehop.lab.kube_build import SERVER, prepare

ANYCAST = Path(__file__).with_name("anycast.py")
LONGEST, UNSAID = 15.0, 4.0  # seconds to wait for a takeover that comes, and for one that may not
BEFORE, AFTER = 0.4, 0.3  # seconds of questions
JOINED = 1.2  # seconds until a speaker that came back is known to the others
STARTED = 5.5  # seconds in which speakers that start announce again and again
TUNED = {
    "TCPTimeout": "10s", "IndirectChecks": 3, "RetransmitMult": 4, "SuspicionMult": 2,
    "SuspicionMaxTimeoutMult": 2, "PushPullInterval": "30s", "ProbeTimeout": "100ms",
    "ProbeInterval": "200ms", "DisableTcpPings": False, "AwarenessMaxMultiplier": 2,
    "GossipNodes": 3, "GossipInterval": "50ms", "GossipToTheDeadTime": "30s",
    "GossipVerifyIncoming": True, "GossipVerifyOutgoing": True, "EnableCompression": True,
    "HandoffQueueDepth": 1024, "UDPBufferSize": 1400, "QueueCheckInterval": "30s",
}  # fmt: skip


@dataclass(frozen=True, slots=True, kw_only=True)
class Way:
    """How a speaker ends: by a signal, with its node or without."""

    what: str
    how: signal.Signals
    with_node: bool = False


DEATH = Way(what="node death", how=signal.SIGKILL, with_node=True)
KILLED = Way(what="SIGKILL of the speaker", how=signal.SIGKILL)
ENDED = Way(what="SIGTERM of the speaker", how=signal.SIGTERM)


@dataclass(slots=True)
class Trials:
    """One side's speakers, and what has been seen of them: milliseconds."""

    plant: Plant
    side: Side
    versus: str
    wrap: Sequence[str] = ()
    number: int = 0
    seen: dict[str, list[tuple[float | None, float]]] = field(default_factory=dict)

    def start(self, at: int) -> None:
        """Start a node's speaker."""
        start_speaker(self.plant, self.side, at, wrap=self.wrap)

    def trial(self, way: Way, *, say: bool = False, longest: float = LONGEST) -> None:
        """End the speaker of the next node, and wait until another has its address."""
        victim, at = self.number % 3, self.number // 3
        self.number += 1
        own = addresses_of(self.plant.nodes, victim)
        address = own[at % len(own)]
        with asking(self.plant, address) as end, arp_wire(self.plant.where("cli")) as wire:
            time.sleep(BEFORE)
            list(frames(wire))
            if way.with_node:
                self._link(victim, "down")
            begin = time.time_ns()
            stop_speaker_soon(self.plant, self.side, victim, way.how)
            if say:
                self._say(victim, "Unknown")
                begin = time.time_ns()
            others = [each for each in range(3) if each != victim]
            taken = self._taken(wire, address, others, longest)
            time.sleep(AFTER)
            outage = end()
        took = None if taken is None else (taken - begin) / 1e6
        self.seen.setdefault(way.what, []).append((took, outage * 1000))
        self._restore(victim, address, way, say=say)

    def _restore(self, victim: int, address: IPv4Address, way: Way, *, say: bool) -> None:
        stop_speaker(self.plant, self.side, victim)
        with arp_wire(self.plant.where("cli")) as wire:
            if way.with_node:
                self._link(victim, "up")
            if say:
                self._say(victim, "True")
            self.start(victim)
            if self._taken(wire, address, [victim], LONGEST) is None:
                raise RuntimeError(f"{self.plant.nodes[victim]} never announces {address}")
            time.sleep(JOINED)

    def _taken(
        self, wire: socket.socket, address: IPv4Address, by: Sequence[int], longest: float
    ) -> int | None:
        """When the client heard a gratuitous frame of one of these nodes about the address."""
        macs = {bytes.fromhex(lan_mac(at).replace(":", "")) for at in by}
        end = time.monotonic() + longest
        while time.monotonic() < end:
            for at, frame in frames(wire):
                is_about = frame[28:32] == address.packed == frame[38:42]
                if is_about and frame[22:28] in macs:
                    return at
            time.sleep(0.0005)
        return None

    def _link(self, at: int, state: str) -> None:
        self.plant.net.ip("sw", f"link set eno1-n{at} {state}")

    def _say(self, at: int, ready: str) -> None:
        made = node(self.plant.nodes[at], lan_address(at))
        made["status"]["conditions"] = [{"type": "Ready", "status": ready}]
        self.plant.apply(made)

    def rows(self) -> Iterator[Measure]:
        """What has been seen, as rows."""
        for what, pairs in self.seen.items():
            tooks = [took for took, _ in pairs if took is not None]
            outages = [outage for _, outage in pairs]
            if len(tooks) < len(pairs):
                note = f"{len(pairs)} trials, each watched for {UNSAID:g} s"
                yield Measure(what=f"{what}, taken over", value=len(tooks), unit="trials",
                              versus=self.versus, note=note)  # fmt: skip
            else:
                yield self._row(f"{what} to the takeover", tooks)
            yield self._row(f"{what}, outage of a client", outages)

    def _row(self, what: str, values: Sequence[float]) -> Measure:
        return Measure(
            what=f"{what}, p50", value=round(percentile(values, 50), 1), unit="ms",
            versus=self.versus, note=f"{len(values)} trials, worst {max(values):.0f}",
        )  # fmt: skip


def addresses_of(nodes: Sequence[str], at: int) -> list[IPv4Address]:
    """The addresses that a node owns while all three are there."""
    return [
        vip(number)
        for number in range(SERVICES)
        if min(nodes, key=lambda each: weight(each, str(vip(number)))) == nodes[at]
    ]


def stop_speaker_soon(made: Plant, side: Side, at: int, how: signal.Signals) -> None:
    """Send the signal and wait for nothing."""
    made.running[f"{side.name}-speaker{at}"].send_signal(how)


@contextlib.contextmanager
def asking(made: Plant, address: IPv4Address) -> Iterator[Callable[[], float]]:
    """A client that asks; the function ends it and gives the seconds of its longest outage."""
    words = [sys.executable, "-IS", str(ANYCAST), "ask", str(address), str(PORT)]
    with namespace.entered(made.where("cli")):
        child = subprocess.Popen(
            words, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )  # fmt: skip
    assert child.stdout is not None
    child.stdout.readline()

    def end() -> float:
        said, _ = child.communicate(timeout=30)
        return float(said.split()[0])

    try:
        yield end
    finally:
        child.kill()
        child.wait()


def tuned(made: Plant) -> Sequence[str]:
    """How to start a speaker so that it alone sees another /etc, with a memberlist of ours."""
    over = made.net.root / "etc"
    folder = over / "metallb" / "memberlist"
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "config.json").write_text(json.dumps(TUNED))
    script = f'mount -t overlay overlay -o lowerdir={over}:/etc /etc && exec "$@"'
    return ["sh", "-c", script, "sh"]


@contextlib.contextmanager
def speakers(trials: Trials) -> Iterator[Trials]:
    """The Services of a side and its three speakers."""
    made, side = trials.plant, trials.side
    objects = []
    for at in range(SERVICES):
        each = service(name(at), SPACE, side, ports=[{"name": "a", "port": 80, "protocol": "UDP"}])
        each["status"] = {"loadBalancer": {"ingress": [{"ip": str(vip(at)), "ipMode": "VIP"}]}}
        objects.append(each)
    made.apply(*objects)
    try:
        for at in range(3):
            trials.start(at)
        time.sleep(STARTED)
        yield trials
        made.alive()
    finally:
        for at in range(3):
            stop_speaker(made, side, at)
        made.delete(*objects)


def run(rounds: int) -> list[Measure]:
    """`rounds` trials of each end, for MetalLB, for MetalLB tuned, and for ours."""
    found: list[Measure] = []
    with plant(prepare(SERVER, print), prepare(METALLB_PROGRAMS, print)) as made:
        _prepare(made)
        for versus, wrap in (("(MetalLB)", ()), ("(MetalLB, tuned)", tuned(made))):
            with speakers(Trials(plant=made, side=METALLB, versus=versus, wrap=wrap)) as trials:
                for way in (DEATH, KILLED, ENDED):
                    for _ in range(rounds):
                        trials.trial(way)
            found += trials.rows()
        with speakers(Trials(plant=made, side=US, versus="its Node turns NotReady")) as trials:
            for _ in range(rounds):
                trials.trial(DEATH, say=True)
        found += trials.rows()
        with speakers(Trials(plant=made, side=US, versus="nothing is said of the Node")) as trials:
            for way in (KILLED, ENDED):
                trials.trial(way, longest=UNSAID)
        found += trials.rows()
    return found


def _prepare(made: Plant) -> None:
    made.apply({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": SPACE}})
    made.apply(*both("IPAddressPool", "all", {"addresses": [POOL]}))
    made.apply(*both("L2Advertisement", "all", {"interfaces": ["eno1"]}))
    endpoints = [
        {"addresses": [f"10.1.{at}.5"], "nodeName": each, "conditions": {"ready": True}}
        for at, each in enumerate(made.nodes)
    ]
    for at in range(SERVICES):
        labels = {"kubernetes.io/service-name": name(at)}
        made.apply({
            "apiVersion": "discovery.k8s.io/v1", "kind": "EndpointSlice", "addressType": "IPv4",
            "metadata": {"name": f"{name(at)}-a", "namespace": SPACE, "labels": labels},
            "ports": [{"name": "a", "port": 80, "protocol": "UDP"}], "endpoints": endpoints,
        })  # fmt: skip
    for at in range(len(made.nodes)):
        made.net.ip(f"n{at}", f"route add local {ANY} dev lo")
        words = [sys.executable, "-IS", str(ANYCAST), "serve", str(PORT)]
        made.start(f"anycast{at}", f"n{at}", words)
        made.until(made.log(f"anycast{at}").exists, "an answerer")
