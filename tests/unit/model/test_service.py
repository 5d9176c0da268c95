"""What counts as a usable endpoint, and how a key reads."""

from __future__ import annotations

import pytest

from onehop.model.service import Endpoint, Key, no_labels

CONDITIONS = {
    "ready": (True, True, False, True),
    "neither": (False, False, False, False),
    "terminating but serving": (False, True, True, True),
    "terminating and gone": (False, False, True, False),
    "ready without serving": (True, False, False, True),
}


@pytest.mark.parametrize(
    ("ready", "serving", "terminating", "usable"), CONDITIONS.values(), ids=CONDITIONS
)
def test_an_endpoint_attracts_traffic(
    ready: bool, serving: bool, terminating: bool, usable: bool
) -> None:
    endpoint = Endpoint(addresses=(), ready=ready, serving=serving, terminating=terminating)
    assert endpoint.usable is usable


def test_a_key_reads_as_kubectl_prints_it() -> None:
    assert str(Key("bro", "kafka-0")) == "bro/kafka-0"
    assert str(Key("", "node0")) == "node0"


def test_keys_sort_by_namespace_then_name() -> None:
    assert sorted([Key("b", "a"), Key("a", "b"), Key("a", "a")]) == [
        Key("a", "a"),
        Key("a", "b"),
        Key("b", "a"),
    ]


def test_the_empty_labels_are_one_object_that_cannot_be_written() -> None:
    assert no_labels() is no_labels()
    with pytest.raises(TypeError):
        no_labels()["a"] = "b"  # type: ignore[index]
