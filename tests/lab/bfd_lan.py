"""A router and a node on a bridge: taking a port off the bridge is a silent loss.

oh-bfd-PID-N-router net0 == router [bridge br0 in oh-bfd-PID-N-switch] node == net0 ...-node
192.0.2.254, fd00::fe                                                  192.0.2.1, fd00::1
"""

from __future__ import annotations

import contextlib
import itertools
import os
import shutil
import signal
import subprocess
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path as File
from typing import TypeVar

from onehop.app.bfd_client import PROCESS, BfdClient, Fact
from onehop.lab import namespace
from tests.lab.loops import OnLoop

T = TypeVar("T")
ROUTER, ROUTER6, NODE, NODE6 = "192.0.2.254", "fd00::fe", "192.0.2.1", "fd00::1"
WAIT = 10.0
_NUMBERS = itertools.count()


class Node(OnLoop):
    """A `BfdClient` on a loop of its own; the process starts inside the namespace."""

    patience = WAIT

    def __init__(self, path: File, command: Sequence[str] = PROCESS) -> None:
        self._command = command
        self.facts: list[tuple[float, Fact]] = []
        super().__init__(path)

    def _begin(self) -> None:
        self.client = BfdClient(on_fact=self._heard, loop=self._loop, command=self._command)

    def _end(self) -> None:
        self.client.close()

    def _heard(self, fact: Fact) -> None:
        self.facts.append((time.monotonic(), fact))


@dataclass(slots=True)
class Lan:
    """The namespaces and what was started in them."""

    root: File
    prefix: str
    processes: list[subprocess.Popen[bytes]] = field(default_factory=list)
    nodes: list[Node] = field(default_factory=list)

    def path(self, where: str) -> File:
        """The namespace of this name."""
        return self.root / "netns" / where

    def start(self, where: str, *command: str) -> subprocess.Popen[bytes]:
        """Start a process in a namespace; it ends with the fixture at the latest."""
        log = (self.root / f"{File(command[0]).name}.log").open("ab")
        with log, namespace.entered(self.path(where)):
            process = subprocess.Popen(command, stdout=log, stderr=log, cwd=self.root)
        self.processes.append(process)
        return process

    def run(self, where: str, *command: str, script: str = "") -> str:
        """What a command in a namespace prints; it has to succeed."""
        with namespace.entered(self.path(where)):
            done = subprocess.run(
                command, input=script, capture_output=True, text=True, timeout=30, check=False
            )
        assert done.returncode == 0, f"{command}: {done.stdout}{done.stderr}"
        return done.stdout

    def node(self, command: Sequence[str] = PROCESS) -> Node:
        """Start a client in the node."""
        node = Node(self.path("node"), command)
        self.nodes.append(node)
        return node

    def kill(self, pid: int | None) -> None:
        """Kill a process of ours."""
        assert pid is not None
        os.kill(pid, signal.SIGKILL)

    def cut(self, port: str = "node") -> float:
        """Lose everything to and from a port, with its carrier up; the instant of it."""
        self.run("switch", "ip", "link", "set", port, "nomaster")
        return time.monotonic()

    def heal(self, port: str = "node") -> None:
        """Undo `cut`."""
        self.run("switch", "ip", "link", "set", port, "master", "br0")

    def close(self) -> None:
        """End all processes and remove the namespaces."""
        for node in self.nodes:
            node.close()
        for process in reversed(self.processes):
            if process.poll() is None:
                process.kill()
            process.wait(10)
        for path in sorted((self.root / "netns").iterdir()):
            namespace.remove(path)
        namespace.remove_names(self.root / "netns")
        shutil.rmtree(self.root / "netns")


@contextlib.contextmanager
def lan(root: File) -> Iterator[Lan]:
    """The three namespaces, links up, nothing running."""
    (root / "netns").mkdir()
    made = Lan(root=root, prefix=f"oh-bfd-{os.getpid()}-{next(_NUMBERS)}-")
    try:
        for name in ("switch", "router", "node"):
            namespace.create(made.path(name), made.prefix + name)
            made.run(name, "ip", "link", "set", "lo", "up")
        script = "link add br0 type bridge mcast_snooping 0 forward_delay 0\nlink set br0 up\n"
        for port, v4, v6 in (("router", ROUTER, ROUTER6), ("node", NODE, NODE6)):
            script += (
                f"link add {port} type veth peer name net0 netns {made.prefix}{port}\n"
                f"link set {port} master br0 up\n"
            )
            made.run("switch", "ip", "-batch", "-", script=script)
            script = ""
            made.run(
                port,
                "ip",
                "-batch",
                "-",
                script=f"address add {v4}/24 dev net0\naddress add {v6}/64 dev net0 nodad\n"
                "link set net0 up\n",
            )
        yield made
    finally:
        made.close()
