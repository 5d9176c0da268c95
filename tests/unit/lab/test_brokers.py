"""A broker is a pod with a LoadBalancer Service to itself; others have no address to tell."""

from __future__ import annotations

from dataclasses import replace
from ipaddress import IPv4Address

from onehop.lab.brokers import brokers
from onehop.lab.lab import ARTICLE
from onehop.lab.plan import topology
from onehop.lab.store import read_objects
from onehop.model.objects import Objects
from onehop.model.service import Key


def allocated(without: str = "") -> Objects:
    """The article's cluster after the controller gave every Service what it asks for."""
    objects = read_objects(ARTICLE.parent)
    return replace(
        objects,
        services={
            key: replace(
                service,
                ingress=(IPv4Address(service.annotations["metallb.io/loadBalancerIPs"]),)
                if key.name != without
                else (),
            )
            for key, service in objects.services.items()
        },
    )


def test_each_pod_tells_the_address_of_its_own_service() -> None:
    objects = allocated()
    found = brokers(objects, topology(objects))
    assert [(b.node_id, b.name, b.host, str(b.advertised_address)) for b in found] == [
        (0, "kafka-0", "kafka-0", "192.168.200.241"),
        (1, "kafka-1", "kafka-1", "192.168.200.242"),
        (2, "kafka-2", "kafka-2", "192.168.200.243"),
    ]
    assert {(b.external_port, b.advertised_port) for b in found} == {(9096, 9096)}
    assert [b.rack for b in found] == ["node1", "node2", "node0"]


def test_a_service_without_an_address_makes_no_broker() -> None:
    objects = allocated(without="kafka-1")
    assert [b.name for b in brokers(objects, topology(objects))] == ["kafka-0", "kafka-2"]


def test_a_shared_service_makes_no_broker() -> None:
    objects = allocated()
    shared = Key("kafka", "kafka-bootstrap")
    alone = replace(objects, services={shared: objects.services[shared]})
    assert brokers(alone, topology(alone)) == ()


def test_ports_are_matched_by_name() -> None:
    objects = allocated()
    key = Key("kafka", "kafka-0")
    service = objects.services[key]
    ports = (replace(service.ports[0], name="other"), replace(service.ports[0], port=19096))
    changed = {**objects.services, key: replace(service, ports=ports)}
    first = brokers(replace(objects, services=changed), topology(objects))[0]
    assert (first.external_port, first.advertised_port) == (9096, 19096)
    none = {**objects.services, key: replace(service, ports=ports[:1])}
    left = brokers(replace(objects, services=none), topology(objects))
    assert [broker.name for broker in left] == ["kafka-1", "kafka-2"]
