"""Shapes of the objects on disk: the fields that onehop reads, typed, and nothing else.

msgspec checks them at the speed of C and names the field at fault. Every optional field may be
null as well as absent, because the API server itself writes `endpoints: null`.
"""

from __future__ import annotations

import msgspec


class Shape(msgspec.Struct, rename="camel", gc=False, kw_only=True):
    """What all shapes share: Kubernetes' spelling; fields we do not read are let through."""


class Meta(Shape):
    """metadata."""

    name: str
    namespace: str | None = None
    labels: dict[str, str] | None = None
    annotations: dict[str, str] | None = None
    creation_timestamp: str | None = None


class ObjectShape(Shape):
    """Any object."""

    metadata: Meta


class ConditionShape(Shape):
    """status.conditions entry."""

    type: str
    status: str


class NodeAddressShape(Shape):
    """Node.status.addresses entry."""

    type: str
    address: str


class NodeSpec(Shape):
    """Node.spec."""

    pod_cidr: str | None = msgspec.field(name="podCIDR", default=None)
    pod_cidrs: list[str] | None = msgspec.field(name="podCIDRs", default=None)


class NodeStatus(Shape):
    """Node.status."""

    addresses: list[NodeAddressShape] | None = None
    conditions: list[ConditionShape] | None = None


class NodeShape(ObjectShape):
    """core/v1 Node."""

    spec: NodeSpec | None = None
    status: NodeStatus | None = None


class NamespaceShape(ObjectShape):
    """core/v1 Namespace."""


class ServicePortShape(Shape):
    """Service.spec.ports entry."""

    port: int
    name: str | None = None
    protocol: str | None = None
    node_port: int | None = None


class ServiceSpec(Shape):
    """Service.spec."""

    type: str | None = None
    cluster_ip: str | None = msgspec.field(name="clusterIP", default=None)
    cluster_ips: list[str] | None = msgspec.field(name="clusterIPs", default=None)
    ip_families: list[str] | None = None
    ip_family_policy: str | None = None
    external_traffic_policy: str | None = None
    load_balancer_ip: str | None = msgspec.field(name="loadBalancerIP", default=None)
    load_balancer_class: str | None = None
    load_balancer_source_ranges: list[str] | None = None
    session_affinity: str | None = None
    selector: dict[str, str] | None = None
    ports: list[ServicePortShape] | None = None


class IngressShape(Shape):
    """Service.status.loadBalancer.ingress entry; one of a hostname only is skipped."""

    ip: str | None = None


class LoadBalancerStatus(Shape):
    """Service.status.loadBalancer."""

    ingress: list[IngressShape] | None = None


class ServiceStatusShape(Shape):
    """Service.status."""

    load_balancer: LoadBalancerStatus | None = None


class ServiceShape(ObjectShape):
    """core/v1 Service."""

    spec: ServiceSpec
    status: ServiceStatusShape | None = None


class EndpointConditions(Shape):
    """EndpointSlice.endpoints[].conditions."""

    ready: bool | None = None
    serving: bool | None = None
    terminating: bool | None = None


class EndpointShape(Shape):
    """EndpointSlice.endpoints entry."""

    addresses: list[str]
    node_name: str | None = None
    conditions: EndpointConditions | None = None


class EndpointPortShape(Shape):
    """EndpointSlice.ports entry; a port that is null means all ports."""

    name: str | None = None
    protocol: str | None = None
    port: int | None = None


class SliceShape(ObjectShape):
    """discovery.k8s.io/v1 EndpointSlice."""

    address_type: str
    endpoints: list[EndpointShape] | None = None
    ports: list[EndpointPortShape] | None = None


class ContainerPortShape(Shape):
    """Pod.spec.containers[].ports entry."""

    container_port: int


class ContainerShape(Shape):
    """Pod.spec.containers entry."""

    ports: list[ContainerPortShape] | None = None


class PodSpec(Shape):
    """Pod.spec."""

    node_name: str | None = None
    containers: list[ContainerShape] | None = None


class PodAddressShape(Shape):
    """Pod.status.podIPs entry."""

    ip: str


class PodStatus(Shape):
    """Pod.status."""

    pod_ip: str | None = msgspec.field(name="podIP", default=None)
    pod_ips: list[PodAddressShape] | None = msgspec.field(name="podIPs", default=None)


class PodShape(ObjectShape):
    """core/v1 Pod."""

    spec: PodSpec
    status: PodStatus | None = None


class RequirementShape(Shape):
    """matchExpressions entry."""

    key: str
    operator: str
    values: list[str] | None = None


class SelectorShape(Shape):
    """meta/v1 LabelSelector."""

    match_labels: dict[str, str] | None = None
    match_expressions: list[RequirementShape] | None = None


class AllocationShape(Shape):
    """IPAddressPool.spec.serviceAllocation."""

    priority: int | None = None
    namespaces: list[str] | None = None
    namespace_selectors: list[SelectorShape] | None = None
    service_selectors: list[SelectorShape] | None = None


class PoolSpec(Shape):
    """IPAddressPool.spec."""

    addresses: list[str]
    auto_assign: bool | None = None
    avoid_buggy_ips: bool | None = msgspec.field(name="avoidBuggyIPs", default=None)
    service_allocation: AllocationShape | None = None


class PoolShape(ObjectShape):
    """metallb.io/v1beta1 IPAddressPool."""

    spec: PoolSpec


class PreferredShape(Shape):
    """L2Advertisement.spec.preferredNodeSelectors entry."""

    weight: int
    preference: SelectorShape


class AdvertisementSpec(Shape):
    """L2Advertisement.spec; an empty one covers all pools."""

    ip_address_pools: list[str] | None = msgspec.field(name="ipAddressPools", default=None)
    ip_address_pool_selectors: list[SelectorShape] | None = None
    node_selectors: list[SelectorShape] | None = None
    interfaces: list[str] | None = None
    service_selectors: list[SelectorShape] | None = None
    preferred_node_selectors: list[PreferredShape] | None = None


class AdvertisementShape(ObjectShape):
    """metallb.io/v1beta1 L2Advertisement."""

    spec: AdvertisementSpec | None = None
