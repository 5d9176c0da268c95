"""10 000 Services and 100 000 endpoints on a real API server: what grows with their number.

The steps are those of `bench/kube.py`. MetalLB is not measured here: with 10 000 Services its
restarted controller had given a new one no address after four minutes. Up to there, beside other
work: 73 addresses/s, controller 198 MB, speaker 277 MB.
"""

from __future__ import annotations

from bench.kube_crowd import Crowd
from bench.kube_load import define, loaded
from bench.kube_sides import US
from bench.row import Measure

SIZE = 10_000
WITHIN = 120.0


def run(rounds: int) -> list[Measure]:
    """All rows; `rounds` is how often the controller is restarted."""
    with loaded() as (plant, load):
        define(plant)
        crowd = Crowd(plant=plant, load=load, side=US, size=SIZE, within=WITHIN)
        crowd.create()
        measures = crowd.wait()
        measures += crowd.memory()
        measures += crowd.restart(rounds)
        return measures + crowd.unchanged()
