"""The annotation that names the pool of a Service's addresses, as MetalLB writes it.

On Services of others we write nothing but status; who wants the annotation asks for it. It
follows the status: written after it, and taken away when the addresses are.
"""

from __future__ import annotations

import msgspec

from onehop.adapters.kube.connection import MERGE_PATCH, Request
from onehop.adapters.kube.requests import Lane, Outcome, Requests
from onehop.adapters.kube.statuses import FIELD_MANAGER
from onehop.adapters.kube.structs import Live
from onehop.model.desired import ServiceStatus
from onehop.model.service import Key

ANNOTATION = "metallb.io/ip-allocated-from-pool"


class PoolAnnotation:
    """Writes it; one that cannot be written is counted, and written with the next status."""

    def __init__(self, requests: Requests) -> None:
        self._requests = requests
        self.failed = 0

    def written(self, key: Key, before: Live, status: ServiceStatus) -> None:
        """A status was written over another."""
        if not status.addresses and not before.ingress:
            return
        body = {"metadata": {"uid": before.uid, "annotations": {ANNOTATION: status.pool or None}}}
        path = f"/api/v1/namespaces/{key.namespace}/services/{key.name}"
        request = Request(
            "PATCH",
            f"{path}?fieldManager={FIELD_MANAGER}",
            msgspec.json.encode(body),
            MERGE_PATCH,
        )
        self._requests.submit(Lane.REPORT, ("annotation", key), request, self._ended)

    def _ended(self, outcome: Outcome) -> None:
        self.failed += not outcome.ok
