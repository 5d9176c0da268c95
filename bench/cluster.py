"""A large synthetic cluster as objects: what the store would give a speaker and a controller."""

from __future__ import annotations

from dataclasses import replace
from ipaddress import ip_address

from onehop.model.address import parse_range
from onehop.model.config import L2Advertisement, Pool
from onehop.model.node import Node
from onehop.model.objects import Objects
from onehop.model.service import (
    Endpoint,
    EndpointPort,
    EndpointSlice,
    Key,
    Protocol,
    Service,
    ServicePort,
    TrafficPolicy,
)

FIRST_ADDRESS = int(ip_address("10.200.0.1"))
FIRST_POD = int(ip_address("10.0.0.1"))


def node_name(at: int) -> str:
    """The name of the n-th node."""
    return f"node{at}"


def objects(*, services: int, endpoints: int, nodes: int) -> Objects:
    """This many Services with this many endpoints each, half of them under Local."""
    pool = Pool(key=Key("", "all"), ranges=(parse_range("10.200.0.0-10.200.255.255"),))
    return Objects(
        complete=True,
        nodes={Key("", node_name(at)): _node(at) for at in range(nodes)},
        services={service_key(at): _service(at) for at in range(services)},
        slices={
            slice_key(at): endpoint_slice(at, endpoints, nodes, shift=0) for at in range(services)
        },
        pools={pool.key: pool},
        l2_advertisements={Key("", "all"): L2Advertisement(key=Key("", "all"))},
    )


def service_key(at: int) -> Key:
    """The key of the n-th Service."""
    return Key("bench", f"s{at:05}")


def slice_key(at: int) -> Key:
    """The key of its EndpointSlice."""
    return Key("bench", f"s{at:05}-a")


def _node(at: int) -> Node:
    return Node(name=node_name(at), addresses=(ip_address("192.0.2.1") + at,))


def _service(at: int) -> Service:
    return Service(
        key=service_key(at),
        type="LoadBalancer",
        cluster_ips=(ip_address("172.16.0.1") + at,),
        traffic_policy=TrafficPolicy.LOCAL if at % 2 else TrafficPolicy.CLUSTER,
        ports=(ServicePort(name="a", protocol=Protocol.TCP, port=80),),
        created="2026-01-01T00:00:00Z",
        ingress=(ip_address(FIRST_ADDRESS + at),),
    )


def endpoint_slice(at: int, endpoints: int, nodes: int, *, shift: int) -> EndpointSlice:
    """The slice of the n-th Service; another `shift` puts its endpoints on other nodes."""
    return EndpointSlice(
        key=slice_key(at),
        service=service_key(at),
        ports=(EndpointPort(name="a", protocol=Protocol.TCP, port=8080),),
        endpoints=tuple(
            Endpoint(
                addresses=(ip_address(FIRST_POD + at * endpoints + n),),
                node=node_name((at + 7 * n + shift) % nodes),
            )
            for n in range(endpoints)
        ),
    )


def moved(before: Objects, at: int, endpoints: int, nodes: int, *, shift: int) -> Objects:
    """The same objects with the endpoints of one Service on other nodes."""
    changed = endpoint_slice(at, endpoints, nodes, shift=shift)
    return replace(before, slices={**before.slices, changed.key: changed})
