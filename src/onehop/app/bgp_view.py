"""`onehop bgp peers` and `routes` as rows: what the speakers wrote, as a router would print it."""

from __future__ import annotations

import time
from collections.abc import Iterable
from dataclasses import asdict
from ipaddress import ip_network

from onehop.app.bgp_report import NodeState, PeerState, is_alive
from onehop.model.address import host_port

PEER_COLUMNS = (
    "NAME", "NODE", "ADDRESS", "AS", "STATE", "SINCE", "SENT", "RECEIVED", "INFO",
)  # fmt: skip
ROUTE_COLUMNS = ("PREFIX", "NODE", "PEER", "NEXT HOP", "LOCALPREF", "MED", "COMMUNITIES")
_DEAD = "its speaker does not run"


def address_of(peer: PeerState) -> str:
    """Where the peer is, the port only when it is not BGP's own."""
    if peer.port == 179:
        return peer.address
    return host_port(peer.address, peer.port)


def peer_document(states: Iterable[NodeState]) -> list[dict[str, object]]:
    """Every session with all that is known of it but its routes, for programs."""
    found: list[dict[str, object]] = []
    for state in states:
        lives = is_alive(state)
        for peer in state.peers:
            body = {"name": peer.name, "node": state.node} | asdict(peer)
            del body["routes"]
            found.append(body if lives else body | {"state": "Down", "info": _DEAD, "sent": 0})
        found += [
            {"name": name, "node": state.node, "state": "None", "info": why}
            for name, why in state.refused.items()
        ]
    return found


def peer_rows(states: Iterable[NodeState], now: float) -> list[tuple[str, ...]]:
    """Every session as a line of `PEER_COLUMNS`."""
    rows: list[tuple[str, ...]] = []
    for state in states:
        lives = is_alive(state)
        rows += [_row(state.node, peer, lives, now) for peer in state.peers]
        rows += [
            (name, state.node, "-", "-", "None", "-", "0", "0", why)
            for name, why in sorted(state.refused.items())
        ]
    return rows


def _row(node: str, peer: PeerState, lives: bool, now: float) -> tuple[str, ...]:
    asn = "any" if peer.peer_asn is None else str(peer.peer_asn)
    where = (peer.name, node, address_of(peer), asn)
    if not lives:
        return (*where, "Down", "-", "0", "0", _DEAD)
    since = span(now - peer.since)
    return (*where, peer.state, since, _sent(peer), str(peer.received), peer.info)


def _sent(peer: PeerState) -> str:
    """How many routes the peer has of us, and of how many when some are missing."""
    return str(peer.sent) if peer.sent == peer.wanted else f"{peer.sent}/{peer.wanted}"


def route_document(states: Iterable[NodeState], peer: str | None = None) -> list[dict[str, str]]:
    """Every route that a peer has of us, by prefix, for programs."""
    found = [
        {"prefix": prefix, "node": state.node, "peer": each.name, **group.attributes}
        for state in states
        if is_alive(state)
        for each in state.peers
        if peer is None or each.name == peer
        for group in each.routes
        for prefix in group.prefixes
    ]
    return sorted(found, key=_route_order)


def _route_order(route: dict[str, str]) -> tuple[int, int, int, str, str]:
    net = ip_network(route["prefix"])
    at = int(net.network_address)
    return net.version, at, net.prefixlen, route["node"], route["peer"]


def route_rows(routes: Iterable[dict[str, str]]) -> list[tuple[str, ...]]:
    """Every route as a line of `ROUTE_COLUMNS`."""
    return [
        (
            route["prefix"],
            route["node"],
            route["peer"],
            route.get("next_hop", "self"),
            route.get("local_pref", "-"),
            route.get("med", "-"),
            " ".join(
                route[kind]
                for kind in ("communities", "large_communities", "extended")
                if kind in route
            ),
        )
        for route in routes
    ]


def span(seconds: float) -> str:
    """How long something has lasted, in the form FRR prints: 00:03:12, 1d02h03m, 2w3d04h."""
    whole = max(0, int(seconds))
    minutes, hours, days = whole // 60 % 60, whole // 3600 % 24, whole // 86400
    if days >= 7:
        return f"{days // 7}w{days % 7}d{hours:02}h"
    if days:
        return f"{days}d{hours:02}h{minutes:02}m"
    return f"{hours:02}:{minutes:02}:{whole % 60:02}"


def wall_clock() -> float:
    """Seconds since the epoch: reports are read in another process than they were written in."""
    return time.time()
