"""What a cluster's speaker says of its Services, in objects that its pod owns."""

from __future__ import annotations

from collections.abc import Mapping

from onehop.adapters.kube.events import Events, LiveLookup, NodeEvents
from onehop.adapters.kube.kubeconfig import Access
from onehop.adapters.kube.node_status import NodeStatusObjects
from onehop.adapters.kube.requests import Requests
from onehop.adapters.telemetry import Log
from onehop.app.node_status import NodeStatusTeller
from onehop.model.desired import NodeDesired


class KubeNodeStatus:
    """The `Telling` of a speaker in a cluster."""

    def __init__(
        self,
        access: Access,
        *,
        node: str,
        namespace: str,
        pod: Mapping[str, str] | None,
        live: LiveLookup,
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
            tell=NodeEvents(events, node=node, live=live).send,
        )
        self._teller = NodeStatusTeller(node, self._objects, log=log)
        self._objects.start(self._teller.again)

    def sync(self, want: NodeDesired) -> None:
        """From now on, say this."""
        self._teller.sync(want)

    def close(self) -> None:
        """Take back what was said, as far as there is time for it."""
        self._teller.close()
        self._objects.close()


def owner(pod: str, uid: str) -> Mapping[str, str] | None:
    """The owner reference to a speaker's pod: what it said goes when the pod goes."""
    if not (pod and uid):
        return None
    return {"apiVersion": "v1", "kind": "Pod", "name": pod, "uid": uid}
