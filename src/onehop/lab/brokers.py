"""Which pods of a cluster become Kafka brokers, and the address that each tells its clients.

A broker is a pod that has a LoadBalancer Service to itself: that Service's address is the one it
advertises. A pod without one has nothing to tell and stays a responder.
"""

from __future__ import annotations

from onehop.lab.kafka_node import Broker
from onehop.lab.topology import Topology
from onehop.model.address import IPAddress
from onehop.model.objects import Objects
from onehop.model.service import EndpointSlice, Service, ServicePort


def brokers(objects: Objects, topology: Topology) -> tuple[Broker, ...]:
    """The brokers of a cluster whose Services have their addresses, in the order of their pods."""
    owners = _service_by_address(objects)
    found: list[Broker] = []
    for pod in topology.pods:
        owned = next((owners[a] for a in pod.addresses if a in owners), None)
        if owned is None:
            continue
        service, port, target = owned
        found.append(
            Broker(
                node_id=len(found),
                namespace=pod.key.namespace,
                name=pod.key.name,
                host=pod.host,
                pod_address=pod.addresses[0],
                advertised_address=service.ingress[0],
                external_port=target,
                advertised_port=port.port,
                rack=pod.node,
            )
        )
    return tuple(found)


def _service_by_address(objects: Objects) -> dict[IPAddress, tuple[Service, ServicePort, int]]:
    """For each endpoint that is alone behind a Service: the Service, its port, the target."""
    owned: dict[IPAddress, tuple[Service, ServicePort, int]] = {}
    for key, service in sorted(objects.services.items()):
        slices = [piece for piece in objects.slices.values() if piece.service == key]
        addresses = {a for piece in slices for e in piece.endpoints for a in e.addresses}
        ends = {e.addresses for piece in slices for e in piece.endpoints}
        pair = _target(service, slices)
        if service.ingress and len(ends) == 1 and pair is not None:
            for address in addresses:
                owned.setdefault(address, (service, *pair))
    return owned


def _target(service: Service, slices: list[EndpointSlice]) -> tuple[ServicePort, int] | None:
    for port in service.ports:
        for piece in slices:
            for target in piece.ports:
                if target.name == port.name:
                    return port, target.port
    return None
