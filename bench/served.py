"""The datapath of onehop on one node of the bench, with frontends that the bench names."""

from __future__ import annotations

import contextlib
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from ipaddress import ip_address

from bench.network import Network
from onehop.adapters.bpf.datapath import Datapath
from onehop.core.balance import ring
from onehop.lab import namespace
from onehop.model.desired import DatapathDesired, FrontendDesired
from onehop.model.service import Backend, Frontend, Key, Protocol, TrafficPolicy


@dataclass(frozen=True, slots=True, kw_only=True)
class Served:
    """One frontend with one backend; `local` is whether the pod is the node's own."""

    address: str
    port: int
    protocol: Protocol
    pod: str
    local: bool = True


def desired(served: Iterable[Served], node_address: str) -> DatapathDesired:
    """What a speaker would want of its datapath for these frontends."""
    frontends: dict[Key, tuple[FrontendDesired, ...]] = {}
    for each in served:
        key = Key("bench", f"s-{each.address}")
        backend = Backend(address=ip_address(each.pod), port=each.port, local=each.local)
        frontend = FrontendDesired(
            frontend=Frontend(
                address=ip_address(each.address), port=each.port, protocol=each.protocol
            ),
            service=key,
            policy=TrafficPolicy.LOCAL if each.local else TrafficPolicy.CLUSTER,
            backends=(backend,),
            total=1,
        )
        frontends[key] = (*frontends.get(key, ()), frontend)
    return DatapathDesired(frontends=frontends, node_addresses=(ip_address(node_address),))


@contextlib.contextmanager
def datapath(net: Network, node: str, served: Iterable[Served]) -> Iterator[Datapath]:
    """Programs attached in `node`, maps filled; all of it gone afterwards."""
    place = net.root / f"bpf-{node}"
    address = net.nodes[node].address
    namespace.mount_bpf(place)
    try:
        with namespace.entered(net.path(node)):
            loaded = Datapath(
                place / "onehop", ring=ring, uplinks=("eno1",), sources=(ip_address(address),)
            )
            report = loaded.sync(desired(served, address))
        if report.failures:
            raise RuntimeError(f"{node}: {report.failures[0].refusal}")
        yield loaded
        with namespace.entered(net.path(node)):
            loaded.remove()
    finally:
        namespace.unmount(place)
