"""Objects as an API server has them, and how to wait for what becomes of them."""

from __future__ import annotations

import select
import time
from collections.abc import Callable
from typing import Any

from onehop.adapters.kube.store import KubeStore
from onehop.model.objects import Objects

Plain = dict[str, Any]
NOISE = {"managedFields": [{"manager": "kubectl", "fieldsV1": {"f:spec": {}}}]}


def service(name: str = "web", *ingress: str, **spec: object) -> Plain:
    return {
        "apiVersion": "v1",
        "kind": "Service",
        "metadata": {"name": name, "namespace": "shop", **NOISE},
        "spec": {
            "type": "LoadBalancer",
            "clusterIP": "10.96.0.1",
            "ports": [{"name": "http", "port": 80}],
            "internalTrafficPolicy": "Cluster",
            **spec,
        },
        "status": {
            "loadBalancer": {"ingress": [{"ip": ip, "ipMode": "VIP"} for ip in ingress]}
            if ingress
            else {}
        },
    }


def slice_(name: str = "web-x", *addresses: str, service_name: str = "web") -> Plain:
    return {
        "apiVersion": "discovery.k8s.io/v1",
        "kind": "EndpointSlice",
        "metadata": {
            "name": name,
            "namespace": "shop",
            "labels": {"kubernetes.io/service-name": service_name},
        },
        "addressType": "IPv4",
        "endpoints": [{"addresses": [each], "nodeName": "a"} for each in addresses] or None,
        "ports": [{"name": "http", "port": 8080, "protocol": "TCP"}] if addresses else None,
    }


def metallb(kind: str, name: str = "x", *, version: str = "v1beta1", **spec: object) -> Plain:
    return {
        "apiVersion": f"metallb.io/{version}",
        "kind": kind,
        "metadata": {"name": name, "namespace": "metallb-system"},
        "spec": spec,
    }


def pool(name: str = "pool", *addresses: str) -> Plain:
    return metallb("IPAddressPool", name, addresses=list(addresses) or ["192.0.2.0/24"])


def peer(**spec: object) -> Plain:
    more = {"myASN": 64500, "peerASN": 64501, "peerAddress": "192.0.2.1", **spec}
    return metallb("BGPPeer", "router", **more)


def eventually(
    store: KubeStore, holds: Callable[[Objects], object], *, seconds: float = 10.0
) -> Objects:
    """Refresh whenever the store says so, until its objects are as wanted."""
    until = time.monotonic() + seconds
    while not holds(store.objects()):
        left = until - time.monotonic()
        assert left > 0, f"not within {seconds} s: {store.objects()}"
        select.select([store.fileno()], [], [], min(left, 0.05))
        store.refresh()
    return store.objects()
