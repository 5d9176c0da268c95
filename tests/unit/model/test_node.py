"""Defaults of a node and a link: absent conditions count as good (Kubernetes API)."""

from __future__ import annotations

from typing import Any

import pytest

from onehop.model.address import Mac
from onehop.model.node import EXCLUDE_LABEL, Link, Node, Pod


def test_a_node_without_conditions_is_ready_and_has_its_network() -> None:
    node = Node(name="node0")
    assert node.ready
    assert not node.network_unavailable


def test_the_label_that_excludes_a_node_is_kubernetes_own() -> None:
    assert EXCLUDE_LABEL == "node.kubernetes.io/exclude-from-external-load-balancers"


def test_a_link_may_announce_unless_it_says_otherwise() -> None:
    link = Link(index=2, name="eno1", mac=Mac(bytes(6)), up=True)
    assert link.broadcast
    assert not link.no_arp
    assert link.master == 0


@pytest.mark.parametrize(
    ("more", "speaks"),
    [({}, True), ({"up": False}, True), ({"master": 3}, False), ({"no_arp": True}, False)],
)
def test_a_part_of_a_bridge_announces_nothing_and_a_link_that_is_down_may_come_up(
    more: dict[str, Any], speaks: bool
) -> None:
    assert (
        Link(**{"index": 2, "name": "a", "mac": Mac(bytes(6)), "up": True} | more).speaks is speaks
    )


def test_a_pod_may_have_no_address_yet() -> None:
    assert Pod(name="kafka-0", namespace="bro", node="node1").addresses == ()
