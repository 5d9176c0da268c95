"""Kinds: each Kubernetes object that a load balancer reads, from its shape to a model value.

Validation is the API server's and MetalLB's own where a hand-written file could slip past them:
what passes here would have been admitted by a cluster. Cross-object checks are not made here.
"""

from __future__ import annotations

from sys import intern

from onehop.adapters.objects.bgp_kinds import BGP_KINDS
from onehop.adapters.objects.fault import frozen, is_label
from onehop.adapters.objects.kind import Kind
from onehop.adapters.objects.reading import Reading
from onehop.adapters.objects.shape import (
    AdvertisementShape,
    AllocationShape,
    EndpointConditions,
    EndpointShape,
    NamespaceShape,
    NodeShape,
    ObjectShape,
    PodShape,
    PoolShape,
    ServiceShape,
    ServiceSpec,
    SliceShape,
)
from onehop.model.address import AddressRange, Family, IPAddress, family_of, parse_range
from onehop.model.config import L2Advertisement, Namespace, Pool, PreferredNode, ServiceAllocation
from onehop.model.node import Node, Pod
from onehop.model.service import (
    Endpoint,
    EndpointPort,
    EndpointSlice,
    FamilyPolicy,
    Key,
    Protocol,
    Service,
    ServicePort,
    TrafficPolicy,
)

SERVICE_NAME_LABEL = "kubernetes.io/service-name"
_SERVICE_TYPES = ("ClusterIP", "NodePort", "LoadBalancer", "ExternalName")
_ADDRESS_TYPES = {"IPv4": 4, "IPv6": 6}
_PORT_LAST = 65535


def _node(reading: Reading, key: Key, shape: ObjectShape) -> Node:
    assert isinstance(shape, NodeShape)
    spec, status = shape.spec, shape.status
    conditions = {each.type: each.status for each in (status and status.conditions) or ()}
    cidrs = (spec and (spec.pod_cidrs or (spec.pod_cidr and [spec.pod_cidr]))) or []
    for index, cidr in enumerate(cidrs):
        reading.network(cidr, "spec", "podCIDRs", index)
    return Node(
        name=key.name,
        labels=frozen(shape.metadata.labels),
        annotations=frozen(shape.metadata.annotations),
        addresses=tuple(
            reading.address(each.address, "status", "addresses", index, "address")
            for index, each in enumerate((status and status.addresses) or ())
            if each.type == "InternalIP"
        ),
        pod_cidrs=tuple(cidrs),
        ready=conditions.get("Ready", "True") == "True",
        network_unavailable=conditions.get("NetworkUnavailable") == "True",
    )


def _namespace(_reading: Reading, key: Key, shape: ObjectShape) -> Namespace:
    return Namespace(name=key.name, labels=frozen(shape.metadata.labels))


def _service(reading: Reading, key: Key, shape: ObjectShape) -> Service:
    assert isinstance(shape, ServiceShape)
    spec, meta = shape.spec, shape.metadata
    if spec.type and spec.type not in _SERVICE_TYPES:
        allowed = ", ".join(_SERVICE_TYPES)
        reading.note(("spec", "type"), f"{spec.type!r} is not one of {allowed}")
    if spec.type == "LoadBalancer" and not spec.ports:
        reading.note(("spec", "ports"), "a Service of type LoadBalancer needs a port")
    cluster_ips = _cluster_ips(reading, spec)
    families = _families(reading, spec, cluster_ips)
    # The API server defaults the policy by the number of families asked for.
    policy = FamilyPolicy.REQUIRE_DUAL if len(families) > 1 else FamilyPolicy.SINGLE
    return Service(
        key=key,
        type=intern(spec.type or "ClusterIP"),
        labels=frozen(meta.labels),
        annotations=frozen(meta.annotations),
        cluster_ips=cluster_ips,
        ip_families=families,
        family_policy=reading.choice(
            FamilyPolicy, spec.ip_family_policy, policy, "spec", "ipFamilyPolicy"
        ),
        traffic_policy=reading.choice(
            TrafficPolicy,
            spec.external_traffic_policy,
            TrafficPolicy.CLUSTER,
            "spec",
            "externalTrafficPolicy",
        ),
        load_balancer_ip=spec.load_balancer_ip or "",
        load_balancer_class=spec.load_balancer_class,
        source_ranges=_source_ranges(reading, spec),
        session_affinity=_affinity(reading, spec),
        selector=frozen(spec.selector),
        ports=_service_ports(reading, spec),
        created=meta.creation_timestamp or "",
        ingress=_ingress(reading, shape),
    )


