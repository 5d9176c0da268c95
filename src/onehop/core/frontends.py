"""The frontends of a Service on one node, each with the backends that the node may use.

Under Local the backends are the node's own; under Cluster all of them. New traffic goes to ready
endpoints; where none is ready, to those that are terminating and still serve (KEP-1669).
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
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
_KIND = {Family.IPV4: IPv4Address, Family.IPV6: IPv6Address}
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
    port: ServicePort, family: Family, slices: Sequence[EndpointSlice], node: str, *, local: bool
) -> tuple[tuple[Backend, ...], int, Backend | None]:
    """The backends that may get new traffic, by address and port, and how many there are in all.

    With `local` only the node's own count as reachable; among the reachable, ready ones are taken,
    and where none is ready, those that are terminating and still serve. Last comes the one that is
    out of reach on another node, if there is one and no more.
    """
    kind = _KIND[family]
    found = [
        (address, target, endpoint)
        for slice_ in slices
        if (target := _target(port, slice_))
        for endpoint in slice_.endpoints
        if endpoint.ready or endpoint.serving
        for address in endpoint.addresses
        if type(address) is kind
    ]
    if len(slices) > 1:  # slices may overlap while endpoints move between them
        found = list({row[:2]: row for row in reversed(found)}.values())
    mine = [row for row in found if node and row[2].node == node] if local else found
    if len(mine) > 1:
        mine = sorted(mine, key=_place)
    active = [row for row in mine if row[2].ready]
    elsewhere = None
    if len(found) - len(mine) == 1:
        elsewhere = next(_backend(*row, node) for row in found if row[2].node != node or not node)
    return tuple(_backend(*row, node) for row in active or mine), len(found), elsewhere


def _target(port: ServicePort, slice_: EndpointSlice) -> int:
    for candidate in slice_.ports:
        if candidate.name == port.name and candidate.protocol is port.protocol:
            return candidate.port
    return 0


def _place(row: tuple[IPAddress, int, Endpoint]) -> tuple[int, int]:
    return int(row[0]), row[1]


def _backend(address: IPAddress, port: int, endpoint: Endpoint, node: str) -> Backend:
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
    families: list[Family] = []
    for address in (*service.ingress, *service.cluster_ips):
        family = family_of(address)
        if family not in families:
            families.append(family)
    local = service.traffic_policy is TrafficPolicy.LOCAL
    for port in service.ports:
        for family in families:
            usable, total, elsewhere = backends_of(port, family, slices, node, local=local)
            frontends += [
                FrontendDesired(
                    frontend=frontend,
                    service=service.key,
                    policy=service.traffic_policy,
                    backends=usable,
                    total=total,
                    elsewhere=elsewhere,
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
