"""ServiceL2Status and ServiceBGPStatus objects at a real API server."""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping
from types import MappingProxyType
from typing import Any

import pytest

from onehop.adapters.kube.events import Events, NodeEvents
from onehop.adapters.kube.kubeconfig import load_access
from onehop.adapters.kube.node_status import NodeStatusObjects
from onehop.adapters.kube.requests import Requests
from onehop.adapters.kube.structs import Live
from onehop.model.reason import Reason, Refusal
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
        events = NodeEvents(Events(self.requests, instance=name), node=name, live=self._live)
        self.objects = NodeStatusObjects(
            self.requests, node=name, namespace=site.system, owner=owner, tell=events.send
        )
        self.due = 0.0
        self.objects.start(self._later)

    def _later(self, seconds: float) -> None:
        self.due = max(self.due, time.monotonic() + seconds)

    def _live(self, kind: str, key: Key) -> Live | None:
        if key.namespace != self.site.apps:
            return None
        meta = self.site.get(key.name)["metadata"]
        return Live(
            name=key.name, namespace=key.namespace, uid=meta["uid"],
            resource_version=meta["resourceVersion"],
        )  # fmt: skip

    def say(
        self, *keys: Key, links: tuple[str, ...] = (), peers: tuple[str, ...] = (),
        taken_over: tuple[Key, ...] = (), unlinked: Mapping[Key, Refusal] | None = None,
    ) -> None:  # fmt: skip
        l2 = {key: ServiceL2Status(node=self.name, service=key, links=links) for key in keys}
        bgp = {
            key: ServiceBGPStatus(node=self.name, service=key, peers=peers)
            for key in keys if peers
        }  # fmt: skip
        self.objects.want(
            NodeStatuses(
                l2=MappingProxyType(l2), bgp=MappingProxyType(bgp),
                taken_over=frozenset(taken_over), unlinked=unlinked or {},
            )
        )  # fmt: skip
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


def events(site: Site) -> list[tuple[str, str, str, str]]:
    """Name of the Service, reason, sentence and component of each Event in the namespace."""
    items = site.cluster.get(f"/apis/events.k8s.io/v1/namespaces/{site.apps}/events")["items"]
    return sorted(
        (each["regarding"]["name"], each["reason"], each["note"], each["reportingController"])
        for each in items
    )


def test_a_move_is_an_event_and_a_first_announcement_or_a_restart_is_none(site: Site) -> None:
    site.cluster.apply([site.service(name) for name in ("moved", "left", "routed")])
    moved, left, routed = (Key(site.apps, name) for name in ("moved", "left", "routed"))
    first, heir = Node(site, "n1"), Node(site, "n2")
    first.say(moved, left)
    assert events(site) == []
    first.say(left)  # alive: it takes back what it said
    heir.say(moved, left, taken_over=(moved,))  # of `left` it finds what the other one said
    told = 'announcing from node "{}" with protocol "{}"'
    expected = [
        (name, "nodeAssigned", told.format("n2", "layer2"), "onehop-speaker")
        for name in ("left", "moved")
    ]
    assert events(site) == expected
    again = Node(site, "n2")
    again.say(moved, left)
    again.say(moved, left, routed, peers=("router",))
    assert [each[0] for each in events(site)] == ["left", "left", "moved", "moved", "routed"]
    by_bgp = [each for each in events(site) if each not in expected]
    assert {each[1:3] for each in by_bgp} == {("nodeAssigned", told.format("n2", "bgp"))}
    for node in (first, heir, again):
        node.objects.close()


def test_an_owner_without_a_link_is_an_event_and_a_restart_makes_none(site: Site) -> None:
    site.cluster.apply([site.service("web")])
    web = Key(site.apps, "web")
    lacks = {web: Refusal(reason=Reason.NO_LINK, detail="none of eth9")}
    nodes = [Node(site, "n1"), Node(site, "n1")]
    nodes[0].say(unlinked=lacks)
    nodes[0].say(unlinked=lacks)
    nodes[1].say(unlinked=lacks)
    note = 'cannot announce from node "n1" with protocol "layer2": NoLink: '
    note += "no link of the node may announce the address (none of eth9)"
    assert events(site) == [("web", "announceFailed", note, "onehop-speaker")]
    for node in nodes:
        node.objects.close()


def test_the_next_owner_takes_away_what_the_last_one_left(site: Site, node: Node) -> None:
    node.say(WEB, API)
    heir = Node(site, "n2")
    heir.say(WEB)
    heir.objects.close()
    assert found(site).keys() == {("web", "n2"), ("api", "n1")}


def an_owner(site: Site, name: str) -> dict[str, str]:
    """Any will do: the garbage collector asks what there is of that kind and name."""
    meta = {"name": name, "namespace": site.system}
    site.cluster.apply([{"apiVersion": "v1", "kind": "ConfigMap", "metadata": meta}])
    path = f"/api/v1/namespaces/{site.system}/configmaps/{name}"
    uid = site.cluster.get(path)["metadata"]["uid"]
    return {"apiVersion": "v1", "kind": "ConfigMap", "name": name, "uid": uid}


def gone(site: Site, owner: dict[str, str]) -> None:
    site.cluster.kubectl("delete", "configmap", owner["name"], "-n", site.system)


def test_what_a_pod_said_goes_with_the_pod_unless_the_next_one_says_it(site: Site) -> None:
    first, second = an_owner(site, "first"), an_owner(site, "second")
    nodes = [Node(site, "n1", owner) for owner in (first, first, second)]
    writes = []
    for node in nodes:  # a container that starts again, and then another pod
        node.say(WEB)
        writes.append(len(site.writes()))
    assert [each - writes[0] for each in writes] == [0, 0, 1]
    assert found(site)["web", "n1"]["metadata"]["ownerReferences"] == [second]
    gone(site, first)
    gone(site, second)
    until = time.monotonic() + 30
    while found(site):
        assert time.monotonic() < until
        time.sleep(0.1)
    for node in nodes:
        node.objects.close()
