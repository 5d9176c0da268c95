"""Why a router has a route or not: every link of the chain says its own word."""

from __future__ import annotations

import asyncio
import os
from dataclasses import replace
from ipaddress import ip_address, ip_network
from pathlib import Path

import pytest

from onehop.app.bgp_report import NodeState, PeerState, ReportFile, process_name, report_path
from onehop.app.bgp_why import Answer, answer, in_words
from onehop.app.explain import explanation
from onehop.model.bgp import BGPAdvertisement, BGPPeer
from onehop.model.objects import Objects
from onehop.model.service import Key
from tests.builders import LOCAL, a_node, a_pool, a_service, a_slice, an_endpoint, the_objects

SYSTEM = "metallb-system"
PEER = BGPPeer(
    key=Key(SYSTEM, "router"), my_asn=64500, peer_asn=64512, address=ip_address("192.0.2.254")
)
ADVERTISEMENT = BGPAdvertisement(key=Key(SYSTEM, "all"), communities=("64500:7",))
OBJECTS = the_objects(
    nodes=[a_node("node1"), a_node("node2", "192.0.2.11")],
    services=[a_service("web", "192.0.2.241", policy=LOCAL)],
    slices=[a_slice("web", an_endpoint("10.0.2.1", "node1"))],
    pools=[a_pool()],
    bgp_peers={PEER.key: PEER},
    bgp_advertisements={ADVERTISEMENT.key: ADVERTISEMENT},
)


def why(objects: Objects, prefix: str, state: Path, node: str | None = None) -> Answer:
    return answer(objects, ip_network(prefix), state=state, node=node)


def test_the_chain_ends_at_the_session(tmp_path: Path) -> None:
    peer = PeerState(
        name="router",
        address="192.0.2.254",
        port=179,
        local_asn=64500,
        peer_asn=64512,
        state="Established",
        since=0.0,
    )
    state = NodeState(node="node1", at=0.0, process=process_name(os.getpid()), peers=(peer,))

    async def write() -> None:
        ReportFile(
            report_path(tmp_path, "node1"),
            lambda: state,
            loop=asyncio.get_running_loop(),
            on_failure=lambda error: pytest.fail(str(error)),
        ).write()

    asyncio.run(write())
    lines = in_words(why(OBJECTS, "192.0.2.241/32", tmp_path))
    assert lines == [
        "192.0.2.241/32",
        "  pool      pool",
        "  service   default/web: 192.0.2.241",
        "  node1",
        "    to router (Established): 192.0.2.241/32 communities 64500:7",
        "  node2  advertises it to nobody: NoLocalEndpoint: policy Local, and no endpoint here "
        "can serve",
    ]


def test_a_speaker_that_has_told_nothing_is_said_so(tmp_path: Path) -> None:
    lines = in_words(why(OBJECTS, "192.0.2.241/32", tmp_path, "node1"))
    assert lines[-1].startswith("    to router (its speaker has told nothing): 192.0.2.241/32")


def test_nobody_advertises_what_no_service_has(tmp_path: Path) -> None:
    assert in_words(why(OBJECTS, "192.0.2.242/32", tmp_path))[1:] == [
        "  pool      pool",
        "  service   none has an address in it, so nobody advertises it",
    ]
    assert in_words(why(OBJECTS, "203.0.113.1/32", tmp_path))[1] == "  pool      no pool holds it"


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"bgp_advertisements": {}}, "NoBGPAdvertisement"),
        ({"bgp_peers": {}}, "no BGPPeer"),
        (
            {"bgp_peers": {PEER.key: replace(PEER, bfd_profile="none")}},
            "BFDProfileUnknown",
        ),
        (
            {
                "bgp_advertisements": {
                    ADVERTISEMENT.key: replace(ADVERTISEMENT, communities=("gold",))
                }
            },
            "CommunityUnknown",
        ),
        ({"slices": {}}, "NoEndpoints"),
        ({"pools": {}}, "AddressInNoPool"),
    ],
)
def test_each_missing_link_is_named(change: dict[str, object], words: str, tmp_path: Path) -> None:
    objects = replace(OBJECTS, **change)  # type: ignore[arg-type]
    text = "\n".join(in_words(why(objects, "192.0.2.241/32", tmp_path, "node1")))
    assert words in text


def test_a_network_shows_every_service_inside(tmp_path: Path) -> None:
    found = why(OBJECTS, "192.0.2.240/28", tmp_path)
    assert [service.addresses for service in found.services] == [("192.0.2.241",)]


def test_explain_says_it_of_one_service(tmp_path: Path) -> None:
    key = Key("default", "web")
    found = explanation(OBJECTS, key, lb_class=None, state=tmp_path)
    assert found is not None
    assert [node.bgp for node in found.nodes] == [
        ("to router (its speaker has told nothing): 192.0.2.241/32 communities 64500:7",),
        (
            "advertises it to nobody: NoLocalEndpoint: policy Local, and no endpoint here"
            " can serve",
        ),
    ]
    without = explanation(replace(OBJECTS, bgp_peers={}), key, lb_class=None, state=tmp_path)
    assert without is not None
    assert [node.bgp for node in without.nodes] == [(), ()]
