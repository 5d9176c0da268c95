"""Which sessions a node ought to have."""

from __future__ import annotations

from ipaddress import IPv4Address
from zlib import crc32

from onehop.core.peering import peering, router_id
from onehop.core.snapshot import Snapshot
from onehop.model.bgp import BFDProfile, PeerDesired
from onehop.model.reason import Reason, Refusal
from tests.builders import a_node, labels
from tests.unit.core.bgp import a_peer, a_world, key

NODE = a_node("node0", labels={"rack": "a"})


def test_sessions_come_by_name_with_profile_and_identifier() -> None:
    fast = BFDProfile(key=key("fast"))
    two, one = a_peer("r2", "192.0.2.2", bfd_profile="fast"), a_peer("r1")
    objects = a_world(peers=[two, one], nodes=[NODE], profiles=[fast])
    identifier = IPv4Address("192.0.2.10")
    assert peering(Snapshot(objects=objects), NODE).peers == (
        PeerDesired(name="r1", peer=one, router_id=identifier),
        PeerDesired(name="r2", peer=two, router_id=identifier, bfd=fast),
    )


def test_every_other_peer_says_why_not() -> None:
    here = a_peer("r1", node_selectors=(labels(rack="b"), labels(rack="a")))
    there = a_peer("r2", "192.0.2.2", node_selectors=(labels(rack="b"),))
    broken = a_peer("r3", "192.0.2.3", bfd_profile="none")
    found = peering(Snapshot(objects=a_world(peers=[here, there, broken])), NODE)
    assert [each.name for each in found.peers] == ["r1"]
    assert found.refused == {
        "r2": Refusal(reason=Reason.PEER_NOT_SELECTED, detail="node0"),
        "r3": Refusal(reason=Reason.BFD_PROFILE_UNKNOWN, detail="there is no BFDProfile none"),
    }


def test_the_identifier_is_the_peers_the_nodes_or_made_of_the_name() -> None:
    own = IPv4Address("10.0.0.9")
    assert router_id(a_peer(router_id=own), NODE) == own
    assert router_id(a_peer(), NODE) == IPv4Address("192.0.2.10")
    six = a_node("node6", "fd00::1")
    assert router_id(a_peer(), six) == IPv4Address(crc32(b"node6"))
    # RFC 6286 2.1: zero is no identifier, and zero is what no octets at all come to
    assert router_id(a_peer(), a_node("", "fd00::1")) == IPv4Address(1)
