"""What an API server is given of a cluster's files, and of the installation."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml

from onehop.lab.kube_seed import (
    OWN_NAMESPACE,
    configuration_namespace,
    given,
    installation,
    namespaces_of,
    seeded,
)
from onehop.lab.lab import ARTICLE
from onehop.lab.state import LabError

Object = dict[str, Any]


def an_object(kind: str, name: str, version: str = "v1", **more: Any) -> Object:
    namespace = {} if kind in ("Node", "Namespace") else {"namespace": "shop"}
    return {
        "apiVersion": version,
        "kind": kind,
        "metadata": {"name": name, **namespace, **more.pop("metadata", {})},
        **more,
    }


def a_slice(name: str, service: str) -> Object:
    labels = {
        "kubernetes.io/service-name": service,
        "endpointslice.kubernetes.io/managed-by": "endpointslice-controller.k8s.io",
    }
    return an_object("EndpointSlice", name, "discovery.k8s.io/v1", metadata={"labels": labels})


def named(objects: tuple[Object, ...]) -> list[str]:
    return [f"{item['kind']} {item['metadata']['name']}" for item in objects]


def test_the_article_comes_in_an_order_in_which_each_can_be_made() -> None:
    found = named(seeded(given(ARTICLE)))
    assert found == [
        "Namespace metallb-system",
        "Namespace kafka",
        *(f"Node node{n}" for n in range(3)),
        *(f"Service kafka-{n}" for n in range(3)),
        "Service kafka-bootstrap",
        *(f"Pod kafka-{n}" for n in range(3)),
        "IPAddressPool kafka",
        "L2Advertisement kafka",
    ]
    assert namespaces_of(given(ARTICLE), "Pod") == ("kafka",)
    assert configuration_namespace(given(ARTICLE)) == "metallb-system"


def test_a_slice_is_given_only_where_no_controller_makes_one() -> None:
    pod = an_object("Pod", "p", metadata={"labels": {"app": "web", "more": "x"}}, spec={})
    web = an_object("Service", "web", spec={"selector": {"app": "web"}})
    other = an_object("Service", "other", spec={"selector": {"app": "other"}})
    bare = an_object("Service", "bare", spec={})
    slices = [a_slice("a", "web"), a_slice("b", "other"), a_slice("c", "bare")]
    found = seeded([*slices, bare, other, web, pod])
    kept = [item for item in found if item["kind"] == "EndpointSlice"]
    assert [item["metadata"]["name"] for item in kept] == ["b", "c"]
    owner = kept[0]["metadata"]["labels"]["endpointslice.kubernetes.io/managed-by"]
    assert owner == "onehop-lab"


def test_what_a_server_fills_in_is_left_out() -> None:
    dump = an_object(
        "Pod",
        "p",
        metadata={
            "uid": "1",
            "ownerReferences": [{}],
            "resourceVersion": "7",
            "labels": {"a": "b"},
        },
        spec={"nodeName": "n", "volumes": [{}], "containers": [{"name": "c", "env": [{}]}]},
        status={"podIP": "10.0.0.1"},
    )
    pod = seeded([dump])[1]
    assert pod["metadata"] == {"name": "p", "namespace": "shop", "labels": {"a": "b"}}
    assert pod["spec"] == {
        "containers": [{"name": "c", "image": "lab", "ports": []}],
        "terminationGracePeriodSeconds": 0,
        "nodeName": "n",
    }
    assert "status" not in pod


def test_a_node_is_ready_unless_it_says_otherwise() -> None:
    said = {"type": "Ready", "status": "False", "reason": "Gone"}
    quiet, loud = seeded(
        [an_object("Node", "quiet"), an_object("Node", "loud", status={"conditions": [said]})]
    )
    assert [c["status"] for c in quiet["status"]["conditions"]] == ["True"]
    (condition,) = loud["status"]["conditions"]
    assert (condition["status"], condition["reason"]) == ("False", "Gone")


def test_nobody_gets_a_clusterip_that_the_server_has() -> None:
    own = an_object("Service", "kubernetes", metadata={"namespace": "default"})
    taken = an_object("Service", "a", spec={"clusterIP": "10.0.0.1", "clusterIPs": ["10.0.0.1"]})
    free = an_object("Service", "b", spec={"clusterIP": "10.0.0.2", "type": "LoadBalancer"})
    _, first, second = seeded([own, taken, free], {"10.0.0.1"})
    assert (first["metadata"]["name"], first["spec"]) == ("b", free["spec"])
    assert (second["metadata"]["name"], second["spec"]) == ("a", {})


def test_the_older_comes_first() -> None:
    items = [
        an_object("Service", name, spec={}, metadata={"creationTimestamp": f"2026-01-0{day}"})
        for name, day in (("a", 2), ("b", 1))
    ]
    assert named(seeded(items))[1:] == ["Service b", "Service a"]


def test_lists_are_looked_through_and_strangers_left_out(tmp_path: Path) -> None:
    listed = {
        "apiVersion": "v1",
        "kind": "NodeList",
        "items": [{"metadata": {"name": "a"}}, {"metadata": {"name": "b"}}],
    }
    kafka = an_object("Kafka", "k", "kafka.strimzi.io/v1")
    (tmp_path / "a.yaml").write_text(yaml.safe_dump_all([listed, None, kafka]))
    assert named(given(tmp_path)) == ["Node a", "Node b"]


def test_one_namespace_holds_what_the_controller_reads() -> None:
    pools = [
        an_object("IPAddressPool", "p", "metallb.io/v1beta1", metadata={"namespace": name})
        for name in ("a", "b")
    ]
    with pytest.raises(LabError, match="a and b"):
        configuration_namespace(pools)
    assert configuration_namespace([]) == OWN_NAMESPACE


def test_the_rights_go_where_the_configuration_is() -> None:
    wanted = installation("metallb-system")
    assert all(item["kind"] == "CustomResourceDefinition" for item in wanted.definitions)
    assert {"IPAddressPool", "BGPPeer"} <= {
        item["spec"]["names"]["kind"] for item in wanted.definitions
    }
    kinds = {item["kind"] for item in wanted.rights}
    assert kinds == {
        "Namespace", "ServiceAccount", "Role", "RoleBinding", "ClusterRole", "ClusterRoleBinding",
    }  # fmt: skip
    places = {
        item["metadata"]["name"]: item["metadata"]["namespace"]
        for item in wanted.rights
        if item["kind"] == "Role"
    }
    assert places == {
        "onehop-controller-configuration": "metallb-system",
        "onehop-speaker-configuration": "metallb-system",
        "onehop-controller": OWN_NAMESPACE,
    }


def test_without_the_source_tree_a_sentence_says_so(tmp_path: Path) -> None:
    with pytest.raises(LabError, match="source tree"):
        installation("a", tmp_path / "onehop.yaml")
