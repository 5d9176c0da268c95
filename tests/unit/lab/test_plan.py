"""A lab's shape follows from the cluster's objects, and a cluster that makes none is told why."""

from __future__ import annotations

from collections.abc import Iterable
from ipaddress import ip_address, ip_network

import pytest
from hypothesis import given
from hypothesis import strategies as st

from onehop.lab.lab import ARTICLE
from onehop.lab.plan import MAC_ANNOTATION, topology
from onehop.lab.store import read_objects
from onehop.lab.topology import CLIENT_LINK, UPLINK, Topology, TopologyError, generated_mac
from onehop.model.address import Mac
from onehop.model.config import LabelSelector
from onehop.model.node import Node, Pod
from onehop.model.objects import Objects
from onehop.model.service import Key
from tests.builders import (
    a_pool,
    a_service,
    a_slice,
    an_advertisement,
    an_endpoint,
)


def node(name: str, *addresses: str, mac: str = "", cidrs: Iterable[str] = ()) -> Node:
    return Node(
        name=name,
        addresses=tuple(map(ip_address, addresses)),
        annotations={MAC_ANNOTATION: mac} if mac else {},
        pod_cidrs=tuple(cidrs),
    )


def pod(name: str, on: str, *addresses: str, ports: tuple[int, ...] = ()) -> Pod:
    return Pod(
        name=name,
        namespace="default",
        node=on,
        addresses=tuple(map(ip_address, addresses)),
        ports=ports,
    )


def cluster(*parts: object) -> Objects:
    """Objects by the kind of each part."""
    pools = [p for p in parts if type(p).__name__ == "Pool"]
    adverts = [p for p in parts if type(p).__name__ == "L2Advertisement"]
    slices = [p for p in parts if type(p).__name__ == "EndpointSlice"]
    services = [p for p in parts if type(p).__name__ == "Service"]
    return Objects(
        complete=True,
        nodes={Key("", p.name): p for p in parts if isinstance(p, Node)},
        pods={Key(p.namespace, p.name): p for p in parts if isinstance(p, Pod)},
        pools={p.key: p for p in pools},
        l2_advertisements={p.key: p for p in adverts},
        slices={p.key: p for p in slices},
        services={p.key: p for p in services},
    )


def routes_of(shape: Topology, name: str) -> list[str]:
    return [f"{route.network} via {route.via}" for route in shape.lan_host(name).routes]


class TestTheArticlesCluster:
    shape = topology(read_objects(ARTICLE.parent))

    def test_nodes(self) -> None:
        assert [
            (n.name, n.link, str(n.mac), *map(str, n.addresses)) for n in self.shape.nodes
        ] == [
            ("node0", UPLINK, "f4:6b:8c:82:42:33", "192.168.200.200/24"),
            ("node1", UPLINK, "f4:6b:8c:82:42:2b", "192.168.200.201/24"),
            ("node2", UPLINK, "f4:6b:8c:82:41:f8", "192.168.200.202/24"),
        ]

    def test_client_and_router(self) -> None:
        client, router = self.shape.client, self.shape.router
        assert (client.link, *map(str, client.addresses)) == (CLIENT_LINK, "192.168.200.10/24")
        assert (router.link, *map(str, router.addresses)) == (UPLINK, "192.168.200.1/24")
        assert client.routes == router.routes == ()
        assert (client.forwards, router.forwards) == (False, True)

    def test_pods(self) -> None:
        assert [(p.name, p.node, *map(str, p.addresses), p.ports) for p in self.shape.pods] == [
            ("kafka-0", "node1", "10.0.2.233", (9096,)),
            ("kafka-1", "node2", "10.0.0.74", (9096,)),
            ("kafka-2", "node0", "10.0.1.189", (9096,)),
        ]

    def test_routes_lead_to_the_other_nodes_pods(self) -> None:
        assert routes_of(self.shape, "node0") == [
            "10.0.2.0/24 via 192.168.200.201",
            "10.0.0.0/24 via 192.168.200.202",
        ]
        assert [f"{r.network} via {r.via}" for r in self.shape.pod_routes] == [
            "10.0.1.0/24 via 192.168.200.200",
            "10.0.2.0/24 via 192.168.200.201",
            "10.0.0.0/24 via 192.168.200.202",
        ]

    def test_names_of_hosts(self) -> None:
        lan = ("lan", "node0", "node1", "node2", "client", "router")
        assert self.shape.hosts == (*lan, "kafka-0", "kafka-1", "kafka-2")
        assert self.shape.pod("kafka/kafka-0") is self.shape.pod("kafka-0")
        assert [p.name for p in self.shape.pods_on("node1")] == ["kafka-0"]


