"""Instants as Kubernetes writes them."""

from __future__ import annotations

import time


def instant(wall: float) -> str:
    """Seconds since the epoch as meta/v1 Time."""
    return time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(wall))


def micro_instant(wall: float) -> str:
    """Seconds since the epoch as meta/v1 MicroTime."""
    whole, part = divmod(round(wall * 1e6), 1_000_000)
    return time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(whole)) + f".{part:06d}Z"
