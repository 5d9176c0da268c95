"""ServiceL2Status and ServiceBGPStatus as objects of the API, in MetalLB's shape.

Whoever watches MetalLB's statuses selects them by these labels. The name is made of the node and
the Service, where MetalLB lets the API invent one: the same statement then has the same name, and
writing it twice is writing it once.
"""

from __future__ import annotations

from collections.abc import Mapping
from hashlib import blake2b

from onehop.model.service import Key
from onehop.model.status import ServiceBGPStatus, ServiceL2Status

API_VERSION = "metallb.io/v1beta1"
NODE_LABEL = "metallb.io/node"
NAME_LABEL = "metallb.io/service-name"
NAMESPACE_LABEL = "metallb.io/service-namespace"

Plain = Mapping[str, object]
ServiceNodeStatus = ServiceL2Status | ServiceBGPStatus


def kind_of(status: ServiceNodeStatus) -> str:
    """The kind of the object that a status becomes."""
    return type(status).__name__


def object_name(status: ServiceNodeStatus) -> str:
    """The name of the object: MetalLB's prefix, and what tells it from all others."""
    what = f"{status.node}/{status.service.namespace}/{status.service.name}"
    prefix = "l2" if isinstance(status, ServiceL2Status) else "bgp"
    return f"{prefix}-{blake2b(what.encode(), digest_size=8).hexdigest()}"


def status_object(status: ServiceNodeStatus, namespace: str) -> Plain:
    """The whole object, in the namespace of the speakers."""
    return {
        "apiVersion": API_VERSION,
        "kind": kind_of(status),
        "metadata": {
            "name": object_name(status),
            "namespace": namespace,
            "labels": labels(status.node, status.service),
        },
        "spec": {},
        "status": {
            "node": status.node,
            "serviceName": status.service.name,
            "serviceNamespace": status.service.namespace,
            **_more(status),
        },
    }


def labels(node: str, service: Key) -> Mapping[str, str]:
    """What a status is found by."""
    return {
        NODE_LABEL: node,
        NAME_LABEL: service.name,
        NAMESPACE_LABEL: service.namespace,
    }


def _more(status: ServiceNodeStatus) -> Plain:
    if isinstance(status, ServiceBGPStatus):
        return {"peers": list(status.peers)}
    return {"interfaces": [{"name": link} for link in status.links]} if status.links else {}
