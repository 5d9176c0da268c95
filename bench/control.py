"""A changed object in the folder to the kernel's map, and to the new owner's first frame.

    client -- LAN -- a (speaker, pod)
                  -- b (speaker, pod)

Every Service is Local with one endpoint. A change writes one EndpointSlice anew so that its
endpoint is on the other node. The clock starts before the file is put in place. It stops when
the new owner's map holds the backend (looked at every 30 us), and when the client's kernel stamps
the first gratuitous ARP of the new owner. As soon as that has come the endpoint is moved back.

A controller gives the addresses and then stops: in a cluster it runs elsewhere. Speakers have a
CPU each.
"""

from __future__ import annotations

import contextlib
import functools
import os
import socket
import subprocess
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from ipaddress import IPv4Address
from pathlib import Path

from bench.clocks import Words, arp_wire, frames, sender
from bench.network import CPUS, Network, network
from bench.row import ROOT, Measure, percentiles
from onehop.adapters.bpf.errors import DatapathError
from onehop.adapters.bpf.tables import Tables
from onehop.lab import namespace

ONEHOP = str(ROOT / ".venv" / "bin" / "onehop")
SIZES = (20, 10_000)
PORT = 9096
SETTLE = 0.06
LONGEST = 3.0
FIRST_ADDRESS = int(IPv4Address("10.200.0.1"))


@dataclass(slots=True)
class Samples:
    """Milliseconds of each kind."""

    to_map: list[float] = field(default_factory=list)
    to_frame: list[float] = field(default_factory=list)
    back: list[float] = field(default_factory=list)


def run(rounds: int) -> list[Measure]:
    """Both sizes: `rounds` changes each, and each moved back at once."""
    measures: list[Measure] = []
    for services in SIZES:
        with network("a", "b") as net, contextlib.ExitStack() as up:
            bench = Bench(net=net, services=services)
            bench.write_all()
            bench.allocate()
            for node, cpu in (("a", CPUS[0]), ("b", CPUS[-1])):
                up.enter_context(bench.speaker(node, cpu))
            wire = up.enter_context(arp_wire(net.path("client")))
            bench.settle(wire)
            samples = bench.measure(wire, rounds)
            measures += _rows(samples, services)
            measures.append(bench.memory("b"))
    return measures


def _count(services: int) -> str:
    return f"{services:,} services".replace(",", " ")


def _rows(samples: Samples, services: int) -> Iterator[Measure]:
    for what, values in (
        ("changed file to the kernel's map", samples.to_map),
        ("changed file to the first gratuitous frame", samples.to_frame),
        ("moved back at once, to the first gratuitous frame", samples.back),
    ):
        note = f"{len(values)} changes, worst {max(values):.2f}"
        yield from percentiles(what, _count(services), values, note)


