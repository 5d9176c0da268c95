"""The router of the lab: each daemon, fed by announcing peers that are not onehop's."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from onehop.lab import observe
from onehop.lab.lab import Lab, LabSpec
from onehop.lab.probe import eventually
from onehop.lab.scenes import Stage
from onehop.lab.scenes_bgp import (
    CLUSTER_HOPS,
    LOCAL_HOPS,
    Hops,
    bgp_cluster,
    bgp_local,
    learned_routes,
    route_text,
)

pytestmark = [pytest.mark.root, pytest.mark.lab]

ROUTER = "192.168.200.1"
ANNOUNCER = """
log stderr all;
router id {address};
protocol device {{}}
protocol static {{ ipv4; {routes} }}
protocol bgp {{
  local {address} as 64512;
  neighbor {router} as 64512;
  direct;
  connect delay time 1; connect retry time 1; error wait time 1, 2;
  ipv4 {{ import none; export all; next hop self; }};
}}
"""


@pytest.fixture(params=["bird", "frr", "gobgp"])
def lab(request: pytest.FixtureRequest) -> Iterator[Lab]:
    spec = LabSpec(name=f"router-{os.getpid()}", control=False, router=request.param)
    with Lab.up(spec) as built:
        yield built


@pytest.fixture(params=["frr", "gobgp"])
def speakers(request: pytest.FixtureRequest) -> Iterator[Lab]:
    """Nodes that announce and forward, and a router that is not the article's."""
    with Lab.up(LabSpec(name=f"router-{os.getpid()}-s", router=request.param)) as built:
        yield built


def announce(lab: Lab, folder: Path, hops: Hops) -> None:
    """One BIRD on each node, with a static route for each address that leads to the node."""
    for node in lab.topology.nodes:
        (own,) = (str(interface.ip) for interface in node.addresses)
        mine = [address for address, vias in hops.items() if own in vias]
        routes = " ".join(f"route {address}/32 blackhole;" for address in mine)
        text = ANNOUNCER.format(address=own, router=ROUTER, routes=routes)
        config = folder / f"{node.name}.conf"
        config.write_text(text)
        name = f"announcer-{node.name}"
        argv = ["bird", "-f", "-c", str(config), "-s", str(folder / f"{node.name}.ctl")]
        lab.supervisor.stop(name)
        lab.supervisor.start(name, node.name, argv)


def seen(lab: Lab) -> str:
    return learned_routes(observe.routes(lab, "router"), lab.router().kind.route_origin)


def assert_routes(lab: Lab, hops: Hops) -> None:
    wanted = route_text(hops, lab.router().kind.route_origin)
    eventually(lambda: seen(lab) == wanted, 30)
    assert seen(lab) == wanted


def test_the_routers_kernel_holds_what_the_nodes_announce(lab: Lab, tmp_path: Path) -> None:
    for hops in (LOCAL_HOPS, CLUSTER_HOPS):
        announce(lab, tmp_path, hops)
        assert_routes(lab, hops)
        assert {str(one) for one in lab.router().established()} == {
            str(interface.ip) for node in lab.topology.nodes for interface in node.addresses
        }
    lab.supervisor.stop("announcer-node1")
    left = {
        address: tuple(via for via in vias if via != "192.168.200.201")
        for address, vias in CLUSTER_HOPS.items()
    }
    assert_routes(lab, left)


def test_the_scenes_are_seen_with_other_routers(speakers: Lab) -> None:
    """With BIRD the tour plays them."""
    for scene in (bgp_local, bgp_cluster):
        played = scene(Stage(speakers, None))
        assert played.ok, played
        assert played.seen == played.expected
        assert speakers.router().kind.route_origin in played.seen
    assert "192.168.200.24" not in speakers.run("client", ["ip", "route"]).stdout


@pytest.mark.parametrize("speakers", ["frr"], indirect=True)
def test_a_scene_fails_when_a_node_is_silent(speakers: Lab) -> None:
    speakers.supervisor.stop("speaker-node1")
    played = bgp_cluster(Stage(speakers, None))
    assert not played.ok
    assert "192.168.200.201" not in played.seen