# What is wrong, and the object, field and cause that are named for it.
IMPOSSIBLE = {
    "no node": ([], "the cluster", "Node", "no Node object"),
    "no address": ([node("a")], "Node a", "status.addresses", "no InternalIP"),
    "an address twice": (
        [node("a", "10.1.0.1"), node("b", "10.1.0.1")],
        "Node b",
        "status.addresses",
        "10.1.0.1 is already Node a's",
    ),
    "no common LAN": (
        [node("a", "10.1.0.1"), node("b", "192.168.0.1")],
        "Node b",
        "status.addresses",
        "192.168.0.1 shares no LAN with 10.1.0.1 of Node a",
    ),
    "a MAC twice": (
        [node("a", "10.1.0.1", mac="02:00:00:00:00:01"), node("b", "10.1.0.2", mac="2:0:0:0:0:1")],
        "Node b",
        f"metadata.annotations[{MAC_ANNOTATION}]",
        "02:00:00:00:00:01 is already Node a's",
    ),
    "no MAC at all": (
        [node("a", "10.1.0.1", mac="x")],
        "Node a",
        f"metadata.annotations[{MAC_ANNOTATION}]",
        "'x' is not a MAC address",
    ),
    "a group's MAC": (
        [node("a", "10.1.0.1", mac="01:00:5e:00:00:01")],
        "Node a",
        f"metadata.annotations[{MAC_ANNOTATION}]",
        "is not a unicast address",
    ),
    "a zero MAC": (
        [node("a", "10.1.0.1", mac="00:00:00:00:00:00")],
        "Node a",
        f"metadata.annotations[{MAC_ANNOTATION}]",
        "is not a unicast address",
    ),
    "a name of the lab's": (
        [node("client", "10.1.0.1")],
        "Node client",
        "metadata.name",
        "a host of the lab itself",
    ),
    "a bad podCIDR": (
        [node("a", "10.1.0.1", cidrs=["10.2.0.0/24", "x"])],
        "Node a",
        "spec.podCIDRs[1]",
        "'x' is not a CIDR",
    ),
    "a pod on no node": (
        [node("a", "10.1.0.1"), pod("p", "b", "10.2.0.1")],
        "Pod default/p",
        "spec.nodeName",
        "no Node is named 'b'",
    ),
    "a pod's address twice": (
        [node("a", "10.1.0.1"), pod("p", "a", "10.2.0.1"), pod("q", "a", "10.2.0.1")],
        "Pod default/q",
        "status.podIPs",
        "10.2.0.1 is already Pod default/p's",
    ),
    "an endpoint on no node": (
        [node("a", "10.1.0.1"), a_slice("web", an_endpoint("10.2.0.1", "b"))],
        "EndpointSlice default/web-x",
        "endpoints[0].nodeName",
        "no Node is named 'b'",
    ),
    "a full LAN": (
        [node("a", "10.1.0.1"), a_pool("pool", "10.1.0.0/24")],
        "the LAN",
        "10.1.0.0/24",
        "no address is free for the router",
    ),
}


@pytest.mark.parametrize("case", IMPOSSIBLE)
def test_what_makes_no_lab_is_named(case: str) -> None:
    parts, subject, field, why = IMPOSSIBLE[case]
    with pytest.raises(TopologyError) as caught:
        topology(cluster(*parts))
    assert (caught.value.subject, caught.value.field) == (subject, field)
    assert why in caught.value.why
    assert str(caught.value) == f"{subject}: {field}: {caught.value.why}"


# Node addresses, and the LAN, client and router that follow.
NETWORKS = {
    "one /24": (["10.1.0.5", "10.1.0.9"], ["10.1.0.0/24"], ["10.1.0.10"], ["10.1.0.1"]),
    "wider than /24": (["10.1.0.5", "10.1.3.9"], ["10.1.0.0/22"], ["10.1.0.10"], ["10.1.0.1"]),
    "client's taken": (["10.1.0.10", "10.1.0.1"], ["10.1.0.0/24"], ["10.1.0.3"], ["10.1.0.2"]),
    "IPv6 alone": (["fd00::1:5"], ["fd00::/64"], ["fd00::a"], ["fd00::1"]),
}


@pytest.mark.parametrize("case", NETWORKS)
def test_the_lan_is_as_narrow_as_the_nodes_allow(case: str) -> None:
    addresses, networks, client, router = NETWORKS[case]
    shape = topology(cluster(*(node(f"n{i}", a) for i, a in enumerate(addresses))))
    assert [str(network) for network in shape.networks] == networks
    assert [str(interface.ip) for interface in shape.client.addresses] == client
    assert [str(interface.ip) for interface in shape.router.addresses] == router


def test_dual_stack_gives_every_host_both_families() -> None:
    a = node("a", "10.1.0.5", "fd00::5", cidrs=["10.2.0.0/24", "fd01::/64"])
    b = node("b", "10.1.0.6", "fd00::6", cidrs=["10.2.1.0/24", "fd01:0:0:1::/64"])
    shape = topology(cluster(a, b, pod("p", "a", "10.2.0.7", "fd01::7")))
    assert [str(i) for i in shape.client.addresses] == ["10.1.0.10/24", "fd00::a/64"]
    assert [str(i) for i in shape.nodes[0].addresses] == ["10.1.0.5/24", "fd00::5/64"]
    assert routes_of(shape, "b") == ["10.2.0.0/24 via 10.1.0.5", "fd01::/64 via fd00::5"]


