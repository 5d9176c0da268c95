"""How much of a pool is used: the status of an IPAddressPool."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class PoolUse:
    """Addresses by family, each count capped at what a signed word of 64 bits holds."""

    assigned_ipv4: int = 0
    assigned_ipv6: int = 0
    available_ipv4: int = 0
    available_ipv6: int = 0
