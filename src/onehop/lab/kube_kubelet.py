"""The kubelet of every node of a lab: it says which nodes and pods live, and lives beside them.

A pod is ready when what stands in it takes connections. Everything is compared with what the API
server has, turn by turn, so it does not matter who changed it or what was missed.

    python -P -m onehop.lab.kube_kubelet --lab NAME [--ready-fd FD]
"""

from __future__ import annotations

import argparse
import http.client
import os
import signal
import socket
import sys
import time
from collections.abc import Callable, Iterable
from functools import partial
from typing import Protocol

from onehop.adapters.kube.instant import instant, micro_instant
from onehop.lab import namespace
from onehop.lab.kube_client import APPLY, Object
from onehop.lab.kube_store import KubeLabStore
from onehop.lab.state import LabError, Layout
from onehop.lab.topology import PodHost, Topology
from onehop.model.service import Key

LEASE_SECONDS = 40
RENEW_EVERY = 10.0
TOKEN_EVERY = 1200.0  # a token holds for an hour

# Seconds between two looks at the pods: while one that is not ready may soon be, and else.
_BUSY, _QUIET = 0.1, 1.0
_SOON = 30.0  # after the last change
_PROBE_SECONDS = 0.3
_MANAGER = "kubelet"


class Api(Protocol):
    """What a kubelet asks of the API server."""

    def get(self, path: str) -> Object:
        """The object or list at a path."""
        ...

    def request(
        self, method: str, path: str, body: Object | None = None, content_type: str = APPLY
    ) -> Object:
        """Make one request."""
        ...

    def delete(self, path: str) -> None:
        """Delete an object at once."""
        ...


class Kubelet:
    """The pods and nodes of one lab, as the API server is told of them.

    `answers` says whether a pod serves, `renew_tokens` gives the lab's accounts new ones; `now`
    is the time of day in seconds.
    """

    def __init__(
        self,
        api: Api,
        shape: Topology,
        *,
        answers: Callable[[PodHost], bool],
        renew_tokens: Callable[[], None],
        now: Callable[[], float] = time.time,
    ) -> None:
        self._api = api
        self._pods = {pod.key: pod for pod in shape.pods}
        self._nodes = tuple(node.name for node in shape.nodes)
        self._node_address = {node.name: str(node.addresses[0].ip) for node in shape.nodes}
        self._answers = answers
        self._now = now
        self._renew_tokens = renew_tokens
        self._renewed = 0.0
        self._changed_at = now()
        self._tokens_at = now()  # whoever made the accounts gave them their first

    def turn(self) -> float:
        """Tell what is to be told, and return for how many seconds nothing else is.

        Raises:
            LabError: when the API server refuses something.
            OSError: when it cannot be reached.
        """
        if self._now() - self._renewed >= RENEW_EVERY:
            for node in self._nodes:
                self._renew(node)
            self._renewed = self._now()
        if self._now() - self._tokens_at >= TOKEN_EVERY:
            self._renew_tokens()
            self._tokens_at = self._now()
        waiting = False
        for item in self._api.get("/api/v1/pods")["items"]:
            metadata = item["metadata"]
            pod = self._pods.get(Key(metadata["namespace"], metadata["name"]))
            if pod is not None and item["spec"].get("nodeName") == pod.node:
                waiting |= not self._tend(item, pod)
        is_busy = waiting and self._now() - self._changed_at < _SOON
        return _BUSY if is_busy else _QUIET

    def _tend(self, item: Object, pod: PodHost) -> bool:
        """Bring a Pod's status up to date; whether it is ready."""
        if item["metadata"].get("deletionTimestamp"):
            self._api.delete(_path(pod))  # there is nothing that would have to end first
            return True
        ready = self._answers(pod)
        if _told(item) != ready or item.get("status", {}).get("podIP") != str(pod.addresses[0]):
            self._tell(item, pod, ready=ready)
        return ready

    def _tell(self, item: Object, pod: PodHost, *, ready: bool) -> None:
        self._changed_at = self._now()
        status = pod_status(
            item, pod, ready=ready, host=self._node_address[pod.node], now=instant(self._now())
        )
        body = {
            "apiVersion": "v1",
            "kind": "Pod",
            "metadata": {"name": pod.key.name, "namespace": pod.key.namespace},
            "status": status,
        }
        path = f"{_path(pod)}/status?fieldManager={_MANAGER}&force=true"
        self._api.request("PATCH", path, body, APPLY)

    def _renew(self, node: str) -> None:
        body = {
            "apiVersion": "coordination.k8s.io/v1",
            "kind": "Lease",
            "metadata": {"name": node, "namespace": "kube-node-lease"},
            "spec": {
                "holderIdentity": node,
                "leaseDurationSeconds": LEASE_SECONDS,
                "renewTime": micro_instant(self._now()),
            },
        }
        where = f"/apis/coordination.k8s.io/v1/namespaces/kube-node-lease/leases/{node}"
        self._api.request("PATCH", f"{where}?fieldManager={_MANAGER}&force=true", body, APPLY)


