"""Secrets that are missing or malformed: the Reason says which, and nothing else ends."""

from __future__ import annotations

from contextlib import closing
from typing import Any

import pytest

from onehop.adapters.kube.kubeconfig import load_access
from onehop.adapters.kube.store import KubeStore
from onehop.core.validate_bgp import judged_bgp
from onehop.model.objects import Objects
from onehop.model.reason import Reason
from onehop.model.service import Key
from tests.kube.cluster import Cluster
from tests.kube.site import Site
from tests.unit.adapters.kube.objects import eventually

pytestmark = pytest.mark.kube


def faults(objects: Objects) -> list[str]:
    judgement = judged_bgp(objects, (), ())
    return [each.detail for each in judgement.problems if each.reason is Reason.SECRET_UNUSABLE]


def a_secret(site: Site, kind: str, **data: str) -> Any:
    meta = {"name": "bgp", "namespace": site.system}
    return {"apiVersion": "v1", "kind": "Secret", "metadata": meta, "type": kind,
            "stringData": data}  # fmt: skip


def test_a_secret_in_every_state(cluster: Cluster) -> None:
    site = Site(cluster)
    path = f"/api/v1/namespaces/{site.system}/secrets/bgp"
    spec = {"myASN": 64500, "peerASN": 64501, "peerAddress": "192.0.2.1",
            "passwordSecret": {"name": "bgp"}}  # fmt: skip
    peer = {"apiVersion": "metallb.io/v1beta2", "kind": "BGPPeer", "spec": spec,
            "metadata": {"name": "router", "namespace": site.system}}  # fmt: skip
    cluster.apply([peer])
    with closing(KubeStore(load_access(site.kubeconfig), namespace=site.system)) as store:
        eventually(store, lambda o: o.complete and "there is no Secret" in str(faults(o)))
        cluster.apply([a_secret(site, "Opaque", password="hush")])
        eventually(store, lambda o: "is of type Opaque" in str(faults(o)))
        cluster.client.delete(path)
        cluster.apply([a_secret(site, "kubernetes.io/basic-auth", username="me")])
        eventually(store, lambda o: "no password under the key" in str(faults(o)))
        cluster.client.delete(path)
        cluster.apply([a_secret(site, "kubernetes.io/basic-auth", password="hush")])
        found = eventually(store, lambda o: o.secrets and not faults(o))
        assert "hush" not in repr(found)
        cluster.client.delete(path)
        gone = eventually(store, lambda o: "there is no Secret" in str(faults(o)))
        assert Key(site.system, "a") in gone.pools
