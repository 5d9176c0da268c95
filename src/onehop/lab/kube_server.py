"""Kubernetes' own API server with its etcd and controller-manager, without a node or a container.

One `KubeServer` is one cluster: a folder with keys, certificates and etcd's data, and up to three
processes. It runs where its `Site` says: on the loopback of the machine, where tests talk to it
directly, or at an address inside a network namespace, where a lab's controller and speakers do.
How processes are started is the caller's: `Processes` binds their life to the calling thread's.

Every process is stopped by SIGKILL: an API server whose etcd is gone does not end on SIGTERM, and
nothing here outlives the run anyway.
"""

from __future__ import annotations

import base64
import http.client
import json
import os
import secrets
import socket
import ssl
import subprocess
import time
from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from onehop.lab import namespace
from onehop.lab.state import LabError

ETCD = "etcd"
APISERVER = "kube-apiserver"
MANAGER = "kube-controller-manager"
SERVICE_NETWORKS = "10.96.0.0/16,fd00:10:96::/112"
CONTROLLERS = (
    "endpointslice-controller",
    "garbage-collector-controller",
    "namespace-controller",
    "serviceaccount-controller",
    "serviceaccount-token-controller",
    "root-ca-certificate-publisher-controller",
    "pod-garbage-collector-controller",
)

_READY_SECONDS = 60.0  # a quiet machine needs four
_POLL_SECONDS = 0.05
_TAIL_LINES = 15

# The API server audits every request but its own and the administrator's: what is left is what
# the programs under test asked for.
_AUDIT_POLICY = {
    "apiVersion": "audit.k8s.io/v1",
    "kind": "Policy",
    "omitStages": ["RequestReceived"],
    "rules": [
        {"level": "None", "users": ["admin", "system:apiserver"]},
        {"level": "None", "users": ["system:kube-controller-manager"]},
        {"level": "Metadata"},
    ],
}


class ServerError(LabError):
    """The API server cannot be started; the text is for the user."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Site:
    """Where a cluster lives: its folder, its addresses and the namespace they are in.

    `address` is what clients connect to and what the certificate is for; `bind` is what the server
    listens on. Without `netns` both are of the namespace that the caller is in.
    """

    directory: Path
    address: str = "127.0.0.1"
    bind: str = "127.0.0.1"
    port: int = 6443
    etcd_port: int = 2379
    etcd_peer_port: int = 2380
    netns: Path | None = None
    service_networks: str = SERVICE_NETWORKS
    flags: tuple[str, ...] = ()  # more of the API server's

    @property
    def server(self) -> str:
        """The URL that clients use."""
        return f"https://{self.address}:{self.port}"

    @property
    def ca(self) -> Path:
        """What the server's certificate is verified with."""
        return self.directory / "certs" / "apiserver.crt"

    @property
    def audit_log(self) -> Path:
        """The audit log: a line of JSON for each request that an audited user made."""
        return self.directory / "audit.log"

    @property
    def kubeconfig(self) -> Path:
        """The administrator's kubeconfig."""
        return self.directory / "admin.kubeconfig"

    def inside(self) -> AbstractContextManager[None]:
        """The calling thread is where the server can be reached."""
        return nullcontext() if self.netns is None else namespace.entered(self.netns)


def loopback(directory: Path) -> Site:
    """A site on this machine's loopback, at ports that nobody uses."""
    listeners = [socket.create_server(("127.0.0.1", 0)) for _ in range(3)]
    port, etcd_port, etcd_peer_port = (listener.getsockname()[1] for listener in listeners)
    for listener in listeners:
        listener.close()
    return Site(directory=directory, port=port, etcd_port=etcd_port, etcd_peer_port=etcd_peer_port)


class Launcher(Protocol):
    """Starts and ends processes by name; a lab's supervisor and `Processes` both can."""

    def start(self, name: str, argv: Sequence[str]) -> None:
        """Start a process whose output can be asked for by `tail`."""

    def kill(self, name: str) -> None:
        """End it at once and wait for that; one that never ran or has ended is no error."""

    def is_alive(self, name: str) -> bool:
        """Whether it still runs."""

    def tail(self, name: str) -> str:
        """The last lines that it printed."""


