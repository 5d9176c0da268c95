"""ServiceL2Status and ServiceBGPStatus objects at a real API server."""

from __future__ import annotations

import time
from collections.abc import Iterator
from types import MappingProxyType
from typing import Any

import pytest

from onehop.adapters.kube.kubeconfig import load_access
from onehop.adapters.kube.node_status import NodeStatusObjects
from onehop.adapters.kube.requests import Requests
from onehop.model.service import Key
from onehop.model.status import NodeStatuses, ServiceBGPStatus, ServiceL2Status
from tests.kube.cluster import Cluster
from tests.kube.site import Site

pytestmark = pytest.mark.kube

WEB, API = Key("apps", "web"), Key("apps", "api")


class Node:
    """The statuses of one node, stepped as its loop would."""

    def __init__(self, site: Site, name: str, owner: dict[str, str] | None = None) -> None:
        self.site, self.name = site, name
        self.requests = Requests(load_access(site.kubeconfig), threads=1)
        self.objects = NodeStatusObjects(
            self.requests, node=name, namespace=site.system, owner=owner
        )
        self.due = 0.0
        self.objects.start(self._later)

    def _later(self, seconds: float) -> None:
        self.due = max(self.due, time.monotonic() + seconds)

    def say(self, *keys: Key, links: tuple[str, ...] = (), peers: tuple[str, ...] = ()) -> None:
        l2 = {key: ServiceL2Status(node=self.name, service=key, links=links) for key in keys}
        bgp = {
            key: ServiceBGPStatus(node=self.name, service=key, peers=peers)
            for key in keys if peers
        }  # fmt: skip
        self.objects.want(NodeStatuses(l2=MappingProxyType(l2), bgp=MappingProxyType(bgp)))
        end = time.monotonic() + 30
        quiet_at = time.monotonic()
        while time.monotonic() - quiet_at < 0.8:  # others' leftovers are looked for after 0.5 s
            assert time.monotonic() < end
            left = self.objects.step(10) or self.requests.waiting()
            if left or time.monotonic() < self.due:  # a server that was restarted says: later
                quiet_at = time.monotonic()
            time.sleep(0.01)


@pytest.fixture
def site(cluster: Cluster) -> Site:
    return Site(cluster)


@pytest.fixture
def node(site: Site) -> Iterator[Node]:
    made = Node(site, "n1")
    yield made
    made.objects.close()


def found(site: Site, plural: str = "servicel2statuses") -> dict[tuple[str, str], Any]:
    path = f"/apis/metallb.io/v1beta1/namespaces/{site.system}/{plural}"
    items = site.cluster.get(path)["items"]
    return {(each["status"]["serviceName"], each["status"]["node"]): each for each in items}


def test_what_a_node_carries_is_said_with_metallbs_labels(site: Site, node: Node) -> None:
    node.say(WEB, links=("eth0",), peers=("router",))
    item = found(site)["web", "n1"]
    assert item["status"] == {
        "node": "n1", "serviceName": "web", "serviceNamespace": "apps",
        "interfaces": [{"name": "eth0"}],
    }  # fmt: skip
    assert item["metadata"]["labels"] == {
        "metallb.io/node": "n1", "metallb.io/service-name": "web",
        "metallb.io/service-namespace": "apps",
    }  # fmt: skip
    assert found(site, "servicebgpstatuses")["web", "n1"]["status"]["peers"] == ["router"]
    node.say(WEB, links=("eth1",))
    assert found(site)["web", "n1"]["status"]["interfaces"] == [{"name": "eth1"}]
    assert found(site, "servicebgpstatuses") == {}
    node.say()
    assert found(site) == {}


def test_one_write_for_each_service_and_none_at_a_restart(site: Site, node: Node) -> None:
    node.say(WEB, API)
    writes = [each[0] for each in site.writes() if each[1] == "servicel2statuses"]
    assert writes == ["create", "create"]
    second = Node(site, "n1")
    second.say(WEB, API)
    second.objects.close()
    assert len([each for each in site.writes() if each[1] == "servicel2statuses"]) == 2


def test_the_next_owner_takes_away_what_the_last_one_left(site: Site, node: Node) -> None:
    node.say(WEB, API)
    heir = Node(site, "n2")
    heir.say(WEB)
    heir.objects.close()
    assert found(site).keys() == {("web", "n2"), ("api", "n1")}


def test_what_a_pod_said_goes_with_the_pod(site: Site) -> None:
    meta = {"name": "speaker", "namespace": site.system}
    site.cluster.apply([{"apiVersion": "v1", "kind": "ConfigMap", "metadata": meta}])
    path = f"/api/v1/namespaces/{site.system}/configmaps/speaker"
    uid = site.cluster.get(path)["metadata"]["uid"]
    # Any owner will do: the garbage collector asks what there is of that kind and name.
    owner = {"apiVersion": "v1", "kind": "ConfigMap", "name": "speaker", "uid": uid}
    node = Node(site, "n1", owner)
    node.say(WEB)
    assert len(found(site)) == 1
    site.cluster.kubectl("delete", "configmap", "speaker", "-n", site.system)
    until = time.monotonic() + 30
    while found(site):
        assert time.monotonic() < until
        time.sleep(0.1)
    node.objects.close()
