"""The real API server that the other tests lean on: it is what it says, and behaves as one."""

from __future__ import annotations

import json
import os
import ssl
import time
import urllib.request
from collections.abc import Iterator
from http import HTTPStatus
from pathlib import Path
from typing import Any

import pytest
import yaml

from onehop.lab.kube_build import KUBERNETES_VERSION, given
from onehop.lab.kube_client import KubeClient, RequestError
from tests.kube.cluster import Cluster

pytestmark = pytest.mark.kube


def a_service(namespace: str, name: str = "web", **status: Any) -> dict[str, Any]:
    service: dict[str, Any] = {
        "apiVersion": "v1",
        "kind": "Service",
        "metadata": {"name": name, "namespace": namespace},
        "spec": {"type": "LoadBalancer", "ports": [{"port": 80}], "selector": {"app": name}},
    }
    return {**service, "status": status} if status else service


@pytest.fixture
def namespace(cluster: Cluster) -> str:
    return cluster.namespace()


@pytest.fixture
def account(cluster: Cluster, namespace: str) -> Iterator[KubeClient]:
    """A client that is a ServiceAccount without any right."""
    with KubeClient(cluster.site, cluster.token(namespace, "nobody")) as client:
        yield client


def test_it_is_the_version_that_is_pinned(cluster: Cluster) -> None:
    told = json.loads(cluster.kubectl("version", "--output=json"))
    versions = {told[side]["gitVersion"] for side in ("serverVersion", "clientVersion")}
    assert versions == {f"v{KUBERNETES_VERSION}"} or given(), "unless the user chose another"


def test_a_service_keeps_the_address_and_mode_in_its_status(
    cluster: Cluster, namespace: str
) -> None:
    ingress = [{"ip": "192.0.2.7", "ipMode": "VIP"}]
    cluster.apply([a_service(namespace, loadBalancer={"ingress": ingress})])
    path = f"/api/v1/namespaces/{namespace}/services/web"
    assert cluster.get(path)["status"]["loadBalancer"]["ingress"] == ingress
    printed = cluster.kubectl("get", "service", "web", "-n", namespace, "--no-headers")
    assert "192.0.2.7" in printed


@pytest.mark.parametrize("address", ["192.0.2.300", "192.0.2.07"])
def test_an_address_that_is_none_is_refused(
    cluster: Cluster, namespace: str, address: str
) -> None:
    wrong = a_service(namespace, loadBalancer={"ingress": [{"ip": address, "ipMode": "VIP"}]})
    with pytest.raises(RequestError, match=address) as refusal:
        cluster.apply([wrong])
    assert refusal.value.status == 422


def test_who_has_no_right_gets_none_until_it_is_given(
    cluster: Cluster, namespace: str, account: KubeClient
) -> None:
    path = f"/api/v1/namespaces/{namespace}/services"
    with pytest.raises(RequestError, match="cannot list resource") as refusal:
        account.get(path)
    assert refusal.value.status == 403
    with KubeClient(cluster.site, "a word") as liar, pytest.raises(RequestError) as refusal:
        liar.get(path)
    assert refusal.value.status == 401

    role = {"apiGroup": "rbac.authorization.k8s.io", "kind": "Role", "name": "reader"}
    metadata = {"name": "reader", "namespace": namespace}
    rules = [{"apiGroups": [""], "resources": ["services"], "verbs": ["list"]}]
    subjects = [{"kind": "ServiceAccount", "name": "nobody", "namespace": namespace}]
    kind = {"apiVersion": "rbac.authorization.k8s.io/v1", "metadata": metadata}
    cluster.apply(
        [
            {**kind, "kind": "Role", "rules": rules},
            {**kind, "kind": "RoleBinding", "roleRef": role, "subjects": subjects},
        ]
    )
    deadline = time.monotonic() + 10  # the authorizer watches roles: some milliseconds
    while (found := _list_or_none(account, path)) is None:
        assert time.monotonic() < deadline, "the role took no effect"
    assert found == []


def _list_or_none(client: KubeClient, path: str) -> list[Any] | None:
    try:
        items: list[Any] = client.get(path)["items"]
    except RequestError as refusal:
        if refusal.status != HTTPStatus.FORBIDDEN:
            raise
        return None
    return items


def test_the_audit_log_tells_what_an_account_asked_and_nothing_of_administrators(
    cluster: Cluster, namespace: str, account: KubeClient
) -> None:
    with pytest.raises(RequestError):
        account.get(f"/api/v1/namespaces/{namespace}/pods")
    cluster.get(f"/api/v1/namespaces/{namespace}/pods")
    events = cluster.audit(namespace, "nobody")
    asked = {(e["verb"], e["objectRef"]["resource"], e["responseStatus"]["code"]) for e in events}
    assert asked == {("list", "pods", 403)}
    users = {event["user"].get("username") for event in cluster.audit()}
    assert not users & {"admin", "system:apiserver"}


def test_kubeconfigs_are_of_whom_they_say(cluster: Cluster, namespace: str) -> None:
    path = cluster.kubeconfig_for(namespace, "speaker")
    told = yaml.safe_load(path.read_text())
    assert told["contexts"][0]["context"]["namespace"] == namespace
    assert told["clusters"][0]["cluster"]["server"] == cluster.server
    who = cluster.kubectl("--kubeconfig", str(path), "auth", "whoami")
    assert f"system:serviceaccount:{namespace}:speaker\n" in who
    assert "system:masters" in cluster.kubectl("auth", "whoami")


