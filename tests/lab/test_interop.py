"""Every router of the lab with everything that a session can do: onehop's sessions, their kernel.

One lab for each router; in it one node for each row of the matrix, so that the router's
configuration names what that node's session is to be. docs/interop.md tells of each cell.
"""

from __future__ import annotations

import json
import os
import re
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from functools import partial
from ipaddress import IPv4Address, ip_address, ip_network
from pathlib import Path

import pytest
import yaml

from onehop.lab.lab import Lab, LabSpec
from onehop.lab.router import Daemon, Router, RouterPeer, RouterSpec, await_socket, implementation
from onehop.model.address import Family
from onehop.model.bgp import BGPPeer, LargeCommunity, PeerDesired, RouteAttributes, Routes
from onehop.model.service import Key
from onehop.proto.bgp.rib_out import drained
from onehop.proto.bgp.status import State
from onehop.proto.bgp.terms import Restart
from tests.lab.sessions import Sessions
from tests.lab.wire import eventually

pytestmark = [pytest.mark.root, pytest.mark.lab]

ROUTER_AS, NODE_AS = 64512, 64600
MANY = 10_000


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """A row of the matrix: how the node and the router are told."""

    version: int = 4
    only_ipv6: bool = False
    router: dict[str, object] = field(default_factory=dict)
    node: dict[str, object] = field(default_factory=dict)


ROWS = {
    "ipv4": Row(),
    "ipv6": Row(version=6),
    "dual": Row(node={"dual_stack": True}),
    "four-over-six": Row(
        version=6,
        only_ipv6=True,
        router={"extended_next_hop": True},
        node={"dual_stack": True},
    ),
    "md5": Row(router={"password": "sesame"}, node={"password": "sesame"}),
    "md5-six": Row(version=6, router={"password": "sesame"}, node={"password": "sesame"}),
    "gtsm": Row(router={"gtsm": True}, node={"ttl_security": 1}),
    "restart": Row(
        router={"graceful_restart": True}, node={"graceful_restart": True, "dual_stack": True}
    ),
    "shutdown": Row(),
    "communities": Row(),
    "many": Row(),
}
_OFFSET = {name: number for number, name in enumerate(ROWS, start=10)}


def address(name: str, version: int) -> str:
    return f"192.0.2.{_OFFSET[name]}" if version == 4 else f"fd00:2::{_OFFSET[name]}"


def cluster(folder: Path) -> Path:
    nodes = [
        {
            "apiVersion": "v1",
            "kind": "Node",
            "metadata": {"name": name},
            "status": {
                "addresses": [
                    {"type": "InternalIP", "address": address(name, version)}
                    for version in ((6,) if row.only_ipv6 else (4, 6))
                ]
            },
        }
        for name, row in ROWS.items()
    ]
    path = folder / "cluster.yaml"
    path.write_text(yaml.safe_dump_all(nodes))
    return path


class Bench:
    """A lab with one router, told by ROWS what each node's session is to be."""

    def __init__(self, lab: Lab, kind: str) -> None:
        self.lab = lab
        self.kind = kind
        self._open: list[Sessions] = []
        self.own: dict[int, str] = {
            one.version: str(one.ip) for one in lab.topology.router.addresses
        }
        self.router = Router(
            implementation(kind), lab.layout.router, self._start, partial(lab.run, "router")
        )
        self.router.start(
            RouterSpec(
                asn=ROUTER_AS,
                router_id=IPv4Address(self.own[4]),
                link=lab.topology.router.link,
                peers=tuple(self._peer(name, row) for name, row in ROWS.items()),
            )
        )

    def _start(self, daemon: Daemon) -> None:
        self.lab.supervisor.start(daemon.name, "router", daemon.argv)
        await_socket(daemon, partial(self.lab.supervisor.check, daemon.name))

    def _peer(self, name: str, row: Row) -> RouterPeer:
        return RouterPeer(
            name=name,
            address=ip_address(address(name, row.version)),
            local=ip_address(self.own[row.version]),
            asn=NODE_AS,
            **row.router,  # type: ignore[arg-type]
        )

    def desired(self, name: str, routes: Routes) -> PeerDesired:
        row = ROWS[name]
        peer = BGPPeer(
            key=Key("metallb-system", "router"),
            my_asn=NODE_AS,
            peer_asn=ROUTER_AS,
            address=ip_address(self.own[row.version]),
            hold_time=9.0,
            connect_time=1.0,
            **row.node,  # type: ignore[arg-type]
        )
        identifier = IPv4Address(f"192.0.2.{_OFFSET[name]}")
        return PeerDesired(name="router", peer=peer, router_id=identifier, routes=routes)

    def session(self, name: str, restart: Restart | None = None) -> Sessions:
        session = Sessions(self.lab.layout.namespace(name), restart=restart)
        self._open.append(session)
        return session

    def announce(
        self, name: str, *prefixes: str, restart: Restart | None = None, **attributes: object
    ) -> Sessions:
        """A session of this node that advertises prefixes; it is up when this returns."""
        session = self.session(name, restart)
        report = session.want(self.desired(name, routes(*prefixes, **attributes)))
        assert not report.failures
        session.up(within=30.0)
        return session

    def is_established(self, name: str) -> bool:
        """Whether the router says that the session stands."""
        where = ip_address(address(name, ROWS[name].version))
        return where in self.router.established()

    def kernel(self, version: int = 4) -> dict[str, list[str]]:
        """The next hops of the routes that the router's daemon put into the kernel."""
        proto = self.router.kind.route_origin.split()[1]
        command = ("ip", "-json", f"-{version}", "route", "show", "proto", proto)
        found = json.loads(self.lab.run("router", command, check=True).stdout or "[]")
        return {route["dst"]: sorted(map(_hop, route.get("nexthops", [route]))) for route in found}

    def holds(self, prefix: str, name: str = "") -> None:
        """Wait until the kernel has a prefix by this node alone; by none: until it is gone."""
        version = ip_network(prefix).version
        dst = prefix.removesuffix("/32").removesuffix("/128")
        hops = self._hops(name) if name else []
        eventually(
            lambda: self.kernel(version).get(dst, []),
            lambda seen: seen == [] if not name else len(seen) == 1 and seen[0] in hops,
        )

    def _hops(self, name: str) -> list[str]:
        """What leads to a node: FRR prefers the link-local one of two IPv6 next hops.

        It has to make up an IPv4 next hop then for an IPv4 route, with the neighbour's MAC.
        """
        command = ("ip", "-json", "address", "show", "dev", "eno1")
        (link,) = json.loads(self.lab.run(name, command, check=True).stdout)
        made_up = ["169.254.0.1"] if self.kind == "frr" and ROWS[name].only_ipv6 else []
        return [one["local"] for one in link["addr_info"]] + made_up

    def close_sessions(self) -> None:
        for session in self._open:
            session.close()
        self._open.clear()


