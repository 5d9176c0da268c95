"""The controller's cases at a real API server: `onehop controller` as a process of its own.

What a file of a case holds is applied, what it no longer holds is deleted, and then the server's
Services and the ConfigMap of released addresses say what the page expects. Services get a
loadBalancerClass, so that those of other tests are none of this controller's business, and the
server's own cluster IPs.
"""

from __future__ import annotations

import os
import secrets
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from onehop.lab.kube_client import RequestError
from tests.kube.cluster import Cluster
from tests.pipeline.test_controller import CASES, Step, parsed

pytestmark = pytest.mark.kube
SYSTEM = "metallb-system"
SECONDS = 15.0
# The one is about files, the other about cluster IPs that no server would give a Service.
PLAYED = [path for path in CASES if path.stem not in ("unreadable", "two-families")]
Plain = dict[str, Any]
Id = tuple[str, str, str]


class Play:
    """One case in the cluster."""

    def __init__(self, cluster: Cluster, log: Path) -> None:
        self.cluster = cluster
        self.log = log
        self.lb_class = f"example.org/{secrets.token_hex(4)}"
        self.files: dict[str, dict[Id, Plain]] = {}
        self.namespaces: set[str] = set()
        self._ensure(SYSTEM)
        self.process = self._started()

    def _started(self) -> subprocess.Popen[bytes]:
        command = [sys.executable, "-m", "onehop.cli.main", "controller", "--kubeconfig",
                   str(self.cluster.kubeconfig), "--namespace", SYSTEM,
                   "--lb-class", self.lb_class]  # fmt: skip
        with self.log.open("ab") as log:
            environment = {**os.environ, "ONEHOP_POD_NAME": "case"}
            return subprocess.Popen(command, stderr=log, env=environment)

    def play(self, step: Step) -> None:
        if step.verb == "restart":
            self.end()
            self.process = self._started()
            return
        text = "\n".join(step.body) if step.verb == "write" else ""
        bodies = [each for each in yaml.safe_load_all(text) if each]
        now = {identity(each): each for each in bodies}
        for gone in self.files.get(step.argument, {}).keys() - now.keys():
            self._delete(gone)
        self.files[step.argument] = now
        self.namespaces |= {name for kind, _, name in now if kind == "Namespace"}
        for body in now.values():
            self._ensure(body["metadata"].get("namespace", SYSTEM))
        self.cluster.apply(map(self._fitted, now.values()))

    def _fitted(self, body: Plain) -> Plain:
        if body["kind"] != "Service":
            return body
        spec = {k: v for k, v in body["spec"].items() if not k.startswith("clusterIP")}
        if spec.get("type") == "LoadBalancer":
            spec = {"loadBalancerClass": self.lb_class, **spec}
        return {**body, "spec": spec}

    def _ensure(self, namespace: str) -> None:
        if namespace not in self.namespaces:
            meta = {"name": namespace}
            self.cluster.apply([{"apiVersion": "v1", "kind": "Namespace", "metadata": meta}])
            self.namespaces.add(namespace)

    def _delete(self, name: Id) -> None:
        kind, namespace, own = name
        plural = {
            "Service": "/api/v1/namespaces/{}/services/{}",
            "IPAddressPool": "/apis/metallb.io/v1beta1/namespaces/{}/ipaddresspools/{}",
        }
        if kind in plural:
            self.cluster.client.delete(plural[kind].format(namespace, own))

    def seen(self) -> set[str]:
        """What the server says, in the words of a page as far as both have them."""
        lines = set()
        for namespace in self.namespaces:
            found = self.cluster.get(f"/api/v1/namespaces/{namespace}/services")["items"]
            lines |= {said(each) for each in found}
        return lines | {f"released {each}" for each in self._released()}

    def _released(self) -> Iterator[str]:
        path = f"/api/v1/namespaces/{SYSTEM}/configmaps/onehop-released"
        try:
            data = self.cluster.get(path).get("data") or {}
        except RequestError:
            data = {}
        for key, addresses in data.items():
            yield f"{key.replace('.', '/', 1)} {addresses}"

    def end(self) -> None:
        self.process.terminate()
        assert self.process.wait(15) == 0, self.log.read_text()

    def clear(self) -> None:
        self.process.kill()
        self.process.wait()
        for file in self.files.values():
            for each in file:
                self._delete(each)
        path = f"/api/v1/namespaces/{SYSTEM}/configmaps/onehop-released"
        self.cluster.client.delete(path)


def identity(body: Plain) -> Id:
    meta = body["metadata"]
    return body["kind"], meta.get("namespace", "default"), meta["name"]


def said(service: Plain) -> str:
    meta, status = service["metadata"], service.get("status", {})
    ingress = status.get("loadBalancer", {}).get("ingress") or []
    why = [each["reason"] for each in status.get("conditions") or () if each["status"] == "False"]
    addresses = " ".join(each["ip"] for each in ingress)
    return f"service {meta['namespace']}/{meta['name']} {addresses or ' '.join(['-', *why])}"


def expected(step: Step) -> set[str]:
    """What of a page the server can show: addresses, codes of refusals, what is released."""
    found = set()
    for line in step.expected:
        what, _, rest = line.partition(" ")
        if what == "service":
            shown = rest.split(" of ")[0].removesuffix(" (not ours)")
            key, addresses, *code = shown.split(": ")[0].split(" ", 2)
            found.add(f"service {key} {addresses}{' ' + code[0] if code else ''}")
        elif what == "released":
            found.add(line)
    return found


@pytest.fixture
def play(cluster: Cluster, tmp_path: Path) -> Iterator[Play]:
    stage = Play(cluster, tmp_path / "log")
    yield stage
    stage.clear()


@pytest.mark.parametrize("path", PLAYED, ids=lambda path: path.stem)
def test_case_at_a_real_server(path: Path, play: Play) -> None:
    _, steps = parsed(path.read_text())
    for step in steps:
        play.play(step)
        until = time.monotonic() + SECONDS
        wanted = expected(step)
        while (seen := play.seen()) != wanted and time.monotonic() < until:
            time.sleep(0.02)
        assert seen == wanted, f"> {step.verb} {step.argument}\n{play.log.read_text()}"
    play.end()
