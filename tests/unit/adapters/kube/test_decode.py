"""Objects out of JSON: what a writer gets to know, and that nothing can upset the reader."""

from __future__ import annotations

import copy
import json
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from onehop.adapters.kube.decode import Decoder
from onehop.adapters.kube.source import secret_source, sources
from onehop.adapters.kube.structs import Head, Ingress, LiveCondition, Owner
from onehop.model.reason import Problem
from onehop.model.service import Key
from tests.unit.adapters.kube.objects import metallb, peer, pool, service, slice_

OBJECTS: dict[str, dict[str, Any]] = {
    "Service": service("web", "192.0.2.1"),
    "EndpointSlice": slice_("web-x", "10.0.0.1"),
    "Node": {
        "kind": "Node",
        "metadata": {"name": "a"},
        "spec": {"podCIDRs": ["10.0.0.0/16"]},
        "status": {
            "addresses": [{"type": "InternalIP", "address": "192.0.2.1"}],
            "conditions": [{"type": "Ready", "status": "True"}],
        },
    },
    "Namespace": {"kind": "Namespace", "metadata": {"name": "shop", "labels": {"team": "a"}}},
    "IPAddressPool": pool(),
    "L2Advertisement": metallb("L2Advertisement", "l2", ipAddressPools=["pool"]),
    "BGPPeer": peer(nodeSelectors=[{"matchLabels": {"rack": "a"}}], holdTime="90s"),
    "BGPAdvertisement": metallb("BGPAdvertisement", "adv", communities=["65535:65281"]),
    "BFDProfile": metallb("BFDProfile", "fast", receiveInterval=100),
    "Community": metallb("Community", "c", communities=[{"name": "x", "value": "1:2"}]),
    "Secret": {
        "kind": "Secret",
        "metadata": {"name": "bgp", "namespace": "metallb-system"},
        "type": "kubernetes.io/basic-auth",
        "data": {"password": "aHVzaA=="},
    },
}
DECODERS = [
    Decoder(version, source.kind)
    for source in (*sources("metallb-system"), secret_source(Key("x", "y")))
    for version in source.versions
]
PLAIN = st.recursive(
    st.none() | st.booleans() | st.integers(-5, 1 << 70) | st.text(max_size=9) | st.floats(-1, 1),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner),
    max_leaves=6,
)


def places(body: Any, path: tuple[str | int, ...] = ()) -> list[tuple[str | int, ...]]:
    """The path of every value inside."""
    if not isinstance(body, (dict, list)):
        return []
    found = []
    for name, value in body.items() if isinstance(body, dict) else enumerate(body):
        found += [(*path, name), *places(value, (*path, name))]
    return found


def raw(body: object) -> msgspec.Raw:
    return msgspec.Raw(json.dumps(body).encode())


def read(decoder: Decoder, text: msgspec.Raw) -> tuple[object, tuple[Problem, ...]]:
    head = decoder.head(text)
    if isinstance(head, Problem):
        return None, (head,)
    decoder.live(head)
    found = decoder.value(decoder.key(head.metadata), text)
    return found.value, found.problems


@pytest.mark.parametrize("decoder", DECODERS, ids=lambda each: each.kind)
def test_each_kind_is_read(decoder: Decoder) -> None:
    value, problems = read(decoder, raw(OBJECTS[decoder.kind]))
    assert value is not None
    assert problems == ()


@given(st.data())
def test_any_value_in_any_field_is_read_or_named(data: st.DataObject) -> None:
    decoder = data.draw(st.sampled_from(DECODERS))
    body = copy.deepcopy(OBJECTS[decoder.kind])
    *way, last = data.draw(st.sampled_from(places(body)))
    inside: Any = body
    for step in way:
        inside = inside[step]
    inside[last] = data.draw(PLAIN)
    value, problems = read(decoder, raw(body))
    assert value is None or problems == ()
    for problem in problems:
        assert problem.object.startswith(f"{decoder.kind} ")


@given(st.binary(max_size=60))
def test_text_that_is_no_object_is_a_problem(text: bytes) -> None:
    for decoder in DECODERS:
        head = decoder.head(msgspec.Raw(text))
        assert isinstance(head, Problem)
        assert head.object.startswith(f"{decoder.kind} ")


def test_a_writer_gets_to_know_what_the_model_leaves_out() -> None:
    body = service("web", "192.0.2.1")
    body["metadata"] |= {
        "uid": "u",
        "resourceVersion": "7",
        "generation": 3,
        "deletionTimestamp": "2026-11-24T09:00:00Z",
        "ownerReferences": [{"apiVersion": "kafka.strimzi.io/v1beta2", "kind": "Kafka",
                             "name": "k", "uid": "o", "controller": False}],
    }  # fmt: skip
    body["status"]["loadBalancer"]["ingress"].append({"hostname": "lb.example"})
    body["status"]["conditions"] = [{"type": "Seen", "status": "True", "observedGeneration": 3}]
    decoder = Decoder("v1", "Service")
    head = decoder.head(raw(body))
    assert not isinstance(head, (Problem, Head))
    live = decoder.live(head)
    assert live is not None
    assert (live.uid, live.resource_version, live.generation, live.deleting) == ("u", "7", 3, True)
    assert live.owners == (
        Owner(api_version="kafka.strimzi.io/v1beta2", kind="Kafka", name="k", uid="o",
              controller=False),
    )  # fmt: skip
    assert live.ingress == (
        Ingress(ip="192.0.2.1", ip_mode="VIP"), Ingress(hostname="lb.example"),
    )  # fmt: skip
    assert live.conditions == (LiveCondition(type="Seen", status="True", observed_generation=3),)


def test_the_status_of_a_pool_is_handed_on_as_it_is() -> None:
    body = {**pool(), "status": {"assignedIPv4": 1}}
    decoder = Decoder("metallb.io/v1beta1", "IPAddressPool")
    head = decoder.head(raw(body))
    assert not isinstance(head, Problem)
    live = decoder.live(head)
    assert live is not None
    assert json.loads(live.status) == {"assignedIPv4": 1}


def test_other_kinds_have_nothing_to_write_to() -> None:
    decoder = Decoder("v1", "Node")
    head = decoder.head(raw(OBJECTS["Node"]))
    assert not isinstance(head, Problem)
    assert decoder.live(head) is None
