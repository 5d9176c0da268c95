"""GoBGP as the lab's router; FRR's zebra keeps the kernel's table for it."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from ipaddress import ip_address
from pathlib import Path

from onehop.lab.router import Daemon, RouterPeer, RouterSpec, Run
from onehop.lab.router_frr import zebra
from onehop.model.address import IPAddress

_CONFIG = "gobgpd.toml"
_ZEBRA_CONFIG = "zebra.conf"
_ESTABLISHED = 6


class GoBgp:
    """GoBGP 3: `gobgpd` and zebra, asked through `gobgp`."""

    name = "gobgp"
    packages: tuple[str, ...] = ("gobgpd", "frr")
    route_origin = "proto bgp metric 20"
    user = "frr"  # zebra's, which makes a socket there

    def files(self, spec: RouterSpec, folder: Path) -> Mapping[str, str]:
        """`gobgpd.toml`, and zebra's."""
        text = "".join(f"{line}\n" for line in _lines(spec, folder))
        return {_CONFIG: text, _ZEBRA_CONFIG: "no zebra nexthop kernel enable\n"}

    def daemons(self, folder: Path) -> tuple[Daemon, ...]:
        """One process."""
        api = folder / "gobgp.api"
        argv = ("gobgpd", "-f", str(folder / _CONFIG), "--api-hosts", f"unix://{api}")
        gobgpd = Daemon(name="router-gobgpd", argv=argv, socket=api)
        return zebra(folder, _ZEBRA_CONFIG), gobgpd

    def asking(self, folder: Path, words: str) -> tuple[str, ...]:
        """`gobgp WORDS`."""
        return ("gobgp", "--target", f"unix://{folder / 'gobgp.api'}", *words.split())

    def established(self, run: Run, folder: Path) -> frozenset[IPAddress]:
        """From `gobgp neighbor -j`."""
        said = run(self.asking(folder, "neighbor -j")).stdout
        return frozenset(
            ip_address(neighbour["conf"]["neighbor_address"])
            for neighbour in json.loads(said or "[]")
            if neighbour["state"].get("session_state") == _ESTABLISHED
        )


def _lines(spec: RouterSpec, folder: Path) -> Iterator[str]:
    yield "[global.config]"
    yield f"as = {spec.asn}"
    yield f'router-id = "{spec.router_id}"'
    yield "[global.apply-policy.config]"
    yield 'default-export-policy = "reject-route"'
    yield "[global.use-multiple-paths.config]"
    yield "enabled = true"
    for peer in spec.peers:
        yield from _neighbour(spec, peer)


def _neighbour(spec: RouterSpec, peer: RouterPeer) -> Iterator[str]:
    yield "[[neighbors]]"
    yield "[neighbors.config]"
    yield f'neighbor-address = "{peer.address}"'
    yield f"peer-as = {peer.asn}"
    if peer.password:
        yield f'auth-password = "{peer.password}"'
    yield "[neighbors.transport.config]"
    yield f"passive-mode = {'true' if peer.passive else 'false'}"
    yield f'local-address = "{peer.local}"'
    yield "[neighbors.timers.config]"
    yield "connect-retry = 1"
    yield "idle-hold-time-after-reset = 1"
    yield f"hold-time = {spec.hold_time}"
    yield f"keepalive-interval = {max(1, spec.hold_time // 3)}"
    if peer.gtsm:
        yield "[neighbors.ttl-security.config]"
        yield "enabled = true"
        yield "ttl-min = 255"
    if peer.graceful_restart:
        yield "[neighbors.graceful-restart.config]"
        yield "enabled = true"
        yield "restart-time = 120"
    for family in ("ipv4-unicast", "ipv6-unicast"):
        yield "[[neighbors.afi-safis]]"
        yield "[neighbors.afi-safis.config]"
        yield f'afi-safi-name = "{family}"'
        if peer.graceful_restart:
            yield "[neighbors.afi-safis.mp-graceful-restart.config]"
            yield "enabled = true"
