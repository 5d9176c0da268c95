"""Rounds of real speakers: they start, change a prefix, see edits, and end."""

from __future__ import annotations

import shutil
import signal
import subprocess
import time
from dataclasses import dataclass, field
from pathlib import Path

from bench.bgp_cluster import advertisement, node, peer, pool, put, service, slice_of, vip
from bench.bgp_fib import WITHIN, Fib
from bench.bgp_rivals import Control, ended, started
from bench.network import Network
from bench.row import ROOT
from onehop.app.bgp_report import read_reports

ONEHOP = str(ROOT / ".venv" / "bin" / "onehop")
NODES = ("a", "b", "c")
FEW, MANY = 20, 1000
FLAPS = 20  # of one prefix in each round
SETTLE = 0.03
PORT = 8000  # of the pods


@dataclass(slots=True)
class Bench:
    """The router, the folder and what has been measured."""

    net: Network
    router: Control
    fib: Fib
    spans: dict[str, list[float]] = field(default_factory=dict)
    resets: int = 0
    edits: int = 0

    @property
    def state(self) -> Path:
        """Where the speakers report."""
        return self.net.root / "state"

    def folder(self, services: int) -> Path:
        """A folder with so many Services, with an endpoint on every node."""
        folder = self.net.root / f"manifests-{services}"
        folder.mkdir()
        nodes = [node(host.name, host.address) for host in self.net.nodes.values()]
        put(folder, "cluster", *nodes, pool("all", "10.200.0.0/16"), advertisement())
        put(folder, "peer", peer("router"))
        for first in range(0, services, 100):
            each = range(first, min(first + 100, services))
            put(folder, f"services-{first:05}", *(service(at) for at in each))
            put(folder, f"slices-{first:05}", *(self.slice(at, *NODES) for at in each))
        return folder

    def slice(self, at: int, *nodes: str) -> dict[str, object]:
        """The EndpointSlice of a Service, with an endpoint on each of these nodes."""
        return slice_of(at, {name: self.net.nodes[name].pod for name in nodes}, port=PORT)

    def speaker(self, name: str, folder: Path, *words: str) -> subprocess.Popen[str]:
        """A speaker, whose time has begun."""
        words = ("speaker", "--node-name", name, *(words or ("--datapath", "none")))
        words += ("--manifests", str(folder), "--state", str(self.state))
        return started(self.net, name, [ONEHOP, *words])

    def note(self, what: str, start: float, end: float) -> None:
        """One more span."""
        self.spans.setdefault(what, []).append((end - start) * 1e3)

    def stop(self, speakers: list[subprocess.Popen[str]]) -> None:
        """Kill what still runs and wait until the router would take a new session."""
        ended(self.net, speakers)
        self.fib.until_count(0, 0)
        self.router.until("Passive", len(NODES))

    def first(self, folder: Path) -> None:
        """A start that does not count: whatever is compiled or read from disk once is then."""
        speaker = self.speaker("a", folder)
        self.router.until("Established", 1)
        self.stop([speaker])

    def round(self, folder: Path) -> None:
        """Starts, flaps, edits and ends."""
        shutil.rmtree(self.state, ignore_errors=True)  # what other speakers have said
        begin = time.monotonic()
        speaker = self.speaker("a", folder)
        self.note("start to Established, one", begin, self.router.until("Established", 1))
        self.stop([speaker])
        begin = time.monotonic()
        speakers = [self.speaker(name, folder) for name in NODES]
        self.note("start to Established, three", begin, self.router.until("Established", 3))
        self.fib.until_count(FEW, 3)
        before, since = self._reported(), self._since()
        self._flaps(folder)
        self._edits(folder)
        time.sleep(0.5)
        self.resets += self._is_reset(before, since)
        self._ends(speakers)
        self.stop(speakers)

    def _flaps(self, folder: Path) -> None:
        for _ in range(FLAPS):
            for what, nodes in (("one prefix announced", NODES), ("one prefix withdrawn", ())):
                text = self.slice(FEW, *nodes)
                self.fib.forget()
                begin = put(folder, "flap", text)
                self.note(what, begin, self.fib.until({vip(FEW): len(nodes)}))
                time.sleep(SETTLE)

    def _edits(self, folder: Path) -> None:
        """Edits that concern no session; the last one brings a route, so all have been seen."""
        edits: dict[str, list[dict[str, object]]] = {
            "pool": [pool("other", "203.0.113.0/24")],
            "advertisement": [{**advertisement("more"), "spec": {"communities": ["64600:7"]}}],
            "elsewhere": [peer("elsewhere", nodeSelectors=[{"matchLabels": {"rack": "9"}}])],
            "service": [service(FEW + 1), self.slice(FEW + 1, *NODES)],
        }
        for hops in (len(NODES), 0):
            self.fib.forget()
            for name, objects in edits.items():
                put(folder, name, *(objects if hops else []))
                self.edits += 1
            self.fib.until({vip(FEW + 1): hops})

    def _reported(self) -> list[str]:
        """The sessions, once every speaker has reported its own."""
        end = time.monotonic() + WITHIN
        while time.monotonic() < end:
            found = self._sessions()
            if sum(line.endswith(" Established 1") for line in found) == len(NODES):
                return found
            time.sleep(0.05)
        raise RuntimeError(f"not every speaker reports its session: {found}")

    def _sessions(self) -> list[str]:
        """How often each session came up, by its speaker."""
        return sorted(
            f"{report.node} {peer.name} {peer.state} {peer.established}"
            for report in read_reports(self.state)
            for peer in report.peers
        )

    def _since(self) -> list[float]:
        """When each session came up, by the router: seconds of the day."""
        lines = self.router.ask("show protocols").splitlines()
        times = [line.split()[4].split(":") for line in lines if " BGP " in line]
        return [int(hour) * 3600 + int(minute) * 60 + float(rest) for hour, minute, rest in times]

    def _is_reset(self, before: list[str], since: list[float]) -> bool:
        """Whether a session is another than it was; BIRD's instants are off by a millisecond."""
        drift = max(abs(a - b) for a, b in zip(since, self._since(), strict=True))
        return before != self._sessions() or drift > 0.1

    def _ends(self, speakers: list[subprocess.Popen[str]]) -> None:
        for speaker, signum, what, hops in (
            (speakers[0], signal.SIGTERM, "SIGTERM to withdrawn", 2),
            (speakers[1], signal.SIGKILL, "SIGKILL to withdrawn", 1),
        ):
            self.fib.forget()
            begin = time.monotonic()
            speaker.send_signal(signum)
            self.note(what, begin, self.fib.until({vip(at): hops for at in range(FEW)}))

    def many(self, folder: Path) -> None:
        """A start with many Services."""
        begin = time.monotonic()
        speaker = self.speaker("a", folder)
        self.note("start to last route", begin, self.fib.until_count(MANY, 1))
        self.stop([speaker])
