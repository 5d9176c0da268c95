"""Endpoints that move between the plant's nodes, and how a bench writes them.

A Service is Local with one endpoint, and its status names its address: no controller is needed. A
change is one PUT of an EndpointSlice, on a connection that is kept. The clock starts before the
first byte of it is sent, and the answer is read when what was waited for has been seen.
"""

from __future__ import annotations

import http.client
import json
import select
import socket
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


def name(at: int) -> str:
    """What the n-th Service is called."""
    return f"s{at:02}"


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


@dataclass(slots=True)
class Mover:
    """The Services of one side, and the connection on which their endpoints are moved.

    Those that are named in `cluster` have that policy and an endpoint on every node; all others
    are Local.
    """

    plant: Plant
    side: Side
    services: int = SERVICES
    protocols: tuple[str, ...] = ("TCP",)
    cluster: tuple[int, ...] = ()
    connection: http.client.HTTPSConnection = field(init=False)
    answered_at: int = 0

    def __post_init__(self) -> None:
        self.connect()

    def connect(self) -> None:
        """Connect to the API server, for the first time or again."""
        site = self.plant.server.site
        context = ssl.create_default_context(cafile=str(site.ca))
        self.connection = http.client.HTTPSConnection(
            site.address, site.port, timeout=30, context=context
        )
        with site.inside():
            self.connection.connect()

    def create(self) -> None:
        """Make all Services; the endpoints of those under Local are on the first node."""
        self.plant.apply({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": SPACE}})
        for at in range(self.services):
            nodes = range(len(NODES)) if at in self.cluster else range(1)
            self.plant.apply(self.slice(at, *map(endpoint, nodes)), self.service(at))

    def close(self) -> None:
        """Delete all Services."""
        self.connection.close()
        for at in range(self.services):
            self.plant.delete(self.service(at), self.slice(at))

    def service(self, at: int) -> dict[str, Any]:
        """The n-th Service, with its address."""
        policy = "Cluster" if at in self.cluster else "Local"
        ports = [
            {"name": protocol.lower(), "port": PORT, "targetPort": POD_PORT, "protocol": protocol}
            for protocol in self.protocols
        ]
        made = service(name(at), SPACE, self.side, externalTrafficPolicy=policy, ports=ports)
        made["status"] = {"loadBalancer": {"ingress": [{"ip": str(vip(at)), "ipMode": "VIP"}]}}
        return made

    def slice(self, at: int, *endpoints: dict[str, Any]) -> dict[str, Any]:
        """The only slice of the n-th Service."""
        return {
            "apiVersion": "discovery.k8s.io/v1",
            "kind": "EndpointSlice",
            "metadata": {
                "name": f"{name(at)}-a",
                "namespace": SPACE,
                "labels": {"kubernetes.io/service-name": name(at)},
            },
            "addressType": "IPv4",
            "ports": [
                {"name": protocol.lower(), "port": POD_PORT, "protocol": protocol}
                for protocol in self.protocols
            ],
            "endpoints": list(endpoints),
        }

    def put(self, at: int, *endpoints: dict[str, Any]) -> int:
        """Send a slice with these endpoints; the time just before, in nanoseconds."""
        made = self.slice(at, *endpoints)
        path = f"/apis/discovery.k8s.io/v1/namespaces/{SPACE}/endpointslices"
        body = json.dumps(made).encode()
        headers = {
            "Authorization": f"Bearer {self.plant.server.admin_token}",
            "Content-Type": "application/json",
        }
        self.answered_at = 0
        start = time.time_ns()
        self.connection.request("PUT", f"{path}/{made['metadata']['name']}", body, headers)
        return start

    def look(self) -> None:
        """Note the time if the answer to what was put has begun to come."""
        if not self.answered_at and select.select([self.connection.sock], [], [], 0)[0]:
            self.answered_at = time.time_ns()

    def wait(self, wire: socket.socket) -> None:
        """Wait for a frame or for the answer, a while at most, and take no processor for it."""
        sought = [wire] if self.answered_at else [wire, self.connection.sock]
        select.select(sought, [], [], 0.01)

    def answered(self) -> None:
        """Read the answer to what was put.

        Raises:
            RuntimeError: when it was refused.
        """
        with self.connection.getresponse() as response:
            text = response.read()
        self.answered_at = self.answered_at or time.time_ns()
        if response.status != http.client.OK:
            raise RuntimeError(f"the slice was refused: {text.decode(errors='replace')}")
