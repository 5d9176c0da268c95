"""Keeps the kernel's routes equal to GoBGP's table; runs on the router beside `gobgpd`.

gobgpd leaves the kernel's table to FRR's zebra, but the zebra of FRR 8.4 and the gobgpd 3.10 of
the same distribution do not understand each other (gobgpd ends at the first interface it is told
of). So this stands in: it waits for a change, reads the table, and installs what differs.
Imported by nothing; it needs the standard library alone.
"""

from __future__ import annotations

import argparse
import json
import os
import select
import subprocess
import time
from pathlib import Path

_ORIGIN = "proto bgp metric 20"
_SETTLE = 0.02
_AT_LEAST_EVERY = 1.0
_NEXT_HOP, _MP_REACH = 3, 14  # RFC 4271 5.1.3, RFC 4760 3

Routes = dict[str, tuple[str, ...]]


def table(text: str) -> Routes:
    """The next hops of each prefix of `gobgp global rib -j`: of its best path and its equals."""
    routes: Routes = {}
    for prefix, paths in json.loads(text or "{}").items():
        best = _rank(paths[0])
        hops = {_next_hop(path) for path in paths if _rank(path) == best}
        routes[prefix] = tuple(sorted(hop for hop in hops if hop))
    return {prefix: hops for prefix, hops in routes.items() if hops}


def _rank(path: dict[str, object]) -> str:
    """What must be equal for two paths to share a route: all but next hop and prefix."""
    attributes = [
        one for one in _attributes(path) if one.get("type") not in (_NEXT_HOP, _MP_REACH)
    ]
    return json.dumps(attributes, sort_keys=True)


def _next_hop(path: dict[str, object]) -> str:
    for attribute in _attributes(path):
        if attribute.get("type") in (_NEXT_HOP, _MP_REACH):
            return str(attribute.get("nexthop", ""))
    return ""


def _attributes(path: dict[str, object]) -> list[dict[str, object]]:
    attributes = path["attrs"]
    assert isinstance(attributes, list), "gobgp writes a list"
    return attributes


def batch(old: Routes, new: Routes, link: str) -> str:
    """The lines of `ip -batch` that lead from one table to the other."""
    lines = [f"route del {prefix} {_ORIGIN}" for prefix in old.keys() - new.keys()]
    for prefix, hops in new.items():
        if old.get(prefix) != hops:
            ways = " ".join(f"nexthop via {_via(prefix, hop)} dev {link}" for hop in hops)
            lines.append(f"route replace {prefix} {_ORIGIN} {ways}")
    return "".join(f"{line}\n" for line in lines)


def _via(prefix: str, hop: str) -> str:
    """An IPv4 prefix may have an IPv6 next hop (RFC 8950), which `ip` wants to be told."""
    return f"inet6 {hop}" if ":" in hop and ":" not in prefix else hop


def _read(target: str) -> Routes:
    routes: Routes = {}
    for family in ("ipv4", "ipv6"):
        command = ("gobgp", "--target", target, "-j", "global", "rib", "-a", family)
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        if done.returncode == 0:
            routes |= table(done.stdout)
    return routes


def main() -> None:
    """Follow the table until gobgpd ends."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--target", required=True)
    parser.add_argument("--link", required=True)
    parser.add_argument("--ready", required=True, type=Path)
    options = parser.parse_args()
    watches = ("monitor adj-in", "monitor adj-in -a ipv6", "monitor neighbor")
    streams = []
    for words in watches:
        command = ("gobgp", "--target", options.target, *words.split())
        stream = subprocess.Popen(command, stdout=subprocess.PIPE).stdout
        assert stream is not None, "its output is a pipe"
        streams.append(stream)
    installed: Routes = {}
    options.ready.touch()
    while streams:
        wanted = _read(options.target)
        if wanted != installed and _install(batch(installed, wanted, options.link)):
            installed = wanted
        # A watch that says nothing of a change is no reason to miss it for long.
        for stream in select.select(streams, [], [], _AT_LEAST_EVERY)[0]:
            if not os.read(stream.fileno(), 65536):
                streams.remove(stream)
        time.sleep(_SETTLE)


def _install(lines: str) -> bool:
    done = subprocess.run(("ip", "-force", "-batch", "-"), input=lines, text=True, check=False)
    return done.returncode == 0


if __name__ == "__main__":
    main()
