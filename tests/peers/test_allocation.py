"""MetalLB's own controller and ours, given the same objects one after the other.

Both see the same Services in the same order, each after the one before was answered. So nothing
is left to chance, and the answers must be the same, to the address: so also who is refused, and
which pool serves the others.
"""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.peers import metallb
from tests.peers.controllers import Place, clear, give, name_of, ours, running
from tests.peers.sets import Draw

pytestmark = [pytest.mark.kube, pytest.mark.peers]
SEEDS = (1, 2, 3, 4, 5)


@pytest.mark.parametrize("seed", SEEDS)
def test_the_same_services_are_served_with_the_same_addresses(
    place: Place, metallb_programs: Path, seed: int
) -> None:
    drawn = Draw(
        seed, system=place.system, spaces=place.spaces, lb_class=place.lb_class
    ).all()  # fmt: skip
    place.cluster.apply(drawn.pools)
    log = place.folder / "metallb.log"
    child = metallb.start(place.cluster, metallb_programs, place.system, place.lb_class, log)
    with running(child):
        theirs = give(place, drawn, child, log)
    clear(place, drawn)
    log = place.folder / "onehop.log"
    with running(ours(place, log)) as child:
        mine = give(place, drawn, child, log)
    clear(place, drawn)
    wishes = {name_of(item): item for item in drawn.services}
    different = {
        name: (theirs[name], mine.get(name), wishes[name])
        for name in theirs
        if theirs[name] != mine.get(name)
    }
    assert not different, (different, drawn.pools)
    served = sum(1 for each in theirs.values() if each)
    assert 5 <= served <= len(theirs) - 3, "a set that tells nothing apart"
