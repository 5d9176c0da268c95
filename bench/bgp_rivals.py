"""Who announces 10 000 prefixes to the router: our effectors, BIRD, or ExaBGP.

`python -m bench.bgp_rivals OWN PEER...` is our side: the effectors that `onehop speaker` has, in
a process of their own, told by a line on its standard input what to announce.
"""

from __future__ import annotations

import asyncio
import os
import re
import socket
import subprocess
import sys
import time
from collections.abc import Sequence
from ipaddress import IPv4Address, IPv4Network, ip_address
from pathlib import Path
from typing import IO, Protocol

from bench.network import Network
from bench.row import ROOT
from onehop.app.bgp import BgpPeers
from onehop.lab import namespace
from onehop.model.address import IPNetwork
from onehop.model.bgp import BGPPeer, PeerDesired, RouteAttributes
from onehop.model.service import Key

ROUTER, ROUTER_AS, NODE_AS = "192.168.200.10", 64512, 64600
PREFIXES = [f"10.{64 + at // 65536}.{at // 256 % 256}.{at % 256}" for at in range(10_000)]
VENV = ROOT / "build" / "exabgp"
BULK = 200  # prefixes in one line of ExaBGP's
WITHIN = 30.0


class Control:
    """BIRD's control socket, without a process for every question."""

    def __init__(self, path: Path) -> None:
        end = time.monotonic() + WITHIN
        while True:
            self._socket = socket.socket(socket.AF_UNIX)
            try:
                self._socket.connect(str(path))
                break
            except OSError:
                self._socket.close()
                if time.monotonic() > end:
                    raise
                time.sleep(0.01)
        self._lines = self._socket.makefile("r")
        self._lines.readline()

    def ask(self, words: str) -> str:
        """BIRD's answer."""
        self._socket.sendall(f"{words}\n".encode())
        lines = []
        for line in self._lines:
            lines.append(line)
            if re.match(r"\d{4} ", line):
                break
        return "".join(lines)

    def count(self, state: str) -> int:
        """How many sessions are in this state."""
        return self.ask("show protocols").count(state)

    def until(self, state: str, sessions: int) -> float:
        """When so many sessions were in this state."""
        end = time.monotonic() + WITHIN
        while self.count(state) < sessions:
            if time.monotonic() > end:
                raise RuntimeError(f"not {sessions} {state}: {self.ask('show protocols')}")
            time.sleep(0.002)
        return time.monotonic()

    def close(self) -> None:
        """Ask no more."""
        self._lines.close()
        self._socket.close()


def bird(net: Network, where: str, config: Sequence[str]) -> Control:
    """A BIRD in a namespace, ready to be asked."""
    folder = net.root / f"bird-{where}"
    folder.mkdir(exist_ok=True)
    (folder / "bird.conf").write_text("\n".join(["log stderr { error, fatal };", *config, ""]))
    command = ["bird", "-f", "-c", str(folder / "bird.conf"), "-s", str(folder / "ctl")]
    started(net, where, command)
    return Control(folder / "ctl")


def passive(own: str, peers: Sequence[str]) -> list[str]:
    """A BIRD that waits for these peers; no route of theirs leaves it."""
    return [
        f"router id {own};",
        "protocol device { scan time 60; }",
        *(
            f"protocol bgp n{at} {{ local {own} as {ROUTER_AS}; neighbor {peer} as {NODE_AS};"
            " passive; direct; connect delay time 1; error wait time 1, 1; hold time 90;"
            " ipv4 { import all; export none; }; }"
            for at, peer in enumerate(peers)
        ),
    ]


def started(
    net: Network,
    where: str,
    command: Sequence[str],
    *,
    environment: dict[str, str] | None = None,
    stdin: int | None = None,
) -> subprocess.Popen[str]:
    """A process on whichever CPU is free: here several peers share them, as on a real node."""
    log = (net.root / f"{where}.log").open("ab")
    with log, namespace.entered(net.path(where)):
        child = subprocess.Popen(
            command,
            stdin=stdin,
            stdout=log,
            stderr=log,
            text=True,
            cwd=ROOT,
            env=None if environment is None else {**os.environ, **environment},
        )
    net.children.append(child)
    return child


