"""Request: what one Service asks of the controller, read from the Service alone.

Decides whether the controller is in charge of a Service, which families it needs, and what its
annotations and `spec.loadBalancerIP` ask for. It looks at no pool and at no other Service.
"""

from __future__ import annotations

from dataclasses import dataclass
from ipaddress import IPv4Address, IPv6Address

from onehop.core.sharing import Share
from onehop.model.address import Family, IPAddress, family_of
from onehop.model.annotation import (
    ADDRESS_POOL,
    ALLOW_SHARED_IP,
    DEPRECATED_PREFIX,
    LOAD_BALANCER_IPS,
    PREFIX,
)
from onehop.model.reason import Reason, Refusal
from onehop.model.service import FamilyPolicy, Service, TrafficPolicy

_FAMILIES = tuple(Family)
_NOTHING_SHARED: frozenset[tuple[str, int]] = frozenset()
_KEYS = {
    name: (PREFIX + name, DEPRECATED_PREFIX + name)
    for name in (ADDRESS_POOL, LOAD_BALANCER_IPS, ALLOW_SHARED_IP)
}
_READ = frozenset(key for keys in _KEYS.values() for key in keys)


@dataclass(frozen=True, slots=True, kw_only=True)
class Request:
    """What a Service asks for.

    `families` stand with the one to prefer first. `flexible` means that one family of two will
    do. `addresses` are the requested ones, v4 before v6; `refusal` says why they cannot be read,
    and while it stands the Service keeps what it has. `pool` is the pool annotation's name.
    """

    share: Share
    families: tuple[Family, ...]
    flexible: bool
    addresses: tuple[IPAddress, ...]
    pool: str
    refusal: Refusal | None


def annotation(service: Service, name: str) -> tuple[str, str] | None:
    """Key and value of one of MetalLB's annotations; the prefix `metallb.io/` wins."""
    for key in _KEYS[name]:
        if key in service.annotations:
            return key, service.annotations[key]
    return None


def asks(service: Service) -> bool:
    """Whether the Service says anything that the controller reads as a wish."""
    return bool(service.load_balancer_ip) or not _READ.isdisjoint(service.annotations)


def is_ours(service: Service, lb_class: str | None) -> bool:
    """Whether a Service of type LoadBalancer belongs to this load balancer's class."""
    return service.load_balancer_class == lb_class


def not_in_charge(service: Service, lb_class: str | None) -> Refusal | None:
    """Why the controller leaves a Service alone; None when it is in charge of it."""
    if service.type != "LoadBalancer":
        return Refusal(reason=Reason.NOT_LOAD_BALANCER, detail=f"its type is {service.type}")
    if is_ours(service, lb_class):
        return None
    theirs = service.load_balancer_class
    return Refusal(
        reason=Reason.CLASS_IGNORED,
        detail=f"its class is {theirs or 'not set'}, ours is {lb_class or 'not set'}",
    )


def families_needed(service: Service) -> tuple[Family, ...] | Refusal:
    """The families of the cluster IPs, the preferred one first, or why nothing can be given.

    Preferred is `ipFamilies[0]`, v4 when that says nothing.
    """
    ips = service.cluster_ips
    if not ips:
        return Refusal(reason=Reason.NO_CLUSTER_IP, detail="spec.clusterIPs is empty")
    if len(ips) == 1:
        if service.family_policy is FamilyPolicy.REQUIRE_DUAL:
            return Refusal(
                reason=Reason.FAMILY_MISMATCH,
                detail="ipFamilyPolicy is RequireDualStack and there is one cluster IP",
            )
        return (family_of(ips[0]),)
    if len(ips) > 2 or ips[0].version == ips[1].version:
        return Refusal(
            reason=Reason.FAMILY_MISMATCH,
            detail=f"clusterIPs {', '.join(map(str, ips))} are not one of each family",
        )
    if service.ip_families[:1] == (Family.IPV6,):
        return (Family.IPV6, Family.IPV4)
    return (Family.IPV4, Family.IPV6)


def request(service: Service) -> Request | Refusal:
    """What the Service asks for, or why it can be given nothing at all yet."""
    families = families_needed(service)
    if isinstance(families, Refusal):
        return families
    flexible = len(families) == 2 and service.family_policy is FamilyPolicy.PREFER_DUAL
    asked: tuple[IPAddress, ...] | Refusal = ()
    pool = None
    if asks(service):
        asked = requested_addresses(service)
        pool = annotation(service, ADDRESS_POOL)
    return Request(
        share=share_of(service),
        families=families,
        flexible=flexible,
        addresses=() if isinstance(asked, Refusal) else asked,
        pool=pool[1] if pool else "",
        refusal=asked if isinstance(asked, Refusal) else None,
    )


def share_of(service: Service) -> Share:
    """What the Service lets others share its address by.

    Under policy Local all traffic of an address comes to one set of pods, so the backend key is
    the pod selector; under Cluster it is empty. Without a sharing key nothing else matters.
    """
    key = annotation(service, ALLOW_SHARED_IP)
    if key is None or not key[1]:
        return Share(key=service.key, sharing_key="", backend_key="", ports=_NOTHING_SHARED)
    backend_key = ""
    if service.traffic_policy is TrafficPolicy.LOCAL:
        backend_key = ",".join(f"{k}={v}" for k, v in sorted(service.selector.items()))
    ports = frozenset((port.protocol.value, port.port) for port in service.ports)
    return Share(key=service.key, sharing_key=key[1], backend_key=backend_key, ports=ports)


def requested_addresses(service: Service) -> tuple[IPAddress, ...] | Refusal:
    """The addresses named by annotation or by spec.loadBalancerIP, v4 before v6."""
    asked = annotation(service, LOAD_BALANCER_IPS)
    by_annotation = asked[1].strip() if asked else ""
    by_spec = service.load_balancer_ip.strip()
    if not by_annotation and not by_spec:
        return ()
    if by_annotation and by_spec:
        return Refusal(
            reason=Reason.REQUEST_CONFLICT,
            detail=f"spec.loadBalancerIP is {by_spec} and an annotation asks for {by_annotation}",
        )
    by_family: dict[Family, IPAddress] = {}
    for text in (by_annotation or by_spec).split(","):
        address = parse_address(text.strip())
        if address is None:
            return Refusal(reason=Reason.ADDRESS_INVALID, detail=f"{text.strip()!r} is no address")
        family = family_of(address)
        if family in by_family:
            return Refusal(
                reason=Reason.REQUEST_CONFLICT,
                detail=f"{by_family[family]} and {address} are both {family.value}",
            )
        by_family[family] = address
    return tuple(by_family[family] for family in _FAMILIES if family in by_family)


def parse_address(text: str) -> IPAddress | None:
    """The address that `text` is; None when it is none.

    An IPv4-mapped IPv6 address (RFC 4291 2.5.5.2) is the IPv4 one. A zone (RFC 4007 11) is
    refused: an address given to a Service has none.
    """
    try:
        if ":" not in text:
            return IPv4Address(text)
        address = IPv6Address(text)
    except ValueError:
        return None
    return None if address.scope_id is not None else address.ipv4_mapped or address
