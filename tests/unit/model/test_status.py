"""The values of a node's statuses."""

from __future__ import annotations

from onehop.model.service import Key
from onehop.model.status import NodeStatuses, ServiceBGPStatus, ServiceL2Status

WEB = Key("default", "web")


def test_a_node_that_carries_nothing_says_nothing() -> None:
    assert NodeStatuses() == NodeStatuses(l2={}, bgp={})


def test_statuses_of_two_nodes_differ() -> None:
    assert ServiceL2Status(node="a", service=WEB) != ServiceL2Status(node="b", service=WEB)
    one = ServiceBGPStatus(node="a", service=WEB, peers=("r1",))
    assert one == ServiceBGPStatus(node="a", service=WEB, peers=("r1",))