def ended(net: Network, children: Sequence[subprocess.Popen[str]]) -> None:
    """Kill these and wait."""
    for child in children:
        child.kill()
    for child in children:
        child.wait()
        net.children.remove(child)


class Rival(Protocol):
    """Three peers of one kind."""

    name: str

    def start(self) -> None:
        """Begin to hold the sessions."""
        ...

    def tell(self, *, announce: bool) -> None:
        """Have all three announce all prefixes, or withdraw them."""
        ...

    def close(self) -> None:
        """End the processes."""
        ...


class Ours:
    """Our effectors, a process a node."""

    name = "onehop"

    def __init__(self, net: Network, nodes: Sequence[str], peers: Sequence[str]) -> None:
        self._net, self._nodes, self._peers = net, nodes, peers
        self.children: list[subprocess.Popen[str]] = []

    def start(self) -> None:
        """Begin to hold the sessions."""
        for node in self._nodes:
            own = self._net.nodes[node].address
            command = [sys.executable, "-m", "bench.bgp_rivals", own, *self._peers]
            self.children.append(started(self._net, node, command, stdin=subprocess.PIPE))

    def tell(self, *, announce: bool) -> None:
        """A line to each."""
        for child in self.children:
            assert child.stdin is not None
            child.stdin.write("announce\n" if announce else "withdraw\n")
            child.stdin.flush()

    def close(self) -> None:
        """End the processes."""
        ended(self._net, self.children)
        for child in self.children:
            assert child.stdin is not None
            child.stdin.close()
        self.children.clear()


class BirdRival:
    """BIRD with a file of static routes that `configure` reads again."""

    name = "BIRD"

    def __init__(self, net: Network, nodes: Sequence[str]) -> None:
        self._net, self._nodes = net, nodes
        self._controls: list[Control] = []
        self._first = 0

    def _file(self, node: str) -> Path:
        return self._net.root / f"{node}-routes.conf"

    def start(self) -> None:
        """Begin to hold the sessions."""
        self._first = len(self._net.children)
        for node in self._nodes:
            own = self._net.nodes[node].address
            self._file(node).write_text("")
            config = [
                f"router id {own};",
                "protocol device { scan time 60; }",
                "protocol static many { ipv4;",
                f'include "{self._file(node)}";',  # BIRD knows it at a line's beginning only
                "}",
                f"protocol bgp far {{ local {own} as {NODE_AS}; neighbor {ROUTER} as {ROUTER_AS};"
                " direct; connect delay time 1; error wait time 1, 1;"
                " ipv4 { import none; export where source = RTS_STATIC; }; }",
            ]
            self._controls.append(bird(self._net, node, config))

    def tell(self, *, announce: bool) -> None:
        """Another file, and `configure`, to each."""
        lines = (f"route {prefix}/32 blackhole;\n" for prefix in PREFIXES)
        text = "".join(lines) if announce else ""
        for node, control in zip(self._nodes, self._controls, strict=True):
            self._file(node).write_text(text)
            control.ask("configure")

    def close(self) -> None:
        """End the processes."""
        for control in self._controls:
            control.close()
        self._controls.clear()
        ended(self._net, self._net.children[self._first :])


