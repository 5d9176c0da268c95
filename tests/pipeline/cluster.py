"""The stage of a case in a cluster: a fake API server in place of the folder.

What a file holds is applied, and what a file no longer holds is deleted, as a person with kubectl
would. The statuses are written by hand into the server, so what is played here is the store and
the decision; the writer has tests of its own.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from ipaddress import ip_address
from typing import Any

import yaml

from onehop.adapters.kube.kubeconfig import Access
from onehop.adapters.kube.reader import Recall
from onehop.adapters.kube.store import KubeStore
from onehop.model.address import IPAddress
from onehop.model.desired import ClusterDesired, Report
from onehop.model.objects import Objects
from onehop.model.service import Key
from tests.fakes.api_server import ApiServer, Id, identity
from tests.unit.adapters.kube.objects import eventually

Plain = dict[str, Any]
NAMESPACE = "metallb-system"


class Clerk:
    """Writes statuses straight into the server, and keeps released addresses between runs."""

    def __init__(self, api: ApiServer) -> None:
        self.api = api
        self.kept: Mapping[Key, tuple[IPAddress, ...]] = {}
        self.assumed: dict[Key, tuple[IPAddress, ...]] = {}

    def start(self, wake: Callable[[], None]) -> None:
        """Nothing is written later."""

    def collect(self) -> set[Key]:
        return set()

    def echoed(self, *_: object) -> bool:
        return False

    def sync(self, want: ClusterDesired, *_: object) -> Report:
        self.kept = want.released
        for key, status in want.statuses.items():
            body = self.api.objects.get(("Service", key.namespace, key.name))
            shown = [{"ip": str(each), "ipMode": "VIP"} for each in status.addresses]
            if body is not None and ingress(body) != shown:
                self.api.put({**body, "status": {"loadBalancer": {"ingress": shown}}})
        return Report()

    def close(self) -> None:
        """Nothing is under way."""


def ingress(body: Plain) -> list[Plain]:
    balancer = body.get("status", {}).get("loadBalancer", {})
    found: list[Plain] = balancer.get("ingress") or []
    return found


class ClusterFolder:
    """Files that are applied to a server, and the store over it."""

    def __init__(self) -> None:
        self.api = ApiServer()
        self.clerk = Clerk(self.api)
        self.files: dict[str, dict[Id, Plain]] = {}
        self.store = self.opened()

    def opened(self) -> KubeStore:
        path = "/api/v1/namespaces/onehop-system/configmaps?limit=1"
        return KubeStore(
            Access(server=self.api.url, host="127.0.0.1", port=self.api.port),
            namespace=NAMESPACE,
            slices=False,
            writer=self.clerk,
            recall=Recall(path=path, decoded=lambda body: dict(self.clerk.kept)),
        )

    def reopen(self) -> None:
        self.store.close()
        self.store = self.opened()

    def write(self, name: str, text: str) -> None:
        now = {identity(each): each for each in yaml.safe_load_all(text) if each}
        gone = self.files.get(name, {}).keys() - now.keys()
        self.files[name] = now
        for each in gone:
            self.api.delete(*each)
        for found, body in now.items():
            status = self.api.objects.get(found, {}).get("status")
            self.api.put({**body, "status": status} if status else body)

    def remove(self, name: str) -> None:
        self.write(name, "")
        del self.files[name]

    def refresh(self) -> None:
        """Until the store knows all that the server does."""
        eventually(self.store, self._is_up_to_date)

    def _is_up_to_date(self, objects: Objects) -> bool:
        self.store.refresh()
        if not objects.complete:
            return False
        latest = {name: body for _, _, body in self.api.history if (name := identity(body))}
        return all(self._is_known(objects, name, body) for name, body in latest.items())

    def _is_known(self, objects: Objects, name: Id, body: Plain) -> bool:
        kind, namespace, own = name
        there = name in self.api.objects
        if kind == "Namespace":
            found = objects.namespaces.get(Key("", own))
            labels = body["metadata"].get("labels", {})
            return (found is not None) == there and (found is None or found.labels == labels)
        live = self.store.live(kind, Key(namespace, own))
        if not there or live is None:
            return (live is not None) == there
        shown = objects.services.get(Key(namespace, own))
        raw = tuple(ip_address(each["ip"]) for each in ingress(body))
        is_same = shown is None or shown.ingress == raw
        return live.resource_version == body["metadata"]["resourceVersion"] and is_same

    def close(self) -> None:
        self.store.close()
        self.api.stop()
