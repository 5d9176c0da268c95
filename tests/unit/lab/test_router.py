"""A router's specification follows from the lab; each daemon's words are read as they are."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Sequence
from ipaddress import ip_address, ip_network
from pathlib import Path

import pytest

from onehop.lab.lab import ARTICLE
from onehop.lab.plan import topology
from onehop.lab.router import (
    Daemon,
    Daemons,
    Router,
    RouterSpec,
    implementation,
    routed_pools,
    router_spec,
)
from onehop.lab.router_fib import Routes, batch, table
from onehop.lab.scenes_bgp import CLUSTER_HOPS, LOCAL_HOPS, learned_routes, route_text
from onehop.lab.state import LabError, copy_manifests
from onehop.lab.store import read_objects
from onehop.model.bgp import BGPPeer
from onehop.model.objects import Objects
from onehop.model.service import Key

BIRD_SAYS = """\
BIRD 2.0.12 ready.
Name       Proto      Table      State  Since         Info
node0-v4   BGP        ---        up     06:39:01.000  Established
  BGP state:          Established
    Neighbor address: 192.168.200.200
    Neighbor AS:      64512

node1-v4   BGP        ---        start  06:39:01.000  Passive
  BGP state:          Passive
    Neighbor address: 192.168.200.201
    Neighbor AS:      64512

node2-v6   BGP        ---        up     06:39:01.000  Established
  BGP state:          Established
    Neighbor address: fe80::2%eno1
