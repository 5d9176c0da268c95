"""One test's place in the shared cluster: its own namespaces, class, account and pool."""

from __future__ import annotations

import select
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from onehop.adapters.kube.controller_writer import ControllerWriter
from onehop.adapters.kube.kubeconfig import load_access
from onehop.adapters.kube.reader import Recall
from onehop.adapters.kube.released import released_path
from onehop.adapters.kube.store import KubeStore
from onehop.adapters.telemetry import Log
from onehop.app.controller import Controller
from onehop.core.pool_use import pools_used
from onehop.model.desired import Report
from tests.kube.cluster import Cluster

Plain = Mapping[str, Any]


class Site:
    """`system` holds the pool and the Lease, `apps` the Services."""

    def __init__(self, cluster: Cluster) -> None:
        self.cluster = cluster
        self.system, self.apps = cluster.namespace(), cluster.namespace()
        self.lb_class = f"example.org/{self.system}"
        self.account = "onehop"
        self.kubeconfig: Path = cluster.kubeconfig_for(self.system, self.account)
        cluster.apply([_binding(self.system, self.account), self.pool("10.99.0.0/24")])

    def pool(self, *addresses: str) -> Plain:
        meta = {"name": "a", "namespace": self.system}
        return {"apiVersion": "metallb.io/v1beta1", "kind": "IPAddressPool", "metadata": meta,
                "spec": {"addresses": list(addresses)}}  # fmt: skip

    def service(self, name: str, **more: Any) -> Plain:
        spec = {
            "type": "LoadBalancer", "loadBalancerClass": self.lb_class,
            "allocateLoadBalancerNodePorts": False, "ports": [{"port": 9094}],
        }  # fmt: skip
        meta = {"name": name, "namespace": self.apps, **more.pop("metadata", {})}
        return {"apiVersion": "v1", "kind": "Service", "metadata": meta, "spec": spec | more}

    def path(self, name: str) -> str:
        return f"/api/v1/namespaces/{self.apps}/services/{name}"

    def get(self, name: str) -> Any:
        return self.cluster.get(self.path(name))

    def addresses(self, name: str) -> tuple[str, ...]:
        return addresses_of(self.get(name))

    def conditions(self, name: str) -> dict[str, Any]:
        found = self.get(name)["status"].get("conditions", ())
        return {each["type"]: each for each in found}

    def writes(self) -> list[tuple[str, str, str, str]]:
        """Verb, resource, subresource and name of all that our account wrote."""
        found = []
        for event in self.cluster.audit(self.system, self.account):
            about = event.get("objectRef", {})
            if event["verb"] not in ("get", "list", "watch"):
                found.append(
                    (event["verb"], about["resource"], about.get("subresource", ""),
                     about.get("name", ""))
                )  # fmt: skip
        return found

    def status_writes(self) -> list[str]:
        return [each[3] for each in self.writes() if each[1:3] == ("services", "status")]


class Ring:
    """A controller without its Lease, going round as a test says."""

    def __init__(self, site: Site, *, fence: Callable[[], bool] = lambda: True) -> None:
        access = load_access(site.kubeconfig)
        self.writer = ControllerWriter(
            access, namespace=site.system, own_namespace=site.system, instance="test",
            counting=pools_used, fence=fence,
        )  # fmt: skip
        self.store = KubeStore(
            access, namespace=site.system, slices=False, writer=self.writer,
            recall=Recall(
                path=released_path(site.system), decoded=self.writer.released.found
            ),
        )  # fmt: skip
        self.controller = Controller(self.store, Log(), lb_class=site.lb_class)
        self.report = Report()
        self.store.refresh()

    def until(self, claim: Callable[[], bool], seconds: float = 20.0) -> None:
        """Go round as the real ring does, until the claim holds."""
        deadline = time.monotonic() + seconds
        while True:
            self.report = self.controller.round()
            while not self._is_dirty(0.02):
                if claim():
                    return
                assert time.monotonic() < deadline, self.report
                if self._is_due():
                    break

    def _is_dirty(self, seconds: float) -> bool:
        readable, _, _ = select.select([self.store.fileno()], [], [], seconds)
        return bool(readable) and self.store.refresh()

    def _is_due(self) -> bool:
        instants = (self.report.again_at, *(each.retry_at for each in self.report.failures))
        return any(at is not None and at <= time.monotonic() for at in instants)

    def close(self) -> None:
        self.store.close()


def addresses_of(service: Any) -> tuple[str, ...]:
    ingress = service["status"].get("loadBalancer", {}).get("ingress", ())
    return tuple(each["ip"] for each in ingress)


def _binding(namespace: str, account: str) -> Plain:
    return {
        "apiVersion": "rbac.authorization.k8s.io/v1", "kind": "ClusterRoleBinding",
        "metadata": {"name": f"{namespace}-{account}"},
        "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole",
                    "name": "cluster-admin"},
        "subjects": [{"kind": "ServiceAccount", "name": account, "namespace": namespace}],
    }  # fmt: skip
