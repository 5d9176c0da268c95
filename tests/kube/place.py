"""Controllers as processes, under the manifest's rights, with a network that fails between."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import yaml
from tools.deploy import MANIFEST

from tests.kube.between import Between
from tests.kube.cluster import Cluster
from tests.kube.site import Site
from tests.kube.test_lease import wait

RBAC = "rbac.authorization.k8s.io"


def rules(*without: str, part: str = "controller") -> list[dict[str, Any]]:
    """What the manifest grants a controller or speaker, but for some resources."""
    found = []
    for each in yaml.safe_load_all(MANIFEST.read_text()):
        if (
            each
            and each["kind"] in ("Role", "ClusterRole")
            and part in str(each["metadata"]["name"])
        ):
            for rule in each["rules"]:
                left = [name for name in rule["resources"] if name not in without]
                if left:
                    found.append({**rule, "resources": left})
    return found


def grant(site: Site, *without: str, part: str = "controller") -> None:
    """Give the site's account the manifest's rights and no more."""
    name = f"{site.system}-{site.account}"
    cluster = site.cluster
    subject = {"kind": "ServiceAccount", "name": site.account, "namespace": site.system}
    cluster.client.delete(f"/apis/{RBAC}/v1/clusterrolebindings/{name}")
    cluster.apply([
        {"apiVersion": f"{RBAC}/v1", "kind": "ClusterRole", "metadata": {"name": name},
         "rules": rules(*without, part=part)},
        {"apiVersion": f"{RBAC}/v1", "kind": "ClusterRoleBinding", "metadata": {"name": name},
         "roleRef": {"apiGroup": RBAC, "kind": "ClusterRole", "name": name},
         "subjects": [subject]},
    ])  # fmt: skip


def revoke(site: Site) -> None:
    """Take the rights away again: they are the cluster's, not the namespace's."""
    name = f"{site.system}-{site.account}"
    for kind in ("clusterrolebindings", "clusterroles"):
        site.cluster.client.delete(f"/apis/{RBAC}/v1/{kind}/{name}")


class Place:
    """A site, what stands between, and controllers that come in by there."""

    def __init__(self, cluster: Cluster, folder: Path) -> None:
        self.site = Site(cluster)
        self.folder = folder
        self.between = Between(cluster.site)
        self.config = self.between.kubeconfig(self.site.kubeconfig, folder / "config")
        self.children: list[subprocess.Popen[bytes]] = []
        self.grant()

    def grant(self, *without: str) -> None:
        """The manifest's rights and no more."""
        grant(self.site, *without)

    def start(self, pod: str = "a") -> subprocess.Popen[bytes]:
        argv: list[str | Path] = [
            sys.executable, "-m", "onehop.cli.main", "controller", "--kubeconfig", self.config,
            "--namespace", self.site.system, "--lb-class", self.site.lb_class,
        ]  # fmt: skip
        with (self.folder / f"{pod}.log").open("ab") as log:
            child = subprocess.Popen(
                argv, stdout=log, stderr=log, env=os.environ | {"ONEHOP_POD_NAME": pod}
            )
        self.children.append(child)
        return child

    def said(self) -> str:
        return "".join(path.read_text() for path in sorted(self.folder.glob("*.log")))

    def serve(self, name: str, seconds: float = 10.0) -> float:
        """Make a Service; how long its address took."""
        self.site.cluster.apply([self.site.service(name)])
        return wait(lambda: bool(self.site.addresses(name)), seconds)

    def close(self) -> None:
        alive = [child.poll() for child in self.children]
        for child in self.children:
            child.kill()
            child.wait()
        self.between.close()
        revoke(self.site)
        assert alive == [None] * len(alive), self.said()
        assert "Traceback" not in self.said()
