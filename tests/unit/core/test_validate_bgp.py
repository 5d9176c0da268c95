"""BGP objects that cannot stand beside each other: told, left out, and the rest in force."""

from __future__ import annotations

from dataclasses import replace

import pytest

from onehop.core.validate import problems
from onehop.core.validate_bgp import BgpJudgement, BgpValidator, judged_bgp
from onehop.model.bgp import (
    AuthenticationOption,
    BFDProfile,
    BGPAdvertisement,
    BGPPeer,
    CommunityAliases,
    Secret,
)
from onehop.model.config import Pool
from onehop.model.objects import Objects
from onehop.model.reason import Reason
from onehop.model.service import Key
from tests.builders import a_node, a_pool, labels
from tests.unit.core.bgp import NODES, a_peer, a_world, an_adv, key

BASIC = "kubernetes.io/basic-auth"
RACK_A, RACK_B = (labels(rack="a"),), (labels(rack="b"),)
RACKS = (a_node("a", labels={"rack": "a"}), a_node("b", labels={"rack": "b"}))


def judged(objects: Objects, pools: tuple[Pool, ...] = (a_pool(),)) -> BgpJudgement:
    return judged_bgp(objects, pools, tuple(objects.nodes.values()))


def told(objects: Objects) -> list[tuple[str, str, Reason]]:
    return [(each.object, each.field, each.reason) for each in problems(objects)]


def test_what_is_right_is_in_force() -> None:
    peers = [a_peer("r1", bfd_profile="fast"), a_peer("r2", "192.0.2.2")]
    advs = [an_adv("a", communities=("mine",), peers=("r1",), pools=("pool",)), an_adv("b")]
    aliases = CommunityAliases(key=key("c"), aliases={"mine": "1:2"})
    fast = BFDProfile(key=key("fast"))
    objects = a_world(peers=peers, advs=advs, communities=[aliases], profiles=[fast])
    found = judged(objects)
    assert problems(objects) == found.problems == ()
    assert found.peers == tuple(peers)
    assert found.advertisements == tuple(advs)
    assert found.aliases == {"mine": "1:2"}
    assert found.profiles == {"fast": fast}
    assert not found.refused_peers
    assert not found.refused_advertisements


@pytest.mark.parametrize(
    ("bad", "field", "reason"),
    [
        (a_peer("z", "192.0.2.9", bfd_profile="no"), "bfdProfile", Reason.BFD_PROFILE_UNKNOWN),
        (a_peer("z", "192.0.2.1"), "peerAddress", Reason.PEER_DUPLICATE),
        *(
            (
                a_peer("z", "192.0.2.9", password_secret=key(name)),
                "passwordSecret",
                Reason.SECRET_UNUSABLE,
            )
            for name in ("none", "opaque", "empty", "blank")
        ),
    ],
)
def test_a_peer_that_cannot_stand(bad: BGPPeer, field: str, reason: Reason) -> None:
    secrets = [
        Secret(key=key("opaque"), type="Opaque"),
        Secret(key=key("empty"), type=BASIC),
        Secret(key=key("blank"), type=BASIC, password=""),
    ]
    objects = a_world(peers=[bad, a_peer("r1")], secrets=secrets)
    assert told(objects) == [("BGPPeer metallb-system/z", f"spec.{field}", reason)]
    found = judged(objects)
    assert [each.key.name for each in found.peers] == ["r1"]
    assert found.refused_peers["z"].reason is reason


@pytest.mark.parametrize(
    "other",
    [
        a_peer("z", "192.0.2.1", port=1179),
        a_peer("z", "192.0.2.2"),
        a_peer("z", "192.0.2.1", node_selectors=RACK_B),
    ],
)
def test_peers_that_differ_in_address_port_or_nodes(other: BGPPeer) -> None:
    objects = a_world(peers=[a_peer("r1", node_selectors=RACK_A), other], nodes=RACKS)
    assert judged(objects).peers[1] is other
    assert not problems(objects)


