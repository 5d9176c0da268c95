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
_VERSION = {Family.IPV4: 4, Family.IPV6: 6}
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
    port: ServicePort, family: Family, slices: Iterable[EndpointSlice], node: str, *, local: bool
) -> tuple[tuple[Backend, ...], int]:
    """The backends that may get new traffic, by address and port, and how many there are in all.

    With `local` only the node's own count as reachable; among the reachable, ready ones are taken,
    and where none is ready, those that are terminating and still serve.
    """
    found: dict[tuple[int, int], Backend | None] = {}
    version = _VERSION[family]
    for slice_ in slices:
        target = next(
            (p.port for p in slice_.ports if (p.name, p.protocol) == (port.name, port.protocol)), 0
        )
        for endpoint in slice_.endpoints if target else ():
            if endpoint.usable:
                # Under Local most endpoints are elsewhere: they are counted, not built.
                elsewhere = local and (not node or endpoint.node != node)
                for address in endpoint.addresses:
                    key = (int(address), target)
                    if address.version == version and key not in found:
                        found[key] = (
                            None if elsewhere else _backend(endpoint, address, target, node)
                        )
    reachable = tuple(b for key in sorted(found) if (b := found[key]) is not None)
    active = tuple(b for b in reachable if b.state is BackendState.ACTIVE)
    return active or reachable, len(found)


def _backend(endpoint: Endpoint, address: IPAddress, port: int, node: str) -> Backend:
    return Backend(
        address=address,
        port=port,
        local=bool(node) and endpoint.node == node,
        node=endpoint.node,
        state=BackendState.ACTIVE if endpoint.ready else BackendState.TERMINATING,
    )


def frontends_of(
    service: Service, slices: tuple[EndpointSlice, ...], node: str
) -> tuple[FrontendDesired, ...]:
    """All frontends of a Service: its external addresses and its node ports."""
    frontends: list[FrontendDesired] = []
    families = tuple(dict.fromkeys(family_of(address) for address in service.ingress))
    families = tuple(dict.fromkeys((*families, *map(family_of, service.cluster_ips))))
    local = service.traffic_policy is TrafficPolicy.LOCAL
    for port in service.ports:
        for family in families:
            usable, total = backends_of(port, family, slices, node, local=local)
            frontends += [
                FrontendDesired(
                    frontend=frontend,
                    service=service.key,
                    policy=service.traffic_policy,
                    backends=usable,
                    total=total,
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
