"""Our controller and MetalLB's on one real API server, with up to 1 000 Services.

Each side has a ServiceAccount, a loadBalancerClass and a pool of its own; they take turns, never
both at once. A Service's clock starts before its create is sent, and stops when a watch on a
connection of its own has read the address. Requests are counted from the audit log.
"""

from __future__ import annotations

import time

from bench.kube_audit import Audit, counted
from bench.kube_crowd import QUIET, Crowd
from bench.kube_load import (
    LONGEST,
    SERVICES,
    SLICES,
    Load,
    Watch,
    define,
    endpoint_slice,
    loaded,
    services,
    versus,
)
from bench.kube_plant import Plant
from bench.kube_sides import METALLB, SIDES, US, Side, start_speaker, stop_speaker
from bench.row import Measure, percentiles
from onehop.lab.kube_client import Object

PAUSE = 0.05
UNMEASURED = 5
TURNS = 2
EACH = 50
SIZE = 1000
OF_A_SERVICE = frozenset({"services", "events", "servicel2statuses", "servicebgpstatuses"})


def run(rounds: int) -> list[Measure]:
    """All rows; `rounds` is how many Services are created one by one."""
    with loaded() as (plant, load):
        measures = _latency(plant, load, rounds)
        measures += _requests(plant, load, METALLB)
        measures += _crowd(Crowd(plant=plant, load=load, side=METALLB, size=SIZE))
        measures += _requests(plant, load, US, "MetalLB's definitions of kinds")
        define(plant)
        measures += _requests(plant, load, US)
        measures += _crowd(Crowd(plant=plant, load=load, side=US, size=SIZE))
    return measures


def _crowd(crowd: Crowd) -> list[Measure]:
    measures = crowd.burst()
    measures += crowd.take_addresses()
    measures += crowd.wait()
    measures += crowd.memory()
    measures += crowd.restart()
    measures += crowd.unchanged()
    crowd.stop()
    crowd.delete()
    return measures


def _latency(plant: Plant, load: Load, rounds: int) -> list[Measure]:
    """Each side creates its Services in turns, one once the one before is served."""
    found: dict[str, list[float]] = {side.name: [] for side in SIDES}
    turn = -(-rounds // TURNS)
    for at in range(TURNS):
        for side in SIDES:
            crowd = Crowd(plant=plant, load=load, side=side, size=0)
            crowd.start()
            names = [f"{side.name.lower()}-{at}-{n:05}" for n in range(turn + UNMEASURED)]
            found[side.name] += _one_by_one(plant, side, names)[UNMEASURED:]
            crowd.stop()
            load.delete(SERVICES, names)
    measures: list[Measure] = []
    for side in reversed(SIDES):
        values = found[side.name]
        note = f"{len(values)} Services, worst {max(values):.2f}"
        what = "Service created to the address in its status"
        measures += percentiles(what, versus(side), values, note)
    return measures


def _one_by_one(plant: Plant, side: Side, names: list[str]) -> list[float]:
    """Milliseconds from each create to its address."""
    values = []
    watch = Watch(plant)
    for item in services(names, side):
        name = item["metadata"]["name"]
        start = time.monotonic()
        plant.client.request("POST", SERVICES, item)
        while watch.next_served() != name:
            if time.monotonic() - start > LONGEST:
                raise RuntimeError(f"{name} got no address within {LONGEST:g} s")
        values.append((time.monotonic() - start) * 1000)
        time.sleep(PAUSE)
    watch.release()
    return values


def _requests(plant: Plant, load: Load, side: Side, definitions: str = "") -> list[Measure]:
    """What the controller and three speakers write for each new Service on layer 2."""
    crowd = Crowd(plant=plant, load=load, side=side, size=EACH)
    first = Audit(plant, side)
    crowd.start()
    places = range(len(plant.nodes))
    for at in places:
        start_speaker(plant, side, at)
    first.settle(QUIET * 2)
    audit = Audit(plant, side)
    for at, item in enumerate(services(crowd.names, side)):
        plant.client.request("POST", SLICES, endpoint_slice(crowd.names[at], at, 3))
        plant.client.request("POST", SERVICES, item)
        time.sleep(PAUSE)
    audit.settle(QUIET)
    crowd.announced()
    writes = audit.writes()
    leases = sum(event.get("objectRef", {}).get("resource") == "leases" for event in audit.events)
    crowd.delete()
    audit.settle(QUIET)
    for at in places:
        stop_speaker(plant, side, at)
    crowd.stop()
    return _counted(writes, leases, versus(side, definitions))


def _counted(writes: list[Object], leases: int, beside: str) -> list[Measure]:
    """Some are about the Service; others about a pool or the configuration, for many at once."""
    own = [event for event in writes if event["objectRef"]["resource"] in OF_A_SERVICE]
    rest = [event for event in writes if event["objectRef"]["resource"] not in OF_A_SERVICE]
    what = "API writes for a new Service, controller and three speakers, layer 2"
    return [
        Measure(
            what=f"{what}: those about it",
            value=round(len(own) / EACH, 2),
            unit="",
            versus=beside,
            note=f"{EACH} Services: {counted(own)}",
        ),
        Measure(
            what=f"{what}: all",
            value=round(len(writes) / EACH, 2),
            unit="",
            versus=beside,
            note=f"{counted(rest)} more; {leases} requests of Leases apart",
        ),
    ]
