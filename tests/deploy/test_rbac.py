"""Rights: the programs run under the manifest's accounts, and the server's audit log is read.

Nothing that they ask may be refused, and nothing may be granted that they never ask.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from pathlib import Path

import pytest
import yaml
from tools.deploy import MANIFEST, NAMESPACE

from tests.deploy.objects import Object, an_object
from tests.deploy.sealed import NODE, Sealed, sealed

pytestmark = [pytest.mark.kube, pytest.mark.root]

Right = tuple[str, str, str]  # verb, API group, resource with its subresource

SYSTEM = f"/apis/metallb.io/v1beta1/namespaces/{NAMESPACE}"
SERVICES = "/api/v1/namespaces/apps/services"
KINDS = ("servicel2statuses", "servicebgpstatuses")
# With onehop's definitions a status is changed as a whole, with MetalLB's it is a resource apart.
WHOLE = {("patch", "metallb.io", kind) for kind in KINDS}
APART = {("patch", "metallb.io", f"{kind}/status") for kind in KINDS}


def granted(account: str) -> set[Right]:
    """What the manifest lets an account do, wherever."""
    objects = [each for each in yaml.safe_load_all(MANIFEST.read_text()) if each]
    roles = {(each["kind"], each["metadata"]["name"]): each for each in objects}
    found = set()
    for binding in objects:
        if binding["kind"] not in ("RoleBinding", "ClusterRoleBinding"):
            continue
        if account not in [subject["name"] for subject in binding["subjects"]]:
            continue
        role = roles[binding["roleRef"]["kind"], binding["roleRef"]["name"]]
        for rule in role["rules"]:
            assert "*" not in rule["verbs"] + rule["resources"] + rule["apiGroups"]
            found |= {
                (verb, group, resource)
                for verb in rule["verbs"]
                for group in rule["apiGroups"]
                for resource in rule["resources"]
            }
    return found


def asked(events: Iterable[Object]) -> set[Right]:
    """What was asked; an apply that made an object has used the right to create it too."""
    found = set()
    for event in events:
        about = event.get("objectRef")
        if about is None or "resource" not in about:
            continue  # discovery, which everybody may
        resource = "/".join(filter(None, (about["resource"], about.get("subresource"))))
        group = about.get("apiGroup", "")
        found.add((event["verb"], group, resource))
        if event["verb"] == "patch" and event.get("responseStatus", {}).get("code") == 201:
            found.add(("create", group, resource))
    return found


def refused(events: Iterable[Object]) -> list[str]:
    """The requests that the server let nobody of that name make."""
    return [
        f"{event['verb']} {event['requestURI']}"
        for event in events
        if event.get("responseStatus", {}).get("code") in (401, 403)
    ]


def a_service(name: str, **more: object) -> Object:
    return {
        "apiVersion": "v1",
        "kind": "Service",
        "metadata": {"name": name, "namespace": "apps"},
        "spec": {"type": "LoadBalancer", "ports": [{"port": 80}], **more},
    }


def a_slice(service: str) -> Object:
    return {
        "apiVersion": "discovery.k8s.io/v1",
        "kind": "EndpointSlice",
        "metadata": {
            "name": f"{service}-x",
            "namespace": "apps",
            "labels": {"kubernetes.io/service-name": service},
        },
        "addressType": "IPv4",
        "ports": [{"port": 8080, "protocol": "TCP"}],
        "endpoints": [{"addresses": ["10.0.0.9"], "nodeName": "node1"}],
    }


def of_system(kind: str, name: str, spec: Object) -> Object:
    found = an_object(kind, spec, name=name)
    found["metadata"]["namespace"] = NAMESPACE
    return found


PEER = {
    "myASN": 64500, "peerASN": 64501, "peerAddress": "192.0.2.254",
    "passwordSecret": {"name": "bgp"},
}  # fmt: skip


def furnish(cluster: Sealed) -> None:
    """A node, a pool, a peer with a Secret, and a Service with an endpoint."""
    node = {"addresses": [{"type": "InternalIP", "address": NODE}]}
    secret = {
        "apiVersion": "v1", "kind": "Secret", "type": "kubernetes.io/basic-auth",
        "metadata": {"name": "bgp", "namespace": NAMESPACE},
        "stringData": {"username": "", "password": "p"},
    }  # fmt: skip
    cluster.client.apply(
        [
            {"apiVersion": "v1", "kind": "Node", "metadata": {"name": "node1"}, "status": node},
            {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": "apps"}},
            secret,
            of_system("IPAddressPool", "pool", {"addresses": ["192.0.2.240-192.0.2.250"]}),
            of_system("L2Advertisement", "all", {}),
            of_system("BGPAdvertisement", "all", {}),
            of_system("BGPPeer", "router", PEER),
            a_service("web"),
            a_slice("web"),
        ]
    )


@pytest.fixture(scope="module")
def cluster(tmp_path_factory: pytest.TempPathFactory, kube_programs: Path) -> Iterator[Sealed]:
    directory = tmp_path_factory.mktemp("rbac")
    with sealed(directory, kube_programs, "onehop-rbac") as made:
        furnish(made)
        yield made


def has_address(cluster: Sealed, name: str) -> bool:
    status = cluster.client.get(f"{SERVICES}/{name}")["status"]
    return bool(status["loadBalancer"]["ingress"][0]["ip"])


def test_the_controllers_rights(cluster: Sealed) -> None:
    first = cluster.run("onehop-controller", "controller", pod="controller-1")
    cluster.until(lambda: has_address(cluster, "web"))
    second = cluster.run("onehop-controller", "controller", pod="controller-2")
    # what is kept of a Service that is gone
    cluster.client.apply([a_service("gone")])
    cluster.until(lambda: has_address(cluster, "gone"))
    cluster.client.delete(f"{SERVICES}/gone")
    kept = f"/api/v1/namespaces/{NAMESPACE}/configmaps/onehop-released"
    cluster.until(lambda: "apps.gone" in cluster.client.get(kept)["data"])
    # what is said of a configuration, and of one that is wrong
    state = f"{SYSTEM}/configurationstates/controller"
    cluster.until(lambda: cluster.client.get(state)["status"]["result"] == "Valid")
    peer = f"/apis/metallb.io/v1beta2/namespaces/{NAMESPACE}/bgppeers/router"
    cluster.change(peer, {"spec": {"bfdProfile": "none"}})
    cluster.until(lambda: cluster.client.get(state)["status"]["result"] == "Invalid")
    cluster.change(peer, {"spec": {"bfdProfile": None}})
    pool = f"{SYSTEM}/ipaddresspools/pool"
    cluster.until(lambda: cluster.client.get(pool)["status"]["assignedIPv4"] == 1)
    # the second waits for its turn, and takes over
    waits = ("watch", "coordination.k8s.io", "leases")
    cluster.until(lambda: waits in asked(cluster.audit("onehop-controller")))
    cluster.end(first)
    cluster.until(lambda: "leading holder=controller-2" in cluster.log("controller-2"))
    cluster.end(second)
    events = cluster.audit("onehop-controller")
    assert refused(events) == []
    assert asked(events) == granted("onehop-controller")


def carry(cluster: Sealed, tmp_path: Path) -> None:
    """A speaker's life: it announces a Service, advertises it, and lets go of it again."""
    words = ("speaker", "--datapath=none", f"--state={tmp_path / 'state'}")
    speaker = cluster.run("onehop-speaker", *words, pod="speaker-node1")
    cluster.until(lambda: statuses(cluster) == set(KINDS))
    state = f"{SYSTEM}/configurationstates/speaker-node1"
    cluster.until(lambda: cluster.client.get(state)["status"]["result"] == "Valid")
    cluster.change(f"{SYSTEM}/l2advertisements/all", {"spec": {"interfaces": ["eth0"]}})
    l2 = f"{SYSTEM}/servicel2statuses"
    cluster.until(lambda: cluster.client.get(l2)["items"][0]["status"]["interfaces"])
    # a link that the node does not have
    cluster.change(f"{SYSTEM}/l2advertisements/all", {"spec": {"interfaces": ["none"]}})
    cluster.until(lambda: "announceFailed" in reasons(cluster, "web"))
    bgp = f"{SYSTEM}/servicebgpstatuses"
    cluster.client.apply([of_system("BGPPeer", "other", PEER | {"peerAddress": "192.0.2.253"})])
    cluster.until(lambda: len(cluster.client.get(bgp)["items"][0]["status"]["peers"]) == 2)
    cluster.client.delete(f"{SYSTEM}/l2advertisements/all")
    cluster.until(lambda: statuses(cluster) == {"servicebgpstatuses"})
    # one more Service, of which an Event tells
    cluster.client.apply([a_service("api"), a_slice("api")])
    give_address(cluster, "api", "192.0.2.241")
    cluster.until(lambda: "nodeAssigned" in reasons(cluster, "api"))
    cluster.end(speaker)
    cluster.client.delete(f"{SERVICES}/api")  # other tests count what holds an address