def test_two_peers_for_one_address_on_a_common_node() -> None:
    peers = [a_peer("r1", node_selectors=RACK_A), a_peer("r2")]
    objects = a_world(peers=peers, nodes=RACKS)
    assert told(objects)[0][2] is Reason.PEER_DUPLICATE
    here = judged_bgp(objects, (a_pool(),), (RACKS[0],))
    assert list(here.refused_peers) == ["r2"]
    assert not judged_bgp(objects, (a_pool(),), (RACKS[1],)).refused_peers


def test_a_master_key_comes_from_the_secret_that_the_annotation_names() -> None:
    secret = Secret(key=key("ao"), type=BASIC, password="topsecret")
    option = AuthenticationOption(secret=secret.key, send_id=1, receive_id=1)
    objects = a_world(peers=[a_peer(authentication=option)], secrets=[secret])
    assert judged(objects).peers[0].password == "topsecret"
    assert told(a_world(peers=[a_peer(authentication=option)])) == [
        ("BGPPeer metallb-system/r1", "metadata.annotations", Reason.SECRET_UNUSABLE)
    ]


def test_a_password_comes_from_the_secret_and_is_not_told() -> None:
    secret = Secret(key=Key("other", "pw"), type=BASIC, password="topsecret")
    objects = a_world(peers=[a_peer(password_secret=secret.key)], secrets=[secret])
    found = judged(objects)
    assert found.peers[0].password == "topsecret"
    assert "topsecret" not in repr(found)
    assert not found.problems


@pytest.mark.parametrize(
    ("bad", "field", "reason"),
    [
        (an_adv("z", communities=("1:1", "x")), "communities[1]", Reason.COMMUNITY_UNKNOWN),
        (an_adv("z", aggregation_length=27), "aggregationLength", Reason.AGGREGATE_TOO_WIDE),
        (an_adv("z", aggregation_length_v6=63), "aggregationLengthV6", Reason.AGGREGATE_TOO_WIDE),
        (an_adv("z", local_pref=5), "localPref", Reason.LOCAL_PREF_CONFLICT),
    ],
)
def test_an_advertisement_that_cannot_stand(
    bad: BGPAdvertisement, field: str, reason: Reason
) -> None:
    pools = [a_pool("pool", "192.0.2.240/28"), a_pool("six", "2001:db8::/64")]
    objects = a_world(advs=[bad, an_adv("a")], pools=pools)
    assert told(objects) == [("BGPAdvertisement metallb-system/z", f"spec.{field}", reason)]
    found = judged(objects, tuple(pools))
    assert found.advertisements == (an_adv("a"),)
    assert found.refused_advertisements["z"].reason is reason


@pytest.mark.parametrize(
    ("range_", "length", "refused"),
    [
        ("192.0.2.240/28", 28, False),
        ("192.0.2.240/28", 27, True),
        ("192.0.2.241-192.0.2.250", 30, False),  # .244/30 lies in it
        ("192.0.2.241-192.0.2.250", 29, True),
        ("192.0.2.1-192.0.2.1", 32, False),
        ("192.0.2.1-192.0.2.1", 31, True),
        ("192.0.2.0-192.0.3.255", 23, False),
        ("0.0.0.0/0", 1, False),
    ],
)
def test_how_wide_an_aggregate_may_be(range_: str, length: int, refused: bool) -> None:
    pool = a_pool("pool", range_)
    objects = a_world(advs=[an_adv(aggregation_length=length)], pools=[pool])
    assert bool(judged(objects, (pool,)).refused_advertisements) is refused


def test_an_aggregate_of_other_pools_is_not_looked_at() -> None:
    pools = (a_pool("pool", "192.0.2.240/28"), a_pool("wide", "198.51.100.0/24"))
    objects = a_world(advs=[an_adv(aggregation_length=24, pools=("wide",))], pools=pools)
    assert not judged(objects, pools).problems