def _hop(hop: dict[str, object]) -> str:
    via = hop.get("via")
    return str(via["host"] if isinstance(via, dict) else hop.get("gateway"))


def routes(*prefixes: str, **attributes: object) -> Routes:
    shared = RouteAttributes(**attributes)  # type: ignore[arg-type]
    return {ip_network(prefix): shared for prefix in prefixes}


@pytest.fixture(scope="module", params=["bird", "frr", "gobgp"])
def started(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Bench]:
    folder = cluster(tmp_path_factory.mktemp("interop"))
    spec = LabSpec(name=f"interop-{os.getpid()}", cluster=folder, control=False, responders=False)
    with Lab.up(spec) as lab:
        yield Bench(lab, request.param)


@pytest.fixture
def bench(started: Bench) -> Iterator[Bench]:
    yield started
    started.close_sessions()


@pytest.mark.parametrize("name", ["ipv4", "md5", "gtsm"])
def test_an_ipv4_route_stands_until_it_is_withdrawn(bench: Bench, name: str) -> None:
    session = bench.announce(name, "198.51.100.1/32", "198.51.101.0/24")
    bench.holds("198.51.100.1/32", name)
    bench.holds("198.51.101.0/24", name)
    session.want(bench.desired(name, routes("198.51.100.1/32")))
    bench.holds("198.51.101.0/24")
    bench.holds("198.51.100.1/32", name)
    session.close()
    bench.holds("198.51.100.1/32")


@pytest.mark.parametrize("name", ["ipv6", "md5-six"])
def test_an_ipv6_route_stands_until_it_is_withdrawn(bench: Bench, name: str) -> None:
    session = bench.announce(name, "2001:db8::1/128")
    bench.holds("2001:db8::1/128", name)
    session.want(bench.desired(name, {}))
    bench.holds("2001:db8::1/128")
    assert bench.is_established(name)


def test_one_session_carries_both_families(bench: Bench) -> None:
    bench.announce("dual", "198.51.100.2/32", "2001:db8::2/128")
    bench.holds("198.51.100.2/32", "dual")
    bench.holds("2001:db8::2/128", "dual")


def test_an_ipv4_route_has_an_ipv6_next_hop(bench: Bench) -> None:
    session = bench.announce("four-over-six", "198.51.100.3/32")
    bench.holds("198.51.100.3/32", "four-over-six")
    session.want(bench.desired("four-over-six", {}))
    bench.holds("198.51.100.3/32")


@pytest.mark.parametrize("name", ["md5"])
def test_another_password_or_none_makes_no_session(bench: Bench, name: str) -> None:
    session = bench.session(name)
    desired = bench.desired(name, {})
    wrong = BGPPeer(
        key=desired.peer.key,
        my_asn=NODE_AS,
        peer_asn=ROUTER_AS,
        address=desired.peer.address,
        connect_time=1.0,
        password="simsalabim",
    )
    session.want(PeerDesired(name="router", peer=wrong, router_id=desired.router_id))
    eventually(session.problem)
    assert session.status().state is not State.ESTABLISHED
    assert not bench.is_established(name)
    session.want(desired)
    session.up()


