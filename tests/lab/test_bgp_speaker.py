"""`onehop speaker` beside a real BIRD 2: objects in a folder, routes in the router's kernel."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml

from tests.lab.bird import NODE, NODE_AS, ROUTER, ROUTER_AS, Router, router, session
from tests.lab.wire import eventually

pytestmark = pytest.mark.root

VIP = "198.51.100.10"
ONEHOP = (sys.executable, "-m", "onehop.cli.main")


def a_service(name: str, *addresses: str, local: bool = False) -> list[dict[str, object]]:
    """A Service with addresses and one endpoint on the node."""
    meta = {"name": name, "namespace": "default"}
    service = {
        "apiVersion": "v1",
        "kind": "Service",
        "metadata": meta,
        "spec": {
            "type": "LoadBalancer",
            "clusterIPs": ["10.96.0.10"],
            "externalTrafficPolicy": "Local" if local else "Cluster",
            "ports": [{"name": "http", "port": 80, "protocol": "TCP"}],
        },
        "status": {"loadBalancer": {"ingress": [{"ip": ip} for ip in addresses]}},
    }
    slice_ = {
        "apiVersion": "discovery.k8s.io/v1",
        "kind": "EndpointSlice",
        "metadata": {
            "name": f"{name}-1",
            "namespace": "default",
            "labels": {"kubernetes.io/service-name": name},
        },
        "addressType": "IPv4",
        "ports": [{"name": "http", "port": 8080, "protocol": "TCP"}],
        "endpoints": [{"addresses": ["10.0.0.1"], "nodeName": "node1"}],
    }
    return [service, slice_]


DRAINED = {"onehop.io/drain": "true"}


def of_metallb(
    kind: str, name: str, version: str = "v1beta1", **spec: object
) -> dict[str, object]:
    return {
        "apiVersion": f"metallb.io/{version}",
        "kind": kind,
        "metadata": {"name": name, "namespace": "metallb-system"},
        "spec": spec,
    }


BASE = [
    {
        "apiVersion": "v1",
        "kind": "Node",
        "metadata": {"name": "node1"},
        "status": {"addresses": [{"type": "InternalIP", "address": NODE}]},
    },
    of_metallb("IPAddressPool", "pool", addresses=["198.51.100.0/24"]),
    of_metallb("BGPAdvertisement", "all"),
]


def a_peer(**spec: object) -> dict[str, object]:
    usual = {"myASN": NODE_AS, "peerASN": ROUTER_AS, "peerAddress": ROUTER, "holdTime": "9s"}
    return of_metallb("BGPPeer", "router", "v1beta2", **usual | spec)


class Cluster:
    """A folder of objects, the router, and the speaker of the one node."""

    def __init__(self, far: Router) -> None:
        self.far = far
        self.folder = far.root / "manifests"
        self.folder.mkdir()
        self.put("base", *BASE)
        self.put("peer", a_peer())

    def put(self, name: str, *objects: dict[str, object]) -> None:
        temporary = self.folder / f".{name}"
        temporary.write_text(yaml.safe_dump_all(objects))
        os.replace(temporary, self.folder / f"{name}.yaml")

    def speaker(self, *options: str) -> subprocess.Popen[bytes]:
        return self.far.start(
            "node",
            *ONEHOP,
            *("speaker", "--node-name", "node1", "--datapath", "none"),
            *("--manifests", str(self.folder), *options),
            log=self.far.root / "speaker.log",
        )

    def log(self) -> str:
        return (self.far.root / "speaker.log").read_text()

    def ask(self, *words: str) -> str:
        return self.far.run("node", *ONEHOP, "bgp", *words, "--manifests", str(self.folder))

    def peer(self) -> dict[str, object]:
        """The session as `onehop bgp peers` prints it, empty before the first report."""
        file = self.folder / ".onehop" / "nodes" / "node1.bgp.json"
        if not file.exists():
            return {}
        return next(iter(json.loads(self.ask("peers", "-o", "json"))), {})


@pytest.fixture
def cluster(tmp_path: Path) -> Iterator[Cluster]:
    with router(tmp_path) as far:
        yield Cluster(far)


def test_a_service_becomes_a_route_and_stops_being_one(cluster: Cluster) -> None:
    cluster.far.bird(session())
    cluster.put("web", *a_service("web", VIP))
    cluster.speaker()
    eventually(cluster.far.routes, lambda routes: routes == {VIP: [NODE]})
    eventually(cluster.peer, lambda peer: peer.get("sent") == 1)
    table = cluster.ask("peers").splitlines()
    assert table[0].split() == [
        *("NAME", "NODE", "ADDRESS", "AS", "STATE", "SINCE", "SENT", "RECEIVED", "INFO"),
    ]
    assert table[1].split()[:5] == ["router", "node1", ROUTER, str(ROUTER_AS), "Established"]
    assert cluster.ask("routes").splitlines()[1].split()[:3] == [f"{VIP}/32", "node1", "router"]
    why = cluster.ask("why", VIP)
    assert f"to router (Established): {VIP}/32" in why
    (cluster.folder / "web.yaml").unlink()
    eventually(cluster.far.routes, lambda routes: routes == {})
    assert cluster.peer()["established"] == 1


def test_killed_it_leaves_nothing_and_is_said_to_be_down(cluster: Cluster) -> None:
    cluster.far.bird(session())
    cluster.put("web", *a_service("web", VIP))
    speaker = cluster.speaker()
    eventually(cluster.far.routes, lambda routes: routes == {VIP: [NODE]})
    eventually(cluster.peer, lambda peer: peer.get("state") == "Established")
    begin = time.monotonic()
    speaker.kill()
    speaker.wait(10)
    eventually(cluster.far.routes, lambda routes: routes == {})
    assert time.monotonic() - begin < 1.0
    assert cluster.peer()["state"] == "Down"
    assert "its speaker does not run" in cluster.ask("why", VIP)
    cluster.speaker()
    eventually(cluster.far.routes, lambda routes: routes == {VIP: [NODE]})


def test_asked_to_end_it_withdraws_before_it_says_goodbye(cluster: Cluster) -> None:
    bird = cluster.far.bird(session(debug="debug all"))
    cluster.put("web", *a_service("web", VIP))
    speaker = cluster.speaker()
    eventually(cluster.far.routes, lambda routes: routes == {VIP: [NODE]})
    speaker.send_signal(signal.SIGTERM)
    eventually(cluster.far.routes, lambda routes: routes == {})
    assert speaker.wait(10) == 0
    log = cluster.far.log()
    withdrawn = log.index(f"removed [replaced] {VIP}/32") if "removed [replaced]" in log else -1
    assert withdrawn < log.index("Administrative shutdown"), log
    assert bird.poll() is None


def test_with_graceful_restart_a_new_speaker_takes_over_unnoticed(cluster: Cluster) -> None:
    cluster.far.bird(session(graceful="graceful restart on"))
    cluster.put("peer", a_peer(enableGracefulRestart=True))
    cluster.put("web", *a_service("web", VIP))
    speaker = cluster.speaker("--on-term", "restart")
    eventually(cluster.far.routes, lambda routes: routes == {VIP: [NODE]})
    eventually(cluster.peer, lambda peer: peer.get("state") == "Established")
    with cluster.far.watching_routes() as seen:
        speaker.send_signal(signal.SIGTERM)
        assert speaker.wait(10) == 0
        cluster.speaker()
        eventually(cluster.far.state, lambda state: "Established" in state)
        eventually(cluster.peer, lambda peer: peer.get("state") == "Established")
    assert "Deleted" not in seen(), "the route stood all the time"
    assert cluster.far.routes() == {VIP: [NODE]}


@pytest.mark.parametrize("how", ["sigterm", "interrupt", "drained"])
def test_without_a_successor_graceful_restart_keeps_nothing(cluster: Cluster, how: str) -> None:
    cluster.far.bird(session(graceful="graceful restart on"))
    cluster.put("peer", a_peer(enableGracefulRestart=True))
    cluster.put("web", *a_service("web", VIP))
    speaker = cluster.speaker(*(() if how == "sigterm" else ("--on-term", "restart")))
    eventually(cluster.far.routes, lambda routes: routes == {VIP: [NODE]})
    if how == "drained":
        node = BASE[0] | {"metadata": {"name": "node1", "annotations": DRAINED}}
        cluster.put("base", node, *BASE[1:])
        eventually(lambda: shown(cluster), lambda text: "(65535,0)" in text)
    speaker.send_signal(signal.SIGINT if how == "interrupt" else signal.SIGTERM)
    assert speaker.wait(10) == 0
    eventually(cluster.far.routes, lambda routes: routes == {})


def test_a_speaker_may_ask_to_be_used_last_before_it_ends(cluster: Cluster) -> None:
    """RFC 8326 4.1: the routes stay, marked, and follow what happens, until the time is over."""
    cluster.far.bird(session())
    cluster.put("web", *a_service("web", VIP))
    speaker = cluster.speaker("--drain-time", "30")
    eventually(cluster.far.routes, lambda routes: routes == {VIP: [NODE]})
    speaker.send_signal(signal.SIGTERM)
    eventually(lambda: shown(cluster), lambda text: "(65535,0)" in text)
    cluster.put("more", *a_service("more", "198.51.100.11"))
    eventually(cluster.far.routes, lambda routes: len(routes) == 2)
    assert "(65535,0)" in shown(cluster, "198.51.100.11")
    assert speaker.poll() is None
    speaker.send_signal(signal.SIGTERM)
    assert speaker.wait(10) == 0
    eventually(cluster.far.routes, lambda routes: routes == {})


def shown(cluster: Cluster, address: str = VIP) -> str:
    return cluster.far.birdc("show", "route", "all", "for", address)


def test_edits_that_do_not_concern_the_session_leave_it_alone(cluster: Cluster) -> None:
    cluster.far.bird(session())
    cluster.put("web", *a_service("web", VIP))
    cluster.speaker()
    before = cluster.far.established()
    cluster.put("peer", a_peer(nodeSelectors=[], keepaliveTime="2s"))
    cluster.put("more", *a_service("more", "198.51.100.11"))
    cluster.put(
        "base",
        *BASE[:2],
        of_metallb("BGPAdvertisement", "all", communities=["64500:7"]),
        of_metallb("IPAddressPool", "other", addresses=["203.0.113.0/24"]),
    )
    eventually(cluster.far.routes, lambda routes: len(routes) == 2)
    shown = eventually(
        lambda: cluster.far.birdc("show", "route", "all", "for", VIP),
        lambda text: "(64500,7)" in text,
    )
    assert "BGP.next_hop: 192.0.2.1" in shown
    assert cluster.far.state() == before, "BIRD tells since when"
    eventually(cluster.peer, lambda peer: peer.get("sent") == 2)
    assert cluster.peer()["established"] == 1


def annotated(annotations: dict[str, str]) -> dict[str, object]:
    peer = a_peer()
    meta = {"name": "router", "namespace": "metallb-system", "annotations": annotations}
    return peer | {"metadata": meta}


def test_a_passive_session_is_begun_by_the_router(cluster: Cluster) -> None:
    cluster.put("web", *a_service("web", VIP))
    cluster.put("peer", annotated({"onehop.io/passive": "true"}))
    cluster.far.bird(session())
    cluster.speaker("--bgp-listen", NODE)
    eventually(cluster.far.routes, lambda routes: routes == {VIP: [NODE]})


def test_roles_that_do_not_go_together_make_no_session(cluster: Cluster) -> None:
    """RFC 9234 4.2."""
    cluster.put("web", *a_service("web", VIP))
    cluster.put("peer", annotated({"onehop.io/role": "provider"}))
    cluster.far.bird(session(passive="passive on", role="local role provider"))
    cluster.speaker()
    words = "Role Mismatch"
    eventually(cluster.peer, lambda peer: words in str(peer.get("info", "")))
    cluster.put("peer", annotated({"onehop.io/role": "customer"}))
    eventually(cluster.far.routes, lambda routes: routes == {VIP: [NODE]})


def test_a_wrong_as_is_said_by_both_tools(cluster: Cluster) -> None:
    cluster.far.bird(session(passive="passive on"))
    cluster.put("peer", a_peer(peerASN=64999))
    cluster.put("web", *a_service("web", VIP))
    cluster.speaker()
    words = "the peer says 64512, its BGPPeer wants 64999"
    eventually(cluster.peer, lambda peer: words in str(peer.get("info", "")))
    assert words in cluster.ask("why", VIP)
    assert words in cluster.log()
    cluster.put("peer", a_peer())
    eventually(cluster.far.routes, lambda routes: routes == {VIP: [NODE]})


def test_bfd_ends_the_session_on_both_sides_when_the_wire_falls_silent(cluster: Cluster) -> None:
    bfd = 'protocol bfd { interface "*" { interval 100 ms; multiplier 3; }; }'
    cluster.far.bird(bfd, session(bfd="bfd on", hold="hold time 90"))
    profile = of_metallb(
        "BFDProfile", "fast", receiveInterval=100, transmitInterval=100, detectMultiplier=3
    )
    cluster.put("peer", a_peer(bfdProfile="fast", holdTime="90s"), profile)
    cluster.put("web", *a_service("web", VIP))
    cluster.speaker()
    eventually(cluster.far.routes, lambda routes: routes == {VIP: [NODE]})
    eventually(cluster.peer, lambda peer: peer.get("bfd") == "up")
    assert "Up" in cluster.far.birdc("show", "bfd", "sessions")
    cluster.far.silence()
    begin = time.monotonic()
    eventually(cluster.far.routes, lambda routes: routes == {})
    assert time.monotonic() - begin < 2.0, "far from the hold time of 90 s"
    words = "BFD: nothing was heard for the detection time"
    eventually(cluster.log, lambda log: words in log)


def test_a_speaker_is_soon_established_and_sends_a_thousand_routes(cluster: Cluster) -> None:
    cluster.far.bird(session(passive="passive on"))
    cluster.put(
        "many",
        *(
            each
            for n in range(250)
            for each in a_service(f"web{n}", *(f"198.51.{100 + k}.{n}" for k in range(4)))
        ),
    )
    pools = of_metallb("IPAddressPool", "pool", addresses=["198.51.100.0/22"])
    cluster.put("base", BASE[0], pools, BASE[2])
    begin = time.monotonic()
    cluster.speaker()
    eventually(cluster.far.count, lambda count: count == 1000)
    print(f"1000 routes after {time.monotonic() - begin:.2f} s from the process's start")
