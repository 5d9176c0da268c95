"""`onehop migrate plan` against an API server, with the rights of whoever asks."""

from __future__ import annotations

import json

import pytest
from click.testing import CliRunner

from onehop.cli.main import main
from tests.deploy.objects import Object, an_object
from tests.kube.cluster import Cluster


def a_service(namespace: str, name: str, ip: str) -> Object:
    """A Service of a class of its own, so that no other test's controller takes it for its."""
    return {
        "apiVersion": "v1",
        "kind": "Service",
        "metadata": {"name": name, "namespace": namespace},
        "spec": {
            "type": "LoadBalancer",
            "loadBalancerClass": f"onehop.io/{namespace}",
            "ports": [{"port": 80}],
        },
        "status": {"loadBalancer": {"ingress": [{"ip": ip}]}},
    }


@pytest.mark.kube
def test_the_plan_of_a_cluster(cluster: Cluster) -> None:
    namespace = cluster.namespace()
    pool = an_object("IPAddressPool", {"addresses": ["192.0.2.0/28"]})
    pool["metadata"]["namespace"] = namespace
    services = [a_service(namespace, "a", "192.0.2.7"), a_service(namespace, "b", "203.0.113.9")]
    cluster.apply([pool, *services])
    words = ["migrate", "plan", "--kubeconfig", str(cluster.kubeconfig), "--namespace", namespace]
    words += ["--lb-class", f"onehop.io/{namespace}", "-o", "json"]
    done = CliRunner().invoke(main, words)
    assert done.exit_code == 1, done.output
    found = json.loads(done.stdout)["services"]
    ours = [each for each in found if each["namespace"] == namespace]
    assert [(each["name"], each["fate"], each["after"]) for each in ours] == [
        ("a", "stays", ["192.0.2.7"]),
        ("b", "moves", ["192.0.2.0"]),
    ]
    assert ours[1]["reasons"][0]["code"] == "AddressInNoPool"
    before = cluster.get(f"/api/v1/namespaces/{namespace}/services/b")
    assert before["status"]["loadBalancer"]["ingress"][0]["ip"] == "203.0.113.9", "it only reads"
