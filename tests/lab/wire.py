"""A client and a node on one wire, and an `Announcers` that runs inside the node.

        oh-l2-PID-client  net0 ======== net0  oh-l2-PID-node

The effector runs on a loop in a thread that has entered the node's namespace, fed by the node's
own links, as the speaker feeds it.
"""

from __future__ import annotations

import contextlib
import errno
import os
import shutil
import socket
import subprocess
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from ipaddress import ip_address
from pathlib import Path
from typing import TypeVar

from onehop.adapters.linux.link import Links
from onehop.app.announcers import Announcers
from onehop.app.driver import Fact
from onehop.lab import namespace
from onehop.model.desired import Announcement, Report
from tests.lab.loops import WAIT, OnLoop

T = TypeVar("T")
CLIENT_MAC, NODE_MAC = "02:00:00:00:00:99", "02:00:00:00:01:01"


def eventually(look: Callable[[], T], holds: Callable[[T], bool] = bool, wait: float = WAIT) -> T:
    """What `look` gives, once it holds; fails with the last look when it never does."""
    end = time.monotonic() + wait
    while True:
        seen = look()
        if holds(seen):
            return seen
        assert time.monotonic() < end, f"not within {wait} s; last seen: {seen!r}"
        time.sleep(0.01)


class Speaker(OnLoop):
    """The effector under test, on a loop of its own inside a namespace."""

    def __init__(self, path: Path) -> None:
        self.facts: list[Fact] = []
        self.reports: list[Report] = []
        self._announcements: tuple[Announcement, ...] = ()
        super().__init__(path)

    def _begin(self) -> None:
        self.links = Links()
        self.announcers = Announcers(on_fact=self.facts.append, loop=self._loop)
        self._loop.add_reader(self.links.fileno(), self._links_changed)

    def _end(self) -> None:
        self.announcers.close()
        self.links.close()

    def _links_changed(self) -> None:
        if self.links.refresh():
            self._sync()

    def _sync(self) -> Report:
        report = self.announcers.sync(self._announcements, self.links.links())
        self.reports.append(report)
        return report

    def announce(self, *addresses: str, links: frozenset[str] | None = None) -> Report:
        """Want exactly these addresses."""

        def want() -> Report:
            self.links.refresh()
            self._announcements = tuple(
                Announcement(address=ip_address(address), links=links) for address in addresses
            )
            return self._sync()

        return self.call(want)

    def counters(self, address: str) -> dict[str, int]:
        """The counters of one address, empty when it has none."""
        return self.call(self.announcers.counters).get(address, {})


@dataclass(slots=True)
class Wire:
    """The two namespaces and what was started in them."""

    root: Path
    prefix: str
    speakers: list[Speaker] = field(default_factory=list)
    sockets: list[socket.socket] = field(default_factory=list)

    def add(self, name: str) -> Path:
        """A new namespace."""
        path = self.root / name
        namespace.create(path, self.prefix + name)
        self.ip(name, "link set lo up")
        return path

    def ip(self, name: str, *commands: str) -> None:
        """Run `ip` commands in a namespace."""
        script = "\n".join(commands).replace("@", self.prefix)
        done = self.run(name, "ip", "-batch", "-", script=script)
        assert done.returncode == 0, done.stderr

    def run(self, name: str, *command: str, script: str = "") -> subprocess.CompletedProcess[str]:
        """Run a command in a namespace to its end."""
        with namespace.entered(self.root / name):
            return subprocess.run(
                command, input=script, capture_output=True, text=True, timeout=30, check=False
            )

    def neighbour(self, address: str) -> str:
        """The client's neighbour entry for an address, as `ip` prints it."""
        return self.run("client", "ip", "neigh", "show", address).stdout.strip()

    def capture(self, ethertype: int, link: str = "net0") -> socket.socket:
        """A socket in the client's namespace that hears frames of a type."""
        with namespace.entered(self.root / "client"):
            sniffer = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, 0)
            self.sockets.append(sniffer)
            sniffer.setblocking(False)
            sniffer.bind((link, ethertype))
        return sniffer

    def speaker(self) -> Speaker:
        """Start the effector in the node."""
        speaker = Speaker(self.root / "node")
        self.speakers.append(speaker)
        return speaker

    def close(self) -> None:
        """Stop everything and remove the namespaces."""
        for speaker in self.speakers:
            speaker.close()
        for sniffer in self.sockets:
            sniffer.close()
        for path in sorted(self.root.iterdir()):
            namespace.remove(path)
        namespace.remove_names(self.root)
        shutil.rmtree(self.root)


def received(sniffer: socket.socket) -> list[bytes]:
    """All frames that wait on a socket now, without waiting for more."""
    frames: list[bytes] = []
    while True:
        try:
            frames.append(sniffer.recv(2048))
        except BlockingIOError:
            return frames
        except OSError as error:  # said once when the link goes down
            if error.errno != errno.ENETDOWN:
                raise


@contextlib.contextmanager
def wire(tmp_path: Path) -> Iterator[Wire]:
    """A client (192.0.2.9, fd00::9) and a node (192.0.2.1, fd00::1) on one wire, links up."""
    root = tmp_path / "netns"
    root.mkdir()
    both = Wire(root=root, prefix=f"oh-l2-{os.getpid()}-")
    try:
        both.add("client")
        both.add("node")
        both.ip(
            "client",
            f"link add net0 address {CLIENT_MAC} type veth"
            f" peer name net0 address {NODE_MAC} netns @node",
            "address add 192.0.2.9/24 dev net0",
            "address add fd00::9/64 dev net0 nodad",
            "link set net0 up",
        )
        both.ip(
            "node",
            "address add 192.0.2.1/24 dev net0",
            "address add fd00::1/64 dev net0 nodad",
            "link set net0 up",
        )
        yield both
    finally:
        both.close()
