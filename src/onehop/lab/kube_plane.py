"""The API server of a lab: its processes, the accounts that use it, and how it is reached.

It stands at an address on a bridge of its own host, to which the nodes have a link each, and
nowhere else. A person on the machine reaches it through a forwarder: a process in the API
server's namespace that was given a socket that listens on the machine's loopback. So there is no
route between the two, and whoever looks for the lab's processes by their namespace finds it.
"""

from __future__ import annotations

import json
import os
import socket
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from onehop.lab import kube_build
from onehop.lab.kube_client import KubeClient
from onehop.lab.kube_seed import (
    CONTROLLER,
    OWN_NAMESPACE,
    SPEAKER,
    Object,
    installation,
    namespaces_of,
)
from onehop.lab.kube_server import KubeServer, Site, kubeconfig
from onehop.lab.state import LabError, Layout, write_atomically
from onehop.lab.supervisor import READY_FD, Supervisor
from onehop.lab.topology import API

ADMIN = "admin"
KUBELET, FORWARDER = "kubelet", "forwarder"

_FORWARDER = Path(__file__).parent / "kube_forward.py"
_ACCOUNT_SECONDS = 20.0
_PAUSE = 0.02


@dataclass(frozen=True, slots=True, kw_only=True)
class Place:
    """Where the API server is, and what was decided with it."""

    address: str
    service_networks: str
    namespace: str
    programs: str

    def write(self, layout: Layout) -> None:
        """Keep it for whoever attaches to the lab."""
        layout.kube.mkdir(exist_ok=True)
        write_atomically(layout.kube / "place.json", json.dumps(asdict(self)))

    @classmethod
    def read(cls, layout: Layout) -> Place:
        """What was kept.

        Raises:
            LabError: when the lab has no API server.
        """
        try:
            return cls(**json.loads((layout.kube / "place.json").read_text()))
        except FileNotFoundError:
            raise LabError(
                f"lab {layout.name!r} has no API server: `onehop lab up --store kubernetes` "
                "builds one that has"
            ) from None


class _Launcher:
    """The lab's supervisor as what starts the API server's processes."""

    def __init__(self, supervisor: Supervisor, home: Path) -> None:
        self._supervisor = supervisor
        # Nothing that leads to a proxy or to another cluster.
        self._env = {"PATH": os.environ.get("PATH", os.defpath), "HOME": str(home)}

    def start(self, name: str, argv: Sequence[str]) -> None:
        """Start a process; it is not asked to end, since without its etcd it would not."""
        self._supervisor.stop(name)
        self._supervisor.start(name, API, argv, env=self._env, sudden=True)

    def kill(self, name: str) -> None:
        """End it at once."""
        self._supervisor.stop(name)

    def is_alive(self, name: str) -> bool:
        """Whether it still runs."""
        return any(r.name == name and r.is_alive() for r in self._supervisor.records())

    def tail(self, name: str) -> str:
        """The last lines that it printed."""
        return self._supervisor.tail(name)


class KubePlane:
    """The API server of one lab, started or not."""

    def __init__(self, layout: Layout, place: Place) -> None:
        self.layout = layout
        self.place = place
        self.site = Site(
            directory=layout.kube,
            address=place.address,
            bind="0.0.0.0",
            netns=layout.namespace(API),
            service_networks=place.service_networks,
        )

    def server(self, supervisor: Supervisor) -> KubeServer:
        """Its processes, to stop and start them."""
        launcher = _Launcher(supervisor, self.layout.kube)
        return KubeServer(self.site, Path(self.place.programs), launcher, token=self._token())

    def client(self) -> KubeClient:
        """A client that is the administrator; close it."""
        return KubeClient(self.site, self._token())

    def start(self, supervisor: Supervisor, seed: Sequence[Object]) -> None:
        """Start the server with onehop installed and these objects in it."""
        server = self.server(supervisor)
        server.start()
        with KubeClient(self.site, server.admin_token) as client:
            self._fill(client, server.start_controller_manager, seed)
            self.renew_all(client)
        self._forward(supervisor)
        words = ["-m", "onehop.lab.kube_kubelet", "--lab", self.layout.name]
        argv = [sys.executable, "-P", *words, "--ready-fd", READY_FD]
        supervisor.start(KUBELET, API, argv)

    def _fill(
        self, client: KubeClient, start_manager: Callable[[], bool], seed: Sequence[Object]
    ) -> None:
        wanted = installation(self.place.namespace)
        spaces = [item for item in seed if item["kind"] == "Namespace"]
        # CRDs first: the controller-manager would notice later ones only after half a minute.
        client.apply([*spaces, *wanted.definitions, *wanted.rights])
        if not start_manager():
            raise LabError(
                f"{self.place.programs} holds no kube-controller-manager, which a lab needs"
            )
        for space in namespaces_of(seed, "Pod"):
            _await_account(client, space)
        client.apply(item for item in seed if item["kind"] != "Namespace")

    def _forward(self, supervisor: Supervisor) -> None:
        with socket.create_server(("127.0.0.1", 0)) as listener:
            port = listener.getsockname()[1]
            argv = [sys.executable, "-IS", str(_FORWARDER), "--fd", str(listener.fileno())]
            argv += ["--host", self.site.address, "--port", str(self.site.port)]
            argv += ["--ready-fd", READY_FD]
            supervisor.start(FORWARDER, API, argv, pass_fds=[listener.fileno()])
        name = f"onehop-{self.layout.name}"
        text = kubeconfig(self.site, self._token(), name=name, loopback_port=port)
        _keep(self.outer_kubeconfig, text)

    def renew_all(self, client: KubeClient) -> None:
        """Give the accounts new tokens, as a kubelet does long before the old ones end."""
        for account in (CONTROLLER, SPEAKER):
            token = self.layout.kube / f"{account}.token"
            _keep(token, client.create_token(OWN_NAMESPACE, account))
            _keep(self.kubeconfig(account), kubeconfig(self.site, token, OWN_NAMESPACE))

    def kubeconfig(self, account: str = ADMIN) -> Path:
        """The kubeconfig of an account, for hosts that have a link to the API server."""
        return self.layout.kube / f"{account}.kubeconfig"

    @property
    def outer_kubeconfig(self) -> Path:
        """The administrator's kubeconfig for the machine itself."""
        return self.layout.kube / "kubeconfig"

    def _token(self) -> str:
        try:
            return (self.layout.kube / "tokens.csv").read_text().partition(",")[0]
        except FileNotFoundError:
            return ""


def programs() -> Path:
    """The folder of Kubernetes' programs.

    Raises:
        LabError: when they have not been built.
    """
    found = kube_build.installed(kube_build.SERVER)
    if found is None:
        raise LabError("Kubernetes' programs are not built yet: `make kube` builds them")
    return found


def _await_account(client: KubeClient, namespace: str) -> None:
    """Wait until Pods may be made in a namespace."""
    path = f"/api/v1/namespaces/{namespace}/serviceaccounts?fieldSelector=metadata.name=default"
    deadline = time.monotonic() + _ACCOUNT_SECONDS
    while not client.get(path)["items"]:
        if time.monotonic() > deadline:
            raise LabError(f"Namespace {namespace} has no ServiceAccount yet")
        time.sleep(_PAUSE)


def _keep(path: Path, text: str) -> None:
    """Write what only its owner may read."""
    draft = path.with_name(f".{path.name}.{os.getpid()}")
    draft.touch(mode=0o600)
    draft.write_text(text)
    draft.replace(path)
