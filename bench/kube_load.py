"""What loads the API server in the Kubernetes benches, and what sees the answers.

Requests are the administrator's, by six threads with a kept connection each. A watch on a
connection of its own notes when each Service has its address. Each side has a pool of its own.
"""

from __future__ import annotations

import contextlib
import http.client
import socket
import ssl
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

import msgspec
import yaml

from bench.kube_plant import NODES, Plant, plant
from bench.kube_sides import METALLB, US, Side, metallb_kind, service
from bench.row import ROOT
from onehop.lab import kube_build
from onehop.lab.kube_client import Object

SPACE = "bench"
SERVICES = f"/api/v1/namespaces/{SPACE}/services"
SLICES = f"/apis/discovery.k8s.io/v1/namespaces/{SPACE}/endpointslices"
POOLS = {METALLB: "10.202.0.0/16", US: "10.201.0.0/16"}
CRDS = ROOT / "deploy" / "chart" / "crds"
MERGE = "application/merge-patch+json"
THREADS = 6
LONGEST = 30.0


class _Meta(msgspec.Struct):
    name: str


class _Balancer(msgspec.Struct):
    ingress: list[msgspec.Raw] = []


class _Status(msgspec.Struct, rename="camel"):
    load_balancer: _Balancer = msgspec.field(default_factory=_Balancer)


class _Service(msgspec.Struct):
    metadata: _Meta
    status: _Status = msgspec.field(default_factory=_Status)


class _Line(msgspec.Struct):
    object: _Service


T = TypeVar("T")
_line = msgspec.json.Decoder(_Line)


@contextlib.contextmanager
def loaded() -> Iterator[tuple[Plant, Load]]:
    """The plant with both sides' configuration, and what loads it."""
    programs = kube_build.prepare(kube_build.SERVER, print)
    with plant(programs, kube_build.prepare(kube_build.METALLB, print)) as made:
        made.apply({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": SPACE}})
        for side, pool in POOLS.items():
            made.apply(
                metallb_kind(side, "IPAddressPool", "all", {"addresses": [pool]}),
                metallb_kind(side, "L2Advertisement", "all", {"interfaces": ["eno1"]}),
            )
        load = Load(made)
        try:
            yield made, load
        finally:
            load.close()


def define(plant: Plant) -> None:
    """Put our definitions of kinds in the place of MetalLB's, as a cluster with onehop alone has.

    Two kinds have a status subresource there and none here: a write less for each object.
    """
    for path in sorted(CRDS.glob("*.yaml")):
        plant.apply(*(each for each in yaml.safe_load_all(path.read_text()) if each))
    plant.until(
        lambda: "servicel2statuses/status" not in _resources(plant), "our definitions in force"
    )


def _resources(plant: Plant) -> set[str]:
    return {each["name"] for each in plant.client.get("/apis/metallb.io/v1beta1")["resources"]}


class Load:
    """Six threads that make requests."""

    def __init__(self, plant: Plant) -> None:
        self._client = plant.client
        self._pool = ThreadPoolExecutor(THREADS)

    def close(self) -> None:
        """End the threads."""
        self._pool.shutdown()

    def create(self, path: str, items: Iterable[Object]) -> float:
        """Create objects, all at once; the instant at which the last one was answered."""
        return self._each(items, lambda item: self._client.request("POST", path, item))

    def delete(self, path: str, names: Iterable[str]) -> float:
        """Delete objects, all at once."""
        return self._each(names, lambda name: self._client.delete(f"{path}/{name}"))

    def take_addresses(self, names: Sequence[str]) -> float:
        """Clear the status of Services; requests a second, which is what the server can do."""
        body = {"status": {"loadBalancer": None, "conditions": None}}
        begin = time.monotonic()
        end = self._each(
            names,
            lambda name: self._client.request("PATCH", f"{SERVICES}/{name}/status", body, MERGE),
        )
        return len(names) / (end - begin)

    def _each(self, items: Iterable[T], act: Callable[[T], object]) -> float:
        for _ in self._pool.map(act, items):
            pass
        return time.monotonic()


class Watch:
    """The Services of the bench's namespace, from the moment it was made on.

    `arrived` is filled by `follow`, which a thread runs; or the caller reads `next_served` itself.
    """

    def __init__(self, plant: Plant) -> None:
        self.arrived: dict[str, float] = {}
        site = plant.server.site
        version = plant.client.get(f"{SERVICES}?limit=1")["metadata"]["resourceVersion"]
        context = ssl.create_default_context(cafile=str(site.ca))
        self._connection = http.client.HTTPSConnection(
            site.address, site.port, timeout=LONGEST, context=context
        )
        with site.inside():
            self._connection.connect()
        headers = {"Authorization": f"Bearer {plant.server.admin_token}"}
        path = f"{SERVICES}?watch=1&resourceVersion={version}"
        self._connection.request("GET", path, headers=headers)
        self._answer = self._connection.getresponse()

    def next_served(self) -> str:
        """Wait for the next line; the name of its Service if that has an address, else nothing."""
        found = _line.decode(self._answer.readline()).object
        return found.metadata.name if found.status.load_balancer.ingress else ""

    def follow(self) -> None:
        """Note when each Service was first seen with an address, until the end."""
        with contextlib.suppress(OSError, ValueError, http.client.HTTPException):
            while True:
                name = self.next_served()
                if name:
                    self.arrived.setdefault(name, time.monotonic())

    def close(self) -> None:
        """End the watch; whoever reads it is told so."""
        with contextlib.suppress(OSError):
            assert self._connection.sock is not None
            self._connection.sock.shutdown(socket.SHUT_RDWR)

    def release(self) -> None:
        """Let go of the connection, which nobody reads any more."""
        self._answer.close()
        self._connection.close()


@contextlib.contextmanager
def followed(plant: Plant) -> Iterator[dict[str, float]]:
    """The instant at which each Service was first seen with an address, from now on."""
    watch = Watch(plant)
    thread = threading.Thread(target=watch.follow, daemon=True)
    thread.start()
    try:
        yield watch.arrived
    finally:
        watch.close()
        thread.join(LONGEST)
        watch.release()


def services(names: Iterable[str], side: Side) -> list[Object]:
    """Services of a side's class."""
    return [service(name, SPACE, side) for name in names]


def slices(names: Iterable[str], endpoints: int) -> list[Object]:
    """An EndpointSlice with so many endpoints for each Service, on the three nodes in turn."""
    return [endpoint_slice(name, at, endpoints) for at, name in enumerate(names)]


def endpoint_slice(name: str, at: int, endpoints: int) -> Object:
    """The EndpointSlice of one Service."""
    conditions = {"ready": True, "serving": True, "terminating": False}
    return {
        "apiVersion": "discovery.k8s.io/v1",
        "kind": "EndpointSlice",
        "metadata": {
            "name": f"{name}-0",
            "namespace": SPACE,
            "labels": {"kubernetes.io/service-name": name},
        },
        "addressType": "IPv4",
        "endpoints": [
            {
                "addresses": [f"10.1.{n % 3}.{5 + (at + n) % 250}"],
                "nodeName": NODES[n % 3],
                "conditions": conditions,
            }
            for n in range(endpoints)
        ],
        "ports": [{"name": "a", "port": 8080, "protocol": "TCP"}],
    }


def versus(side: Side, size: str = "") -> str:
    """Beside what a row stands: the size, and that it is MetalLB's own figure."""
    return size if side is US else f"{size} (MetalLB 0.16.1 itself)".strip()
