"""MetalLB's own controller as a process, under the rights that its manifests grant it."""

from __future__ import annotations

import os
import socket
import subprocess
from pathlib import Path
from typing import Any

import yaml

from tests.kube.cluster import Cluster

NAMESPACE = "metallb-system"
POD = "controller-0"


def prepare(cluster: Cluster, programs: Path, system: str) -> list[str]:
    """Grant what the manifests grant, in `system`; the paths of what has no namespace."""
    made: list[str] = []
    kubeconfig = cluster.kubeconfig_for(system, "controller")
    assert kubeconfig.exists()
    text = (programs / "config/rbac/role.yaml").read_text().replace(NAMESPACE, system)
    for item in yaml.safe_load_all(text):
        if item["kind"] in ("Role", "RoleBinding"):
            item["metadata"]["namespace"] = system
        for subject in item.get("subjects", ()):
            subject["namespace"] = system
        if item["kind"] in ("ClusterRole", "ClusterRoleBinding"):
            made.append(cluster.client.path(item))
        cluster.apply([item])
    cluster.apply([_pod(system)])
    return made


def _pod(system: str) -> dict[str, Any]:
    """The controller asks for its own Pod, as the owner of what it makes."""
    return {
        "apiVersion": "v1", "kind": "Pod",
        "metadata": {"name": POD, "namespace": system,
                     "labels": {"app": "metallb", "component": "controller"}},
        "spec": {"serviceAccountName": "controller", "automountServiceAccountToken": False,
                 "containers": [{"name": "controller", "image": "controller"}]},
    }  # fmt: skip


def start(
    cluster: Cluster, programs: Path, system: str, lb_class: str, log: Path
) -> subprocess.Popen[bytes]:
    """Start it without webhooks, at ports that nobody uses."""
    listeners = [socket.create_server(("127.0.0.1", 0)) for _ in range(2)]
    metrics, health = (listener.getsockname()[1] for listener in listeners)
    for listener in listeners:
        listener.close()
    argv: list[str | Path] = [
        programs / "controller", f"--port={metrics}", f"--health-probe-port={health}",
        "--webhook-mode=disabled", "--disable-cert-rotation", f"--lb-class={lb_class}",
    ]  # fmt: skip
    environ = {
        "PATH": os.environ["PATH"],
        "KUBECONFIG": str(cluster.kubeconfig_for(system, "controller")),
        "METALLB_POD_NAME": POD, "METALLB_NAMESPACE": system, "METALLB_BGP_TYPE": "native",
    }  # fmt: skip
    with log.open("wb") as output:
        return subprocess.Popen(
            ["setpriv", "--pdeathsig", "KILL", "--", *argv],
            stdin=subprocess.DEVNULL, stdout=output, stderr=output, env=environ,
        )  # fmt: skip
