"""The cluster's objects of the BGP bench, written as the speakers read them."""

from __future__ import annotations

import json
import os
import time
from collections.abc import Mapping
from ipaddress import IPv4Address
from pathlib import Path

from bench.bgp_rivals import NODE_AS, ROUTER, ROUTER_AS

FIRST_ADDRESS = int(IPv4Address("10.200.0.1"))


def put(folder: Path, name: str, *objects: dict[str, object]) -> float:
    """Put a file in place; answers with the time just before. None: an empty List."""
    scratch = folder.parent / "new.json"
    scratch.write_text(json.dumps({"apiVersion": "v1", "kind": "List", "items": objects}))
    begin = time.monotonic()
    os.replace(scratch, folder / f"{name}.json")
    return begin


def vip(at: int) -> str:
    """The address of a Service."""
    return str(IPv4Address(FIRST_ADDRESS + at))


def _of_metallb(kind: str, name: str, version: str, **spec: object) -> dict[str, object]:
    return {
        "apiVersion": f"metallb.io/{version}",
        "kind": kind,
        "metadata": {"name": name, "namespace": "metallb-system"},
        "spec": spec,
    }


def pool(name: str, addresses: str) -> dict[str, object]:
    """An IPAddressPool."""
    return _of_metallb("IPAddressPool", name, "v1beta1", addresses=[addresses])


def advertisement(name: str = "all") -> dict[str, object]:
    """A BGPAdvertisement of everything."""
    return _of_metallb("BGPAdvertisement", name, "v1beta1")


def peer(name: str, **more: object) -> dict[str, object]:
    """The router as a BGPPeer."""
    spec = {"myASN": NODE_AS, "peerASN": ROUTER_AS, "peerAddress": ROUTER}
    return _of_metallb("BGPPeer", name, "v1beta2", **(spec | more))


def node(name: str, address: str) -> dict[str, object]:
    """A Node."""
    return {
        "apiVersion": "v1",
        "kind": "Node",
        "metadata": {"name": name},
        "status": {"addresses": [{"type": "InternalIP", "address": address}]},
    }


def bfd_profile(name: str) -> dict[str, object]:
    """100 ms x 3."""
    return _of_metallb(
        "BFDProfile",
        name,
        "v1beta1",
        receiveInterval=100,
        transmitInterval=100,
        detectMultiplier=3,
    )


def slice_of(
    at: int, pods: Mapping[str, str], *, port: int, protocol: str = "TCP"
) -> dict[str, object]:
    """The EndpointSlice of a Service, with these pods by their nodes."""
    return {
        "apiVersion": "discovery.k8s.io/v1",
        "kind": "EndpointSlice",
        "metadata": {
            "name": f"s{at:05}-a",
            "namespace": "bench",
            "labels": {"kubernetes.io/service-name": f"s{at:05}"},
        },
        "addressType": "IPv4",
        "ports": [{"name": "a", "port": port, "protocol": protocol}],
        "endpoints": [
            {"addresses": [pod], "nodeName": node, "conditions": {"ready": True}}
            for node, pod in pods.items()
        ],
    }


def service(at: int, *, protocol: str = "TCP") -> dict[str, object]:
    """A Service that has its address."""
    return {
        "apiVersion": "v1",
        "kind": "Service",
        "metadata": {"name": f"s{at:05}", "namespace": "bench"},
        "spec": {
            "type": "LoadBalancer",
            "clusterIP": str(IPv4Address("172.16.0.1") + at),
            "externalTrafficPolicy": "Local",
            "ports": [{"name": "a", "port": 80, "protocol": protocol}],
        },
        "status": {"loadBalancer": {"ingress": [{"ip": vip(at)}]}},
    }
