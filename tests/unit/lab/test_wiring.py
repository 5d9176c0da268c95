"""A topology becomes the commands of `ip -batch`, in an order in which each can run."""

from __future__ import annotations

from ipaddress import ip_address, ip_network
from pathlib import Path

import pytest

from onehop.lab.plan import topology
from onehop.lab.topology import LAN, Route, Topology
from onehop.lab.wiring import batches, route_words, sysctls
from onehop.model.node import Node, Pod
from onehop.model.objects import Objects
from onehop.model.service import Key


@pytest.fixture
def shape() -> Topology:
    node = Node(
        name="a",
        addresses=(ip_address("10.1.0.5"), ip_address("fd00::5")),
        annotations={"onehop.io/mac": "02:00:00:00:00:0a"},
    )
    pod = Pod(
        name="p",
        namespace="default",
        node="a",
        addresses=(ip_address("10.2.0.7"), ip_address("fd01::7")),
    )
    host = Pod(name="h", namespace="default", node="a", addresses=(ip_address("10.1.0.5"),))
    pods = {Key("default", each.name): each for each in (pod, host)}
    return topology(Objects(complete=True, nodes={Key("", "a"): node}, pods=pods))


def lines(shape: Topology, host: str) -> list[str]:
    batch = dict(batches(shape, lambda name: Path("/ns") / name))[host]
    return batch.splitlines()


def test_every_namespace_has_one_batch_after_those_that_make_its_links(shape: Topology) -> None:
    order = [host for host, _ in batches(shape, Path)]
    assert order == list(shape.hosts)


def test_the_lan_is_a_bridge_with_a_port_for_each_host(shape: Topology) -> None:
    batch = lines(shape, LAN)
    assert "link add port0 type veth peer name eno1 address 02:00:00:00:00:0a netns /ns/a" in batch
    assert sum("type veth" in line for line in batch) == 3
    assert [line for line in batch if "port1 alias" in line] == [
        "link set port1 alias client master lan up"
    ]


def test_a_node_holds_its_addresses_and_a_host_route_for_each_pod(shape: Topology) -> None:
    pod = shape.pod("p")
    assert lines(shape, "a") == [
        "link set lo up",
        "link set eno1 up",
        "address add 10.1.0.5/24 dev eno1",
        "address add fd00::5/64 dev eno1 nodad",
        f"link add {pod.host_link} address {pod.host_mac} type veth peer name eth0 "
        f"address {pod.mac} netns /ns/p",
        f"link set {pod.host_link} alias default/p up",
        f"route add 10.2.0.7/32 dev {pod.host_link}",
        f"neigh add 10.2.0.7 lladdr {pod.mac} dev {pod.host_link} nud permanent",
        f"route add fd01::7/128 dev {pod.host_link}",
        f"neigh add fd01::7 lladdr {pod.mac} dev {pod.host_link} nud permanent",
    ]


def test_a_pod_sends_everything_to_its_node(shape: Topology) -> None:
    mac = shape.pod("p").host_mac
    assert lines(shape, "p") == [
        "link set lo up",
        "link set eth0 up",
        "address add 10.2.0.7/32 dev eth0",
        "address add fd01::7/128 dev eth0 nodad",
        f"neigh add 169.254.1.1 lladdr {mac} dev eth0 nud permanent",
        "route add 0.0.0.0/0 via 169.254.1.1 dev eth0 onlink",
        f"neigh add fe80::1 lladdr {mac} dev eth0 nud permanent",
        "route add ::/0 via fe80::1 dev eth0 onlink",
    ]


def test_a_pod_on_the_host_network_is_not_wired(shape: Topology) -> None:
    assert "h" not in dict(batches(shape, Path))


def test_names_of_links_fit_the_kernel(shape: Topology) -> None:
    assert all(len(pod.host_link) <= 15 for pod in shape.pods)


def test_nodes_and_router_forward_and_nobody_else(shape: Topology) -> None:
    forwarding = {
        host: sysctls(shape, host).get("net/ipv4/ip_forward", "0") for host in shape.hosts
    }
    assert forwarding == {"lan": "0", "a": "1", "client": "0", "router": "1", "p": "0"}


def test_the_bridge_is_no_host_and_calls_no_netfilter(shape: Topology) -> None:
    settings = sysctls(shape, LAN)
    assert settings["net/bridge/bridge-nf-call-iptables"] == "0"
    assert settings["net/ipv6/conf/default/disable_ipv6"] == "1"
    assert "net/bridge/bridge-nf-call-iptables" not in sysctls(shape, "a")


@pytest.mark.parametrize(
    ("via", "words"),
    [("10.1.0.5", "10.2.0.0/24 via 10.1.0.5 dev eno1"), (None, "10.2.0.0/24 dev eno1")],
)
def test_a_route_as_ip_takes_it(via: str | None, words: str) -> None:
    hop = ip_address(via) if via else None
    assert route_words(Route(network=ip_network("10.2.0.0/24"), via=hop), "eno1") == words
