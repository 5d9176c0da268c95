"""MetalLB's speakers and ours on the same hosts, in turn: the same node answers for an address.

Both are given the same Nodes, L2Advertisements, Services with addresses and EndpointSlices, and a
client asks by ARP and NDP who has each address.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import pytest
from bench.kube_plant import Plant, lan_mac
from bench.kube_sides import METALLB, SIDES, US, Side

from tests.peers.asking import STABLE, Answers, asking
from tests.peers.conftest import HOSTS
from tests.peers.layer2_sets import Draw, Pools, State, Wanted, a_slice
from tests.peers.speakers import Given, said, speaking

pytestmark = [pytest.mark.kube, pytest.mark.peers, pytest.mark.root, pytest.mark.timeout(240)]
SEEDS = (1, 2, 3, 4, 5)
SERVICES, STATES = 24, 4
STARTED = 4.0  # a speaker of MetalLB that has just started may be silent for so long


def owners(plant: Plant, side: Side, pools: Pools, states: Sequence[State]) -> list[Answers]:
    """Who answers in each state, by address, as the names of nodes."""
    names = {lan_mac(at): name for at, name in enumerate(plant.nodes)}
    addresses = sorted({each for wanted in states[0].services for each in wanted.addresses})
    given, found = Given(plant, side), []
    with asking(plant.where("cli")) as asker:
        given.state(states[0], pools, "L2Advertisement")
        with speaking(plant, side):
            for at, state in enumerate(states):
                given.state(state, pools, "L2Advertisement")
                answers = asker.settled(addresses, STABLE if at else STARTED)
                found.append({
                    address: frozenset(names[mac] for mac in macs)
                    for address, macs in answers.items()
                })  # fmt: skip
        given.clear()
    return found


def differences(
    theirs: Sequence[Answers], mine: Sequence[Answers], states: Sequence[State]
) -> Mapping[str, object]:
    """Where the two answer otherwise, and of whom they were asked."""
    return {
        f"state {at}, {address}": {
            "theirs": sorted(nodes), "ours": sorted(other[address]),
            "of": [each for each in state.services if address in each.addresses],
        }
        for at, (one, other, state) in enumerate(zip(theirs, mine, states, strict=True))
        for address, nodes in one.items()
        if nodes != other[address]
    }  # fmt: skip


@pytest.mark.parametrize("seed", SEEDS)
def test_the_same_node_answers(wired: Plant, seed: int) -> None:
    draw = Draw(seed, hosts=HOSTS, services=SERVICES, states=STATES)
    states = draw.all()
    wired.rename(*draw.names)
    theirs, mine = (owners(wired, side, draw.pools(), states) for side in SIDES)
    different = differences(theirs, mine, states)
    assert not different, (different, states, said(wired, METALLB), said(wired, US))
    answered = [nodes for state in theirs for nodes in state.values() if nodes]
    assert all(len(nodes) == 1 for nodes in answered), "two nodes answer for one address"
    assert len(set(answered)) > 1, "a set that tells nothing apart"
    assert len(answered) < sum(map(len, theirs)), "a set in which nothing is refused"


def served(name: str, address: str, **more: Any) -> Wanted:
    """A Service with an endpoint on every node."""
    slice_ = a_slice(name, 0, 80, [{"addresses": ["10.1.0.1"], "nodeName": each} for each in ABC])
    usual: dict[str, Any] = {
        "local": False, "labels": {}, "annotations": {}, "port": 80, "slices": (slice_,),
    }  # fmt: skip
    return Wanted(name=name, addresses=(address,), **usual | more)


def node(name: str, ready: str = "True") -> dict[str, Any]:
    meta = {"name": name, "labels": {"zone": name}}
    conditions = [{"type": "Ready", "status": ready}]
    return {
        "apiVersion": "v1",
        "kind": "Node",
        "metadata": meta,
        "status": {"conditions": conditions},
    }


ABC = ("node-a", "node-b", "node-c")
FIRST = "10.0.0.1"  # its order is node-b, node-a, node-c
POOL: Pools = {"all": ({}, {"addresses": ["10.0.0.0/24"]})}


def test_departure_a_node_that_is_not_ready_comes_last(wired: Plant) -> None:
    """MetalLB ignores the Ready condition; decision 6."""
    wired.rename(*ABC)
    services = (served("s", FIRST), served("t", FIRST.replace(".1", ".2"), local=True))
    states = [
        State(
            nodes=tuple(node(each, "Unknown" if each in gone else "True") for each in ABC),
            advertisements={"all": {}}, services=services,
        )
        for gone in ((), ("node-b",), ABC)
    ]  # fmt: skip
    theirs, mine = ([each[FIRST] for each in owners(wired, side, POOL, states)] for side in SIDES)
    assert theirs == [{"node-b"}, {"node-b"}, {"node-b"}]
    assert mine == [{"node-b"}, {"node-a"}, {"node-b"}]


def test_departure_shared_addresses_and_service_selectors(wired: Plant) -> None:
    """Two Services behind one address, of which each has nodes of its own: two nodes answer.

    MetalLB refuses that too, but only in a version after 0.16.1.
    """
    wired.rename(*ABC)
    key = {"metallb.io/allow-shared-ip": "key"}
    services = tuple(
        served(f"s-{name}", FIRST, labels={"to": name}, annotations=key, port=port)
        for name, port in (("node-a", 80), ("node-b", 443))
    )
    advertisements = {
        name: {
            "serviceSelectors": [{"matchLabels": {"to": name}}],
            "nodeSelectors": [{"matchLabels": {"zone": name}}],
        }
        for name in ("node-a", "node-b")
    }
    state = State(
        nodes=tuple(map(node, ABC)), advertisements=advertisements, services=services
    )  # fmt: skip
    theirs, mine = (owners(wired, side, POOL, [state])[0][FIRST] for side in SIDES)
    assert (theirs, mine) == ({"node-a", "node-b"}, frozenset())