@dataclass(slots=True)
class Bench:
    """The folder, the speakers and what is known of them."""

    net: Network
    services: int
    pids: dict[str, int] = field(default_factory=dict)

    @property
    def folder(self) -> Path:
        """The manifests."""
        return self.net.root / "manifests"

    def pins(self, node: str) -> Path:
        """Where a speaker pins its maps."""
        return self.net.root / f"bpf-{node}" / "onehop"

    def write_all(self) -> None:
        """Nodes, a pool, and a file for each hundred Services and for each slice."""
        self.folder.mkdir()
        nodes = [_node(host.name, host.address) for host in self.net.nodes.values()]
        (self.folder / "cluster.yaml").write_text("---\n".join([*nodes, _POOL]))
        for first in range(0, self.services, 100):
            documents = [_service(at) for at in range(first, min(first + 100, self.services))]
            (self.folder / f"services-{first:05}.yaml").write_text("---\n".join(documents))
        for at in range(self.services):
            self.place(at, "a")

    def place(self, at: int, node: str) -> int:
        """Put the endpoint of a Service on a node; answers with the time just before."""
        text = _slice(at, node, self.net.nodes[node].pod)
        scratch = self.net.root / "slice.new"
        scratch.write_text(text)
        start = time.time_ns()
        os.replace(scratch, self.folder / f"slice-{at:05}.yaml")
        return start

    def allocate(self) -> None:
        """Run a controller until every Service has its address."""
        command = [ONEHOP, "controller", "--manifests", str(self.folder)]
        controller = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
        try:
            assert controller.stdout is not None
            given = 0
            for line in controller.stdout:
                given += b"allocated" in line
                if given == self.services:
                    break
            time.sleep(1.0)  # the last of it is being written
        finally:
            controller.terminate()
            controller.communicate()
        if given != self.services:
            raise RuntimeError(f"the controller gave {given} of {self.services} addresses")

    @contextlib.contextmanager
    def speaker(self, node: str, cpu: int) -> Iterator[None]:
        """A speaker of a node, on its own CPU, with its maps in the bench's own folder."""
        place = self.pins(node).parent
        namespace.mount_bpf(place)
        try:
            command = [ONEHOP, "speaker", "--node-name", node, "--manifests", str(self.folder)]
            log = (self.net.root / f"{node}.log").open("wb")
            with log, namespace.entered(self.net.path(node)):
                child = subprocess.Popen(
                    ["taskset", "-c", str(cpu), *command, "--bpf-dir", str(self.pins(node))],
                    stdout=log,
                    stderr=log,
                )
            self.pids[node] = child.pid
            try:
                yield
            finally:
                child.terminate()
                child.wait()
        finally:
            namespace.unmount(place)

    def settle(self, wire: socket.socket) -> None:
        """Wait until both maps hold every frontend and the last announcement was repeated."""
        deadline = time.monotonic() + 300
        while not all(self._served(node) for node in ("a", "b")):
            if time.monotonic() > deadline:
                raise RuntimeError("the speakers do not hold every Service after five minutes")
            time.sleep(0.5)
        quiet = time.monotonic()
        while time.monotonic() - quiet < 3.0:
            if sum(1 for _ in frames(wire)):
                quiet = time.monotonic()
            time.sleep(0.1)

    def _served(self, node: str) -> bool:
        try:
            tables = Tables.open(self.pins(node))
        except DatapathError:
            return False  # the speaker has not pinned everything yet
        try:
            return len(tables.rows()) == self.services
        finally:
            tables.close()

    def measure(self, wire: socket.socket, rounds: int) -> Samples:
        """Move one endpoint after the other to b, and back as soon as b has announced it."""
        samples = Samples()
        watch = Words(self.pins("b"))
        for number in range(rounds):
            at = number * 7919 % self.services
            time.sleep(SETTLE)
            for _ in frames(wire):
                pass
            word = watch.place(_vip(at), PORT)
            start = self.place(at, "b")
            frame, stored = self._seen(wire, at, "b", start, functools.partial(watch.filled, word))
            samples.to_frame.append(frame)
            samples.to_map.append(stored)
            start = self.place(at, "a")
            frame, _ = self._seen(wire, at, "a", start, lambda: True)
            samples.back.append(frame)
        return samples

    def _seen(
        self,
        wire: socket.socket,
        at: int,
        node: str,
        start: int,
        filled: Callable[[], bool],
    ) -> tuple[float, float]:
        """Milliseconds until the node's first frame, and until `filled` was seen to hold."""
        owner = sender(self.net.nodes[node].mac, _vip(at))
        announced = stored = 0
        while not (announced and stored):
            if not stored and filled():
                stored = time.time_ns()
            for stamp, frame in frames(wire):
                if not announced and stamp > start and frame[22:32] == owner:
                    announced = stamp
            if time.time_ns() - start > LONGEST * 1e9:
                # What never came is counted with the longest time, so that no percentile hides it.
                announced, stored = announced or time.time_ns(), stored or time.time_ns()
            time.sleep(30e-6)
        return (announced - start) / 1e6, (stored - start) / 1e6

    def memory(self, node: str) -> Measure:
        """Resident memory of a speaker."""
        status = Path(f"/proc/{self.pids[node]}/status").read_text()
        line = next(line for line in status.splitlines() if line.startswith("VmRSS"))
        return Measure(
            what="speaker memory",
            value=round(int(line.split()[1]) / 1024, 1),
            unit="MB",
            versus=_count(self.services),
        )


def _vip(at: int) -> IPv4Address:
    return IPv4Address(FIRST_ADDRESS + at)


def _node(name: str, address: str) -> str:
    return f"""\
apiVersion: v1
kind: Node
metadata: {{name: {name}}}
status:
  addresses: [{{type: InternalIP, address: {address}}}]
"""


_POOL = """\
apiVersion: metallb.io/v1beta1
kind: IPAddressPool
metadata: {name: all, namespace: metallb-system}
spec: {addresses: [10.200.0.1-10.200.255.254]}
---
apiVersion: metallb.io/v1beta1
kind: L2Advertisement
metadata: {name: all, namespace: metallb-system}
spec: {}
"""


def _service(at: int) -> str:
    return f"""\
apiVersion: v1
kind: Service
metadata:
  name: s{at:05}
  namespace: bench
  annotations: {{metallb.io/loadBalancerIPs: {_vip(at)}}}
spec:
  type: LoadBalancer
  clusterIP: {IPv4Address("172.16.0.1") + at}
  externalTrafficPolicy: Local
  ports: [{{name: a, port: {PORT}, protocol: TCP}}]
"""


def _slice(at: int, node: str, pod: str) -> str:
    return f"""\
apiVersion: discovery.k8s.io/v1
kind: EndpointSlice
metadata:
  name: s{at:05}-a
  namespace: bench
  labels: {{kubernetes.io/service-name: s{at:05}}}
addressType: IPv4
ports: [{{name: a, port: {8000 + at}, protocol: TCP}}]
endpoints:
- addresses: [{pod}]
  nodeName: {node}
  conditions: {{ready: true}}
"""
