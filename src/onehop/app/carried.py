"""Which routes may be advertised now: those whose traffic the datapath is known to carry.

A route attracts traffic the moment it is sent, so what the datapath has just refused is left out,
and while it is unclear what the datapath did nothing new is advertised. Withdrawals always go.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace

from onehop.model.address import IPAddress, IPNetwork
from onehop.model.bgp import PeerDesired, Routes, no_routes
from onehop.model.desired import Report


def carried(
    peers: tuple[PeerDesired, ...], told: Iterable[PeerDesired], grown: Report
) -> tuple[PeerDesired, ...]:
    """The peers with what they may be told, after the datapath has grown.

    `told` is what they were told last. An aggregate is left alone: it stands for other addresses
    as well.
    """
    refused = frozenset(f.address for f in grown.failures if f.address is not None)
    if not refused and not grown.is_unclear:
        return peers
    before = {peer.name: peer.routes for peer in told}
    return tuple(
        replace(peer, routes=_carried(peer.routes, before.get(peer.name), grown, refused))
        for peer in peers
    )


def _carried(
    wanted: Routes, told: Routes | None, grown: Report, refused: frozenset[IPAddress]
) -> Routes:
    standing = no_routes() if told is None else told
    return {
        prefix: attributes
        for prefix, attributes in wanted.items()
        if not _is_refused(prefix, refused) and (not grown.is_unclear or prefix in standing)
    }


def _is_refused(prefix: IPNetwork, refused: frozenset[IPAddress]) -> bool:
    return prefix.prefixlen == prefix.max_prefixlen and prefix.network_address in refused
