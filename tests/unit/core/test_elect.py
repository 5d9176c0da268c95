"""The election: MetalLB's order to the byte, preferences, and nodes that are not Ready."""

from ipaddress import ip_address

import pytest
from hypothesis import given
from hypothesis import strategies as st

from onehop.core.elect import owner, owns, preference, ranking, weight
from onehop.model.config import PreferredNode
from tests.builders import a_node, an_advertisement, labels

ARTICLE = ("node0", "node1", "node2")


@pytest.mark.parametrize(
    ("address", "nodes", "order"),
    [
        ("192.168.200.240", ARTICLE, "node2 node0 node1"),
        ("192.168.200.241", ARTICLE, "node0 node1 node2"),
        ("192.168.200.242", ARTICLE, "node2 node0 node1"),
        ("192.168.200.243", ARTICLE, "node1 node0 node2"),
        ("10.20.30.1", ("iris1", "iris2"), "iris2 iris1"),
        ("10.20.30.2", ("iris1", "iris2"), "iris1 iris2"),
        ("10.0.0.1", ("node-a", "node-b", "node-c"), "node-b node-a node-c"),
        ("10.0.0.2", ("node-a", "node-b", "node-c"), "node-b node-c node-a"),
        ("10.20.30.1", ("node-a", "node-b"), "node-b node-a"),
    ],
)
def test_order_is_that_of_metallb(address: str, nodes: tuple[str, ...], order: str) -> None:
    ranked = ranking(ip_address(address), [a_node(name) for name in nodes])
    assert " ".join(node.name for node in ranked) == order


def test_no_node_owns_an_address_without_candidates() -> None:
    assert owner(ip_address("192.0.2.1"), []) is None


def test_preferred_nodes_come_before_the_hash() -> None:
    nodes = [a_node("node0"), a_node("node1", labels={"rack": "a"})]
    adv = an_advertisement(
        preferred_nodes=(
            PreferredNode(weight=10, selector=labels(rack="a")),
            PreferredNode(weight=5, selector=labels()),
        )
    )
    assert preference(nodes[1], [adv, adv]) == 30
    found = owner(ip_address("192.168.200.241"), nodes, [adv])
    assert found is not None
    assert found.name == "node1"
    assert [owns(node, ip_address("192.168.200.241"), nodes, [adv]) for node in nodes] == [
        False,
        True,
    ]


def test_a_node_that_is_not_ready_comes_last_but_is_not_left_out() -> None:
    sick, well = a_node("node0", ready=False), a_node("node1")
    address = ip_address("192.168.200.241")
    assert [n.name for n in ranking(address, [sick, well])] == ["node1", "node0"]
    assert owner(address, [sick]) is sick


names = st.lists(st.from_regex(r"[a-z]{1,8}", fullmatch=True), min_size=2, max_size=8, unique=True)


@given(names, st.ip_addresses(), st.randoms())
def test_removing_a_node_moves_only_its_own_addresses(names, address, random) -> None:
    nodes = [a_node(name) for name in names]
    random.shuffle(nodes)
    first = owner(address, nodes)
    assert first == owner(address, sorted(nodes, key=lambda n: n.name))
    assert [node for node in nodes if owns(node, address, nodes)] == [first]
    gone = next(node for node in nodes if node is not first)
    assert owner(address, [n for n in nodes if n is not gone]) is first


def test_weight_is_a_sha256() -> None:
    assert len(weight("node0", "192.0.2.1")) == 32