class ExaBgp:
    """ExaBGP, told in its bulk form through a pipe that `cat` hands to it."""

    name = "ExaBGP"

    def __init__(self, net: Network, nodes: Sequence[str]) -> None:
        self._net, self._nodes = net, nodes
        self._children: list[subprocess.Popen[str]] = []
        self._pipes: list[IO[str]] = []

    def start(self) -> None:
        """Begin to hold the sessions."""
        environment = {
            "exabgp_api_ack": "false",
            "exabgp_api_cli": "false",
            "exabgp_daemon_user": "root",
            "exabgp_log_level": "ERROR",
        }
        for node in self._nodes:
            own, pipe = self._net.nodes[node].address, self._net.root / f"{node}.pipe"
            os.mkfifo(pipe)
            config = self._net.root / f"{node}-exabgp.conf"
            config.write_text(
                f"process feed {{ run /bin/cat {pipe}; encoder text; }}\n"
                f"neighbor {ROUTER} {{ router-id {own}; local-address {own}; local-as {NODE_AS};"
                f" peer-as {ROUTER_AS}; family {{ ipv4 unicast; }}"
                " api { processes [ feed ]; } }\n"
            )
            command = [str(VENV / "bin" / "exabgp"), "server", str(config)]
            self._children.append(started(self._net, node, command, environment=environment))
            # Both ends at once: opening waits for nobody, and `cat` never sees an end.
            self._pipes.append(os.fdopen(os.open(pipe, os.O_RDWR), "w"))

    def tell(self, *, announce: bool) -> None:
        """The lines to each; a pipe that is full is waited for."""
        verb = "announce" if announce else "withdraw"
        text = "".join(
            f"{verb} attributes next-hop self nlri "
            + " ".join(f"{prefix}/32" for prefix in PREFIXES[first : first + BULK])
            + "\n"
            for first in range(0, len(PREFIXES), BULK)
        )
        waiting = {pipe: text.encode() for pipe in (p.fileno() for p in self._pipes)}
        for pipe in waiting:
            os.set_blocking(pipe, False)
        end = time.monotonic() + WITHIN
        while any(waiting.values()) and time.monotonic() < end:
            for pipe, rest in waiting.items():
                try:
                    waiting[pipe] = rest[os.write(pipe, rest[:65536]) :] if rest else rest
                except BlockingIOError:
                    time.sleep(0.001)

    def close(self) -> None:
        """End the processes."""
        for pipe in self._pipes:
            pipe.close()
        ended(self._net, self._children)
        for node in self._nodes:
            (self._net.root / f"{node}.pipe").unlink(missing_ok=True)
        self._pipes.clear()
        self._children.clear()


def has_exabgp() -> bool:
    """Whether ExaBGP is there: from PyPI, in a virtual environment of its own under build/."""
    if not (VENV / "bin" / "exabgp").exists():
        subprocess.run([sys.executable, "-m", "venv", str(VENV)], check=False)
        pip = [str(VENV / "bin" / "python"), "-m", "pip", "install", "-q", "exabgp==5.0.15"]
        subprocess.run(pip, check=False, timeout=60)
    return (VENV / "bin" / "exabgp").exists()


async def _serve(own: str, addresses: Sequence[str]) -> None:
    loop = asyncio.get_running_loop()
    peers = BgpPeers(lambda _name, _fact: None, loop=loop)
    ended_ = asyncio.Event()

    def sync(routes: dict[IPNetwork, RouteAttributes]) -> None:
        peers.sync(
            tuple(
                PeerDesired(
                    name=f"p{at}",
                    peer=BGPPeer(
                        key=Key("bench", f"p{at}"),
                        my_asn=NODE_AS,
                        peer_asn=ROUTER_AS,
                        address=ip_address(address),
                    ),
                    router_id=IPv4Address(own),
                    routes=routes,
                )
                for at, address in enumerate(addresses)
            )
        )

    def told() -> None:
        word = os.read(0, 4096).decode().strip()
        if word == "announce":
            attributes = RouteAttributes()
            sync({IPv4Network(prefix): attributes for prefix in PREFIXES})
        elif word == "withdraw":
            sync({})
        else:
            ended_.set()

    sync({})
    loop.add_reader(0, told)
    await ended_.wait()


if __name__ == "__main__":
    asyncio.run(_serve(sys.argv[1], sys.argv[2:]))
