"""MetalLB's own controller and ours, given the same objects one after the other.

Both see the same Services in the same order, each after the one before was answered. So nothing
is left to chance, and the answers must be the same, to the address: so also who is refused, and
which pool serves the others.
"""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from tests.kube.cluster import Cluster
from tests.kube.site import addresses_of
from tests.peers import metallb
from tests.peers.sets import Draw, Drawn, Plain

pytestmark = [pytest.mark.kube, pytest.mark.peers]
SEEDS = (1, 2, 3, 4, 5)
QUIET_SECONDS = 1.0


@dataclass(frozen=True, slots=True)
class Place:
    """Where both work: the namespace of the pools, and those of the Services."""

    cluster: Cluster
    system: str
    spaces: Sequence[str]
    lb_class: str
    folder: Path


Answers = dict[str, tuple[str, ...]]


def name_of(item: Plain) -> str:
    return f"{item['metadata']['namespace']}/{item['metadata']['name']}"


def answers(place: Place) -> Answers:
    """The addresses of each Service that was answered: none means refused, by an Event."""
    found: Answers = {}
    for space in place.spaces:
        for event in place.cluster.get(f"/api/v1/namespaces/{space}/events")["items"]:
            if event["type"] == "Warning":
                found[f"{space}/{event['involvedObject']['name']}"] = ()
        for item in place.cluster.get(f"/api/v1/namespaces/{space}/services")["items"]:
            if addresses_of(item):
                found[name_of(item)] = addresses_of(item)
    return found


def give(place: Place, drawn: Drawn, child: subprocess.Popen[bytes], log: Path) -> Answers:
    """Make one Service after the other, each after the last was answered; then all answers."""
    for item in drawn.services:
        place.cluster.apply([item])
        deadline = time.monotonic() + 20.0
        while name_of(item) not in answers(place):
            assert child.poll() is None, log.read_text()[-3000:]
            assert time.monotonic() < deadline, f"{item}\n{log.read_text()[-3000:]}"
            time.sleep(0.01)
    return settled(place)


def settled(place: Place) -> Answers:
    """The answers once they have been the same for a while."""
    last, since = answers(place), time.monotonic()
    while time.monotonic() - since < QUIET_SECONDS:
        time.sleep(0.1)
        now = answers(place)
        if now != last:
            last, since = now, time.monotonic()
    return last


@contextmanager
def running(child: subprocess.Popen[bytes]) -> Iterator[subprocess.Popen[bytes]]:
    try:
        yield child
    finally:
        child.kill()
        child.wait()


def clear(place: Place, drawn: Drawn) -> None:
    """No Service and no Event of before."""
    for item in drawn.services:
        place.cluster.client.delete(place.cluster.client.path(item))
    for space in place.spaces:
        place.cluster.client.request("DELETE", f"/api/v1/namespaces/{space}/events")
    assert answers(place) == {}


def ours(place: Place, log: Path) -> subprocess.Popen[bytes]:
    argv: list[str | Path] = [
        sys.executable, "-m", "onehop.cli.main", "controller", "--namespace", place.system,
        "--kubeconfig", place.cluster.kubeconfig, "--lb-class", place.lb_class,
    ]  # fmt: skip
    with log.open("wb") as output:
        return subprocess.Popen(
            ["setpriv", "--pdeathsig", "KILL", "--", *argv], stdin=subprocess.DEVNULL,
            stdout=output, stderr=output, env=os.environ | {"ONEHOP_POD_NAME": "a"},
        )  # fmt: skip


@pytest.fixture
def place(cluster: Cluster, metallb_programs: Path, tmp_path: Path) -> Iterator[Place]:
    system, *spaces = (cluster.namespace() for _ in range(5))
    for index, space in enumerate(spaces):
        meta: dict[str, Any] = {"name": space, "labels": {"space": str(index)}}
        cluster.apply([{"apiVersion": "v1", "kind": "Namespace", "metadata": meta}])
    made = metallb.prepare(cluster, metallb_programs, system)
    try:
        yield Place(cluster, system, spaces, f"example.org/{system}", tmp_path)
    finally:
        for path in made:
            cluster.client.delete(path)


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
