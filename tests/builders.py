"""Short builders of model values, so that a test names only what it is about."""

from __future__ import annotations

from collections.abc import Iterable
from ipaddress import ip_address

from onehop.model.address import parse_range
from onehop.model.config import L2Advertisement, LabelSelector, Pool
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

LOCAL, CLUSTER = TrafficPolicy.LOCAL, TrafficPolicy.CLUSTER


def a_node(name: str, address: str = "192.0.2.10", **more: object) -> Node:
    return Node(name=name, addresses=(ip_address(address),), **more)  # type: ignore[arg-type]


def a_service(
    name: str = "web",
    *ingress: str,
    policy: TrafficPolicy = CLUSTER,
    port: int = 80,
    node_port: int = 0,
    **more: object,
) -> Service:
    values: dict[str, object] = {
        "key": Key("default", name),
        "type": "LoadBalancer",
        "cluster_ips": (ip_address("10.96.0.10"),),
        "traffic_policy": policy,
        "ports": (
            ServicePort(name="http", protocol=Protocol.TCP, port=port, node_port=node_port),
        ),
        "ingress": tuple(map(ip_address, ingress)),
        **more,
    }
    return Service(**values)  # type: ignore[arg-type]


def an_endpoint(address: str, node: str, **conditions: bool) -> Endpoint:
    return Endpoint(addresses=(ip_address(address),), node=node, **conditions)


def a_slice(
    service: str, *endpoints: Endpoint, port: int = 8080, name: str = "", port_name: str = "http"
) -> EndpointSlice:
    return EndpointSlice(
        key=Key("default", name or f"{service}-x"),
        service=Key("default", service),
        ports=(EndpointPort(name=port_name, protocol=Protocol.TCP, port=port),),
        endpoints=endpoints,
    )


def a_pool(name: str = "pool", *ranges: str, **more: object) -> Pool:
    texts = ranges or ("192.0.2.240-192.0.2.250",)
    return Pool(
        key=Key("metallb-system", name),
        ranges=tuple(map(parse_range, texts)),
        **more,  # type: ignore[arg-type]
    )


def an_advertisement(name: str = "l2", **more: object) -> L2Advertisement:
    return L2Advertisement(key=Key("metallb-system", name), **more)  # type: ignore[arg-type]


def labels(**wanted: str) -> LabelSelector:
    return LabelSelector(match_labels=wanted)


def the_objects(
    *,
    nodes: Iterable[Node] = (),
    services: Iterable[Service] = (),
    slices: Iterable[EndpointSlice] = (),
    pools: Iterable[Pool] = (),
    advertisements: Iterable[L2Advertisement] = (),
    **more: object,
) -> Objects:
    return Objects(
        complete=True,
        nodes={Key("", node.name): node for node in nodes},
        services={service.key: service for service in services},
        slices={slice_.key: slice_ for slice_ in slices},
        pools={pool.key: pool for pool in pools},
        l2_advertisements={adv.key: adv for adv in advertisements},
        **more,  # type: ignore[arg-type]
    )
