"""The article's BGP scenes: what the router's kernel holds, and a client that goes through it.

The router's routes are read from its kernel with `ip route`. Two liberties are taken with that
text: spaces are folded, and next hops are put in order, which the kernel promises for neither.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager

from onehop.lab import observe
from onehop.lab.kafka_remote import KafkaClient
from onehop.lab.probe import eventually
from onehop.lab.scenes import (
    BOOTSTRAP,
    BROKER_ADDRESS,
    CLIENT_ADDRESS,
    NODE_ADDRESS,
    PORT,
    Scene,
    Stage,
)
from onehop.lab.topology import CLIENT, ROUTER, UPLINK

Hops = Mapping[str, tuple[str, ...]]

_ROUTED_WITHIN = 15.0
_REQUESTS = 20
_BROKER_OF = dict(zip(BROKER_ADDRESS, ("kafka-0", "kafka-1", "kafka-2"), strict=True))
_EVERY = tuple(NODE_ADDRESS.values())
LOCAL_HOPS: Hops = {
    BOOTSTRAP: _EVERY,
    "192.168.200.241": (NODE_ADDRESS["node1"],),
    "192.168.200.242": (NODE_ADDRESS["node2"],),
    "192.168.200.243": (NODE_ADDRESS["node0"],),
}
CLUSTER_HOPS: Hops = dict.fromkeys((BOOTSTRAP, *BROKER_ADDRESS), _EVERY)


def route_text(hops: Hops, origin: str) -> str:
    """The lines of `ip route` for addresses with their next hops, as the article prints them."""
    lines = []
    for address, vias in hops.items():
        if len(vias) == 1:
            lines.append(f"{address} via {vias[0]} dev {UPLINK} {origin}")
            continue
        lines.append(f"{address} {origin}")
        lines += [f"nexthop via {via} dev {UPLINK} weight 1" for via in vias]
    return "\n".join(lines)


def learned_routes(text: str, origin: str) -> str:
    """Those routes of an `ip route` that a daemon put there, by `proto` and metric."""
    blocks: list[list[str]] = []
    for line in text.splitlines():
        words = " ".join(line.split())
        if line[:1].isspace() and blocks:
            blocks[-1].append(words)
        elif words:
            blocks.append([words])
    kept = [[first, *sorted(rest)] for first, *rest in blocks if first.endswith(origin)]
    return "\n".join(line for block in sorted(kept) for line in block)


def bgp_local(stage: Stage) -> Scene:
    """Scene 7: under Local the router knows each address by the nodes that have its endpoints."""
    title = "BGP, Local: the router knows each broker by its own node, bootstrap by all three"
    return _played(stage, 7, "Local", title, LOCAL_HOPS)


def bgp_cluster(stage: Stage) -> Scene:
    """Scene 8: under Cluster the router spreads every address over every node."""
    title = "BGP, Cluster: the router spreads every address over the three nodes"
    return _played(stage, 8, "Cluster", title, CLUSTER_HOPS)


BGP_SCENES: dict[int, Callable[[Stage], Scene]] = {7: bgp_local, 8: bgp_cluster}


def _played(stage: Stage, number: int, policy: str, title: str, hops: Hops) -> Scene:
    origin = stage.lab.router().kind.route_origin
    wanted = route_text(hops, origin)

    def routes() -> str:
        return learned_routes(observe.routes(stage.lab, ROUTER), origin)

    with _by_bgp(stage, policy):
        reached = eventually(lambda: routes() == wanted, _ROUTED_WITHIN)
        seen = routes()
        if not reached:  # nobody would answer the client
            return Scene(
                scene=number, title=title, command="router$ ip route",
                expected=wanted, seen=seen or "no route of the daemon's", ok=False,
            )  # fmt: skip
        said, as_wanted = _client(stage, policy)
    return Scene(
        scene=number,
        title=title,
        command=f"router$ ip route; client$ connect each address; {stage.witness}",
        expected=f"{wanted}\n{as_wanted}",
        seen=f"{seen}\n{said}",
        ok=seen == wanted and said == as_wanted,
    )


@contextmanager
def _by_bgp(stage: Stage, policy: str) -> Iterator[None]:
    stage.lab.set_policy(policy)
    stage.lab.set_mode("bgp")
    try:
        yield
    finally:
        stage.lab.set_mode("l2")


def _client(stage: Stage, policy: str) -> tuple[str, str]:
    """What a client met at the addresses, and what it ought to have met."""
    before = observe.counters(stage.lab, ROUTER, UPLINK)
    met = {address: stage.probe(address, PORT, _REQUESTS) for address in _BROKER_OF}
    stage.probe(BOOTSTRAP, PORT, _REQUESTS)
    came = (observe.counters(stage.lab, ROUTER, UPLINK) - before).received_packets
    # Each request is at least one packet, and nothing but the client sends so many.
    through = came >= _REQUESTS * (len(_BROKER_OF) + 1)
    said = [f"{', '.join(seen.server for seen in met.values())} answered"]
    wanted = [f"{', '.join(_BROKER_OF.values())} answered"]
    said.append("through the router" if through else f"{came} packets came to the router")
    wanted.append("through the router")
    if policy == "Local":  # under Cluster a node may stand in for the client
        said.append("seen from " + ", ".join(sorted({seen.source for seen in met.values()})))
        wanted.append(f"seen from {CLIENT_ADDRESS}")
    if stage.kafka is not None:
        said.append(_roundtrip(stage))
        wanted.append("Metadata .241 .242 .243; 30 of 30 records; sockets to .241 .242 .243")
    return "; ".join(said), "; ".join(wanted)


def _roundtrip(stage: Stage) -> str:
    client = KafkaClient(stage.lab.run, CLIENT, f"{BOOTSTRAP}:{PORT}")
    named = {broker.host for broker in client.metadata().brokers}
    trip = client.roundtrip(records=10)
    used = {re.sub(r":\d+$", "", socket).strip("[]") for socket in trip.sockets}
    return (
        f"Metadata {_short(named)}; {trip.consumed} of {trip.produced} records; "
        f"sockets to {_short(used & set(BROKER_ADDRESS))}"
    )


def _short(addresses: set[str]) -> str:
    return " ".join(f".{one.rpartition('.')[2]}" for one in sorted(addresses)) or "none"
