"""The layer-2 owner of an address among eligible nodes: MetalLB's election, to the byte.

Nodes are ranked by SHA-256 over node name, `#` and the address, ascending; the sum of matching
preferences goes before the hash. A node that is not Ready comes last instead of being left out:
it owns an address only when nobody better is there, so that an API that calls every node dead
withdraws nothing.
"""

from __future__ import annotations

from collections.abc import Iterable
from hashlib import sha256

from onehop.model.address import IPAddress
from onehop.model.config import L2Advertisement
from onehop.model.node import Node


def weight(name: str, address: str) -> bytes:
    """What a node is ranked by for an address; the smallest wins."""
    return sha256(f"{name}#{address}".encode()).digest()


def preference(node: Node, advertisements: Iterable[L2Advertisement]) -> int:
    """The sum of the weights of all preferred-node terms that match the node."""
    return sum(
        term.weight
        for advertisement in advertisements
        for term in advertisement.preferred_nodes
        if term.selector.matches(node.labels)
    )


def ranking(
    address: IPAddress, nodes: Iterable[Node], advertisements: Iterable[L2Advertisement] = ()
) -> tuple[Node, ...]:
    """Eligible nodes in the order in which they would own the address."""
    terms = tuple(adv for adv in advertisements if adv.preferred_nodes)
    text = str(address)
    return tuple(
        sorted(
            nodes,
            key=lambda node: (not node.ready, -preference(node, terms), weight(node.name, text)),
        )
    )


def owner(
    address: IPAddress, nodes: Iterable[Node], advertisements: Iterable[L2Advertisement] = ()
) -> Node | None:
    """The node that owns the address, or None when no node is eligible."""
    ranked = ranking(address, nodes, advertisements)
    return ranked[0] if ranked else None


def owns(
    node: Node,
    address: IPAddress,
    nodes: Iterable[Node],
    advertisements: Iterable[L2Advertisement] = (),
) -> bool:
    """Whether `node`, one of `nodes`, is the owner: the first better one ends the search.

    Most nodes own few of many addresses, so this hashes a handful of names where a whole ranking
    of fifty would hash fifty.
    """
    terms = tuple(adv for adv in advertisements if adv.preferred_nodes)
    text = str(address)
    mine = (not node.ready, -preference(node, terms) if terms else 0)
    own = weight(node.name, text)
    for other in nodes:
        theirs = (not other.ready, -preference(other, terms) if terms else 0)
        if theirs < mine or (theirs == mine and weight(other.name, text) < own):
            return False
    return True
