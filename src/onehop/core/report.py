"""Report: what the status of a Service says, in Kubernetes' conditions.

`AddressAllocated` is false with the reason why there is no address, or true with what else is
amiss. `FullySupported` stands, and is false, only on a Service that asks for something that no
datapath here serves yet: it is never half served in silence.
"""

from __future__ import annotations

from functools import lru_cache

from onehop.core.placement import Held
from onehop.model.desired import ServiceStatus
from onehop.model.reason import Reason, Refusal
from onehop.model.service import Condition, Protocol, Service

ALLOCATED = "AddressAllocated"
SUPPORTED = "FullySupported"


def allocated(service: Service, held: Held, refusal: Refusal | None) -> ServiceStatus:
    """The status of a Service that holds addresses; `refusal` is about what else it asks."""
    return ServiceStatus(
        key=service.key,
        addresses=held.addresses,
        pool=held.source.name,
        refusal=refusal,
        conditions=(_from_pool(held.source.name, refusal), *unsupported(service)),
    )


def kept_in_doubt(service: Service, doubt: str) -> ServiceStatus:
    """The status of a Service whose addresses are in no pool while a pool may be hidden."""
    refusal = Refusal(reason=Reason.ADDRESS_IN_NO_POOL, detail=f"kept because of {doubt}")
    condition = Condition(
        type=ALLOCATED, status=True, reason=refusal.reason.code, message=str(refusal)
    )
    return ServiceStatus(
        key=service.key,
        addresses=service.ingress,
        refusal=refusal,
        conditions=(condition, *unsupported(service)),
    )


@lru_cache(maxsize=1024)
def _from_pool(pool: str, refusal: Refusal | None) -> Condition:
    if refusal is None:
        message = f"from pool {pool}"
        return Condition(type=ALLOCATED, status=True, reason="Allocated", message=message)
    reason = refusal.reason.code
    return Condition(type=ALLOCATED, status=True, reason=reason, message=str(refusal))


def refused(service: Service, refusal: Refusal) -> ServiceStatus:
    """The status of a Service that holds no address, with the reason."""
    condition = Condition(
        type=ALLOCATED, status=False, reason=refusal.reason.code, message=str(refusal)
    )
    return ServiceStatus(
        key=service.key, refusal=refusal, conditions=(condition, *unsupported(service))
    )


def unsupported(service: Service) -> tuple[Condition, ...]:
    """The condition that names what the Service asks for and no datapath here serves yet."""
    found: list[Refusal] = []
    if service.session_affinity == "ClientIP":
        found.append(Refusal(reason=Reason.AFFINITY_UNSUPPORTED, detail="spec.sessionAffinity"))
    if service.source_ranges:
        ranges = ", ".join(service.source_ranges)
        found.append(Refusal(reason=Reason.SOURCE_RANGES_UNSUPPORTED, detail=ranges))
    sctp = [str(port.port) for port in service.ports if port.protocol is Protocol.SCTP]
    if sctp:
        detail = f"SCTP port {', '.join(sctp)}"
        found.append(Refusal(reason=Reason.PROTOCOL_UNSUPPORTED, detail=detail))
    if not found:
        return ()
    message = "; ".join(map(str, found))
    reason = found[0].reason.code
    return (Condition(type=SUPPORTED, status=False, reason=reason, message=message),)
