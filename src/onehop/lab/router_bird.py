"""BIRD 2 as the lab's router."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from ipaddress import ip_address
from pathlib import Path

from onehop.lab.router import ECMP_LIMIT, Daemon, RouterPeer, RouterSpec, Run
from onehop.model.address import IPAddress

_CONTROL = "bird.ctl"
_CONFIG = "bird.conf"


class Bird:
    """BIRD 2: one process, asked through `birdc`."""

    name = "bird"
    packages: tuple[str, ...] = ("bird2",)
    route_origin = "proto bird metric 32"
    user = "root"

    def files(self, spec: RouterSpec, folder: Path) -> Mapping[str, str]:
        """`bird.conf`."""
        return {_CONFIG: "".join(f"{line}\n" for line in _lines(spec))}

    def daemons(self, folder: Path) -> tuple[Daemon, ...]:
        """`bird` in the foreground, with its control socket in `folder`."""
        control = folder / _CONTROL
        argv = ("bird", "-f", "-c", str(folder / _CONFIG), "-s", str(control))
        return (Daemon(name="router-bird", argv=argv, socket=control),)

    def asking(self, folder: Path, words: str) -> tuple[str, ...]:
        """`birdc WORDS`."""
        return ("birdc", "-s", str(folder / _CONTROL), *words.split())

    def established(self, run: Run, folder: Path) -> frozenset[IPAddress]:
        """From `birdc show protocols all`."""
        said = run(self.asking(folder, "show protocols all")).stdout
        found = set()
        for block in re.split(r"\n(?=\S)", said):
            address = re.search(r"Neighbor address: +(\S+)", block)
            if address is not None and re.search(r"BGP state: +Established", block):
                found.add(ip_address(address[1].partition("%")[0]))
        return frozenset(found)


def _lines(spec: RouterSpec) -> Iterator[str]:
    yield "log stderr all;"
    yield f"router id {spec.router_id};"
    yield "protocol device { scan time 60; }"
    # What is being drained is taken last (RFC 8326 4.3).
    yield "filter last_resort {"
    yield "  if (65535, 0) ~ bgp_community then bgp_local_pref = 0;"
    yield "  accept;"
    yield "}"
    for version in (4, 6):
        # Equal paths of several neighbours become one route with several next hops.
        yield f"protocol kernel kernel{version} {{"
        yield f"  merge paths on limit {ECMP_LIMIT};"
        yield "  metric 32;"
        yield "  netlink rx buffer 16777216;"
        yield f"  ipv{version} {{ import none; export where source = RTS_BGP; }};"
        yield "}"
    for peer in spec.peers:
        yield from _neighbour(spec, peer)


def _neighbour(spec: RouterSpec, peer: RouterPeer) -> Iterator[str]:
    yield f"protocol bgp 'peer-{peer.name}' {{"  # a bare name may be a word of BIRD's
    yield f"  local {peer.local} as {spec.asn};"
    yield f"  neighbor {peer.address} as {peer.asn};"
    yield "  direct;"
    if peer.passive:
        yield "  passive;"
    # By default it lets a neighbour that made a mistake wait for a minute.
    yield "  connect delay time 1; connect retry time 1; error wait time 1, 2;"
    yield f"  hold time {spec.hold_time};"
    yield f"  graceful restart {'on' if peer.graceful_restart else 'aware'};"
    if peer.long_lived_stale_time:
        yield "  long lived graceful restart on;"
        yield f"  long lived stale time {peer.long_lived_stale_time};"
    if peer.gtsm:
        yield "  ttl security on;"
    if peer.password:
        yield f'  password "{peer.password}";'
    extended = " extended next hop on;" if peer.extended_next_hop else ""
    yield f"  ipv4 {{ import filter last_resort; export none;{extended} }};"
    yield "  ipv6 { import filter last_resort; export none; };"
    yield "}"