def test_a_killed_server_comes_back_with_its_data_and_the_past_is_gone(
    cluster: Cluster, namespace: str
) -> None:
    cluster.apply([a_service(namespace)])
    path = f"/api/v1/namespaces/{namespace}/services"
    before = cluster.get(path)["metadata"]["resourceVersion"]
    cluster.apply([a_service(namespace, "other")])
    token = cluster.token(namespace, "kept")

    cluster.stop_apiserver()
    with pytest.raises(ConnectionError):
        cluster.get(path)
    cluster.start_apiserver()

    names = {item["metadata"]["name"] for item in cluster.get(path)["items"]}
    assert names == {"web", "other"}
    answer = _first_event(cluster, f"{path}?watch=1&timeoutSeconds=5&resourceVersion={before}")
    assert answer["type"] == "ERROR"
    assert answer["object"]["code"] == 410
    with KubeClient(cluster.site, token) as kept, pytest.raises(RequestError) as refusal:
        kept.get(path)
    assert refusal.value.status == 403, "a token outlives a restart: 403, and not 401"


def _first_event(cluster: Cluster, path: str) -> dict[str, Any]:
    """The first event of a watch, which goes through another door than the fixture's client."""
    told = json.loads(cluster.kubeconfig.read_text())
    token = told["users"][0]["user"]["token"]
    request = urllib.request.Request(
        f"{cluster.server}{path}", headers={"Authorization": f"Bearer {token}"}
    )
    context = ssl.create_default_context(cafile=str(cluster.site.ca))
    with urllib.request.urlopen(request, context=context, timeout=20) as response:
        event: dict[str, Any] = json.loads(response.readline())
        return event


def test_a_test_that_leaves_it_stopped_does_no_harm(cluster: Cluster) -> None:
    cluster.stop_apiserver()
    cluster.repair()  # what happens after every test
    assert cluster.get("/api/v1/nodes")["kind"] == "NodeList"


@pytest.fixture
def node(cluster: Cluster, namespace: str) -> Iterator[str]:
    """A Node of its own, without which the controller leaves out its Pods."""
    name = f"node-{namespace}"
    cluster.apply([{"apiVersion": "v1", "kind": "Node", "metadata": {"name": name}}])
    yield name
    cluster.client.delete(f"/api/v1/nodes/{name}")


def test_the_controller_manager_fills_endpoint_slices(
    cluster: Cluster, namespace: str, node: str
) -> None:
    """A Pod without a kubelet, ready by hand, becomes an endpoint."""
    cluster.require_controller_manager()
    cluster.kubectl("wait", "--for=create", "serviceaccount/default", "-n", namespace)
    metadata = {"name": "web-0", "namespace": namespace, "labels": {"app": "web"}}
    container = {"name": "web", "image": "none"}
    status = {
        "phase": "Running",
        "podIP": "10.1.2.3",
        "podIPs": [{"ip": "10.1.2.3"}],
        "conditions": [{"type": "Ready", "status": "True"}],
    }
    pod = {"apiVersion": "v1", "kind": "Pod", "metadata": metadata, "status": status}
    spec = {"containers": [container], "nodeName": node}
    cluster.apply([a_service(namespace), {**pod, "spec": spec}])
    cluster.kubectl(
        "wait",
        "-n",
        namespace,
        "endpointslice",
        "--selector=kubernetes.io/service-name=web",
        "--for=jsonpath={.endpoints[0].conditions.ready}=true",
        "--timeout=20s",
    )
    path = f"/apis/discovery.k8s.io/v1/namespaces/{namespace}/endpointslices"
    (found,) = cluster.get(path)["items"]
    assert found["endpoints"][0]["addresses"] == ["10.1.2.3"]
    assert found["endpoints"][0]["nodeName"] == node


def test_the_kinds_of_metallb_are_served(cluster: Cluster, namespace: str) -> None:
    assert not cluster.refused_crds
    pool = {
        "apiVersion": "metallb.io/v1beta1",
        "kind": "IPAddressPool",
        "metadata": {"name": "pool", "namespace": namespace},
        "spec": {"addresses": ["192.0.2.0/24"]},
    }
    cluster.apply([pool])
    names = cluster.kubectl("get", "ipaddresspools", "-n", namespace, "-o", "name")
    assert names.split() == ["ipaddresspool.metallb.io/pool"]


def test_nothing_listens_but_on_loopback(cluster: Cluster) -> None:
    """No packet of a test leaves the machine."""
    assert cluster.server.startswith("https://127.0.0.1:")
    ports = {cluster.site.port, cluster.site.etcd_port, cluster.site.etcd_peer_port}
    seen = set()
    for family in ("tcp", "tcp6"):
        for line in Path(f"/proc/{os.getpid()}/net/{family}").read_text().splitlines()[1:]:
            address, port = line.split()[1].rsplit(":", 1)
            if line.split()[3] == "0A" and int(port, 16) in ports:  # listening
                seen.add((address, int(port, 16)))
    assert seen == {("0100007F", port) for port in ports}
