"""The same series of edits for MetalLB's controller and for ours, one after the other.

After each edit the same Services hold an address and the others none: the same address until
something was released, and from then on one of the same pool.
"""

from __future__ import annotations

import copy
import itertools
from functools import partial
from pathlib import Path

import pytest

from tests.peers import metallb
from tests.peers.controllers import Answers, Place, clear, give, held, ours, running
from tests.peers.edits import REQUEST, SHARE, Edit, Roomy
from tests.peers.sets import Drawn
from tests.peers.settled import settled

pytestmark = [pytest.mark.kube, pytest.mark.peers, pytest.mark.timeout(240)]
SEEDS = (11, 12, 14)
EDITS = 25
QUIET_SECONDS = 0.5


def carry_out(place: Place, edit: Edit) -> Answers:
    """Make one edit; what every Service holds then."""
    place.cluster.apply(edit.put)
    for item in edit.gone:
        place.cluster.client.delete(place.cluster.client.path(item))
    return settled(partial(held, place), QUIET_SECONDS)


def pools_of(answers: Answers) -> Answers:
    """The pool of each address: all sets give each pool a prefix of its own."""
    return {
        name: tuple(each.rpartition("::" if ":" in each else ".")[0] for each in addresses)
        for name, addresses in answers.items()
    }


@pytest.mark.parametrize("seed", SEEDS)
def test_edits_leave_the_same_services_served(
    place: Place, metallb_programs: Path, seed: int
) -> None:
    draw = Roomy(seed, system=place.system, spaces=place.spaces, lb_class=place.lb_class)
    drawn = draw.all()
    place.cluster.apply(drawn.pools)
    log = place.folder / "metallb.log"
    child = metallb.start(place.cluster, metallb_programs, place.system, place.lb_class, log)
    edits: list[Edit] = []
    with running(child):
        give(place, drawn, child, log)
        theirs = [settled(partial(held, place), QUIET_SECONDS)]
        for edit in draw.edits(drawn, EDITS, lambda: theirs[-1]):
            edits.append(edit)
            theirs.append(carry_out(place, edit))
    restore(place, drawn, edits)
    log = place.folder / "onehop.log"
    with running(ours(place, log)) as child:
        give(place, drawn, child, log)
        mine = [
            settled(partial(held, place), QUIET_SECONDS),
            *(carry_out(place, edit) for edit in edits),
        ]
    clear(place, drawn)
    compare(theirs, mine, [Edit(what="first"), *edits])
    served = [name for name, addresses in theirs[0].items() if addresses]
    assert len(served) > len(theirs[0]) * 0.6, "most requests are to be granted"
    changed = sum(one != other for one, other in itertools.pairwise(theirs))
    assert changed >= EDITS / 4, "edits that change nothing"


def test_departure_the_elder_keeps_an_address_that_can_no_longer_be_shared(
    place: Place, metallb_programs: Path
) -> None:
    """In MetalLB whoever is edited loses it; decision 10."""
    draw = Roomy(1, system=place.system, spaces=place.spaces, lb_class=place.lb_class)
    drawn = draw.all()
    space = place.spaces[0]
    elder, younger = (copy.deepcopy(drawn.services[0]) for _ in range(2))
    for service, name, port in ((elder, "a", 80), (younger, "b", 443)):
        service["spec"] |= {"ipFamilyPolicy": "SingleStack", "ipFamilies": ["IPv4"]}
        service["spec"]["ports"][0]["port"] = port
        wishes = {REQUEST: "10.90.0.77", SHARE: "key"}
        service["metadata"] |= {"name": name, "namespace": space, "annotations": wishes}
    edited = copy.deepcopy(elder)
    del edited["metadata"]["annotations"][SHARE]
    pair = Drawn(pools=drawn.pools[:1], services=(elder, younger))
    place.cluster.apply(pair.pools)
    found = []
    for start in (partial(metallb.start, place.cluster, metallb_programs, place.system,
                          place.lb_class), partial(ours, place)):  # fmt: skip
        log = place.folder / "controller.log"
        with running(start(log)) as child:
            give(place, pair, child, log)
            found.append(carry_out(place, Edit(what="key", put=(edited,))))
        clear(place, pair)
    kept, lost = ("10.90.0.77",), ()
    assert found[0] == {f"{space}/a": lost, f"{space}/b": kept}
    assert found[1] == {f"{space}/a": kept, f"{space}/b": lost}


def restore(place: Place, drawn: Drawn, edits: list[Edit]) -> None:
    """No Service, and the pools of the beginning."""
    clear(place, drawn)
    for item in (item for edit in edits for item in edit.put if item["kind"] != "Service"):
        place.cluster.client.delete(place.cluster.client.path(item))
    place.cluster.apply(drawn.pools)


def compare(theirs: list[Answers], mine: list[Answers], edits: list[Edit]) -> None:
    is_released = False
    for at, (one, other, edit) in enumerate(zip(theirs, mine, edits, strict=True)):
        # Who is refused leaves an address, too; ours waits for it as for one that was deleted.
        is_released |= edit.frees or any(
            held and not one.get(name) for name, held in theirs[max(0, at - 1)].items()
        )
        if is_released:
            one, other = pools_of(one), pools_of(other)
        different = {
            name: (one.get(name), other.get(name), theirs[at - 1].get(name))
            for name in one | other
            if one.get(name) != other.get(name)
        }
        assert not different, (at, different, edit, [each.what for each in edits[: at + 1]])
