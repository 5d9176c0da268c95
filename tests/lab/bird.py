"""A real BIRD 2 as the router: in a namespace of its own, judged by its kernel's routes.

oh-bgp-PID-router  net0 ======== net0  oh-bgp-PID-node
192.0.2.254, fd00::fe                  192.0.2.1, fd00::1
"""

from __future__ import annotations

import contextlib
import json
import os
import re
import shutil
import subprocess
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

from onehop.lab import namespace
from tests.lab.wire import eventually

ROUTER, ROUTER6, NODE, NODE6 = "192.0.2.254", "fd00::fe", "192.0.2.1", "fd00::1"
ROUTER_AS, NODE_AS = 64512, 64500

_CONFIG = """
log "{folder}/bird.log" all;
router id {router};
debug protocols {{ states, events }};
protocol device {{ scan time 1; }}
protocol kernel {{ ipv4 {{ export all; }}; merge paths on; }}
protocol kernel {{ ipv6 {{ export all; }}; merge paths on; }}
{protocols}
"""


def session(name: str = "node", **options: str) -> str:
    """A BGP protocol of BIRD towards the node; an option replaces the usual one of its name."""
    usual = {
        "local": f"local {ROUTER} as {ROUTER_AS}",
        "neighbor": f"neighbor {NODE} as {NODE_AS}",
        "times": "connect delay time 1; connect retry time 1; error wait time 1,2",
        "hold": "hold time 9",
        "v4": "ipv4 { import all; export none; }",
        "v6": "ipv6 { import all; export none; }",
    }
    lines = "; ".join(line for line in {**usual, **options}.values() if line)
    return f"protocol bgp {name} {{ {lines}; }}"


@dataclass(slots=True)
class Router:
    """The two namespaces, the router's BIRD and what else was started in them."""

    root: Path
    prefix: str
    processes: list[subprocess.Popen[bytes]] = field(default_factory=list)

    def start(self, where: str, *command: str, log: Path) -> subprocess.Popen[bytes]:
        """Start a process in a namespace; it ends with the fixture at the latest."""
        with namespace.entered(self.root / "netns" / where), log.open("ab") as out:
            process = subprocess.Popen(command, stdout=out, stderr=out, cwd=self.root)
        self.processes.append(process)
        return process

    def run(self, where: str, *command: str, script: str = "") -> str:
        """What a command in a namespace prints; it has to succeed."""
        with namespace.entered(self.root / "netns" / where):
            done = subprocess.run(
                command, input=script, capture_output=True, text=True, timeout=30, check=False
            )
        assert done.returncode == 0, f"{command}: {done.stderr}"
        return done.stdout

    def bird(self, *protocols: str) -> subprocess.Popen[bytes]:
        """Start BIRD with these protocols."""
        folder = self.root / "bird"
        folder.mkdir(exist_ok=True)
        config = folder / "bird.conf"
        config.write_text(
            _CONFIG.format(folder=folder, router=ROUTER, protocols="\n".join(protocols))
        )
        socket = self.root / "bird.ctl"  # a path of a socket holds 107 octets at most
        process = self.start(
            "router", "bird", "-f", "-c", str(config), "-s", str(socket), log=folder / "out"
        )
        eventually(socket.exists)
        return process

    def reconfigure(self, *protocols: str) -> None:
        """Give the running BIRD another set of protocols."""
        folder = self.root / "bird"
        (folder / "bird.conf").write_text(
            _CONFIG.format(folder=folder, router=ROUTER, protocols="\n".join(protocols))
        )
        self.birdc("configure")

    def birdc(self, *words: str) -> str:
        """What BIRD answers."""
        return self.run("router", "birdc", "-s", str(self.root / "bird.ctl"), *words)

    def state(self, name: str = "node") -> str:
        """The state of a session as BIRD sees it: its last column, or the FSM's."""
        found = re.search(rf"^{name}\s.*$", self.birdc("show", "protocols", name), re.MULTILINE)
        return found[0] if found else ""

    def established(self, name: str = "node", wait: float = 15.0) -> str:
        """Wait for BIRD to call the session established."""
        return eventually(lambda: self.state(name), lambda s: "Established" in s, wait)

    def routes(self, family: int = 4) -> dict[str, list[str]]:
        """The next hops of every route that BIRD put into the router's kernel."""
        text = self.run("router", "ip", "-j", f"-{family}", "route", "show", "proto", "bird")
        found: dict[str, list[str]] = {}
        for route in json.loads(text or "[]"):
            hops = route.get("nexthops") or [route]
            found[route["dst"]] = sorted(hop.get("gateway", hop.get("dev")) for hop in hops)
        return found

    def count(self) -> int:
        """How many IPv4 routes BIRD put into the router's kernel."""
        return len(self.run("router", "ip", "-4", "route", "show", "proto", "bird").splitlines())

    @contextlib.contextmanager
    def watching_routes(self) -> Iterator[Callable[[], str]]:
        """What `ip monitor route` has printed in the router since, line by line."""
        file = self.root / "monitor.log"
        monitor = self.start("router", "ip", "-t", "monitor", "route", log=file)

        # It hears once it is bound: a route of our own that comes and goes again shows that.
        probe = "route add blackhole 203.0.113.99\nroute del blackhole 203.0.113.99\n"

        def is_heard() -> bool:
            self.run("router", "ip", "-batch", "-", script=probe)
            return "203.0.113.99" in file.read_text()

        eventually(is_heard)
        # What was heard of the probes themselves may still come, so they are taken out below.
        start = len(file.read_text())

        def others() -> str:
            lines = file.read_text()[start:].splitlines()
            return "\n".join(line for line in lines if "203.0.113.99" not in line)

        try:
            yield others
        finally:
            monitor.kill()
            monitor.wait(10)

    def silence(self) -> None:
        """Drop whatever comes in and goes out, while the link keeps its carrier."""
        hooks = (
            f"add chain inet silence {hook} {{ type filter hook {hook} priority 0; policy drop; }}"
            for hook in ("input", "output")
        )
        self.run("router", "nft", "-f", "-", script="\n".join(["add table inet silence", *hooks]))

    def log(self) -> str:
        """What BIRD has logged."""
        return (self.root / "bird" / "bird.log").read_text()

    def close(self) -> None:
        """End all processes and remove the namespaces."""
        for process in reversed(self.processes):
            if process.poll() is None:
                process.kill()
            process.wait(10)
        for path in sorted((self.root / "netns").iterdir()):
            namespace.remove(path)
        namespace.remove_names(self.root / "netns")


@contextlib.contextmanager
def router(root: Path) -> Iterator[Router]:
    """A router and a node on one wire, links up, nothing running."""
    (root / "netns").mkdir()
    both = Router(root=root, prefix=f"oh-bgp-{os.getpid()}-{time.monotonic_ns() % 100_000}-")
    try:
        for name in ("router", "node"):
            namespace.create(root / "netns" / name, both.prefix + name)
            both.run(name, "ip", "link", "set", "lo", "up")
        script = (
            f"link add net0 type veth peer name net0 netns {both.prefix}node\n"
            f"address add {ROUTER}/24 dev net0\naddress add {ROUTER6}/64 dev net0 nodad\n"
            "link set net0 up\n"
        )
        both.run("router", "ip", "-batch", "-", script=script)
        script = (
            f"address add {NODE}/24 dev net0\naddress add {NODE6}/64 dev net0 nodad\n"
            "link set net0 up\n"
        )
        both.run("node", "ip", "-batch", "-", script=script)
        yield both
    finally:
        both.close()
        shutil.rmtree(root / "netns")
