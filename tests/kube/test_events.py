"""What a controller tells in Events, at a real API server."""

from __future__ import annotations

import json

import pytest

from tests.kube.cluster import Cluster
from tests.kube.site import Ring, Site

pytestmark = pytest.mark.kube

POOL, SHARE = "metallb.universe.tf/address-pool", "metallb.universe.tf/allow-shared-ip"


def told(site: Site, name: str) -> list[tuple[str, str, str]]:
    """Type, reason and sentence of the Events about a Service, in their order."""
    items = site.cluster.get(f"/apis/events.k8s.io/v1/namespaces/{site.apps}/events")["items"]
    about = [each for each in items if each["regarding"]["name"] == name]
    about.sort(key=lambda each: each["eventTime"])
    return [(each["type"], each["reason"], each["note"]) for each in about]


def deprecated(annotation: str) -> tuple[str, str, str]:
    now = annotation.replace("metallb.universe.tf", "metallb.io")
    note = f"Service uses deprecated annotation {annotation}: it is {now} now"
    return "Warning", "deprecatedAnnotation", note


def annotate(site: Site, name: str, annotations: dict[str, str]) -> None:
    patch = json.dumps({"metadata": {"annotations": annotations}})
    site.cluster.kubectl("patch", "service", name, "-n", site.apps, "--type=merge", "-p", patch)


def test_an_old_annotation_is_told_once_and_not_by_a_restart(cluster: Cluster) -> None:
    site = Site(cluster)
    cluster.apply([site.service("web", metadata={"annotations": {POOL: "a"}})])
    ring = Ring(site)
    ring.until(lambda: len(told(site, "web")) == 2)
    [(_, reason, note), old] = sorted(told(site, "web"))
    assert (reason, old) == ("IPAllocated", deprecated(POOL))
    assert note.endswith("from pool a")
    annotate(site, "web", {SHARE: "x"})
    ring.until(lambda: len(told(site, "web")) == 3)
    assert told(site, "web")[-1] == deprecated(SHARE)
    ring.close()
    second = Ring(site)
    cluster.apply([site.service("new")])
    second.until(lambda: len(told(site, "new")) == 1)
    assert len(told(site, "web")) == 3
    second.close()


def test_a_lacking_second_family_is_told_once_and_not_by_a_restart(cluster: Cluster) -> None:
    site = Site(cluster)
    cluster.apply([site.service("web", ipFamilyPolicy="PreferDualStack")])
    ring = Ring(site)
    ring.until(lambda: len(told(site, "web")) == 2)
    note = "Cannot assign an additional IP: OneFamily: it prefers two families and gets an "
    note += "address of one (pool a has no IPv6 range)"
    kinds = {reason: (kind, note) for kind, reason, note in told(site, "web")}
    assert kinds["AdditionalAssignFailed"] == ("Normal", note)
    assert site.conditions("web")["AddressAllocated"]["status"] == "True"
    annotate(site, "web", {"some": "edit"})
    ring.close()
    second = Ring(site)
    cluster.apply([site.service("new")])
    second.until(lambda: len(told(site, "new")) == 1)
    assert len(told(site, "web")) == 2
    assert site.status_writes().count("web") == 1
    cluster.apply([site.pool("10.99.0.0/24", "fd99::/64")])
    second.until(lambda: len(site.addresses("web")) == 2)
    second.until(lambda: len(told(site, "web")) == 3)
    assert told(site, "web")[-1][1] == "IPAllocated"
    assert site.conditions("web")["AddressAllocated"]["reason"] == "Allocated"
    second.close()
