"""Endpoints that move between the plant's nodes, and how a bench writes them.

Every Service is Local with one endpoint, and its status names its address: no controller runs. A
change is one PUT of an EndpointSlice, on a connection that is kept. The clock starts before the
first byte of it is sent, and the answer is read when what was waited for has been seen.
"""

from __future__ import annotations

import http.client
import json
import ssl
import time
from dataclasses import dataclass, field
from ipaddress import IPv4Address
from typing import Any

from bench.kube_plant import NODES, Plant
from bench.kube_sides import Side, service

SPACE = "bench"
FIRST_ADDRESS = IPv4Address("192.168.200.240")
POOL = "192.168.200.240-192.168.200.254"
PORT, POD_PORT = 80, 8080
SERVICES = 12


def vip(at: int) -> IPv4Address:
    """The address of the n-th Service."""
    return FIRST_ADDRESS + at


def pod(node: int) -> str:
    """The address of the pod of a node."""
    return f"10.1.{node}.5"


def endpoint(node: int, *, ending: bool = False) -> dict[str, Any]:
    """The pod of a node as an endpoint; one that is ending serves and is not ready."""
    return {
        "addresses": [pod(node)],
        "nodeName": NODES[node],
        "conditions": {"ready": not ending, "serving": True, "terminating": ending},
    }


def endpoint_slice(at: int, *endpoints: dict[str, Any]) -> dict[str, Any]:
    """The only slice of the n-th Service."""
    return {
        "apiVersion": "discovery.k8s.io/v1",
        "kind": "EndpointSlice",
        "metadata": {
            "name": f"s{at:02}-a",
            "namespace": SPACE,
            "labels": {"kubernetes.io/service-name": f"s{at:02}"},
        },
        "addressType": "IPv4",
        "ports": [{"name": "a", "port": POD_PORT, "protocol": "TCP"}],
        "endpoints": list(endpoints),
    }


def local_service(at: int, side: Side) -> dict[str, Any]:
    """The n-th Service of a side, with its address."""
    made = service(f"s{at:02}", SPACE, side, externalTrafficPolicy="Local")
    made["spec"]["ports"][0]["targetPort"] = POD_PORT
    made["status"] = {"loadBalancer": {"ingress": [{"ip": str(vip(at)), "ipMode": "VIP"}]}}
    return made


@dataclass(slots=True)
class Mover:
    """The Services of one side, and the connection on which their endpoints are moved."""

    plant: Plant
    side: Side
    services: int = SERVICES
    connection: http.client.HTTPSConnection = field(init=False)

    def __post_init__(self) -> None:
        site = self.plant.server.site
        context = ssl.create_default_context(cafile=str(site.ca))
        self.connection = http.client.HTTPSConnection(
            site.address, site.port, timeout=30, context=context
        )
        with site.inside():
            self.connection.connect()

    def create(self) -> None:
        """Make all Services, with their endpoints on the first node."""
        self.plant.apply({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": SPACE}})
        for at in range(self.services):
            self.plant.apply(endpoint_slice(at, endpoint(0)), local_service(at, self.side))

    def close(self) -> None:
        """Delete all Services."""
        self.connection.close()
        for at in range(self.services):
            self.plant.delete(local_service(at, self.side), endpoint_slice(at))

    def put(self, at: int, *endpoints: dict[str, Any]) -> int:
        """Send a slice with these endpoints; the time just before, in nanoseconds."""
        made = endpoint_slice(at, *endpoints)
        path = f"/apis/discovery.k8s.io/v1/namespaces/{SPACE}/endpointslices"
        body = json.dumps(made).encode()
        headers = {
            "Authorization": f"Bearer {self.plant.server.admin_token}",
            "Content-Type": "application/json",
        }
        start = time.time_ns()
        self.connection.request("PUT", f"{path}/{made['metadata']['name']}", body, headers)
        return start

    def answered(self) -> None:
        """Read the answer to what was put.

        Raises:
            RuntimeError: when it was refused.
        """
        with self.connection.getresponse() as response:
            text = response.read()
        if response.status != http.client.OK:
            raise RuntimeError(f"the slice was refused: {text.decode(errors='replace')}")