def give_address(cluster: Sealed, name: str = "web", address: str = "192.0.2.240") -> None:
    """What a controller would have written."""
    service = cluster.client.get(f"{SERVICES}/{name}")
    service["status"] = {"loadBalancer": {"ingress": [{"ip": address}]}}
    cluster.client.request("PUT", f"{SERVICES}/{name}/status", service)


def reasons(cluster: Sealed, name: str) -> list[str]:
    """The reasons of all Events about a Service."""
    events = cluster.client.get("/apis/events.k8s.io/v1/namespaces/apps/events")["items"]
    return [each["reason"] for each in events if each["regarding"]["name"] == name]


def statuses(cluster: Sealed) -> set[str]:
    """The kinds of status that speakers have written."""
    return {kind for kind in KINDS if cluster.client.get(f"{SYSTEM}/{kind}")["items"]}


def test_the_speakers_rights(cluster: Sealed, tmp_path: Path) -> None:
    give_address(cluster)
    carry(cluster, tmp_path)
    events = cluster.audit("onehop-speaker")
    assert refused(events) == []
    assert asked(events) == granted("onehop-speaker") - APART


@pytest.mark.peers
def test_the_speakers_rights_beside_metallbs_definitions(
    tmp_path_factory: pytest.TempPathFactory,
    tmp_path: Path,
    kube_programs: Path,
    metallb_programs: Path,
) -> None:
    """There a status is written apart, which takes rights of its own."""
    directory = tmp_path_factory.mktemp("rbac-metallb")
    bases = metallb_programs / "config" / "crd" / "bases"
    with sealed(directory, kube_programs, "onehop-rbac-metallb", bases) as made:
        furnish(made)
        give_address(made)
        carry(made, tmp_path)
        events = made.audit("onehop-speaker")
        assert refused(events) == []
        assert asked(events) == granted("onehop-speaker") - WHOLE


def test_no_account_may_do_what_the_other_does(cluster: Sealed) -> None:
    """The two differ where their work does: one writes addresses, the other what a node does."""
    controller, speaker = granted("onehop-controller"), granted("onehop-speaker")
    assert ("patch", "", "services/status") in controller - speaker
    assert ("create", "metallb.io", "servicel2statuses") in speaker - controller
    assert not any(right[2] in ("pods", "customresourcedefinitions") for right in controller)
    assert not any(verb in ("update", "deletecollection", "bind") for verb, *_ in controller)
