"""BGP's values: what is never printed, and what is ordered and read-only."""

from __future__ import annotations

from ipaddress import IPv4Address

import pytest

from onehop.model.bgp import (
    BGPPeer,
    LargeCommunity,
    PeerDesired,
    RouteAttributes,
    Secret,
    no_routes,
)
from onehop.model.objects import Objects
from onehop.model.service import Key

KEY = Key("metallb-system", "r1")
PEER = BGPPeer(key=KEY, my_asn=1, peer_asn=2, password="topsecret")
SECRET = Secret(key=KEY, type="kubernetes.io/basic-auth", password="topsecret")


@pytest.mark.parametrize(
    "value",
    [
        PEER,
        SECRET,
        PeerDesired(name="r1", peer=PEER, router_id=IPv4Address(1)),
        Objects(secrets={KEY: SECRET}, bgp_peers={KEY: PEER}),
    ],
)
def test_a_password_is_never_printed(value: object) -> None:
    assert "topsecret" not in f"{value!r} {value}"
    assert "r1" in repr(value)


def test_a_password_makes_another_peer_and_another_secret() -> None:
    assert BGPPeer(key=KEY, my_asn=1, peer_asn=2, password="x") != PEER
    assert Secret(key=KEY, type=SECRET.type, password="x") != SECRET


def test_large_communities_are_written_and_ordered_as_numbers() -> None:
    found = sorted([LargeCommunity(10, 0, 0), LargeCommunity(9, 1, 2), LargeCommunity(9, 1, 1)])
    assert [str(each) for each in found] == ["large:9:1:1", "large:9:1:2", "large:10:0:0"]


def test_equal_attributes_share_an_update() -> None:
    one, other = (RouteAttributes(communities=(1, 2), local_pref=5) for _ in range(2))
    assert {one: 1}[other] == 1


def test_no_routes_cannot_be_written_to() -> None:
    assert PeerDesired(name="r1", peer=PEER, router_id=IPv4Address(1)).routes is no_routes()
    with pytest.raises(TypeError):
        no_routes()["x"] = None  # type: ignore[index]
