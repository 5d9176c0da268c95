"""The store over the real API server: restarts, rights that are missing, tokens that end."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
import yaml

from onehop.adapters.kube.kubeconfig import load_access
from onehop.adapters.kube.store import KubeStore
from onehop.model.objects import Objects
from onehop.model.reason import Reason
from onehop.model.service import Key
from tests.kube.cluster import Cluster
from tests.unit.adapters.kube.objects import eventually

pytestmark = pytest.mark.kube
Plain = dict[str, Any]
RBAC = "rbac.authorization.k8s.io"


@pytest.fixture
def space(cluster: Cluster) -> str:
    """A namespace of the test's own."""
    return cluster.namespace()


@pytest.fixture
def opened(space: str) -> Iterator[Callable[..., KubeStore]]:
    stores: list[KubeStore] = []

    def open_(kubeconfig: Path, **more: Any) -> KubeStore:
        store = KubeStore(load_access(kubeconfig), namespace=space, patience=15.0, **more)
        stores.append(store)
        return store

    yield open_
    for store in stores:
        store.close()


def service(space: str, name: str = "web", **spec: object) -> Plain:
    return {
        "apiVersion": "v1",
        "kind": "Service",
        "metadata": {"name": name, "namespace": space, "labels": {"app": name}},
        "spec": {"type": "LoadBalancer", "ports": [{"name": "http", "port": 80}], **spec},
    }


def slice_(space: str, name: str, *addresses: str) -> Plain:
    return {
        "apiVersion": "discovery.k8s.io/v1",
        "kind": "EndpointSlice",
        "metadata": {
            "name": name,
            "namespace": space,
            "labels": {"kubernetes.io/service-name": "web"},
        },
        "addressType": "IPv4",
        "endpoints": [{"addresses": [each], "nodeName": "node-a"} for each in addresses],
        "ports": [{"name": "http", "port": 8080, "protocol": "TCP"}],
    }


def pool(space: str, *addresses: str, name: str = "pool") -> Plain:
    return {
        "apiVersion": "metallb.io/v1beta1",
        "kind": "IPAddressPool",
        "metadata": {"name": name, "namespace": space},
        "spec": {"addresses": list(addresses)},
    }


def test_a_cluster_is_read(cluster: Cluster, space: str, opened: Callable[..., KubeStore]) -> None:
    node = {
        "apiVersion": "v1", "kind": "Node", "metadata": {"name": space},
        "status": {"addresses": [{"type": "InternalIP", "address": "192.0.2.10"}]},
    }  # fmt: skip
    peer = {
        "apiVersion": "metallb.io/v1beta2", "kind": "BGPPeer",
        "metadata": {"name": "router", "namespace": space},
        "spec": {"myASN": 64500, "peerASN": 64501, "peerAddress": "192.0.2.1",
                 "passwordSecret": {"name": "bgp"}},
    }  # fmt: skip
    secret = {
        "apiVersion": "v1", "kind": "Secret", "type": "kubernetes.io/basic-auth",
        "metadata": {"name": "bgp", "namespace": space}, "stringData": {"password": "hush"},
    }  # fmt: skip
    parts = [slice_(space, f"web-{n}", f"10.0.{n}.1", f"10.0.{n}.2") for n in range(3)]
    cluster.apply([service(space), *parts, pool(space, "192.0.2.0/24"), node, peer, secret])
    try:
        store = opened(cluster.kubeconfig)
        store.refresh()
        objects = store.objects()
        assert objects.complete
        assert objects.problems == ()
        found = objects.services[Key(space, "web")]
        assert (found.type, found.labels["app"]) == ("LoadBalancer", "web")
        assert found.cluster_ips
        assert found.created.startswith("20")
        ours = [each for key, each in objects.slices.items() if key.namespace == space]
        assert sum(len(each.endpoints) for each in ours) == 6
        assert str(objects.nodes[Key("", space)].addresses[0]) == "192.0.2.10"
        assert objects.namespaces[Key("", space)].labels["kubernetes.io/metadata.name"] == space
        assert set(objects.pools) == {Key(space, "pool")}
        assert objects.bgp_peers[Key(space, "router")].peer_asn == 64501
        assert objects.secrets[Key(space, "bgp")].password == "hush"
        live = store.live("Service", Key(space, "web"))
        assert live is not None
        assert (live.namespace, bool(live.uid), live.resource_version.isdecimal()) == (
            space, True, True,
        )  # fmt: skip
    finally:
        cluster.client.delete(f"/api/v1/nodes/{space}")


def test_changes_are_heard(cluster: Cluster, space: str, opened: Callable[..., KubeStore]) -> None:
    web = Key(space, "web")
    store = opened(cluster.kubeconfig)
    store.refresh()
    cluster.apply([service(space)])
    before = eventually(store, lambda o: web in o.services)
    cluster.apply([service(space, "other", externalTrafficPolicy="Local")])
    after = eventually(store, lambda o: Key(space, "other") in o.services)
    assert after.services[web] is before.services[web]
    cluster.client.delete(f"/api/v1/namespaces/{space}/services/web")
    eventually(store, lambda o: web not in o.services)


def test_a_server_that_starts_again_knows_no_old_version_and_nothing_moves(
    cluster: Cluster, space: str, opened: Callable[..., KubeStore]
) -> None:
    cluster.apply([service(space), pool(space, "192.0.2.0/24")])
    store = opened(cluster.kubeconfig)
    store.refresh()
    before = store.objects()
    cluster.restart_apiserver()
    cluster.apply([service(space, "after")])
    done = time.monotonic()
    objects = eventually(store, lambda o: Key(space, "after") in o.services and not o.problems)
    assert time.monotonic() - done < 5.0
    assert objects.services[Key(space, "web")] is before.services[Key(space, "web")]
    assert objects.pools is before.pools


