"""Services, ports and endpoints: the part of Kubernetes that a load balancer reads.

Names are Kubernetes' own (core/v1 Service, discovery.k8s.io/v1 EndpointSlice). A `Frontend` is
what a client addresses, a `Backend` what answers (Cilium's words).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import Enum
from types import MappingProxyType
from typing import NamedTuple

from onehop.model.address import Family, IPAddress

_NO_LABELS: Mapping[str, str] = MappingProxyType({})


def no_labels() -> Mapping[str, str]:
    """The one empty mapping, as a default for labels and annotations."""
    return _NO_LABELS


class Key(NamedTuple):
    """Namespace and name of an object; cluster-scoped objects have an empty namespace.

    A named tuple, not a dataclass: ten thousand of them are looked up at every decision, and a
    tuple hashes and compares in C.
    """

    namespace: str
    name: str

    def __str__(self) -> str:
        return f"{self.namespace}/{self.name}" if self.namespace else self.name


class Protocol(Enum):
    """A transport protocol that a Service port may name."""

    TCP = "TCP"
    UDP = "UDP"
    SCTP = "SCTP"


class TrafficPolicy(Enum):
    """externalTrafficPolicy: all endpoints, or only those of the receiving node."""

    CLUSTER = "Cluster"
    LOCAL = "Local"


class FamilyPolicy(Enum):
    """ipFamilyPolicy of a Service."""

    SINGLE = "SingleStack"
    PREFER_DUAL = "PreferDualStack"
    REQUIRE_DUAL = "RequireDualStack"


@dataclass(frozen=True, slots=True, kw_only=True)
class ServicePort:
    """One port of a Service; `node_port` is 0 when none is allocated."""

    name: str
    protocol: Protocol
    port: int
    node_port: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Service:
    """A Service as the API gives it, with what its status already holds.

    `type` is Kubernetes' string. `created` is creationTimestamp as text, which sorts; empty when
    the source has none. `ingress` are the addresses in status.loadBalancer.ingress, in order.
    """

    key: Key
    type: str
    labels: Mapping[str, str] = field(default_factory=no_labels)
    annotations: Mapping[str, str] = field(default_factory=no_labels)
    cluster_ips: tuple[IPAddress, ...] = ()
    ip_families: tuple[Family, ...] = ()
    family_policy: FamilyPolicy = FamilyPolicy.SINGLE
    traffic_policy: TrafficPolicy = TrafficPolicy.CLUSTER
    load_balancer_ip: str = ""
    load_balancer_class: str | None = None
    source_ranges: tuple[str, ...] = ()
    session_affinity: str = "None"
    selector: Mapping[str, str] = field(default_factory=no_labels)
    ports: tuple[ServicePort, ...] = ()
    created: str = ""
    ingress: tuple[IPAddress, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Endpoint:
    """One endpoint of a slice; a missing `ready` condition counts as true (Kubernetes API)."""

    addresses: tuple[IPAddress, ...]
    node: str = ""
    ready: bool = True
    serving: bool = True
    terminating: bool = False

    @property
    def usable(self) -> bool:
        """Ready, or terminating but still serving: what may attract traffic."""
        return self.ready or self.serving


@dataclass(frozen=True, slots=True, kw_only=True)
class EndpointPort:
    """A port of a slice, matched to the Service's port by name; its number is the target port."""

    name: str
    protocol: Protocol
    port: int


@dataclass(frozen=True, slots=True, kw_only=True)
class EndpointSlice:
    """A slice of a Service's endpoints; `service` comes from kubernetes.io/service-name."""

    key: Key
    service: Key
    ports: tuple[EndpointPort, ...] = ()
    endpoints: tuple[Endpoint, ...] = ()


class FrontendKind(Enum):
    """What kind of address a frontend is, in the words of `cilium service list`."""

    LOAD_BALANCER = "LoadBalancer"
    NODE_PORT = "NodePort"


@dataclass(frozen=True, slots=True, kw_only=True)
class Frontend:
    """Address, port and protocol that a client sees.

    A NodePort frontend holds the unspecified address of its family: it stands for every address
    of the node, as Cilium prints it.
    """

    address: IPAddress
    port: int
    protocol: Protocol
    kind: FrontendKind = FrontendKind.LOAD_BALANCER


class BackendState(Enum):
    """State of a backend, in the words of `cilium service list`."""

    ACTIVE = "active"
    TERMINATING = "terminating"


@dataclass(frozen=True, slots=True, kw_only=True)
class Backend:
    """Address and port that answers; `local` means: a pod of the node that is asked."""

    address: IPAddress
    port: int
    local: bool
    node: str = ""
    state: BackendState = BackendState.ACTIVE


@dataclass(frozen=True, slots=True, kw_only=True)
class Condition:
    """A condition of an object's status, as Kubernetes writes it."""

    type: str
    status: bool
    reason: str
    message: str = ""
