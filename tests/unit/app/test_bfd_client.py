"""Which path a BGP session depends on."""

from __future__ import annotations

from dataclasses import replace
from ipaddress import ip_address

from onehop.app.bfd_client import path_to
from onehop.model.bgp import BGPPeer
from onehop.model.service import Key
from onehop.proto.bfd.session import Path

ROUTER, NODE = ip_address("192.0.2.254"), ip_address("192.0.2.1")
PEER = BGPPeer(key=Key("metallb-system", "router"), my_asn=64500, peer_asn=64512, address=ROUTER)


def test_a_neighbour_on_a_link_is_one_hop_away() -> None:
    assert path_to(PEER, ROUTER, None, is_on_link=True) == Path(peer=ROUTER)


def test_a_peer_behind_a_link_is_sought_there() -> None:
    address = ip_address("fe80::1")
    on_link = replace(PEER, address=None, link="net0")
    assert path_to(on_link, address, None, is_on_link=True) == Path(peer=address, link="net0")
    in_vrf = replace(PEER, vrf="red")
    assert path_to(in_vrf, ROUTER, NODE, is_on_link=True).link == "red"


def test_a_peer_farther_away_is_several_hops_away() -> None:
    far = Path(peer=ROUTER, local=NODE, multihop=True)
    assert path_to(PEER, ROUTER, NODE, is_on_link=False) == far
    assert path_to(replace(PEER, ebgp_multihop=True), ROUTER, NODE, is_on_link=True) == far
