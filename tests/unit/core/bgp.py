"""Builders of BGP objects for the decision's tests."""

from __future__ import annotations

from collections.abc import Iterable
from ipaddress import ip_address

from onehop.model.bgp import (
    BFDProfile,
    BGPAdvertisement,
    BGPPeer,
    CommunityAliases,
    Secret,
)
from onehop.model.node import Node
from onehop.model.objects import Objects
from onehop.model.service import EndpointSlice, Key, Service
from tests.builders import a_node, a_pool, a_slice, an_endpoint, the_objects

NODES = (a_node("node0"), a_node("node1", "192.0.2.11"))
WEB = Key("default", "web")


def key(name: str) -> Key:
    return Key("metallb-system", name)


def a_peer(name: str = "r1", address: str = "192.0.2.1", **more: object) -> BGPPeer:
    values: dict[str, object] = {"my_asn": 64512, "peer_asn": 64513, **more}
    return BGPPeer(key=key(name), address=ip_address(address), **values)  # type: ignore[arg-type]


def an_adv(name: str = "adv", **more: object) -> BGPAdvertisement:
    return BGPAdvertisement(key=key(name), **more)  # type: ignore[arg-type]


def a_world(
    *services: Service,
    peers: Iterable[BGPPeer] = (a_peer(),),
    advs: Iterable[BGPAdvertisement] = (an_adv(),),
    nodes: Iterable[Node] = NODES,
    slices: Iterable[EndpointSlice] | None = None,
    profiles: Iterable[BFDProfile] = (),
    communities: Iterable[CommunityAliases] = (),
    secrets: Iterable[Secret] = (),
    **more: object,
) -> Objects:
    if slices is None:
        slices = [
            a_slice(service.key.name, an_endpoint("10.0.0.1", "node0")) for service in services
        ]
    return the_objects(
        nodes=nodes,
        services=services,
        slices=slices,
        bgp_peers={each.key: each for each in peers},
        bgp_advertisements={each.key: each for each in advs},
        bfd_profiles={each.key: each for each in profiles},
        community_aliases={each.key: each for each in communities},
        secrets={each.key: each for each in secrets},
        **{"pools": [a_pool()], **more},  # type: ignore[arg-type]
    )