class Processes:
    """Processes that end with the thread that started them, however that ends.

    `prefix` goes before each command, such as `nice -n 5`.
    """

    def __init__(self, logs: Path, netns: Path | None = None, prefix: Sequence[str] = ()) -> None:
        self._logs = logs
        self._netns = netns
        self._prefix = (*prefix, "setpriv", "--pdeathsig", "KILL", "--")
        self._children: dict[str, subprocess.Popen[bytes]] = {}

    def start(self, name: str, argv: Sequence[str]) -> None:
        """Start a process, its output in LOGS/NAME.log."""
        self.kill(name)
        self._logs.mkdir(parents=True, exist_ok=True)
        where = nullcontext() if self._netns is None else namespace.entered(self._netns)
        with self._log(name).open("ab") as log, where:
            self._children[name] = subprocess.Popen(
                [*self._prefix, *argv],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,  # a Ctrl-C at the terminal is for us alone
                cwd=self._logs,
                env=_environ(self._logs),
            )

    def kill(self, name: str) -> None:
        """End a process at once and wait for that."""
        child = self._children.pop(name, None)
        if child is not None:
            child.kill()
            child.wait()

    def is_alive(self, name: str) -> bool:
        """Whether it still runs."""
        child = self._children.get(name)
        return child is not None and child.poll() is None

    def tail(self, name: str) -> str:
        """The last lines that it printed."""
        try:
            lines = self._log(name).read_text(errors="replace").splitlines()
        except FileNotFoundError:
            lines = []
        return "\n".join(f"  {line}" for line in lines[-_TAIL_LINES:] or ["(it said nothing)"])

    def _log(self, name: str) -> Path:
        return self._logs / f"{name}.log"


def _environ(home: Path) -> dict[str, str]:
    """What a server is told of the machine: nothing that leads to a proxy or a cluster.

    The span is kubeadm's: with etcd's own, ten minutes, a watch of what nobody changes hears no
    bookmark for so long. An etcd before 3.6 knows no such flag, but ignores variables like it.
    """
    return {
        "PATH": os.environ.get("PATH", os.defpath),
        "HOME": str(home),
        "ETCD_WATCH_PROGRESS_NOTIFY_INTERVAL": "5s",
    }


class KubeServer:
    """One cluster's control plane; `start` it, and `stop` it on every way out."""

    def __init__(
        self, site: Site, programs: Path, launcher: Launcher | None = None, *, token: str = ""
    ) -> None:
        """`token` is the administrator's, for a server that runs already."""
        self.site = site
        self._programs = programs
        self._launcher = launcher or Processes(site.directory / "logs", site.netns)
        self.admin_token = token or secrets.token_hex(16)

    def start(self) -> None:
        """Start etcd and the API server, and wait until it serves.

        Raises:
            ServerError: with the end of its log, when one ends or is not ready in time.
        """
        self._write_files()
        try:
            self._start(ETCD, etcd_command(self.site))
            self.start_apiserver()
        except BaseException:
            self.stop()
            raise
        self._write_kubeconfig()

    def start_apiserver(self) -> None:
        """Start the API server alone, on the data of the etcd that runs.

        Raises:
            ServerError: with the end of its log, when it ends or is not ready in time.
        """
        self._start(APISERVER, apiserver_command(self.site))
        deadline = time.monotonic() + _READY_SECONDS
        while not self.is_ready():
            for name in (ETCD, APISERVER):
                if not self._launcher.is_alive(name):
                    raise ServerError(f"{name} ended:\n{self._launcher.tail(name)}")
            if time.monotonic() > deadline:
                raise ServerError(
                    f"{APISERVER} was not ready within {_READY_SECONDS:.0f} s:\n"
                    f"{self._launcher.tail(APISERVER)}"
                )
            time.sleep(_POLL_SECONDS)

    def stop_apiserver(self) -> None:
        """Kill the API server; etcd keeps its data and runs on."""
        self._launcher.kill(APISERVER)

    def stop_etcd(self) -> None:
        """Kill etcd under a running API server."""
        self._launcher.kill(ETCD)

    def start_etcd(self) -> None:
        """Start etcd again on its data."""
        self._start(ETCD, etcd_command(self.site))

    def start_controller_manager(self) -> bool:
        """Start the controller-manager; False when the programs hold none."""
        if not (self._programs / MANAGER).exists():
            return False
        self._start(MANAGER, manager_command(self.site))
        return True

    def stop(self) -> None:
        """Kill all there is."""
        for name in (MANAGER, APISERVER, ETCD):
            self._launcher.kill(name)

    def is_alive(self, name: str = APISERVER) -> bool:
        """Whether one of the processes runs."""
        return self._launcher.is_alive(name)

    def is_ready(self) -> bool:
        """Whether the API server says that it serves."""
        with suppress(OSError, http.client.HTTPException), self.site.inside():
            context = ssl.create_default_context(cafile=str(self.site.ca))
            connection = http.client.HTTPSConnection(
                self.site.address, self.site.port, timeout=5, context=context
            )
            try:
                headers = {"Authorization": f"Bearer {self.admin_token}"}
                connection.request("GET", "/readyz", headers=headers)
                return connection.getresponse().status == http.HTTPStatus.OK
            finally:
                connection.close()
        return False

    def _start(self, name: str, argv: Sequence[str]) -> None:
        self._launcher.start(name, [str(self._programs / name), *argv])

    def _write_files(self) -> None:
        directory = self.site.directory
        directory.mkdir(parents=True, exist_ok=True)
        (directory / "audit-policy.json").write_text(json.dumps(_AUDIT_POLICY))
        tokens = directory / "tokens.csv"
        tokens.touch(mode=0o600)
        tokens.write_text(f'{self.admin_token},admin,admin,"system:masters"\n')

    def _write_kubeconfig(self) -> None:
        text = kubeconfig(self.site, self.admin_token)
        self.site.kubeconfig.touch(mode=0o600)
        self.site.kubeconfig.write_text(text)


