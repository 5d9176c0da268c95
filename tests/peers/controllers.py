"""Both sides' controllers on one API server, one after the other, given the same objects."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from tests.kube.cluster import Cluster
from tests.kube.site import addresses_of
from tests.peers.sets import Drawn, Plain
from tests.peers.settled import settled

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
    return settled(partial(answers, place), QUIET_SECONDS)


def held(place: Place) -> Answers:
    """The addresses of every Service, also of those that have none."""
    return {
        name_of(item): addresses_of(item)
        for space in place.spaces
        for item in place.cluster.get(f"/api/v1/namespaces/{space}/services")["items"]
    }


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
