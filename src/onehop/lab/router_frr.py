"""FRR as the lab's router: zebra for the kernel's table, bgpd for the sessions."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from ipaddress import ip_address
from pathlib import Path

from onehop.lab.router import ECMP_LIMIT, Daemon, RouterPeer, RouterSpec, Run
from onehop.model.address import IPAddress

ZEBRA = "/usr/lib/frr/zebra"
_BGPD = "/usr/lib/frr/bgpd"
_CONFIG = "frr.conf"


def zebra(folder: Path, config: str) -> Daemon:
    """The daemon that keeps the kernel's routing table, with all its sockets in `folder`."""
    socket = folder / "zserv.api"
    argv = (ZEBRA, *_options(folder, "zebra", folder / config))
    return Daemon(name="router-zebra", argv=argv, socket=socket)


def _options(folder: Path, name: str, config: Path) -> tuple[str, ...]:
    # The sockets are in a folder of the lab's, not in those that one FRR on a machine would use.
    return (
        "-P", "0", "-f", str(config), "-i", str(folder / f"{name}.pid"),
        "-z", str(folder / "zserv.api"), "--vty_socket", str(folder), "--log", "stdout",
    )  # fmt: skip


class Frr:
    """FRR 8: two processes, asked through `vtysh`."""

    name = "frr"
    packages: tuple[str, ...] = ("frr",)
    route_origin = "proto bgp metric 20"
    user = "frr"

    def files(self, spec: RouterSpec, folder: Path) -> Mapping[str, str]:
        """One file for both daemons, and an empty one without which `vtysh` complains."""
        return {_CONFIG: "".join(f"{line}\n" for line in _lines(spec)), "vtysh.conf": ""}

    def daemons(self, folder: Path) -> tuple[Daemon, ...]:
        """The one that bgpd looks for when it starts comes first."""
        argv = (_BGPD, *_options(folder, "bgpd", folder / _CONFIG))
        bgpd = Daemon(name="router-bgpd", argv=argv, socket=folder / "bgpd.vty")
        return zebra(folder, _CONFIG), bgpd

    def asking(self, folder: Path, words: str) -> tuple[str, ...]:
        """`vtysh -c WORDS`."""
        return (*_vtysh(folder), "-c", words)

    def established(self, run: Run, folder: Path) -> frozenset[IPAddress]:
        """From `show bgp neighbors json`."""
        said = run(self.asking(folder, "show bgp neighbors json")).stdout
        return frozenset(
            ip_address(address)
            for address, neighbour in json.loads(said or "{}").items()
            if isinstance(neighbour, dict) and neighbour.get("bgpState") == "Established"
        )


def _vtysh(folder: Path) -> tuple[str, ...]:
    return ("vtysh", "--config_dir", str(folder), "--vty_socket", str(folder))


def _lines(spec: RouterSpec) -> Iterator[str]:
    yield "frr defaults traditional"
    # Next hops belong to the route itself, as `ip route` then shows them.
    yield "no zebra nexthop kernel enable"
    yield "route-map nothing deny 10"
    yield "exit"
    yield f"router bgp {spec.asn}"
    yield f" bgp router-id {spec.router_id}"
    yield " no bgp ebgp-requires-policy"
    yield " no bgp default ipv4-unicast"
    yield " bgp bestpath as-path multipath-relax"
    if any(peer.graceful_restart for peer in spec.peers):
        yield " bgp graceful-restart"
    for peer in spec.peers:
        yield from _neighbour(spec, peer)
    for version in (4, 6):
        yield f" address-family ipv{version} unicast"
        yield f"  maximum-paths {ECMP_LIMIT}"
        yield f"  maximum-paths ibgp {ECMP_LIMIT}"
        for peer in spec.peers:
            yield f"  neighbor {peer.address} activate"
            yield f"  neighbor {peer.address} route-map nothing out"
        yield " exit-address-family"
    yield "exit"


def _neighbour(spec: RouterSpec, peer: RouterPeer) -> Iterator[str]:
    start = f" neighbor {peer.address}"
    yield f"{start} remote-as {peer.asn}"
    yield f"{start} update-source {peer.local}"
    if peer.passive:
        yield f"{start} passive"
    yield f"{start} timers {max(1, spec.hold_time // 3)} {spec.hold_time}"
    yield f"{start} timers connect 1"
    yield f"{start} advertisement-interval 0"
    if peer.gtsm:
        yield f"{start} ttl-security hops 1"
    if peer.password:
        yield f"{start} password {peer.password}"
    if peer.extended_next_hop:
        yield f"{start} capability extended-nexthop"
