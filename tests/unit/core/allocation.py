"""Builders for tests of allocation, and how they write down what came out."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from ipaddress import ip_address

from onehop.core.allocate import cluster_desired
from onehop.model.address import Family
from onehop.model.config import Pool
from onehop.model.desired import ServiceStatus
from onehop.model.service import FamilyPolicy, Key, Service
from tests.builders import a_pool, the_objects

V4_ONLY = {"cluster_ips": (ip_address("10.96.0.1"),)}
V6_ONLY = {"cluster_ips": (ip_address("fd96::1"),)}
TWO = {"cluster_ips": (ip_address("10.96.0.1"), ip_address("fd96::1"))}
PREFER = {**TWO, "family_policy": FamilyPolicy.PREFER_DUAL}
PREFER_V6 = {**PREFER, "ip_families": (Family.IPV6, Family.IPV4)}
REQUIRE = {**TWO, "family_policy": FamilyPolicy.REQUIRE_DUAL}


def statuses(
    pools: Sequence[Pool],
    services: Sequence[Service],
    released: Mapping[str, Sequence[str]] | None = None,
) -> Mapping[str, ServiceStatus]:
    objects = the_objects(
        pools=pools,
        services=services,
        released={
            Key("default", name): tuple(map(ip_address, texts))
            for name, texts in (released or {}).items()
        },
    )
    return {key.name: status for key, status in cluster_desired(objects).statuses.items()}


def brief(status: ServiceStatus) -> str:
    """Addresses and pool, or the code of the refusal."""
    if status.addresses:
        return f"{' '.join(map(str, status.addresses))} of {status.pool}"
    assert status.refusal is not None
    return status.refusal.reason.code


def named(**annotations: str) -> dict[str, object]:
    return {
        "annotations": {f"metallb.io/{k.replace('_', '-')}": v for k, v in annotations.items()}
    }


def asking(*texts: str) -> dict[str, object]:
    return {"annotations": {"metallb.io/loadBalancerIPs": ",".join(texts)}}


SMALL = a_pool("small", "10.0.0.1-10.0.0.2")
DUAL = a_pool("dual", "10.1.0.1-10.1.0.9", "fd01::1-fd01::9")
SHARED = named(allow_shared_ip="k")