@pytest.mark.parametrize(
    "other",
    [
        an_adv("z", local_pref=5, peers=("r2",)),
        an_adv("z", local_pref=5, pools=("second",)),
        an_adv("z", local_pref=5, aggregation_length=28),
        an_adv("z", local_pref=5, node_selectors=RACK_B),
        an_adv("z", local_pref=5, service_selectors=(labels(app="web"),)),
        an_adv("z", local_pref=100, node_selectors=RACK_A),
    ],
)
def test_preferences_that_do_not_meet(other: BGPAdvertisement) -> None:
    one = an_adv("a", local_pref=100, peers=("r1",), pools=("pool",), node_selectors=RACK_A)
    pools = [a_pool("pool", "192.0.2.240/28"), a_pool("second", "198.51.100.0/24")]
    peers = [a_peer("r1"), a_peer("r2", "192.0.2.2")]
    objects = a_world(advs=[one, other], pools=pools, nodes=RACKS, peers=peers)
    assert judged(objects, tuple(pools)).advertisements == (one, other)


def test_preferences_that_meet_on_a_node_and_a_peer() -> None:
    one = an_adv("a", local_pref=100, peers=("r1", "r2"), node_selectors=RACK_A)
    two = an_adv("b", local_pref=200, peers=("r2",))
    peers = [a_peer("r1"), a_peer("r2", "192.0.2.2")]
    objects = a_world(advs=[two, one], nodes=RACKS, peers=peers)
    assert list(judged(objects).refused_advertisements) == ["b"]


def test_names_that_nobody_has_are_told_and_do_no_harm() -> None:
    adv = an_adv(pools=("pool", "none"), peers=("r9", "r1"))
    objects = a_world(advs=[adv])
    assert told(objects) == [
        ("BGPAdvertisement metallb-system/adv", "spec.ipAddressPools[1]", Reason.UNKNOWN_POOL),
        ("BGPAdvertisement metallb-system/adv", "spec.peers[0]", Reason.UNKNOWN_PEER),
    ]
    assert judged(objects).advertisements == (adv,)


def test_one_alias_of_two_objects_is_the_first_ones() -> None:
    first = CommunityAliases(key=key("a"), aliases={"mine": "1:1"})
    second = CommunityAliases(key=key("b"), aliases={"own": "1:3", "mine": "1:2"})
    objects = a_world(communities=[second, first])
    assert told(objects) == [
        (
            "Community metallb-system/b",
            "spec.communities[1].name",
            Reason.COMMUNITY_DUPLICATE,
        )
    ]
    assert judged(objects).aliases == {"mine": "1:1", "own": "1:3"}


def test_a_name_in_two_namespaces_is_the_first_ones() -> None:
    twin = BGPPeer(key=Key("zoo", "r1"), my_asn=1, peer_asn=2, address=a_peer().address)
    objects = a_world(peers=[twin, a_peer("r1")])
    assert told(objects) == [("BGPPeer zoo/r1", "metadata.name", Reason.DUPLICATE_OBJECT)]
    assert judged(objects).peers == (a_peer("r1"),)


def test_a_drain_that_is_neither_true_nor_false() -> None:
    nodes = [
        a_node(text or "x", annotations={"onehop.io/drain": text}) for text in ("true", "yes")
    ]
    assert told(a_world(nodes=nodes)) == [
        ("Node yes", "metadata.annotations[onehop.io/drain]", Reason.FIELD_INVALID)
    ]


def test_the_validator_looks_again_only_when_an_object_is_another() -> None:
    validator, pools = BgpValidator(), (a_pool(),)
    objects = a_world(peers=[a_peer(bfd_profile="none")], nodes=NODES)
    first = validator.problems(objects, pools)
    assert len(first) == 1
    assert validator.problems(objects, pools) is first
    assert validator.problems(a_world(nodes=NODES), pools) == ()


def test_a_node_that_joins_can_bring_two_peers_together() -> None:
    validator, pools = BgpValidator(), (a_pool(),)
    peers = [a_peer("r1", node_selectors=RACK_A), a_peer("r2", node_selectors=(labels(row="1"),))]
    objects = a_world(peers=peers, nodes=RACKS)
    assert validator.problems(objects, pools) == ()
    both = a_node("c", labels={"rack": "a", "row": "1"})
    joined = replace(objects, nodes={**objects.nodes, Key("", "c"): both})
    assert len(validator.problems(joined, pools)) == 1
