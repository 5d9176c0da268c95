"""Clocks that disagree: instants in objects are told to people, and decide nothing."""

from __future__ import annotations

import time
from datetime import UTC, datetime

import pytest

from tests.kube.cluster import Cluster
from tests.kube.site import Ring, Site

pytestmark = pytest.mark.kube

FUTURE = "2099-01-01T00:00:00Z"


def test_a_condition_out_of_the_future_is_neither_rewritten_nor_handed_on(
    cluster: Cluster,
) -> None:
    """As a controller on a machine with a wrong clock has left it."""
    site = Site(cluster)
    cluster.apply([site.service("web")])
    ring = Ring(site)
    ring.until(lambda: bool(site.addresses("web")))
    ring.close()
    condition = site.conditions("web")["AddressAllocated"]
    cluster.client.request(
        "PATCH", f"{site.path('web')}/status",
        {"status": {"conditions": [condition | {"lastTransitionTime": FUTURE}]}},
        "application/strategic-merge-patch+json",
    )  # fmt: skip
    writes = site.status_writes()
    ring = Ring(site)
    ring.until(lambda: ring.controller.decided is not None)
    ring.until(lambda: True)
    assert site.status_writes() == writes
    assert site.conditions("web")["AddressAllocated"]["lastTransitionTime"] == FUTURE
    cluster.client.delete(f"/apis/metallb.io/v1beta1/namespaces/{site.system}/ipaddresspools/a")
    ring.until(lambda: site.conditions("web")["AddressAllocated"]["status"] == "False")
    ring.close()
    said = site.conditions("web")["AddressAllocated"]["lastTransitionTime"]
    instant = datetime.strptime(said, "%Y-%m-%dT%H:%M:%SZ").replace(tzinfo=UTC)
    assert abs(instant.timestamp() - time.time()) < 60