"""
FRR_SAYS = {
    "192.168.200.200": {"bgpState": "Established"},
    "192.168.200.201": {"bgpState": "Active"},
    "fe80::2": {"bgpState": "Established"},
}
GOBGP_SAYS = [
    {"conf": {"neighbor_address": "192.168.200.200"}, "state": {"session_state": 6}},
    {"conf": {"neighbor_address": "192.168.200.201"}, "state": {"session_state": 3}},
    {"conf": {"neighbor_address": "fe80::2"}, "state": {"session_state": 6}},
]


@pytest.fixture
def objects(tmp_path: Path) -> Objects:
    copy_manifests(ARTICLE, tmp_path)
    return read_objects(tmp_path)


def test_every_node_is_a_neighbour_in_one_as(objects: Objects) -> None:
    spec = router_spec(topology(objects), objects)
    assert (spec.asn, str(spec.router_id)) == (64512, "192.168.200.1")
    assert [(str(peer.address), peer.asn, peer.passive) for peer in spec.peers] == [
        (f"192.168.200.20{number}", 64512, True) for number in range(3)
    ]


def test_the_bgp_peer_of_the_routers_address_says_who_is_in_which_as(objects: Objects) -> None:
    def peer(address: str, mine: int, theirs: int) -> BGPPeer:
        return BGPPeer(
            key=Key("metallb-system", address),
            my_asn=mine,
            peer_asn=theirs,
            address=ip_address(address),
            password="open sesame",
        )

    peers = [peer("192.168.200.9", 1, 2), peer("192.168.200.1", 64600, 64700)]
    more = Objects(
        complete=True, nodes=objects.nodes, bgp_peers={peer.key: peer for peer in peers}
    )
    spec = router_spec(topology(more), more)
    assert spec.asn == 64700
    assert {(one.asn, one.password) for one in spec.peers} == {(64600, "open sesame")}


def test_a_client_reaches_each_network_of_a_pool_through_the_router(objects: Objects) -> None:
    router = ip_address("192.168.200.1")
    assert list(routed_pools(objects, topology(objects))) == [
        (ip_network("192.168.200.240/29"), router),
        (ip_network("192.168.200.248/31"), router),
        (ip_network("192.168.200.250/32"), router),
    ]


def test_an_unknown_router_is_told_the_known() -> None:
    with pytest.raises(LabError, match="--router cisco: the router is bird, frr, gobgp"):
        implementation("cisco")


@pytest.mark.parametrize(
    ("name", "said"),
    [("bird", BIRD_SAYS), ("frr", json.dumps(FRR_SAYS)), ("gobgp", json.dumps(GOBGP_SAYS))],
)
def test_established_is_what_the_daemon_calls_so(name: str, said: str, tmp_path: Path) -> None:
    def run(argv: Sequence[str]) -> subprocess.CompletedProcess[str]:
        return subprocess.CompletedProcess(argv, 0, stdout=said, stderr="")

    kind = implementation(name)
    router = Router(kind, tmp_path, lambda daemon: None, run)
    assert router.established() == {ip_address("192.168.200.200"), ip_address("fe80::2")}


def test_an_answer_that_is_an_error_is_told(tmp_path: Path) -> None:
    def run(argv: Sequence[str]) -> subprocess.CompletedProcess[str]:
        return subprocess.CompletedProcess(argv, 1, stdout="", stderr="syntax error\n")

    router = Router(implementation("bird"), tmp_path, lambda daemon: None, run)
    with pytest.raises(LabError, match="bird: show nothing: syntax error"):
        router.ask("show nothing")


class Missing:
    """A daemon that no distribution has."""

    name = "missing"
    packages: tuple[str, ...] = ("no-such-package",)
    route_origin = ""
    user = "root"

    def files(self, spec: RouterSpec, folder: Path) -> dict[str, str]:
        return {}

    def daemons(self, folder: Path) -> tuple[Daemon, ...]:
        return (Daemon(name="it", argv=("no-such-daemon",), socket=folder / "s"),)

    def asking(self, folder: Path, words: str) -> tuple[str, ...]:
        return ("true",)

    def established(self, run: object, folder: Path) -> frozenset[object]:
        return frozenset()


def test_a_daemon_that_is_not_installed_is_named_with_its_package(
    objects: Objects, tmp_path: Path
) -> None:
    kind: Daemons = Missing()  # type: ignore[assignment]
    router = Router(kind, tmp_path / "router", lambda daemon: None, lambda argv: None)  # type: ignore[arg-type,return-value]
    with pytest.raises(LabError, match=r"no-such-daemon is not installed.*no-such-package"):
        router.start(router_spec(topology(objects), objects))
    assert not (tmp_path / "router").exists()


def test_local_routes_are_the_articles_lines() -> None:
    assert route_text(LOCAL_HOPS, "proto bird metric 32") == (
        "192.168.200.240 proto bird metric 32\n"
        "nexthop via 192.168.200.200 dev eno1 weight 1\n"
        "nexthop via 192.168.200.201 dev eno1 weight 1\n"
        "nexthop via 192.168.200.202 dev eno1 weight 1\n"
        "192.168.200.241 via 192.168.200.201 dev eno1 proto bird metric 32\n"
        "192.168.200.242 via 192.168.200.202 dev eno1 proto bird metric 32\n"
        "192.168.200.243 via 192.168.200.200 dev eno1 proto bird metric 32"
    )
    assert route_text(CLUSTER_HOPS, "proto bird metric 32").count("\nnexthop via ") == 12


def test_learned_routes_leave_out_every_other_and_fold_spaces() -> None:
    text = (
        "192.168.200.0/24 dev eno1 proto kernel scope link src 192.168.200.1 \n"
        "192.168.200.241 via 192.168.200.201 dev eno1 proto bird metric 32 \n"
        "192.168.200.240 proto bird metric 32 \n"
        "\tnexthop via 192.168.200.202 dev eno1 weight 1 \n"
        "\tnexthop via 192.168.200.200 dev eno1 weight 1 \n"
        "192.168.200.9 via 192.168.200.3 dev eno1 proto static \n"
    )
    assert learned_routes(text, "proto bird metric 32") == (
        "192.168.200.240 proto bird metric 32\n"
        "nexthop via 192.168.200.200 dev eno1 weight 1\n"
        "nexthop via 192.168.200.202 dev eno1 weight 1\n"
        "192.168.200.241 via 192.168.200.201 dev eno1 proto bird metric 32"
    )
    assert learned_routes("", "proto bird metric 32") == ""


def path(hop: str, *more: object, kind: int = 3) -> dict[str, object]:
    return {"attrs": [{"type": 1, "value": 0}, {"type": kind, "nexthop": hop}, *more]}


def test_equal_paths_share_a_route_and_a_worse_one_does_not() -> None:
    low = {"type": 5, "value": 50}
    text = json.dumps(
        {
            "192.0.2.1/32": [path("10.0.0.2"), path("10.0.0.1"), path("10.0.0.3", low)],
            "2001:db8::1/128": [path("fd00::1", kind=14)],
        }
    )
    assert table(text) == {
        "192.0.2.1/32": ("10.0.0.1", "10.0.0.2"),
        "2001:db8::1/128": ("fd00::1",),
    }
    assert table("") == {}


def test_only_what_differs_is_installed() -> None:
    old: Routes = {
        "192.0.2.1/32": ("10.0.0.1",),
        "192.0.2.2/32": ("10.0.0.1",),
        "192.0.2.3/32": ("a",),
    }
    new: Routes = {"192.0.2.1/32": ("10.0.0.1",), "192.0.2.2/32": ("10.0.0.1", "10.0.0.2")}
    assert batch(old, new, "eno1") == (
        "route del 192.0.2.3/32 proto bgp metric 20\n"
        "route replace 192.0.2.2/32 proto bgp metric 20 "
        "nexthop via 10.0.0.1 dev eno1 nexthop via 10.0.0.2 dev eno1\n"
    )
    assert batch(new, new, "eno1") == ""


def test_an_ipv4_prefix_may_have_an_ipv6_next_hop() -> None:
    assert batch({}, {"192.0.2.1/32": ("fe80::1",)}, "eno1") == (
        "route replace 192.0.2.1/32 proto bgp metric 20 nexthop via inet6 fe80::1 dev eno1\n"
    )
