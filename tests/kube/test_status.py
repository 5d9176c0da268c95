"""`onehop status` at the real API server, with MetalLB's pods beside and without."""

from __future__ import annotations

import json
from typing import Any

import pytest
from click.testing import CliRunner

from onehop.adapters.kube.kubeconfig import load_access
from onehop.adapters.kube.lease import Lease
from onehop.cli.main import main
from onehop.lab.kube_client import MERGE
from tests.kube.cluster import Cluster
from tests.kube.site import Ring, Site

pytestmark = pytest.mark.kube


def asked(site: Site) -> tuple[int, Any]:
    words = ["status", "--kubeconfig", str(site.cluster.kubeconfig), "--namespace", site.system]
    done = CliRunner().invoke(main, [*words, "--lb-class", site.lb_class, "-o", "json"])
    assert done.exit_code in (0, 1), done.output
    return done.exit_code, json.loads(done.stdout)


def test_a_cluster_is_told_on_one_page(cluster: Cluster) -> None:
    site = Site(cluster)
    site.cluster.apply([site.service("web"), site.service("odd", loadBalancerIP="203.0.113.1")])
    lease = Lease(load_access(site.kubeconfig), site.system, identity="here")
    lease.start()
    ring = Ring(site)
    metallb = {
        "apiVersion": "v1", "kind": "Pod",
        "metadata": {"name": "speaker-x", "namespace": site.apps,
                     "labels": {"app": "metallb", "component": "speaker"}},
        "spec": {"containers": [{"name": "speaker", "image": "none"}]},
    }  # fmt: skip
    cluster.apply([metallb])
    try:
        ring.until(lambda: bool(site.addresses("web")) and lease.is_held())
        code, page = asked(site)
    finally:
        ring.close()
        lease.close()
    assert code == 1
    assert page["services"]["withAddress"] == 1
    (waiting,) = page["services"]["withoutAddress"]
    assert (waiting["count"], waiting["example"]) == (1, f"{site.apps}/odd")
    (pool,) = page["pools"]
    assert pool["families"]["IPv4"]["used"] >= 1  # other tests' Services hold some as well
    (ours,) = (x for x in page["controller"]["leases"] if x["namespace"] == site.system)
    assert ours["holder"] == "here"
    assert -1.0 < ours["renewedSecondsAgo"] < 15.0
    assert f"{site.apps}/speaker-x" in page["controller"]["metallb"]
    assert any(each.startswith("MetalLB runs beside this") for each in page["findings"])
    cluster.client.delete(f"/api/v1/namespaces/{site.apps}/pods/speaker-x?gracePeriodSeconds=0")


def test_who_else_writes_addresses_is_named(cluster: Cluster) -> None:
    site = Site(cluster)
    site.cluster.apply([site.service("web")])
    ring = Ring(site)
    ring.until(lambda: bool(site.addresses("web")))
    ring.close()
    body = {"status": {"loadBalancer": {"ingress": [{"ip": "203.0.113.9"}]}}}
    path = f"{site.path('web')}/status?fieldManager=another"
    cluster.client.request("PATCH", path, body, MERGE)
    says = "its status holds 203.0.113.9, written by another and not by onehop"
    code, page = asked(site)
    assert code == 1
    assert f"Service {site.apps}/web: {says}" in page["findings"]
    words = ["explain", f"{site.apps}/web", "--kubeconfig", str(site.cluster.kubeconfig)]
    words += ["--namespace", site.system, "--lb-class", site.lb_class]
    done = CliRunner().invoke(main, words)
    assert says in done.output, done.output


def test_a_server_that_is_away_cannot_be_read(cluster: Cluster) -> None:
    site = Site(cluster)
    cluster.stop_apiserver()
    words = ["status", "--kubeconfig", str(site.kubeconfig), "--namespace", site.system]
    done = CliRunner().invoke(main, words)
    assert done.exit_code == 2
    assert "Connection refused" in done.output
    assert "Traceback" not in done.output
