"""Sessions: which BGP peers a node ought to have, and why not the others."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from ipaddress import IPv4Address
from types import MappingProxyType
from zlib import crc32

from onehop.core.eligible import selects
from onehop.core.snapshot import Snapshot
from onehop.core.validate import usable_pools
from onehop.core.validate_bgp import BgpJudgement, judged_bgp
from onehop.model.bgp import BGPPeer, PeerDesired
from onehop.model.node import Node
from onehop.model.reason import Reason, Refusal


def none_refused() -> Mapping[str, Refusal]:
    """Nothing refused, as a default."""
    return MappingProxyType({})


@dataclass(frozen=True, slots=True, kw_only=True)
class Peering:
    """What is wanted of a node's peers, and why each other BGPPeer has no session here."""

    peers: tuple[PeerDesired, ...] = ()
    refused: Mapping[str, Refusal] = field(default_factory=none_refused)


def router_id(peer: BGPPeer, node: Node) -> IPv4Address:
    """The BGP identifier: the BGPPeer's, else the node's first IPv4 address.

    A node without one gets a number made of its name, as in MetalLB: an identifier need be no
    address (RFC 6286 2.1), only unique.
    """
    if peer.router_id is not None:
        return peer.router_id
    own = next((a for a in node.addresses if isinstance(a, IPv4Address)), None)
    return own or IPv4Address(crc32(node.name.encode()) or 1)


def sessions(judgement: BgpJudgement, node: Node) -> Peering:
    """The sessions of a node without their routes, by name."""
    peers: list[PeerDesired] = []
    refused = dict(judgement.refused_peers)
    for peer in judgement.peers:
        name = peer.key.name
        if not selects(peer, node):
            refused[name] = Refusal(reason=Reason.PEER_NOT_SELECTED, detail=node.name)
            continue
        peers.append(
            PeerDesired(
                name=name,
                peer=peer,
                router_id=router_id(peer, node),
                bfd=judgement.profiles.get(peer.bfd_profile),
            )
        )
    return Peering(peers=tuple(peers), refused=refused)


def peering(snapshot: Snapshot, node: Node) -> Peering:
    """The sessions a node ought to hold, without their routes."""
    objects = snapshot.objects
    return sessions(judged_bgp(objects, usable_pools(objects), (node,)), node)