def test_a_server_that_is_away_takes_nothing_away(
    cluster: Cluster, space: str, opened: Callable[..., KubeStore]
) -> None:
    cluster.apply([service(space)])
    store = opened(cluster.kubeconfig)
    store.refresh()
    before = store.objects()
    cluster.stop_apiserver()
    objects = eventually(store, lambda o: o.problems)
    assert [each.reason for each in objects.problems] == [Reason.API_UNREACHABLE]
    assert "Connection refused" in objects.problems[0].detail
    assert objects.services is before.services
    assert store.staleness() > 0
    cluster.start_apiserver()
    back = time.monotonic()
    cluster.apply([service(space, "after")])
    eventually(store, lambda o: Key(space, "after") in o.services and not o.problems)
    assert time.monotonic() - back < 5.0
    assert store.staleness() == 0


@pytest.fixture
def rights(cluster: Cluster, space: str) -> Iterator[Callable[..., None]]:
    """Gives the ServiceAccount `reader` the right to list and watch, and takes it away."""

    def give(*resources: str) -> None:
        groups = ["", "discovery.k8s.io", "metallb.io"]
        rule = {"apiGroups": groups, "resources": list(resources), "verbs": ["list", "watch"]}
        subject = {"kind": "ServiceAccount", "name": "reader", "namespace": space}
        cluster.apply([
            {"apiVersion": f"{RBAC}/v1", "kind": "ClusterRole", "metadata": {"name": space},
             "rules": [rule]},
            {"apiVersion": f"{RBAC}/v1", "kind": "ClusterRoleBinding", "metadata": {"name": space},
             "subjects": [subject],
             "roleRef": {"apiGroup": RBAC, "kind": "ClusterRole", "name": space}},
        ])  # fmt: skip

    yield give
    for kind in ("clusterrolebindings", "clusterroles"):
        cluster.client.delete(f"/apis/{RBAC}/v1/{kind}/{space}")


EVERYTHING = (
    "services", "endpointslices", "nodes", "namespaces", "ipaddresspools", "l2advertisements",
    "bgppeers", "bgpadvertisements", "bfdprofiles", "communities",
)  # fmt: skip


def test_one_forbidden_kind_hides_no_other(
    cluster: Cluster,
    space: str,
    opened: Callable[..., KubeStore],
    rights: Callable[..., None],
) -> None:
    cluster.apply([service(space), pool(space, "192.0.2.0/24")])
    config = cluster.kubeconfig_for(space, "reader")
    rights(*(each for each in EVERYTHING if each != "ipaddresspools"))
    store = opened(config)
    store.refresh()
    objects = eventually(store, lambda o: o.complete and len(o.problems) == 1)
    assert Key(space, "web") in objects.services
    (problem,) = objects.problems
    assert (problem.object, problem.reason) == (f"IPAddressPool in {space}", Reason.KIND_REFUSED)
    assert "cannot list resource" in problem.detail
    rights(*EVERYTHING)
    eventually(store, lambda o: o.pools and not o.problems)


def test_a_token_that_has_ended_is_read_again_from_its_file(
    cluster: Cluster,
    space: str,
    tmp_path: Path,
    opened: Callable[..., KubeStore],
    rights: Callable[..., None],
) -> None:
    config = yaml.safe_load(cluster.kubeconfig_for(space, "reader").read_text())
    rights(*EVERYTHING)
    token = tmp_path / "token"
    token.write_text(config["users"][0]["user"]["token"])
    config["users"][0]["user"] = {"tokenFile": str(token)}
    (tmp_path / "config").write_text(yaml.safe_dump(config))
    store = opened(tmp_path / "config")
    store.refresh()
    assert eventually(store, lambda o: o.complete).problems == ()
    # Tokens of an account end with it, also when another one of its name comes.
    cluster.client.delete(f"/api/v1/namespaces/{space}/serviceaccounts/reader")
    token.write_text(cluster.token(space, "reader"))
    cluster.restart_apiserver()
    cluster.apply([service(space)])
    eventually(store, lambda o: Key(space, "web") in o.services and not o.problems, seconds=20)


def test_a_missing_definition_is_a_problem_of_its_kind_alone(
    cluster: Cluster, space: str, opened: Callable[..., KubeStore]
) -> None:
    path = "/apis/apiextensions.k8s.io/v1/customresourcedefinitions/communities.metallb.io"
    definition = cluster.get(path)
    cluster.client.delete(path)
    try:
        with closing(
            KubeStore(load_access(cluster.kubeconfig), namespace=space, patience=15.0)
        ) as store:
            store.refresh()
            objects = eventually(store, lambda o: o.complete and o.problems)
            (problem,) = objects.problems
            assert problem.object == f"Community in {space}"
            assert problem.reason is Reason.KIND_MISSING
    finally:
        again = {
            "apiVersion": definition["apiVersion"], "kind": definition["kind"],
            "metadata": {"name": "communities.metallb.io"}, "spec": definition["spec"],
        }  # fmt: skip
        cluster.apply([again])
    store = opened(cluster.kubeconfig)
    store.refresh()

    def is_fine(objects: Objects) -> bool:
        return objects.complete and not objects.problems

    eventually(store, is_fine)
