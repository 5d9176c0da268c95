"""When a new lab serves: every Service has its status, and the client's ARP or NDP is answered.

Both are seen from outside: the status in the folder, as any reader of it sees it, and the
neighbour table of the client's kernel. What cannot settle (a pool that is exhausted, a Service
without endpoints) must not keep the lab from coming up, so the wait is bounded and what is still
open afterwards is said.
"""

from __future__ import annotations

import json
import socket
import subprocess
import time
from collections.abc import Callable, Iterable
from contextlib import suppress

from onehop.lab import namespace
from onehop.lab.state import Layout
from onehop.lab.topology import Topology
from onehop.model.address import IPAddress
from onehop.model.objects import Objects
from onehop.model.service import Key, Service

_PAUSE = 0.02
_DISCARD = 9
_ANSWERED = {"REACHABLE", "STALE", "DELAY", "PROBE", "PERMANENT"}


def without_status(layout: Layout, objects: Objects) -> tuple[Key, ...]:
    """The LoadBalancer Services on which the controller has said nothing yet."""
    status = layout.manifests / ".onehop" / "status"
    return tuple(
        service.key
        for service in _balanced(objects)
        if not (status / service.key.namespace / f"{service.key.name}.yaml").exists()
    )


def _balanced(objects: Objects) -> Iterable[Service]:
    return (
        service
        for _, service in sorted(objects.services.items())
        if service.type == "LoadBalancer"
    )


def expected(objects: Objects, topology: Topology) -> tuple[IPAddress, ...]:
    """External addresses that a node ought to announce on the LAN: those with an endpoint."""
    if not objects.l2_advertisements:
        return ()
    served = {
        piece.service
        for piece in objects.slices.values()
        if any(endpoint.usable and endpoint.node for endpoint in piece.endpoints)
    }
    return tuple(
        address
        for service in _balanced(objects)
        if service.key in served
        for address in service.ingress
        if on_link(topology, address)
    )


def on_link(topology: Topology, address: IPAddress) -> bool:
    """Whether the client asks for `address` on the LAN itself."""
    routed = (route.network for route in topology.client.routes if route.via is None)
    return any(address in network for network in (*topology.networks, *routed))


def unanswered(
    layout: Layout, topology: Topology, addresses: Iterable[IPAddress]
) -> tuple[IPAddress, ...]:
    """Those addresses for which the client's kernel knows no MAC; it is made to ask for them."""
    client = topology.client
    with namespace.entered(layout.namespace(client.name)):
        known = _answered_neighbours(client.link)
        missing = tuple(address for address in addresses if str(address) not in known)
        for address in missing:
            _ask(address)
    return missing


def _answered_neighbours(link: str) -> frozenset[str]:
    command = ("ip", "-json", "neigh", "show", "dev", link)
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    return frozenset(
        entry["dst"]
        for entry in json.loads(done.stdout or "[]")
        if _ANSWERED.intersection(entry.get("state", ()))
    )


def _ask(address: IPAddress) -> None:
    family = socket.AF_INET if address.version == 4 else socket.AF_INET6
    with socket.socket(family, socket.SOCK_DGRAM) as prober, suppress(OSError):
        prober.sendto(b"", (str(address), _DISCARD))


def wait(timeout: float, left: Callable[[], tuple[object, ...]]) -> tuple[object, ...]:
    """Look until nothing is left or the time is over, and return what is left."""
    deadline = time.monotonic() + timeout
    while (remaining := left()) and time.monotonic() < deadline:
        time.sleep(_PAUSE)
    return remaining
