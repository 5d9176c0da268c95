"""MetalLB's annotations on Services: their names, and those that they had before.

Both are read, and the present name wins. Whoever uses the old one is told so.
"""

from __future__ import annotations

from collections.abc import Iterable

PREFIX = "metallb.io/"
DEPRECATED_PREFIX = "metallb.universe.tf/"
ADDRESS_POOL = "address-pool"
LOAD_BALANCER_IPS = "loadBalancerIPs"
ALLOW_SHARED_IP = "allow-shared-ip"


def deprecated(annotations: Iterable[str]) -> tuple[str, ...]:
    """Those with the old prefix, sorted."""
    return tuple(sorted(each for each in annotations if each.startswith(DEPRECATED_PREFIX)))


def present(annotation: str) -> str:
    """What an annotation with the old prefix is called now."""
    return PREFIX + annotation.removeprefix(DEPRECATED_PREFIX)
