"""What a cluster's speaker says of its Services and of the configuration.

It says so in objects that its pod owns, and in Events.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Protocol

from onehop.adapters.kube.configuration_state import ConfigurationState
from onehop.adapters.kube.events import Events, NodeEvents
from onehop.adapters.kube.kubeconfig import Access
from onehop.adapters.kube.node_status import NodeStatusObjects
from onehop.adapters.kube.requests import Requests
from onehop.adapters.kube.structs import Live
from onehop.adapters.telemetry import Log
from onehop.app.kube_configuration import ConfigurationTeller
from onehop.app.node_status import NodeStatusTeller
from onehop.model.desired import NodeDesired
from onehop.model.objects import Objects
from onehop.model.service import Key


class Source(Protocol):
    """What is known of the cluster."""

    def objects(self) -> Objects:
        """All objects, as far as the model names them."""
        ...

    def live(self, kind: str, key: Key) -> Live | None:
        """What is known of an object beyond the model."""
        ...


class KubeNodeStatus:
    """The `Telling` of a speaker in a cluster."""

    def __init__(
        self,
        access: Access,
        *,
        node: str,
        namespace: str,
        pod: Mapping[str, str] | None,
        store: Source,
        log: Log,
    ) -> None:
        # One connection: who looks on can wait, and a node shares its processor with its pods.
        requests = Requests(access, threads=1)
        events = Events(requests, instance=pod["name"] if pod is not None else node)
        self._objects = NodeStatusObjects(
            requests,
            node=node,
            namespace=namespace,
            owner=pod,
            tell=NodeEvents(events, node=node, live=store.live).send,
        )
        state = ConfigurationState(requests, access, namespace, node=node, owner=pod)
        self._configuration = ConfigurationTeller(state, store.objects)
        self._teller = NodeStatusTeller(node, self._objects, log=log)
        self._objects.start(self._teller.again)

    def sync(self, want: NodeDesired) -> None:
        """From now on, say this."""
        self._teller.sync(want)
        self._configuration.sync()

    def close(self) -> None:
        """Take back what was said, as far as there is time for it."""
        self._configuration.close()
        self._teller.close()
        self._objects.close()


def owner(pod: str, uid: str) -> Mapping[str, str] | None:
    """The owner reference to a speaker's pod: what it said goes when the pod goes."""
    if not (pod and uid):
        return None
    return {"apiVersion": "v1", "kind": "Pod", "name": pod, "uid": uid}