def test_a_router_that_sends_a_low_ttl_is_not_heard_by_a_node_that_wants_255(bench: Bench) -> None:
    """RFC 5082 3: what has come from further away, or looks like it, is dropped."""
    session = bench.session("ipv4")
    desired = bench.desired("ipv4", {})
    session.want(replace(desired, peer=replace(desired.peer, ttl_security=1)))
    eventually(session.is_unheard)
    assert not bench.is_established("ipv4")
    session.want(desired)
    session.up(within=30.0)


def test_routes_outlive_a_restart_and_go_when_they_are_not_advertised_again(bench: Bench) -> None:
    """RFC 4724 4: kept while the session is away, and until End-of-RIB tells what remains."""
    works = Restart(forwarding=frozenset(Family))
    session = bench.announce("restart", "198.51.100.4/32", "198.51.100.5/32", restart=works)
    bench.holds("198.51.100.4/32", "restart")
    bench.holds("198.51.100.5/32", "restart")
    session.close(keep=True)
    eventually(lambda: not bench.is_established("restart"))
    bench.holds("198.51.100.4/32", "restart")
    again = Restart(is_restarting=True, forwarding=frozenset(Family))
    session = bench.announce("restart", "198.51.100.4/32", restart=again)
    bench.holds("198.51.100.5/32")
    bench.holds("198.51.100.4/32", "restart")
    session.want(bench.desired("restart", {}))  # or it would outlive this test as well
    bench.holds("198.51.100.4/32")


def test_a_drained_node_asks_to_be_the_last_resort(bench: Bench) -> None:
    """RFC 8326: the route stays, with a community that tells every router to prefer others."""
    session = bench.announce("shutdown", "198.51.100.6/32")
    bench.holds("198.51.100.6/32", "shutdown")
    assert not GRACEFUL_SHUTDOWN & shown(bench, "198.51.100.6/32")
    session.want(bench.desired("shutdown", drained(routes("198.51.100.6/32"))))
    eventually(lambda: GRACEFUL_SHUTDOWN & shown(bench, "198.51.100.6/32"))
    bench.holds("198.51.100.6/32", "shutdown")
    other = bench.announce("ipv4", "198.51.100.6/32")
    bench.holds("198.51.100.6/32", "ipv4")
    other.want(bench.desired("ipv4", {}))
    bench.holds("198.51.100.6/32", "shutdown")
    other.want(bench.desired("ipv4", routes("198.51.100.6/32")))
    session.want(bench.desired("shutdown", routes("198.51.100.6/32")))
    both = sorted((address("ipv4", 4), address("shutdown", 4)))
    eventually(lambda: bench.kernel().get("198.51.100.6"), lambda hops: hops == both)


def test_communities_of_every_kind_arrive(bench: Bench) -> None:
    bench.announce(
        "communities",
        "198.51.100.7/32",
        communities=(64512 << 16 | 7,),
        large_communities=(LargeCommunity(64600, 1, 2),),
        extended=(bytes.fromhex("0002fc580000002a"),),  # route target 64600:42 (RFC 4360 4)
    )
    wanted = {"64512:7", "64600:1:2", "64600:42"}
    eventually(lambda: shown(bench, "198.51.100.7/32"), lambda seen: wanted <= seen)


def test_ten_thousand_routes_come_and_go(bench: Bench) -> None:
    prefixes = [f"10.{n >> 8}.{n & 255}.1/32" for n in range(MANY)]
    session = bench.announce("many", *prefixes)
    eventually(lambda: count(bench), lambda seen: seen == MANY, 30.0)
    session.want(bench.desired("many", routes(*prefixes[: MANY // 2])))
    eventually(lambda: count(bench), lambda seen: seen == MANY // 2, 30.0)
    session.want(bench.desired("many", {}))
    eventually(lambda: count(bench), lambda seen: seen == 0, 30.0)
    assert bench.is_established("many")


# 65535:0 in the words of BIRD, FRR and GoBGP
GRACEFUL_SHUTDOWN = {"65535:0", "graceful-shutdown", "planned-shut"}


def count(bench: Bench) -> int:
    proto = bench.router.kind.route_origin.split()[1]
    command = ("ip", "-4", "route", "show", "proto", proto)
    return bench.lab.run("router", command, check=True).stdout.count("\n")


def shown(bench: Bench, prefix: str) -> set[str]:
    """The communities that the router's own control program shows with a route."""
    asked = {
        "bird": f"show route all for {prefix}",
        "frr": f"show bgp ipv4 unicast {prefix}",
        "gobgp": f"global rib {prefix}",
    }
    said = bench.router.ask(asked[bench.kind])
    if bench.kind == "bird":  # (64512,7) (64600, 1, 2) (rt, 64600, 42)
        inside = re.findall(r"\(([^()]*)\)", said)
        parts = [re.split(r",\s*", one) for one in inside]
        return {":".join(part for part in one if part.isdigit()) for one in parts}
    return {word.strip("[],{}").removeprefix("RT:") for word in said.split()}
