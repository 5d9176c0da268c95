"""A cluster's API server and one node in a network namespace, and onehop's programs in it."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

import yaml
from tools.deploy import MANIFEST, NAMESPACE

from onehop.lab import namespace
from onehop.lab.kube_client import KubeClient, RequestError, read_audit
from onehop.lab.kube_server import KubeServer, kubeconfig, loopback
from tests.deploy.objects import Object

SERVER = "172.30.0.1"
NODE = "192.0.2.10"
# The node's link has its other end in the same namespace: frames go out and meet nobody.
LINKS = f"""link set lo up
address add {SERVER}/32 dev lo
link add eth0 type veth peer name wire
address add {NODE}/24 dev eth0
link set eth0 up
link set wire up
"""
PATIENCE = 30.0


class Sealed:
    """The cluster, with the plain manifest applied; `run` starts a program under an account."""

    def __init__(self, directory: Path, programs: Path, netns: Path) -> None:
        self._directory = directory
        site = replace(loopback(directory / "kube"), address=SERVER, bind="0.0.0.0", netns=netns)
        self._server = KubeServer(site, programs)
        self._netns = netns
        self._started: list[subprocess.Popen[bytes]] = []
        self.site = site

    def start(self, definitions: Path | None = None) -> None:
        """Start the server and apply the manifest, with other definitions if told so."""
        self._server.start()
        self.client = KubeClient(self.site, self._server.admin_token)
        objects = [each for each in yaml.safe_load_all(MANIFEST.read_text()) if each]
        if definitions is not None:
            objects = [each for each in objects if each["kind"] != "CustomResourceDefinition"]
            theirs = (yaml.safe_load(path.read_text()) for path in definitions.glob("*.yaml"))
            objects = [*theirs, *objects]
        self.client.apply(objects)

    def stop(self) -> None:
        """End every program, then the server."""
        for child in self._started:
            with suppress(ProcessLookupError):
                os.killpg(child.pid, signal.SIGKILL)
            child.wait()
        with suppress(AttributeError):
            self.client.close()
        self._server.stop()

    def run(self, account: str, *words: str, pod: str) -> subprocess.Popen[bytes]:
        """Start `onehop WORDS` in the namespace, as a pod of this account would run it."""
        environ = {
            "ONEHOP_POD_NAME": pod,
            "ONEHOP_POD_UID": "00000000-0000-0000-0000-000000000001",
            "ONEHOP_POD_NAMESPACE": NAMESPACE,
            "ONEHOP_NODE_NAME": "node1",
        }
        argv = [sys.executable, "-m", "onehop.cli.main", *words, f"--namespace={NAMESPACE}"]
        return self.start_program(account, argv, environ, name=pod)

    def run_as_admin(self, *words: str) -> subprocess.Popen[bytes]:
        """Start `onehop WORDS` as an administrator would from a shell."""
        argv = [sys.executable, "-m", "onehop.cli.main", *words, f"--namespace={NAMESPACE}"]
        return self._launch("admin", argv, {"KUBECONFIG": str(self.site.kubeconfig)})

    def start_program(
        self, account: str, argv: list[str], environ: Mapping[str, str], name: str = ""
    ) -> subprocess.Popen[bytes]:
        """Start any program in the namespace, with a kubeconfig of an account."""
        path = self._directory / f"{name or account}.kubeconfig"
        token = self.client.create_token(NAMESPACE, account)
        path.write_text(kubeconfig(self.site, token, NAMESPACE))
        return self._launch(name or account, argv, {**environ, "KUBECONFIG": str(path)})

    def _launch(
        self, name: str, argv: list[str], environ: Mapping[str, str]
    ) -> subprocess.Popen[bytes]:
        log = (self._directory / f"{name}.log").open("wb")
        with log, namespace.entered(self._netns):
            child = subprocess.Popen(
                argv, env=os.environ | environ, stdout=log, stderr=log, start_new_session=True
            )
        self._started.append(child)
        return child

    def end(self, child: subprocess.Popen[bytes]) -> None:
        """SIGTERM, and wait."""
        child.send_signal(signal.SIGTERM)
        assert child.wait(timeout=15) == 0, self.said()

    def until(self, claim: Callable[[], object]) -> None:
        """Wait until something is so."""
        deadline = time.monotonic() + PATIENCE
        while not self._holds(claim):
            for child in self._started:
                assert child.poll() in (None, 0, -signal.SIGKILL), self.said()
            assert time.monotonic() < deadline, self.said()
            time.sleep(0.05)

    @staticmethod
    def _holds(claim: Callable[[], object]) -> bool:
        try:
            return bool(claim())
        except (RequestError, KeyError, IndexError):  # not there yet
            return False

    def log(self, pod: str) -> str:
        """What the program of a pod has written."""
        return (self._directory / f"{pod}.log").read_text()

    def said(self) -> str:
        """What the programs wrote last."""
        logs = sorted(self._directory.glob("*.log"))
        return "\n".join(f"{path.name}:\n{path.read_text()[-2000:]}" for path in logs)

    def change(self, path: str, patch: Mapping[str, Any]) -> Object:
        """Merge a patch into an object."""
        return self.client.request("PATCH", path, patch, "application/merge-patch+json")

    def audit(self, account: str) -> list[Object]:
        """What the account asked of the server."""
        name = f"system:serviceaccount:{NAMESPACE}:{account}"
        events = read_audit(self.site.audit_log)
        return [event for event in events if event["user"].get("username") == name]


@contextmanager
def sealed(
    directory: Path, programs: Path, name: str, definitions: Path | None = None
) -> Iterator[Sealed]:
    """A namespace and the cluster in it, taken away on every way out."""
    netns = directory / "netns"
    namespace.create(netns, name)
    try:
        with namespace.entered(netns):
            subprocess.run(["ip", "-batch", "-"], input=LINKS, text=True, check=True)
        made = Sealed(directory, programs, netns)
        try:
            made.start(definitions)
            yield made
        finally:
            made.stop()
    finally:
        namespace.remove(netns)
        (namespace.NAMES / name).unlink()