def pod_status(item: Object, pod: PodHost, *, ready: bool, host: str, now: str) -> Object:
    """What a kubelet writes of a pod; `host` is its node's address."""
    before = {each["type"]: each for each in item.get("status", {}).get("conditions") or ()}
    states = {
        "PodScheduled": True,
        "Initialized": True,
        "ContainersReady": ready,
        "Ready": ready,
    }
    started = item["metadata"].get("creationTimestamp") or now
    return {
        "phase": "Running",
        "hostIP": host,
        "hostIPs": [{"ip": host}],
        "podIP": str(pod.addresses[0]),
        "podIPs": [{"ip": str(address)} for address in pod.addresses],
        "startTime": started,
        "conditions": [
            _condition(name, before.get(name), holds=holds, now=now)
            for name, holds in states.items()
        ],
        "containerStatuses": [
            {
                "name": each["name"],
                "image": each["image"],
                "imageID": "",
                "ready": ready,
                "started": True,
                "restartCount": 0,
                "state": {"running": {"startedAt": started}},
            }
            for each in item["spec"]["containers"]
        ],
    }


def _condition(name: str, before: Object | None, *, holds: bool, now: str) -> Object:
    stays = before is not None and before["status"] == str(holds)
    since = before["lastTransitionTime"] if before is not None and stays else now
    return {"type": name, "status": str(holds), "lastTransitionTime": since}


def _told(item: Object) -> bool | None:
    """Whether a Pod was said to be ready, None when nothing was said."""
    for each in item.get("status", {}).get("conditions") or ():
        if each["type"] == "Ready":
            return bool(each["status"] == "True")
    return None


def _path(pod: PodHost) -> str:
    return f"/api/v1/namespaces/{pod.key.namespace}/pods/{pod.key.name}"


def connects(layout: Layout) -> Callable[[PodHost], bool]:
    """A probe from a pod's own node, as a kubelet's are: does its first port take connections?"""

    def answers(pod: PodHost) -> bool:
        if not pod.ports:
            return True
        try:
            with namespace.entered(layout.namespace(pod.node)):
                address = (str(pod.addresses[0]), pod.ports[0])
                socket.create_connection(address, timeout=_PROBE_SECONDS).close()
        except OSError:
            return False
        return True

    return answers


def serve(kubelet: Kubelet, ready: Callable[[], None]) -> None:
    """Serve for ever; an API server that is away is waited for."""
    told = ""
    while True:
        try:
            pause = kubelet.turn()
            ready()
            told = ""
        except (LabError, OSError, http.client.HTTPException) as error:
            pause = _QUIET
            if str(error) != told:
                told = str(error)
                print(told, file=sys.stderr, flush=True)
        time.sleep(pause)


def _announced(descriptor: int | None) -> Callable[[], None]:
    pending = [descriptor] if descriptor is not None else []

    def ready() -> None:
        while pending:
            number = pending.pop()
            os.write(number, b"1")
            os.close(number)

    return ready


def main(arguments: Iterable[str]) -> None:
    """Be a lab's kubelet until told to end."""
    parser = argparse.ArgumentParser(prog="kube_kubelet")
    parser.add_argument("--lab", required=True)
    parser.add_argument("--ready-fd", type=int)
    options = parser.parse_args(list(arguments))
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
    layout = Layout(options.lab)
    store = KubeLabStore(layout)
    plane = store.plane
    with plane.client() as client:
        kubelet = Kubelet(
            client,
            store.shape(),
            answers=connects(layout),
            renew_tokens=partial(plane.renew_all, client),
        )
        serve(kubelet, _announced(options.ready_fd))


if __name__ == "__main__":
    main(sys.argv[1:])
