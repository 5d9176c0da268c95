"""The API server's networks keep out of the way of what the cluster names."""

from __future__ import annotations

from dataclasses import replace
from ipaddress import ip_address, ip_network
from pathlib import Path
from types import MappingProxyType

import pytest

from onehop.lab.kube_network import management, reserved, service_networks
from onehop.lab.lab import ARTICLE
from onehop.lab.plan import topology
from onehop.lab.store import read_objects
from onehop.lab.topology import API, API_LINK, TopologyError
from onehop.lab.wiring import batches
from onehop.model.address import parse_range
from onehop.model.config import Pool
from onehop.model.objects import Objects
from onehop.model.service import Key, Service


@pytest.fixture(scope="module")
def article() -> Objects:
    return read_objects(ARTICLE.parent)


def with_services(*addresses: str) -> Objects:
    services = {
        Key("a", f"s{n}"): Service(
            key=Key("a", f"s{n}"), type="ClusterIP", cluster_ips=(ip_address(address),)
        )
        for n, address in enumerate(addresses)
    }
    return Objects(complete=True, services=MappingProxyType(services))


def test_each_node_has_an_address_beside_the_servers(article: Objects) -> None:
    made = management(article, topology(article))
    assert str(made.address) == "172.30.0.1/22"
    assert {name: str(own) for name, own in made.nodes.items()} == {
        "node0": "172.30.0.10/22",
        "node1": "172.30.0.11/22",
        "node2": "172.30.0.12/22",
    }


def a_pool(first: str, last: str) -> Pool:
    return Pool(key=Key("m", "p"), ranges=(parse_range(f"{first}-{last}"),))


def test_a_network_that_the_cluster_uses_is_left_to_it(article: Objects) -> None:
    pools = {Key("m", "p"): a_pool("172.16.0.0", "172.31.252.0")}
    taken = replace(article, pools=MappingProxyType(pools))
    assert str(management(taken, topology(taken)).address) == "198.18.0.1/22"


def test_a_cluster_that_uses_all_is_refused(article: Objects) -> None:
    pools = {
        Key("m", "p"): a_pool("10.0.0.0", "192.168.199.255"),
        Key("m", "q"): a_pool("198.0.0.0", "198.255.0.0"),
    }
    taken = replace(article, pools=MappingProxyType(pools))
    with pytest.raises(TopologyError, match=r"leaves none of 172\.30\.0\.0/22.* free"):
        management(taken, topology(taken))


def test_the_link_to_the_server_leads_to_its_own_host(article: Objects) -> None:
    shape = topology(article)
    shape = replace(shape, management=management(article, shape))
    order = [host for host, _ in batches(shape, Path("/ns").joinpath)]
    assert order.index(API) < order.index("node0")
    assert sorted(order) == sorted(shape.hosts)
    text = dict(batches(shape, Path("/ns").joinpath))
    assert f"peer name {API_LINK} address" in text[API]
    assert "netns /ns/node1" in text[API]
    assert f"address add 172.30.0.11/22 dev {API_LINK}\n" in text["node1"]
    assert API_LINK not in text["client"] + text["router"] + text["lan"]


def test_clusterips_of_the_article_lie_in_the_network_of_services(article: Objects) -> None:
    first, second = service_networks(article)
    assert str(first) == "172.16.0.0/16"
    assert str(second) == "fd00:10:96::/112"
    assert reserved((first, second)) == {"172.16.0.1", "fd00:10:96::1"}


def test_a_network_is_as_wide_as_it_has_to_be() -> None:
    (first, _) = service_networks(with_services("10.96.0.9", "10.103.7.1"))
    assert first == ip_network("10.96.0.0/13")


def test_addresses_that_no_server_takes_together_are_refused() -> None:
    with pytest.raises(TopologyError, match=r"Service a/s1: spec\.clusterIPs: 172\.16\.0\.1"):
        service_networks(with_services("10.96.0.9", "172.16.0.1"))
