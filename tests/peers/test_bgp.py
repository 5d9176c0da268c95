"""MetalLB's speakers and ours on the same hosts, in turn: BIRD is told the same routes.

Both are given the same Nodes, BGPPeers in both versions, BGPAdvertisements, Communities, Services
with addresses and EndpointSlices. What is compared is what BIRD holds: the sessions with router ID
and hold time, and each route's next hop, AS path, origin, LOCAL_PREF and communities.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

import pytest
from bench.kube_plant import Plant
from bench.kube_sides import METALLB, SIDES, US, Side

from tests.peers.bgp_sets import ROUTERS, BgpDraw, communities
from tests.peers.conftest import HOSTS
from tests.peers.layer2_sets import State
from tests.peers.routes import STABLE, Seen, bird, settled
from tests.peers.speakers import Given, Plain, said, speaking

pytestmark = [pytest.mark.kube, pytest.mark.peers, pytest.mark.root, pytest.mark.timeout(240)]
SEEDS = (1, 2, 3, 4, 5, 6)
SERVICES, STATES = 24, 3
STARTED = 4.0


@pytest.fixture(scope="module")
def routed(wired: Plant) -> Iterator[Plant]:
    """The plant with a router that has an address for each BGPPeer."""
    added = [f"address add {each}/24 dev eno1" for each in ROUTERS[1:]]
    wired.net.ip("rtr", *added)
    yield wired
    wired.net.ip("rtr", *(each.replace("add", "del", 1) for each in reversed(added)))


def routes(plant: Plant, side: Side, draw: BgpDraw, states: Sequence[State]) -> list[Seen]:
    """What BIRD sees in each state."""
    given, found = Given(plant, side), []
    more = list(config(given, draw))
    with bird(plant, draw.peers) as control:
        given.state(states[0], draw.pools(), "BGPAdvertisement", more)
        with speaking(plant, side):
            for at, state in enumerate(states):
                given.state(state, draw.pools(), "BGPAdvertisement", more)
                found.append(settled(control, STABLE if at else STARTED))
        given.clear()
    return found


def config(given: Given, draw: BgpDraw) -> Iterator[Plain]:
    yield given.of_metallb("Community", "aliases", dict(communities()))
    for name, spec in draw.peers.items():
        peer = given.of_metallb("BGPPeer", name, spec)
        yield peer | {"apiVersion": f"metallb.io/{draw.version(name)}"}


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
    theirs, mine = (routes(routed, side, draw, states) for side in SIDES)
    different = differences(theirs, mine)
    assert not different, (different, draw.peers, states, said(routed, METALLB), said(routed, US))
    told = {(name, *route.items()) for state in theirs for name, route in state.items()}
    assert len(told) > 10, "a set that tells nothing apart"
