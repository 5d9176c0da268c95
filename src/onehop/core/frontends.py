"""The frontends of a Service on one node, each with the backends that the node may use.

Under Local the backends are the node's own; under Cluster all of them. New traffic goes to ready
endpoints; where none is ready, to those that are terminating and still serve (KEP-1669).
"""

from __future__ import annotations

from collections.abc import Iterable
from ipaddress import IPv4Address, IPv6Address

from onehop.model.address import Family, IPAddress, family_of
from onehop.model.desired import FrontendDesired
from onehop.model.reason import Reason, Refusal
from onehop.model.service import (
    Backend,
    BackendState,
    Endpoint,
    EndpointSlice,
    Frontend,
    FrontendKind,
    Protocol,
    Service,
    ServicePort,
    TrafficPolicy,
)

_ANY: dict[Family, IPAddress] = {
    Family.IPV4: IPv4Address(0),
    Family.IPV6: IPv6Address(0),
}
_SERVED = (Protocol.TCP, Protocol.UDP)


def unsupported(service: Service) -> Refusal | None:
    """What a Service asks for that our datapath does not serve yet; it is never half served."""
    if service.session_affinity == "ClientIP":
        return Refusal(reason=Reason.AFFINITY_UNSUPPORTED, detail="spec.sessionAffinity")
    if service.source_ranges:
        return Refusal(
            reason=Reason.SOURCE_RANGES_UNSUPPORTED, detail="spec.loadBalancerSourceRanges"
        )
    for port in service.ports:
        if port.protocol not in _SERVED:
            return Refusal(
                reason=Reason.PROTOCOL_UNSUPPORTED,
                detail=f"spec.ports {port.port}/{port.protocol.value}",
            )
    return None


def backends_of(
    port: ServicePort, family: Family, slices: Iterable[EndpointSlice], node: str
) -> tuple[Backend, ...]:
    """All backends of a port that can serve, ready or terminating, by address and port."""
    found: dict[tuple[int, int], Backend] = {}
    for slice_ in slices:
        target = next(
            (p.port for p in slice_.ports if (p.name, p.protocol) == (port.name, port.protocol)), 0
        )
        if not target:
            continue
        for endpoint in slice_.endpoints:
            if endpoint.usable:
                for backend in _backends(endpoint, target, family, node):
                    found.setdefault((int(backend.address), backend.port), backend)
    return tuple(found[key] for key in sorted(found))


def _backends(endpoint: Endpoint, target: int, family: Family, node: str) -> Iterable[Backend]:
    state = BackendState.ACTIVE if endpoint.ready else BackendState.TERMINATING
    for address in endpoint.addresses:
        if family_of(address) is family:
            yield Backend(
                address=address,
                port=target,
                local=bool(node) and endpoint.node == node,
                node=endpoint.node,
                state=state,
            )


def chosen(backends: tuple[Backend, ...], policy: TrafficPolicy) -> tuple[Backend, ...]:
    """The backends that new traffic may go to."""
    reachable = (
        backends
        if policy is TrafficPolicy.CLUSTER
        else tuple(backend for backend in backends if backend.local)
    )
    active = tuple(b for b in reachable if b.state is BackendState.ACTIVE)
    return active or reachable


def frontends_of(
    service: Service, slices: tuple[EndpointSlice, ...], node: str
) -> tuple[FrontendDesired, ...]:
    """All frontends of a Service: its external addresses and its node ports."""
    frontends: list[FrontendDesired] = []
    families = tuple(dict.fromkeys(family_of(address) for address in service.ingress))
    families = tuple(dict.fromkeys((*families, *map(family_of, service.cluster_ips))))
    for port in service.ports:
        for family in families:
            every = backends_of(port, family, slices, node)
            usable = chosen(every, service.traffic_policy)
            frontends += [
                FrontendDesired(
                    frontend=frontend,
                    service=service.key,
                    policy=service.traffic_policy,
                    backends=usable,
                    total=len(every),
                )
                for frontend in _port_frontends(service, port, family)
            ]
    return tuple(frontends)


def _port_frontends(service: Service, port: ServicePort, family: Family) -> Iterable[Frontend]:
    if service.type == "LoadBalancer":
        for address in service.ingress:
            if family_of(address) is family:
                yield Frontend(address=address, port=port.port, protocol=port.protocol)
    if port.node_port and service.type in ("LoadBalancer", "NodePort"):
        yield Frontend(
            address=_ANY[family],
            port=port.node_port,
            protocol=port.protocol,
            kind=FrontendKind.NODE_PORT,
        )