def test_a_pod_outside_its_nodes_cidrs_gets_a_route_of_its_own() -> None:
    a = node("a", "10.1.0.5", cidrs=["10.2.0.0/24"])
    shape = topology(cluster(a, node("b", "10.1.0.6"), pod("p", "a", "10.9.0.7")))
    assert routes_of(shape, "b") == ["10.2.0.0/24 via 10.1.0.5", "10.9.0.7/32 via 10.1.0.5"]


def test_a_pod_on_the_host_network_has_no_namespace() -> None:
    shape = topology(cluster(node("a", "10.1.0.5"), pod("p", "a", "10.1.0.5", ports=(80,))))
    assert "p" not in shape.hosts
    assert shape.pod("p").host == "a"
    assert shape.pods_on("a") == ()
    assert shape.pod_routes == ()


def test_pods_that_wait_for_an_address_are_left_out() -> None:
    assert topology(cluster(node("a", "10.1.0.5"), pod("p", "a"), pod("q", ""))).pods == ()


def test_an_endpoint_without_a_pod_is_given_one() -> None:
    piece = a_slice("web", an_endpoint("10.2.0.7", "a"), port=8080)
    (made,) = topology(cluster(node("a", "10.1.0.5"), piece)).pods
    assert (made.name, made.node, made.ports) == ("ep-10-2-0-7", "a", (8080,))


def test_a_pod_answers_on_its_own_ports_and_its_slices() -> None:
    piece = a_slice("web", an_endpoint("10.2.0.7", "a"), port=8080)
    (made,) = topology(
        cluster(node("a", "10.1.0.5"), piece, pod("p", "a", "10.2.0.7", ports=(9000,)))
    ).pods
    assert made.ports == (8080, 9000)


def test_names_that_are_taken_are_told_apart_by_namespace() -> None:
    parts = (node("a", "10.1.0.5"), pod("a", "a", "10.2.0.7"), pod("lan", "a", "10.2.0.8"))
    shape = topology(cluster(*parts))
    assert [p.name for p in shape.pods] == ["default.a", "default.lan"]
    assert shape.pod("default/a").name == "default.a"


def test_the_labs_own_addresses_keep_clear_of_services_and_pools() -> None:
    parts = (
        node("a", "10.1.0.5"),
        a_service("web", "10.1.0.1"),
        a_pool("pool", "10.1.0.2-10.1.0.20"),
    )
    shape = topology(cluster(*parts))
    assert str(shape.router.addresses[0].ip) == "10.1.0.21"
    assert str(shape.client.addresses[0].ip) == "10.1.0.22"


ADVERTS = {
    "none": (None, False),
    "of every pool": (an_advertisement(), True),
    "of this pool": (an_advertisement(pools=("pool",)), True),
    "of another": (an_advertisement(pools=("other",)), False),
    "by label": (
        an_advertisement(pool_selectors=(LabelSelector(match_labels={"a": "b"}),)),
        True,
    ),
    "by another label": (
        an_advertisement(pool_selectors=(LabelSelector(match_labels={"a": "c"}),)),
        False,
    ),
}


@pytest.mark.parametrize("case", ADVERTS)
def test_a_layer_2_pool_off_the_lan_is_on_the_clients_link(case: str) -> None:
    advert, routed = ADVERTS[case]
    pool = a_pool(
        "pool", "172.30.0.8-172.30.0.12", "10.1.0.32/28", "fd00::/120", labels={"a": "b"}
    )
    parts = [node("a", "10.1.0.5"), pool, *([advert] if advert else [])]
    shape = topology(cluster(*parts))
    wanted = ["172.30.0.8/30 via None", "172.30.0.12/32 via None"] if routed else []
    assert routes_of(shape, "client") == routes_of(shape, "router") == wanted


def test_unknown_hosts_are_key_errors() -> None:
    shape = topology(cluster(node("a", "10.1.0.5")))
    with pytest.raises(KeyError):
        shape.pod("x")
    with pytest.raises(KeyError):
        shape.lan_host("x")


@given(st.text(max_size=40))
def test_a_generated_mac_is_unicast_and_locally_administered(seed: str) -> None:
    mac = generated_mac(seed)
    assert mac.octets[0] & 0b11 == 0b10
    assert Mac.parse(str(mac)) == mac == generated_mac(seed)


@given(st.sets(st.integers(1, 0xFFFE), min_size=1, max_size=12), st.booleans())
def test_every_host_has_an_address_of_its_own_on_the_lan(hosts: set[int], six: bool) -> None:
    base = ip_address("fd00::") if six else ip_address("10.1.0.0")
    nodes = [node(f"n{i}", str(base + host)) for i, host in enumerate(sorted(hosts))]
    shape = topology(cluster(*nodes))
    assert topology(cluster(*reversed(nodes))) == shape
    addresses = [interface.ip for host in shape.lan_hosts for interface in host.addresses]
    assert len(set(addresses)) == len(nodes) + 2
    assert len({host.mac for host in shape.lan_hosts}) == len(nodes) + 2
    (lan,) = shape.networks
    assert all(address in lan for address in addresses)
    assert ip_network(f"{addresses[0]}/{24 if not six else 64}", strict=False).subnet_of(lan)  # type: ignore[arg-type]