def _cluster_ips(reading: Reading, spec: ServiceSpec) -> tuple[IPAddress, ...]:
    if spec.cluster_ips:
        texts = [text for text in spec.cluster_ips if text != "None"]
        return reading.addresses(texts, "spec", "clusterIPs")
    if not spec.cluster_ip or spec.cluster_ip == "None":
        return ()
    return (reading.address(spec.cluster_ip, "spec", "clusterIP"),)


def _families(
    reading: Reading, spec: ServiceSpec, cluster_ips: tuple[IPAddress, ...]
) -> tuple[Family, ...]:
    if not spec.ip_families:
        return tuple(family_of(address) for address in cluster_ips)
    return tuple(
        reading.choice(Family, text, Family.IPV4, "spec", "ipFamilies", index)
        for index, text in enumerate(spec.ip_families)
    )


def _source_ranges(reading: Reading, spec: ServiceSpec) -> tuple[str, ...]:
    ranges = spec.load_balancer_source_ranges or []
    for index, text in enumerate(ranges):
        reading.network(text, "spec", "loadBalancerSourceRanges", index)
    return tuple(text.strip() for text in ranges)


def _affinity(reading: Reading, spec: ServiceSpec) -> str:
    affinity = spec.session_affinity or "None"
    if affinity not in ("None", "ClientIP"):
        reading.note(("spec", "sessionAffinity"), f"{affinity!r} is not one of None, ClientIP")
    return intern(affinity)


def _service_ports(reading: Reading, spec: ServiceSpec) -> tuple[ServicePort, ...]:
    ports: list[ServicePort] = []
    names: set[str] = set()
    for index, each in enumerate(spec.ports or ()):
        where = ("spec", "ports", index)
        name = intern(each.name or "")
        if name in names:
            reading.note((*where, "name"), f"the name {name!r} belongs to another port as well")
        names.add(name)
        ports.append(
            ServicePort(
                name=name,
                protocol=reading.choice(Protocol, each.protocol, Protocol.TCP, *where, "protocol"),
                port=reading.number(each.port, 1, _PORT_LAST, *where, "port"),
                node_port=reading.number(each.node_port or 0, 0, _PORT_LAST, *where, "nodePort"),
            )
        )
    return tuple(ports)


def _ingress(reading: Reading, shape: ServiceShape) -> tuple[IPAddress, ...]:
    balancer = shape.status and shape.status.load_balancer
    return tuple(
        reading.address(each.ip, "status", "loadBalancer", "ingress", index, "ip")
        for index, each in enumerate((balancer and balancer.ingress) or ())
        if each.ip
    )


def _slice(reading: Reading, key: Key, shape: ObjectShape) -> EndpointSlice | None:
    assert isinstance(shape, SliceShape)
    if shape.address_type == "FQDN":
        return None
    version = _ADDRESS_TYPES.get(shape.address_type)
    if version is None:
        reading.note(("addressType",), f"{shape.address_type!r} is not one of IPv4, IPv6, FQDN")
    service = (shape.metadata.labels or {}).get(SERVICE_NAME_LABEL)
    if not service:
        return None
    return EndpointSlice(
        key=key,
        service=Key(key.namespace, service),
        ports=tuple(
            EndpointPort(
                name=intern(each.name or ""),
                protocol=reading.choice(
                    Protocol, each.protocol, Protocol.TCP, "ports", index, "protocol"
                ),
                port=reading.number(each.port, 1, _PORT_LAST, "ports", index, "port"),
            )
            for index, each in enumerate(shape.ports or ())
            if each.port is not None
        ),
        endpoints=tuple(
            _endpoint(reading, each, version, index)
            for index, each in enumerate(shape.endpoints or ())
        ),
    )


_NO_CONDITIONS = EndpointConditions()


def _endpoint(reading: Reading, shape: EndpointShape, version: int | None, index: int) -> Endpoint:
    conditions = shape.conditions or _NO_CONDITIONS
    ready = conditions.ready is not False
    faults = len(reading.faults)
    addresses = reading.addresses(shape.addresses, "endpoints", index, "addresses")
    for position, address in enumerate(addresses):
        if version and address.version != version and len(reading.faults) == faults:
            reading.note(
                ("endpoints", index, "addresses", position),
                f"{address} is not of the slice's addressType",
            )
    return Endpoint(
        addresses=addresses,
        node=intern(shape.node_name or ""),
        ready=ready,
        # A missing `serving` defers to `ready` (discovery.k8s.io/v1 EndpointConditions).
        serving=ready if conditions.serving is None else conditions.serving,
        terminating=bool(conditions.terminating),
    )


