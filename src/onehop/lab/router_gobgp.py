"""GoBGP as the lab's router; a small process beside it keeps the kernel's routes."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator, Mapping
from ipaddress import ip_address
from pathlib import Path

from onehop.lab import router_fib
from onehop.lab.router import Daemon, RouterPeer, RouterSpec, Run
from onehop.lab.topology import UPLINK
from onehop.model.address import IPAddress

_CONFIG = "gobgpd.toml"
_ESTABLISHED = 6
# What is being drained is taken last (RFC 8326 4.3).
_LAST_RESORT = (
    "[[defined-sets.bgp-defined-sets.community-sets]]",
    'community-set-name = "drained"',
    'community-list = ["65535:0"]',
    "[[policy-definitions]]",
    'name = "last-resort"',
    "[[policy-definitions.statements]]",
    'name = "last-resort"',
    "[policy-definitions.statements.conditions.bgp-conditions.match-community-set]",
    'community-set = "drained"',
    "[policy-definitions.statements.actions]",
    'route-disposition = "accept-route"',
    "[policy-definitions.statements.actions.bgp-actions]",
    "set-local-pref = 1",  # it takes 0 for nothing
)


class GoBgp:
    """GoBGP 3: `gobgpd` and `router_fib`, asked through `gobgp`."""

    name = "gobgp"
    packages: tuple[str, ...] = ("gobgpd",)
    route_origin = "proto bgp metric 20"
    user = "root"

    def files(self, spec: RouterSpec, folder: Path) -> Mapping[str, str]:
        """`gobgpd.toml`."""
        return {_CONFIG: "".join(f"{line}\n" for line in _lines(spec))}

    def daemons(self, folder: Path) -> tuple[Daemon, ...]:
        """The one that is watched starts first."""
        api, ready = folder / "gobgp.api", folder / "fib.ready"
        gobgpd = ("gobgpd", "-f", str(folder / _CONFIG), "--api-hosts", f"unix://{api}")
        fib = (
            sys.executable, "-IS", router_fib.__file__,
            "--target", f"unix://{api}", "--link", UPLINK, "--ready", str(ready),
        )  # fmt: skip
        return (
            Daemon(name="router-gobgpd", argv=gobgpd, socket=api),
            Daemon(name="router-fib", argv=fib, socket=ready),
        )

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


def _lines(spec: RouterSpec) -> Iterator[str]:
    yield "[global.config]"
    yield f"as = {spec.asn}"
    yield f'router-id = "{spec.router_id}"'
    yield "[global.apply-policy.config]"
    yield 'default-export-policy = "reject-route"'
    yield 'default-import-policy = "accept-route"'
    yield 'import-policy-list = ["last-resort"]'
    yield "[global.use-multiple-paths.config]"
    yield "enabled = true"
    yield from _LAST_RESORT
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
