"""10 000 Services at rest: what a controller and three speakers ask the API server for meanwhile.

Leases are renewed, and a watch that has ended is asked for anew; anything else is counted as a
request that nobody needed. A run that is not the whole ten minutes says so. etcd tells the API
server every five seconds how far it is, as kubeadm has it; bookmarks hang on that.
"""

from __future__ import annotations

import time
from collections.abc import Callable

from bench.kube_audit import Audit, counted
from bench.kube_crowd import Crowd
from bench.kube_load import SLICES, define, loaded, slices
from bench.kube_sides import US, start_speaker
from bench.row import Measure
from onehop.lab.kube_client import Object

SIZE = 10_000
WITHIN = 240.0
WHOLE = 10
QUIET = 20.0  # every report that is put off is written by then


def run(rounds: int) -> list[Measure]:
    """One row; `rounds` is for how many minutes."""
    with loaded() as (plant, load):
        define(plant)
        before = Audit(plant, US)
        crowd = Crowd(plant=plant, load=load, side=US, size=SIZE, within=WITHIN)
        crowd.create()
        load.create(SLICES, slices(crowd.names, 1))
        crowd.wait()
        for at in range(len(plant.nodes)):
            start_speaker(plant, US, at)
        before.settle(QUIET, WITHIN)
        crowd.announced()
        audit = Audit(plant, US)
        _rest(plant.alive, rounds * 60)
        events = audit.read()
        other = [event for event in events if not _is_renewal(event)]
        crowd.proof()
    return [_row(rounds, events, other)]


def _rest(alive: Callable[[], None], seconds: float) -> None:
    until = time.monotonic() + seconds
    while time.monotonic() < until:
        alive()
        time.sleep(1)


def _is_renewal(event: Object) -> bool:
    """Whether a Lease or a watch is renewed."""
    resource = event.get("objectRef", {}).get("resource")
    verb = str(event["verb"])
    return verb == "watch" or (resource == "leases" and verb in ("update", "patch"))


def _row(minutes: int, events: list[Object], other: list[Object]) -> Measure:
    renewed = [event for event in events if _is_renewal(event)]
    cut = "" if minutes >= WHOLE else f"only {minutes} minutes; "
    return Measure(
        what="requests at rest beside renewals of Leases and watches",
        value=len(other),
        unit="",
        versus="10 000 Services, controller and 3 speakers, 10 minutes",
        note=f"{cut}{counted(other) or 'none'}; renewals: {counted(renewed)}",
    )
