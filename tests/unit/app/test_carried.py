"""Only what is carried is advertised."""

from __future__ import annotations

from ipaddress import IPv4Address, ip_address, ip_network

from onehop.app.carried import carried
from onehop.model.bgp import BGPPeer, PeerDesired, RouteAttributes
from onehop.model.desired import Failure, Report
from onehop.model.reason import Reason, Refusal
from onehop.model.service import Key

PEER = BGPPeer(key=Key("s", "router"), my_asn=1, peer_asn=2, address=ip_address("192.0.2.254"))
FULL = Refusal(reason=Reason.MAP_FULL)


def wanted(*prefixes: str) -> PeerDesired:
    routes = {ip_network(prefix): RouteAttributes() for prefix in prefixes}
    return PeerDesired(name="router", peer=PEER, router_id=IPv4Address("192.0.2.1"), routes=routes)


def prefixes(peers: tuple[PeerDesired, ...]) -> list[str]:
    return [str(prefix) for prefix in peers[0].routes]


def test_when_all_is_carried_the_identical_peers_are_told() -> None:
    peers = (wanted("198.51.100.1/32"),)
    assert carried(peers, (), Report(changed=3)) is peers


def test_what_the_datapath_refused_is_left_out() -> None:
    address = ip_address("198.51.100.1")
    grown = Report(failures=(Failure(subject="web", refusal=FULL, address=address),))
    peers = (wanted("198.51.100.1/32", "198.51.100.2/32", "198.51.100.0/24"),)
    assert prefixes(carried(peers, (), grown)) == ["198.51.100.2/32", "198.51.100.0/24"]


def test_while_it_is_unclear_only_what_was_told_stays() -> None:
    peers = (wanted("198.51.100.1/32", "198.51.100.2/32"),)
    told = (wanted("198.51.100.2/32", "198.51.100.3/32"),)
    unclear = Report(failures=(Failure(subject="datapath", refusal=FULL),), is_unclear=True)
    assert prefixes(carried(peers, told, unclear)) == ["198.51.100.2/32"]
    assert prefixes(carried(peers, (), unclear)) == []