def _pod(reading: Reading, key: Key, shape: ObjectShape) -> Pod:
    assert isinstance(shape, PodShape)
    status = shape.status
    texts = [each.ip for each in (status and status.pod_ips) or ()]
    path: tuple[str, str] = ("status", "podIPs")
    if not texts and status and status.pod_ip:
        texts = [status.pod_ip]
    return Pod(
        name=key.name,
        namespace=key.namespace,
        node=shape.spec.node_name or "",
        addresses=tuple(
            reading.address(text, *path, index, "ip") for index, text in enumerate(texts)
        ),
        labels=frozen(shape.metadata.labels),
        ports=tuple(
            reading.number(
                port.container_port,
                1,
                _PORT_LAST,
                *("spec", "containers", index, "ports", place, "containerPort"),
            )
            for index, container in enumerate(shape.spec.containers or ())
            for place, port in enumerate(container.ports or ())
        ),
    )


def _pool(reading: Reading, key: Key, shape: ObjectShape) -> Pool:
    assert isinstance(shape, PoolShape)
    spec = shape.spec
    if not spec.addresses:
        reading.note(("spec", "addresses"), "a pool needs at least one CIDR or range")
    ranges: list[AddressRange] = []
    for index, text in enumerate(spec.addresses):
        try:
            ranges.append(parse_range(text))
        except ValueError as error:
            reading.note(("spec", "addresses", index), str(error))
    return Pool(
        key=key,
        ranges=tuple(ranges),
        labels=frozen(shape.metadata.labels),
        auto_assign=spec.auto_assign is not False,
        avoid_buggy_ips=bool(spec.avoid_buggy_ips),
        allocation=_allocation(reading, spec.service_allocation),
    )


def _allocation(reading: Reading, shape: AllocationShape | None) -> ServiceAllocation | None:
    if shape is None:
        return None
    path = ("spec", "serviceAllocation")
    namespaces = shape.namespaces or []
    reading.distinct(namespaces, *path, "namespaces")
    if shape.priority is not None and shape.priority < 0:
        reading.note((*path, "priority"), f"{shape.priority} is below 0")
    return ServiceAllocation(
        priority=shape.priority or 0,
        namespaces=frozenset(namespaces),
        namespace_selectors=reading.selectors(
            shape.namespace_selectors, *path, "namespaceSelectors"
        ),
        service_selectors=reading.selectors(shape.service_selectors, *path, "serviceSelectors"),
    )


def _advertisement(reading: Reading, key: Key, shape: ObjectShape) -> L2Advertisement:
    assert isinstance(shape, AdvertisementShape)
    spec = shape.spec
    if spec is None:
        return L2Advertisement(key=key)
    pools = spec.ip_address_pools or []
    reading.distinct(pools, "spec", "ipAddressPools")
    return L2Advertisement(
        key=key,
        pools=tuple(pools),
        pool_selectors=reading.selectors(
            spec.ip_address_pool_selectors, "spec", "ipAddressPoolSelectors"
        ),
        node_selectors=reading.selectors(spec.node_selectors, "spec", "nodeSelectors"),
        links=tuple(spec.interfaces or ()),
        service_selectors=reading.selectors(spec.service_selectors, "spec", "serviceSelectors"),
        preferred_nodes=tuple(
            PreferredNode(
                weight=reading.number(
                    each.weight, 1, 100, "spec", "preferredNodeSelectors", index, "weight"
                ),
                selector=reading.selector(
                    each.preference, "spec", "preferredNodeSelectors", index, "preference"
                ),
            )
            for index, each in enumerate(spec.preferred_node_selectors or ())
        ),
    )


# By apiVersion and kind, because other groups have kinds of the same name (a Knative Service).
KINDS: dict[tuple[str, str], Kind] = {
    ("v1", "Node"): Kind(NodeShape, _node, namespaced=False),
    ("v1", "Namespace"): Kind(
        NamespaceShape, _namespace, namespaced=False, name_is_valid=is_label
    ),
    ("v1", "Service"): Kind(ServiceShape, _service, name_is_valid=is_label),
    ("v1", "Pod"): Kind(PodShape, _pod),
    ("discovery.k8s.io/v1", "EndpointSlice"): Kind(SliceShape, _slice),
    ("metallb.io/v1beta1", "IPAddressPool"): Kind(PoolShape, _pool),
    ("metallb.io/v1beta1", "L2Advertisement"): Kind(AdvertisementShape, _advertisement),
    **BGP_KINDS,
}
