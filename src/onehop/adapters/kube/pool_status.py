"""IPAddressPool.status: how many addresses are assigned and available, as MetalLB counts them.

A count follows thousands of Services, so it is not written for each: a second after something
changed, then not again for five, and only where it differs from what the server holds.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

import msgspec

from onehop.adapters.kube.connection import MERGE_PATCH, Request
from onehop.adapters.kube.requests import Lane, Outcome, Requests
from onehop.adapters.kube.statuses import FIELD_MANAGER
from onehop.adapters.kube.structs import UNREADABLE, Live
from onehop.model.desired import ServiceStatus
from onehop.model.objects import Objects
from onehop.model.pool_use import PoolUse
from onehop.model.service import Key

_SOON, _SPAN = 1.0, 5.0
Counting = Callable[[Objects, Mapping[Key, ServiceStatus]], Mapping[Key, PoolUse]]


class _Status(msgspec.Struct, rename={"assigned_ipv4": "assignedIPv4",
                                      "assigned_ipv6": "assignedIPv6",
                                      "available_ipv4": "availableIPv4",
                                      "available_ipv6": "availableIPv6"}):  # fmt: skip
    assigned_ipv4: int | None = None
    assigned_ipv6: int | None = None
    available_ipv4: int | None = None
    available_ipv6: int | None = None


class PoolStatuses:
    """Writes the status of each pool."""

    def __init__(
        self,
        requests: Requests,
        *,
        counting: Counting,
        clock: Callable[[], float],
    ) -> None:
        self._requests = requests
        self._counting = counting
        self._clock = clock
        self._due_at: float | None = 0.0
        self._not_before = 0.0
        self._wake: Callable[[], None] = lambda: None

    def start(self, wake: Callable[[], None]) -> None:
        """Learn how to have the ring go round."""
        self._wake = wake

    def sync(
        self,
        have: Objects,
        statuses: Mapping[Key, ServiceStatus],
        live: Callable[[str, Key], Live | None],
        *,
        changed: bool,
    ) -> float | None:
        """Write what is due; the instant at which to come again, None while nothing changes."""
        now = self._clock()
        if changed and self._due_at is None:
            self._due_at = max(now + _SOON, self._not_before)
        if self._due_at is None or now < self._due_at:
            return self._due_at
        self._due_at, self._not_before = None, now + _SPAN
        for key, use in self._counting(have, statuses).items():
            found = live("IPAddressPool", key)
            if found is not None and _use(found.status) != use:
                self._requests.submit(
                    Lane.REPORT, ("IPAddressPool", key), _write(key, found, use), self._done
                )
        return self._due_at

    def _done(self, outcome: Outcome) -> None:
        if outcome.retry_at is not None:
            self._due_at = max(outcome.retry_at, self._not_before)
            self._wake()


def _use(status: bytes) -> PoolUse | None:
    try:
        found = msgspec.json.decode(status, type=_Status)
    except UNREADABLE:
        return None
    if found.assigned_ipv4 is None:
        return None
    return PoolUse(
        assigned_ipv4=found.assigned_ipv4,
        assigned_ipv6=found.assigned_ipv6 or 0,
        available_ipv4=found.available_ipv4 or 0,
        available_ipv6=found.available_ipv6 or 0,
    )


def _write(key: Key, live: Live, use: PoolUse) -> Request:
    status = _Status(
        assigned_ipv4=use.assigned_ipv4,
        assigned_ipv6=use.assigned_ipv6,
        available_ipv4=use.available_ipv4,
        available_ipv6=use.available_ipv6,
    )
    body = msgspec.json.encode({"metadata": {"uid": live.uid}, "status": status})
    path = f"/apis/metallb.io/v1beta1/namespaces/{key.namespace}/ipaddresspools/{key.name}/status"
    return Request("PATCH", f"{path}?fieldManager={FIELD_MANAGER}", body, MERGE_PATCH)
