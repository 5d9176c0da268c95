"""Who announces many prefixes to the router: our effectors, or BIRD; see `bgp_others` for more.

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
from typing import Protocol

from bench.network import Network
from bench.row import ROOT
from onehop.app.bgp import BgpPeers
from onehop.lab import namespace
from onehop.model.address import IPNetwork
from onehop.model.bgp import BGPPeer, PeerDesired, RouteAttributes
from onehop.model.service import Key

ROUTER, ROUTER_AS, NODE_AS = "192.168.200.10", 64512, 64600
PREFIXES = [f"10.{64 + at // 65536}.{at // 256 % 256}.{at % 256}" for at in range(10_000)]
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
        self.send(words)
        return self.answer()

    def send(self, words: str) -> None:
        """Ask, and read the answer later."""
        self._socket.sendall(f"{words}\n".encode())

    def answer(self) -> str:
        """What BIRD says to what was sent."""
        lines = []
        for line in self._lines:
            lines.append(line)
            if re.match(r"\d{4} ", line):
                break
        return "".join(lines)

    def until(self, state: str, sessions: int, *, of: str = "protocols") -> float:
        """When so many sessions were in this state."""
        end = time.monotonic() + WITHIN
        while (said := self.ask(f"show {of}")).count(state) < sessions:
            if time.monotonic() > end:
                raise RuntimeError(f"not {sessions} {state}: {said}")
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


def passive(own: str, peers: Sequence[str], *, more: str = "") -> list[str]:
    """A BIRD that waits for these peers; no route of theirs leaves it."""
    return [
        f"router id {own};",
        "protocol device { scan time 60; }",
        *(
            f"protocol bgp n{at} {{ local {own} as {ROUTER_AS}; neighbor {peer} as {NODE_AS};"
            f" passive; direct; connect delay time 1; error wait time 1, 1; hold time 90; {more}"
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
    stdout: int | None = None,
) -> subprocess.Popen[str]:
    """A process on whichever CPU is free: here several peers share them.

    Python keeps what it compiles, as it does where a package has been installed.
    """
    inherited = {k: v for k, v in os.environ.items() if k != "PYTHONDONTWRITEBYTECODE"}
    log = (net.root / f"{where}.log").open("ab")
    with log, namespace.entered(net.path(where)):
        child = subprocess.Popen(
            command,
            stdin=stdin,
            stdout=log if stdout is None else stdout,
            stderr=log,
            text=True,
            cwd=ROOT,
            env=inherited | (environment or {}),
        )
    net.children.append(child)
    return child


def ended(net: Network, children: Sequence[subprocess.Popen[str]]) -> None:
    """Kill these and wait."""
    for child in children:
        child.kill()
    for child in children:
        child.wait()
        if child in net.children:
            net.children.remove(child)


class Rival(Protocol):
    """Three peers of one kind; `children` are what announces, in the nodes' order."""

    name: str
    children: list[subprocess.Popen[str]]

    def start(self) -> None:
        """Begin to hold the sessions."""
        ...

    def prepare(self, prefixes: Sequence[str]) -> None:
        """Have at hand what they will be told: to announce these, and no others."""
        ...

    def tell(self) -> None:
        """Tell all three."""
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
        self._prefixes = 0

    def start(self) -> None:
        """Begin to hold the sessions."""
        for node in self._nodes:
            own = self._net.nodes[node].address
            command = [sys.executable, "-m", "bench.bgp_rivals", own, *self._peers]
            self.children.append(started(self._net, node, command, stdin=subprocess.PIPE))

    def prepare(self, prefixes: Sequence[str]) -> None:
        """They know the list themselves."""
        self._prefixes = len(prefixes)

    def tell(self) -> None:
        """A line to each."""
        for child in self.children:
            assert child.stdin is not None
            child.stdin.write(f"{self._prefixes}\n")
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
        self.children: list[subprocess.Popen[str]] = []

    def _file(self, node: str) -> Path:
        return self._net.root / f"{node}-routes.conf"

    def start(self) -> None:
        """Begin to hold the sessions."""
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
            self.children.append(self._net.children[-1])

    def prepare(self, prefixes: Sequence[str]) -> None:
        """Another file for each."""
        text = "".join(f"route {prefix}/32 blackhole;\n" for prefix in prefixes)
        for node in self._nodes:
            self._file(node).write_text(text)

    def tell(self) -> None:
        """`configure`, to all at once."""
        for control in self._controls:
            control.send("configure")
        for control in self._controls:
            control.answer()

    def close(self) -> None:
        """End the processes."""
        for control in self._controls:
            control.close()
        self._controls.clear()
        ended(self._net, self.children)
        self.children.clear()


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

    # A decision keeps the routes of Services that did not change: they are not made anew here.
    attributes = RouteAttributes()
    many: dict[IPNetwork, RouteAttributes] = {IPv4Network(x): attributes for x in PREFIXES}

    def told() -> None:
        word = os.read(0, 4096).decode().strip()
        if word:
            sync(many if int(word) else {})
        else:
            ended_.set()

    sync({})
    loop.add_reader(0, told)
    await ended_.wait()


if __name__ == "__main__":
    asyncio.run(_serve(sys.argv[1], sys.argv[2:]))
