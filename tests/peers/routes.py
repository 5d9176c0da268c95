"""BIRD on the plant's router: the sessions that it has, and the routes that it was told."""

from __future__ import annotations

import re
import subprocess
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from bench.kube_plant import Plant, lan_address

Seen = Mapping[str, Mapping[str, str]]
STABLE = 1.5


@contextmanager
def bird(plant: Plant, peers: Mapping[str, Mapping[str, Any]]) -> Iterator[Path]:
    """Run it with a session for each peer and node, that waits; where it is asked."""
    control, config = plant.net.root / "bird.ctl", plant.net.root / "bird.conf"
    config.write_text("\n".join(_lines(plant, peers)))
    plant.start("bird", "rtr", ["bird", "-f", "-c", str(config), "-s", str(control)])
    try:
        plant.until(lambda: "up" in _ask(control, "show status").lower(), "BIRD")
        yield control
    finally:
        plant.stop("bird")
        control.unlink(missing_ok=True)


def _lines(plant: Plant, peers: Mapping[str, Mapping[str, Any]]) -> Iterator[str]:
    yield "log stderr all; router id 192.168.200.1; protocol device { scan time 60; }"
    for number, (name, spec) in enumerate(peers.items()):
        for at in range(len(plant.nodes)):
            yield f"protocol bgp {name}_{at} {{"
            yield f"  local {spec['peerAddress']} as {spec['peerASN']};"
            # Of two with the same neighbour and port it runs one; who waits never uses the port.
            far = f"{lan_address(at)} port {1000 + number} as {spec['myASN']}"
            yield f"  neighbor {far}; direct; passive;"
            yield "  error wait time 1, 2; hold time 60;"
            if "password" in spec:
                yield f'  password "{spec["password"]}";'
            yield "  ipv4 { import all; export none; };"
            yield "}"


def _ask(control: Path, words: str) -> str:
    done = subprocess.run(
        ["birdc", "-s", str(control), *words.split()],
        capture_output=True, text=True, timeout=30, check=False,
    )  # fmt: skip
    return done.stdout


def seen(control: Path) -> Seen:
    """Each session that is up, and each route with the session that told it: its attributes."""
    found: dict[str, dict[str, str]] = {}
    for block in re.split(r"\n(?=\S)", _ask(control, "show protocols all")):
        if re.search(r"BGP state: +Established", block):
            held = re.search(r"Hold timer: +\S+/(\d+)", block)
            identity = re.search(r"Neighbor ID: +(\S+)", block)
            assert held is not None, block
            assert identity is not None, block
            found[block.split()[0]] = {"hold time": held[1], "router ID": identity[1]}
    return found | _routes(_ask(control, "show route all"))


def _routes(said: str) -> dict[str, dict[str, str]]:
    found: dict[str, dict[str, str]] = {}
    prefix, route = "", {}
    for line in said.splitlines():
        head = re.match(r"(\S+)?\s+\S+ \[(\S+) [^]]*\]", line)
        if head is not None:
            prefix = head[1] or prefix
            route = found.setdefault(f"{prefix} by {head[2]}", {})
        attribute = re.match(r"\s+BGP\.(\w+): *(.*)", line)
        if attribute is not None:
            route[attribute[1]] = " ".join(sorted(attribute[2].split()))
    return found
