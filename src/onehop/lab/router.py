"""The router of the LAN: a BGP daemon of the distribution's on the lab's router host.

What a daemon needs to know is a value (`RouterSpec`); how each daemon is told, started and asked
is its own module's (`Daemons`). All its files lie in the lab's folder, so `down` takes them too.
"""

from __future__ import annotations

import shutil
import subprocess
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from ipaddress import IPv4Address, summarize_address_range
from pathlib import Path
from typing import Protocol

from onehop.lab.state import LabError, write_atomically
from onehop.lab.topology import Topology
from onehop.model.address import IPAddress, IPNetwork
from onehop.model.objects import Objects

ASN = 64512
HOLD_TIME = 9
ECMP_LIMIT = 16

_STARTED_WITHIN = 15.0
_PAUSE = 0.01

Run = Callable[[Sequence[str]], "subprocess.CompletedProcess[str]"]
Start = Callable[["Daemon"], None]


@dataclass(frozen=True, slots=True, kw_only=True)
class RouterPeer:
    """One neighbour of the router.

    `passive`: the router waits to be called. `gtsm` asks for a TTL of 255 (RFC 5082 3),
    `password` for TCP MD5 signatures (RFC 2385). `extended_next_hop`: IPv4 prefixes may come with
    an IPv6 next hop (RFC 8950).
    """

    name: str
    address: IPAddress
    local: IPAddress
    asn: int = ASN
    passive: bool = True
    password: str = ""
    gtsm: bool = False
    extended_next_hop: bool = False
    graceful_restart: bool = False
    long_lived_stale_time: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class RouterSpec:
    """What a router is to be."""

    asn: int
    router_id: IPv4Address
    link: str
    peers: tuple[RouterPeer, ...]
    hold_time: int = HOLD_TIME


@dataclass(frozen=True, slots=True, kw_only=True)
class Daemon:
    """A process of a router: what to run, and the socket that is there once it serves."""

    name: str
    argv: tuple[str, ...]
    socket: Path


class Daemons(Protocol):
    """How one implementation is configured, started and asked.

    `route_origin` is how `ip route` marks its routes, `user` who its processes run as.
    """

    name: str
    packages: tuple[str, ...]
    route_origin: str
    user: str

    def files(self, spec: RouterSpec, folder: Path) -> Mapping[str, str]:
        """Its configuration, by the names of the files."""
        ...

    def daemons(self, folder: Path) -> tuple[Daemon, ...]:
        """Its processes, in the order in which they start."""
        ...

    def asking(self, folder: Path, words: str) -> tuple[str, ...]:
        """The command that asks it something, in its own words."""
        ...

    def established(self, run: Run, folder: Path) -> frozenset[IPAddress]:
        """The neighbours with which a session is established."""
        ...


def implementation(name: str) -> Daemons:
    """The implementation of this name.

    Raises:
        LabError: when there is none.
    """
    from onehop.lab.router_bird import Bird
    from onehop.lab.router_frr import Frr
    from onehop.lab.router_gobgp import GoBgp

    known: tuple[Daemons, ...] = (Bird(), Frr(), GoBgp())
    for one in known:
        if one.name == name:
            return one
    raise LabError(f"--router {name}: the router is {', '.join(one.name for one in known)}")


class Router:
    """A router's daemons in one namespace; `start` and `run` put a process there."""

    def __init__(self, kind: Daemons, folder: Path, start: Start, run: Run) -> None:
        self.kind = kind
        self.folder = folder
        self._start = start
        self._run = run

    def start(self, spec: RouterSpec) -> None:
        """Write the configuration, start the daemons and wait until they serve.

        Raises:
            LabError: when one is not installed, or does not come up.
        """
        self._check_installed()
        self.folder.mkdir(parents=True, exist_ok=True)
        shutil.chown(self.folder, self.kind.user, self.kind.user)
        for name, text in self.kind.files(spec, self.folder).items():
            write_atomically(self.folder / name, text)
        for daemon in self.kind.daemons(self.folder):
            daemon.socket.unlink(missing_ok=True)  # a killed one leaves its socket behind
            self._start(daemon)

    def _check_installed(self) -> None:
        for daemon in self.kind.daemons(self.folder):
            if shutil.which(daemon.argv[0]) is None:
                packages = " and ".join(self.kind.packages)
                raise LabError(f"{daemon.argv[0]} is not installed; it comes with {packages}")

    def ask(self, words: str) -> str:
        """What its own control program answers to `words`.

        Raises:
            LabError: when it answers with an error.
        """
        done = self._run(self.kind.asking(self.folder, words))
        if done.returncode != 0:
            raise LabError(f"{self.kind.name}: {words}: {done.stderr.strip() or done.stdout}")
        return done.stdout

    def established(self) -> frozenset[IPAddress]:
        """The neighbours with which a session is established, as the daemon says."""
        return self.kind.established(self._run, self.folder)


def await_socket(daemon: Daemon, check: Callable[[], None]) -> None:
    """Wait until a daemon serves; `check` raises when a process of the lab has ended.

    Raises:
        LabError: when it does not serve in time.
    """
    deadline = time.monotonic() + _STARTED_WITHIN
    while not daemon.socket.exists():
        check()
        if time.monotonic() > deadline:
            raise LabError(f"{daemon.name} did not serve within {_STARTED_WITHIN:.0f} s")
        time.sleep(_PAUSE)


def router_spec(topology: Topology, objects: Objects) -> RouterSpec:
    """The router of a lab: every node is a neighbour, by each of its addresses.

    The AS numbers and the password are those of the BGPPeer that has the router's address, one
    private AS for all when there is none. The identifier is the router's IPv4 address; on a LAN
    without IPv4 any will do (RFC 6286 2.1).
    """
    own = {interface.version: interface.ip for interface in topology.router.addresses}
    identifier = own.get(4)
    known = {peer.address: peer for _, peer in sorted(objects.bgp_peers.items())}
    asn = ASN
    peers = []
    for node in topology.nodes:
        for interface in node.addresses:
            wanted = known.get(own[interface.version])
            asn = asn if wanted is None or wanted.peer_asn is None else wanted.peer_asn
            peers.append(
                RouterPeer(
                    name=f"{node.name}-v{interface.version}",
                    address=interface.ip,
                    local=own[interface.version],
                    asn=ASN if wanted is None else wanted.local_asn or wanted.my_asn,
                    password="" if wanted is None else wanted.password,
                )
            )
    return RouterSpec(
        asn=asn,
        router_id=identifier if isinstance(identifier, IPv4Address) else IPv4Address("10.0.0.1"),
        link=topology.router.link,
        peers=tuple(peers),
    )


def routed_pools(objects: Objects, topology: Topology) -> Iterable[tuple[IPNetwork, IPAddress]]:
    """What a client reaches through the router: each pool's networks, with the next hop."""
    own = {interface.version: interface.ip for interface in topology.router.addresses}
    for _, pool in sorted(objects.pools.items()):
        for piece in pool.ranges:
            for network in summarize_address_range(piece.first, piece.last):
                if network.version in own:
                    yield network, own[network.version]
