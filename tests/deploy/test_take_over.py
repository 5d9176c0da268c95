"""From MetalLB's own controller to onehop's and back: no address changes."""

from __future__ import annotations

import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
from tools.deploy import NAMESPACE

from tests.deploy.objects import Object
from tests.deploy.sealed import Sealed, sealed
from tests.deploy.test_rbac import SERVICES, a_service, has_address, of_system

pytestmark = [pytest.mark.kube, pytest.mark.peers, pytest.mark.root]

NAMES = ("plain", "pinned", "shared-a", "shared-b", "requested")
ANNOTATIONS = {
    "pinned": {"metallb.io/address-pool": "second"},
    "shared-a": {"metallb.io/allow-shared-ip": "key"},
    "shared-b": {"metallb.io/allow-shared-ip": "key"},
    "requested": {"metallb.io/loadBalancerIPs": "192.0.2.77"},
}


@pytest.fixture
def cluster(tmp_path: Path, kube_programs: Path, metallb_programs: Path) -> Iterator[Sealed]:
    """With MetalLB's definitions, its account, two pools and some Services."""
    bases = metallb_programs / "config" / "crd" / "bases"
    with sealed(tmp_path, kube_programs, "onehop-take-over", bases) as made:
        made.client.apply(
            [
                {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": "apps"}},
                *metallbs_account(),
                of_system("IPAddressPool", "first", {"addresses": ["192.0.2.0/24"]}),
                of_system(
                    "IPAddressPool",
                    "second",
                    {"addresses": ["198.51.100.1-198.51.100.9"], "autoAssign": False},
                ),
                *(service(name, 80 + index) for index, name in enumerate(NAMES)),
            ]
        )
        yield made


def service(name: str, port: int) -> Object:
    found = a_service(name, ports=[{"port": port}])
    found["metadata"]["annotations"] = ANNOTATIONS.get(name, {})
    return found


def metallbs_account() -> list[Object]:
    """Its controller reads its own Pod; what it may do is not what is tested here."""
    subject = {"kind": "ServiceAccount", "name": "metallb", "namespace": NAMESPACE}
    role = {"apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole"}
    return [
        {"apiVersion": "v1", "kind": "ServiceAccount",
         "metadata": {"name": "metallb", "namespace": NAMESPACE}},
        {"apiVersion": "rbac.authorization.k8s.io/v1", "kind": "ClusterRoleBinding",
         "metadata": {"name": "metallb"}, "subjects": [subject],
         "roleRef": {**role, "name": "cluster-admin"}},
        {"apiVersion": "v1", "kind": "Pod",
         "metadata": {"name": "controller-0", "namespace": NAMESPACE},
         "spec": {"serviceAccountName": "metallb", "automountServiceAccountToken": False,
                  "containers": [{"name": "controller", "image": "none"}]}},
    ]  # fmt: skip


def metallb(cluster: Sealed, programs: Path) -> subprocess.Popen[bytes]:
    """Start MetalLB's controller."""
    environ = {
        "METALLB_POD_NAME": "controller-0", "METALLB_NAMESPACE": NAMESPACE,
        "METALLB_BGP_TYPE": "native",
    }  # fmt: skip
    words = ("--port=9120", "--log-level=info", "--webhook-mode=disabled")
    argv = [str(programs / "controller"), *words, "--disable-cert-rotation"]
    return cluster.start_program("metallb", argv, environ)


def addresses(cluster: Sealed) -> dict[str, list[str]]:
    """What each Service holds."""
    return {
        each["metadata"]["name"]: [one["ip"] for one in each["status"]["loadBalancer"]["ingress"]]
        for each in cluster.client.get(SERVICES)["items"]
    }


def all_have_one(cluster: Sealed) -> bool:
    names = [each["metadata"]["name"] for each in cluster.client.get(SERVICES)["items"]]
    return all(has_address(cluster, name) for name in names)


def planned(cluster: Sealed) -> tuple[int, str]:
    """Exit code and output of `onehop migrate plan` over the cluster, by an administrator."""
    child = cluster.run_as_admin("migrate", "plan")
    return child.wait(timeout=30), cluster.log("admin")


def test_no_address_changes_on_the_way_there_and_back(
    cluster: Sealed, metallb_programs: Path
) -> None:
    before_us = metallb(cluster, metallb_programs)
    cluster.until(lambda: all_have_one(cluster))
    given = addresses(cluster)
    assert given["requested"] == ["192.0.2.77"]
    assert given["shared-a"] == given["shared-b"]
    before_us.kill()
    before_us.wait()

    code, said = planned(cluster)
    assert code == 0, said
    assert "5 stays: nothing changes" in said
    ours = cluster.run("onehop-controller", "controller", pod="controller-1")
    cluster.client.apply([service("new", 90)])
    cluster.until(lambda: all_have_one(cluster))
    taken = addresses(cluster)
    assert taken == given | {"new": taken["new"]}
    assert taken["new"] not in given.values()
    cluster.end(ours)

    after_us = metallb(cluster, metallb_programs)
    cluster.client.apply([service("newer", 91)])
    cluster.until(lambda: all_have_one(cluster))
    found = addresses(cluster)
    assert found == taken | {"newer": found["newer"]}
    assert found["newer"] not in taken.values()
    assert after_us.poll() is None
