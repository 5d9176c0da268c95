"""MetalLB's speakers and ours on the same hosts, in turn: BIRD is told the same routes.

Both are given the same Nodes, BGPPeers in both versions, BGPAdvertisements, Communities, Services
with addresses and EndpointSlices. What is compared is what BIRD holds: the sessions with router ID
and hold time, and each route's next hop, AS path, origin, LOCAL_PREF and communities.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from functools import partial

import pytest
from bench.kube_plant import Plant
from bench.kube_sides import METALLB, SIDES, US, Side

from tests.peers.bgp_sets import ROUTERS, BgpDraw, communities
from tests.peers.conftest import HOSTS
from tests.peers.layer2_sets import Pools, State, Wanted, a_slice
from tests.peers.routes import STABLE, Seen, bird, seen
from tests.peers.settled import settled
from tests.peers.speakers import Given, Plain, said, speaking

pytestmark = [pytest.mark.kube, pytest.mark.peers, pytest.mark.root, pytest.mark.timeout(240)]
SEEDS = (1, 2, 3, 4, 5)
SERVICES, STATES = 24, 3
Peers = Mapping[str, Plain]
STARTED = 4.0


@pytest.fixture(scope="module")
def routed(wired: Plant) -> Iterator[Plant]:
    """The plant with a router that has an address for each BGPPeer."""
    added = [f"address add {each}/24 dev eno1" for each in ROUTERS[1:]]
    wired.net.ip("rtr", *added)
    yield wired
    removed = [each.replace("address add", "address del") for each in reversed(added)]
    wired.net.ip("rtr", *removed)


def routes(
    plant: Plant, side: Side, peers: Peers, pools: Pools, states: Sequence[State]
) -> list[Seen]:
    """What BIRD sees in each state."""
    given, found = Given(plant, side), []
    more = list(config(given, peers))
    with bird(plant, peers) as control:
        given.state(states[0], pools, "BGPAdvertisement", more)
        with speaking(plant, side):
            for at, state in enumerate(states):
                given.state(state, pools, "BGPAdvertisement", more)
                found.append(settled(partial(seen, control), STABLE if at else STARTED))
        given.clear()
    return found


def config(given: Given, peers: Peers) -> Iterator[Plain]:
    """The aliases and the peers, of which every other one is written in the older version."""
    yield given.of_metallb("Community", "aliases", dict(communities()))
    for at, (name, spec) in enumerate(peers.items()):
        version = "v1beta1" if at % 2 else "v1beta2"
        yield given.of_metallb("BGPPeer", name, spec) | {"apiVersion": f"metallb.io/{version}"}


def expected(theirs: Seen) -> Seen:
    """Departure: inside an AS, a localPref that is not set is 100 here, and 0 in MetalLB."""
    return {
        name: {**route, "local_pref": "100"} if route.get("local_pref") == "0" else route
        for name, route in theirs.items()
    }


def differences(theirs: Sequence[Seen], mine: Sequence[Seen]) -> Mapping[str, object]:
    return {
        f"state {at}, {name}": (one.get(name), other.get(name))
        for at, (one, other) in enumerate(zip(map(expected, theirs), mine, strict=True))
        for name in one | other
        if one.get(name) != other.get(name)
    }


@pytest.mark.parametrize("seed", SEEDS)
def test_the_router_is_told_the_same_routes(routed: Plant, seed: int) -> None:
    draw = BgpDraw(seed, hosts=HOSTS, services=SERVICES, states=STATES)
    states = draw.all()
    routed.rename(*draw.names)
    theirs, mine = (routes(routed, side, draw.peers, draw.pools(), states) for side in SIDES)
    different = differences(theirs, mine)
    assert not different, (different, draw.peers, states, said(routed, METALLB), said(routed, US))
    told = {(name, *route.items()) for state in theirs for name, route in state.items()}
    assert len(told) > 10, "a set that tells nothing apart"
    by_all = {name for name, spec in draw.peers.items() if "nodeSelectors" not in spec}
    sessions = {f"{peer}_{at}" for peer in by_all for at in range(len(draw.names))}
    assert all(sessions <= state.keys() for state in theirs), "a session that is not up"


ABC = ("node-a", "node-b", "node-c")
POOL: Pools = {"all": ({}, {"addresses": ["10.77.0.0/24"]})}
PREFIX = "10.77.0.1/32"
TWO: Peers = {
    name: {"peerAddress": address, "peerASN": 64512, "myASN": 64500}
    for name, address in zip(("p0", "p1"), ROUTERS, strict=False)
}


def by_peer(seen: Seen) -> set[str]:
    """The peers that were told the route of the one Service."""
    return {name.split()[2].partition("_")[0] for name in seen if name.startswith(PREFIX)}


def one_service(advertisements: Mapping[str, Plain]) -> State:
    labels = {"kubernetes.io/hostname": "x"}
    slice_ = a_slice("s", 0, 80, [{"addresses": ["10.1.0.1"], "nodeName": ABC[0]}])
    wanted = Wanted(
        name="s", addresses=("10.77.0.1",), local=False, labels={"tier": "gold"}, annotations={},
        port=80, slices=(slice_,),
    )  # fmt: skip
    nodes = tuple(
        {
            "apiVersion": "v1", "kind": "Node", "metadata": {"name": name, "labels": labels},
            "status": {"conditions": [{"type": "Ready", "status": "True"}]},
        }
        for name in ABC
    )  # fmt: skip
    return State(nodes=nodes, advertisements=advertisements, services=(wanted,))


def test_departure_two_local_prefs_refuse_only_the_peers_that_would_see_both(
    routed: Plant,
) -> None:
    """MetalLB then tells nobody of the Service; decision 85."""
    routed.rename(*ABC)
    gold = [{"matchLabels": {"tier": "gold"}}]
    state = one_service({
        "all": {"serviceSelectors": gold, "localPref": 100},
        "other": {"serviceSelectors": gold, "localPref": 200, "peers": ["p1"]},
    })  # fmt: skip
    theirs, mine = (routes(routed, side, TWO, POOL, [state])[0] for side in SIDES)
    assert (by_peer(theirs), by_peer(mine)) == (set(), {"p0"})


def test_departure_a_bad_object_alone_is_out_of_force(routed: Plant) -> None:
    """A speaker of MetalLB that starts with an alias that nobody has opens no session at all."""
    routed.rename(*ABC)
    state = one_service({"all": {}, "bad": {"communities": ["no-such-alias"]}})
    theirs, mine = (routes(routed, side, TWO, POOL, [state])[0] for side in SIDES)
    assert (dict(theirs), by_peer(mine)) == ({}, {"p0", "p1"})
    assert not any("community" in route for route in mine.values())