def kubeconfig(
    site: Site,
    token: str | Path,
    default_namespace: str = "default",
    *,
    name: str = "lab",
    loopback_port: int = 0,
) -> str:
    """A kubeconfig for the bearer of `token`, or of the token in that file, as JSON.

    With `loopback_port` the server is reached there on the machine's own loopback.
    """
    cluster = {
        "server": site.server,
        "certificate-authority-data": base64.b64encode(site.ca.read_bytes()).decode(),
    }
    if loopback_port:
        cluster |= {
            "server": f"https://127.0.0.1:{loopback_port}",
            "tls-server-name": site.address,  # what the certificate is for
        }
    user = {"tokenFile": str(token)} if isinstance(token, Path) else {"token": token}
    context = {"cluster": name, "user": name, "namespace": default_namespace}
    whole: Mapping[str, object] = {
        "apiVersion": "v1",
        "kind": "Config",
        "clusters": [{"name": name, "cluster": cluster}],
        "users": [{"name": name, "user": user}],
        "contexts": [{"name": name, "context": context}],
        "current-context": name,
    }
    return json.dumps(whole)


def etcd_command(site: Site) -> list[str]:
    """The words after `etcd`."""
    client, peer = (f"http://127.0.0.1:{port}" for port in (site.etcd_port, site.etcd_peer_port))
    return [
        f"--data-dir={site.directory / 'etcd'}",
        f"--listen-client-urls={client}",
        f"--advertise-client-urls={client}",
        f"--listen-peer-urls={peer}",
        f"--initial-advertise-peer-urls={peer}",
        f"--initial-cluster=default={peer}",
        "--unsafe-no-fsync",
        "--log-level=warn",
    ]


def apiserver_command(site: Site) -> list[str]:
    """The words after `kube-apiserver`."""
    directory = site.directory
    # Its own key, which it makes before it reads this, signs ServiceAccounts' tokens too.
    key = directory / "certs" / "apiserver.key"
    return [
        f"--etcd-servers=http://127.0.0.1:{site.etcd_port}",
        f"--bind-address={site.bind}",
        f"--secure-port={site.port}",
        f"--advertise-address={site.address}",
        "--endpoint-reconciler-type=none",
        f"--cert-dir={directory / 'certs'}",
        f"--service-cluster-ip-range={site.service_networks}",
        f"--service-account-key-file={key}",
        f"--service-account-signing-key-file={key}",
        "--service-account-issuer=https://kubernetes.default.svc.cluster.local",
        f"--token-auth-file={directory / 'tokens.csv'}",
        "--authorization-mode=RBAC",
        "--allow-privileged=true",  # as every installer sets it
        "--disable-admission-plugins=TaintNodesByCondition,Priority,DefaultTolerationSeconds",
        "--etcd-compaction-interval=0",
        "--shutdown-delay-duration=0s",
        f"--audit-policy-file={directory / 'audit-policy.json'}",
        f"--audit-log-path={site.audit_log}",
        *site.flags,
    ]


def manager_command(site: Site) -> list[str]:
    """The words after `kube-controller-manager`."""
    certs = site.directory / "certs"
    return [
        f"--kubeconfig={site.kubeconfig}",
        "--leader-elect=false",
        "--bind-address=127.0.0.1",
        "--secure-port=0",
        f"--controllers={','.join(CONTROLLERS)}",
        f"--service-account-private-key-file={certs / 'apiserver.key'}",
        f"--root-ca-file={certs / 'apiserver.crt'}",
        "--kube-api-qps=1000",
        "--kube-api-burst=2000",
        "--concurrent-service-endpoint-syncs=10",
        "--endpointslice-updates-batch-period=0s",
    ]
