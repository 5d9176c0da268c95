"""Short builders of what is wanted of a datapath, and its comparison."""

from __future__ import annotations

from array import array
from ipaddress import ip_address

from onehop.model.address import IPAddress
from onehop.model.desired import DatapathDesired, FrontendDesired
from onehop.model.service import (
    Backend,
    BackendState,
    Frontend,
    FrontendKind,
    Key,
    Protocol,
    TrafficPolicy,
)

LOCAL, CLUSTER = TrafficPolicy.LOCAL, TrafficPolicy.CLUSTER


def by_turns(backends: tuple[Backend, ...], turns: int) -> array[int]:
    """The plainest ring: the backends one after the other."""
    return array("H", (turn % len(backends) for turn in range(turns)))


def a_backend(address: str = "10.0.2.233", port: int = 9096, *, local: bool = False) -> Backend:
    return Backend(address=ip_address(address), port=port, local=local)


def terminating(address: str, port: int = 9096) -> Backend:
    return Backend(
        address=ip_address(address), port=port, local=False, state=BackendState.TERMINATING
    )


def a_frontend(
    address: str = "192.168.200.241",
    *backends: Backend,
    port: int = 9096,
    service: str = "kafka/broker-0",
    policy: TrafficPolicy = CLUSTER,
    protocol: Protocol = Protocol.TCP,
) -> FrontendDesired:
    where: IPAddress = ip_address(address)
    kind = FrontendKind.NODE_PORT if where.is_unspecified else FrontendKind.LOAD_BALANCER
    return FrontendDesired(
        frontend=Frontend(address=where, port=port, protocol=protocol, kind=kind),
        service=Key(*service.split("/")),
        policy=policy,
        backends=backends,
        total=len(backends),
    )


def wanted(*frontends: FrontendDesired, addresses: tuple[str, ...] = ()) -> DatapathDesired:
    by_service: dict[Key, tuple[FrontendDesired, ...]] = {}
    for each in frontends:
        by_service[each.service] = (*by_service.get(each.service, ()), each)
    return DatapathDesired(frontends=by_service, node_addresses=tuple(map(ip_address, addresses)))


def contents(desired: DatapathDesired) -> tuple[frozenset[FrontendDesired], frozenset[IPAddress]]:
    """What a want comes down to, whatever its order."""
    frontends = frozenset(each for group in desired.frontends.values() for each in group)
    return frontends, frozenset(desired.node_addresses)
