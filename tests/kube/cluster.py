"""What a test holds of the real API server: the fixture `cluster`."""

from __future__ import annotations

import os
import secrets
import shutil
import subprocess
from collections.abc import Callable, Iterable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import yaml

from onehop.lab.kube_build import ASSETS
from onehop.lab.kube_client import KubeClient, Object, RequestError, read_audit
from onehop.lab.kube_server import APISERVER, KubeServer, Site, kubeconfig, loopback

CRDS = Path(__file__).parents[2] / "deploy" / "chart" / "crds"


class Cluster:
    """A control plane of Kubernetes' own programs, without nodes; one for the whole session.

    Tests share it, so each works in a `namespace()` of its own, and what has none (Nodes, cluster
    roles) gets a name of its own and is deleted again.
    """

    def __init__(self, directory: Path, programs: Path, *flags: str) -> None:
        self._directory = directory
        self._programs = programs
        self._server = KubeServer(replace(loopback(directory), flags=flags), programs)
        self._has_manager = False
        self.refused_crds: dict[str, str] = {}
        self.client = KubeClient(self.site, self._server.admin_token)

    @property
    def site(self) -> Site:
        """Where it lives."""
        return self._server.site

    @property
    def server(self) -> str:
        """The URL of the API server."""
        return self.site.server

    @property
    def kubeconfig(self) -> Path:
        """The kubeconfig of an administrator, who is above RBAC and not audited."""
        return self.site.kubeconfig

    def start(self, definitions: Path = CRDS) -> None:
        """Start it, with the CRDs of a folder and a controller-manager."""
        self._server.start()
        # CRDs first: the controller-manager would notice later ones only after half a minute.
        for path in sorted(definitions.glob("*.yaml")):
            try:
                self.apply(item for item in yaml.safe_load_all(path.read_text()) if item)
            except RequestError as refusal:  # one test says so, the others go on
                self.refused_crds[path.name] = str(refusal)
        self._has_manager = self._server.start_controller_manager()

    def require_controller_manager(self) -> None:
        """Fail with a sentence where the user's own programs include none."""
        assert self._has_manager, f"{ASSETS} holds no kube-controller-manager: unset it"

    def stop(self) -> None:
        """End it."""
        self.client.close()
        self._server.stop()

    def kubectl(self, *args: str, stdin: str = "") -> str:
        """What `kubectl ARGS` prints, run as an administrator.

        Raises:
            AssertionError: with what it said, when it failed.
        """
        environ = {"KUBECONFIG": str(self.kubeconfig), "HOME": str(self._directory)}
        done = subprocess.run(
            [self._programs / "kubectl", *args],
            input=stdin,
            capture_output=True,
            text=True,
            check=False,
            timeout=60,
            env={"PATH": os.environ["PATH"], **environ},
        )
        assert done.returncode == 0, f"kubectl {' '.join(args)}: {done.stderr.strip()}"
        return done.stdout

    def apply(self, objects: Iterable[Mapping[str, Any]]) -> None:
        """Apply objects as an administrator, each with its `status` where it has one."""
        self.client.apply(objects)

    def get(self, path: str) -> Object:
        """The object or list at a path of the API, such as `/api/v1/nodes`."""
        return self.client.get(path)

    def namespace(self) -> str:
        """A new Namespace; nobody waits for its end."""
        name = f"test-{secrets.token_hex(4)}"
        self.apply([{"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name}}])
        return name

    def token(self, namespace: str, serviceaccount: str) -> str:
        """A token of a ServiceAccount, which is made when missing and may do nothing at first."""
        return self.client.create_token(namespace, serviceaccount)

    def kubeconfig_for(self, namespace: str, serviceaccount: str) -> Path:
        """A kubeconfig of a ServiceAccount, with `namespace` as its default."""
        path = self._directory / "kubeconfigs" / f"{namespace}.{serviceaccount}"
        path.parent.mkdir(exist_ok=True)
        path.write_text(kubeconfig(self.site, self.token(namespace, serviceaccount), namespace))
        return path

    def stop_apiserver(self) -> None:
        """Kill the API server; it is started again before the next test, or by you."""
        self._server.stop_apiserver()

    def start_apiserver(self) -> None:
        """Start the API server again, on the same data and at the same address.

        The controller-manager starts anew with it: its own watches would come back late.
        """
        self._server.start_apiserver()
        self._server.start_controller_manager()

    def restart_apiserver(self) -> None:
        """Kill the API server and start it again: what it cached is gone, so watches get 410."""
        self.stop_apiserver()
        self.start_apiserver()

    def back_up(self, to: Path) -> None:
        """Keep a copy of all data; the server is away meanwhile."""
        self._with_etcd_stopped(lambda data: shutil.copytree(data, to))

    def restore(self, backup: Path) -> None:
        """Go on from a copy: what came after it never was, and resource versions come again."""

        def put_back(data: Path) -> None:
            shutil.rmtree(data)
            shutil.copytree(backup, data)

        self._with_etcd_stopped(put_back)

    def _with_etcd_stopped(self, work: Callable[[Path], object]) -> None:
        self.stop_apiserver()
        self._server.stop_etcd()
        work(self.site.directory / "etcd")
        self._server.start_etcd()
        self.start_apiserver()

    def repair(self) -> None:
        """Make up for what a test left stopped."""
        if not self._server.is_alive(APISERVER):
            self.start_apiserver()

    def audit(self, namespace: str = "", serviceaccount: str = "") -> list[Object]:
        """The audit events of one ServiceAccount, or of all but administrators, oldest first."""
        events = read_audit(self.site.audit_log)
        if not serviceaccount:
            return events
        name = f"system:serviceaccount:{namespace}:{serviceaccount}"
        return [event for event in events if event["user"].get("username") == name]
