"""The objects that statuses become."""

from __future__ import annotations

from onehop.adapters.service_status import object_name, status_object
from onehop.model.service import Key
from onehop.model.status import ServiceBGPStatus, ServiceL2Status

WEB = Key("shop", "web")
LABELS = {
    "metallb.io/node": "node1",
    "metallb.io/service-name": "web",
    "metallb.io/service-namespace": "shop",
}


def test_a_layer_2_status_names_links_only_where_a_list_applies() -> None:
    status = ServiceL2Status(node="node1", service=WEB, links=("eth0", "eth1"))
    assert status_object(status, "metallb-system") == {
        "apiVersion": "metallb.io/v1beta1",
        "kind": "ServiceL2Status",
        "metadata": {
            "name": object_name(status),
            "namespace": "metallb-system",
            "labels": LABELS,
        },
        "spec": {},
        "status": {
            "node": "node1",
            "serviceName": "web",
            "serviceNamespace": "shop",
            "interfaces": [{"name": "eth0"}, {"name": "eth1"}],
        },
    }
    bare = status_object(ServiceL2Status(node="node1", service=WEB), "metallb-system")
    assert bare["status"] == {"node": "node1", "serviceName": "web", "serviceNamespace": "shop"}


def test_a_bgp_status_names_the_peers() -> None:
    status = ServiceBGPStatus(node="node1", service=WEB, peers=("r1", "r2"))
    found = status_object(status, "lb")
    assert found["kind"] == "ServiceBGPStatus"
    assert found["metadata"] == {
        "name": object_name(status), "namespace": "lb", "labels": LABELS
    }  # fmt: skip
    assert found["status"] == {
        "node": "node1", "serviceName": "web", "serviceNamespace": "shop", "peers": ["r1", "r2"]
    }  # fmt: skip


def test_the_name_tells_node_service_and_kind_apart_and_stays() -> None:
    names = {
        object_name(made(node=node, service=Key(namespace, name), **more))  # type: ignore[operator]
        for made, more in ((ServiceL2Status, {}), (ServiceBGPStatus, {"peers": ()}))
        for node in ("a", "b")
        for namespace, name in (("x", "y"), ("y", "x"))
    }
    assert len(names) == 8
    assert {name.partition("-")[0] for name in names} == {"l2", "bgp"}
    one = ServiceL2Status(node="a", service=WEB)
    other = ServiceL2Status(node="a", service=WEB, links=("eth0",))
    assert object_name(one) == object_name(other)
