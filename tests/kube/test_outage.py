"""The API server goes away while the controller works, and comes back."""

from __future__ import annotations

import time

import pytest

from tests.kube.cluster import Cluster
from tests.kube.site import Ring, Site

pytestmark = pytest.mark.kube


def test_what_could_not_be_written_is_written_when_the_server_is_back(cluster: Cluster) -> None:
    site = Site(cluster)
    site.cluster.apply([site.service("before")])
    ring = Ring(site)
    ring.until(lambda: bool(site.addresses("before")))
    before = site.addresses("before")
    site.cluster.apply([site.service("during")])
    cluster.stop_apiserver()
    asked = ring.writer.counters.failed
    begin = time.monotonic()
    ring.until(lambda: time.monotonic() - begin > 6.0)
    # 0.2 s, doubled each time, of which a half more is chance: no storm.
    assert ring.writer.counters.failed - asked <= 4 + 6
    cluster.start_apiserver()
    ring.until(lambda: bool(site.addresses("during")), 30.0)
    assert site.addresses("before") == before != site.addresses("during")
    ring.close()
