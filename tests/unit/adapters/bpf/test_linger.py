"""The last local backend is kept for a moment when the Service's others are elsewhere."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing
from dataclasses import replace
from pathlib import Path

import pytest

from onehop.adapters.bpf.datapath import Datapath
from onehop.adapters.bpf.linger import Lingering
from onehop.model.desired import FrontendDesired
from onehop.model.service import TrafficPolicy
from tests.unit.adapters.bpf.clock import Clock
from tests.unit.adapters.bpf.node import POD_ADDRESS, UPLINK
from tests.unit.adapters.bpf.wants import (
    CLUSTER,
    LOCAL,
    a_backend,
    a_frontend,
    by_turns,
    contents,
    wanted,
)

SECONDS = 0.25
KEY = b"key"
HERE = a_frontend("192.168.200.241", a_backend(POD_ADDRESS, local=True), policy=LOCAL)
ELSEWHERE = replace(HERE, backends=(), total=1)
NOWHERE = replace(HERE, backends=(), total=0)


def test_it_is_held_for_the_span_and_no_longer(clock: Clock) -> None:
    clock.now = 100.0
    lingering = Lingering(SECONDS, clock)
    lingering.begin()
    assert lingering.holds(KEY, ELSEWHERE)
    assert lingering.due == 100.0 + SECONDS
    clock.now += SECONDS / 2
    lingering.begin()
    assert lingering.holds(KEY, ELSEWHERE)
    assert lingering.due == 100.0 + SECONDS  # the span began when it was first asked for
    clock.now += SECONDS
    lingering.begin()
    assert not lingering.holds(KEY, ELSEWHERE)
    assert lingering.due is None


def test_who_is_not_asked_for_is_forgotten(clock: Clock) -> None:
    lingering = Lingering(SECONDS, clock)
    lingering.begin()
    lingering.holds(KEY, ELSEWHERE)
    lingering.begin()
    assert lingering.due is None


@pytest.mark.parametrize("policy", [CLUSTER, LOCAL])
def test_nothing_is_held_where_nobody_takes_over(clock: Clock, policy: TrafficPolicy) -> None:
    lingering = Lingering(SECONDS, clock)
    lingering.begin()
    assert not lingering.holds(KEY, replace(NOWHERE, policy=policy))
    assert not lingering.holds(KEY, replace(ELSEWHERE, policy=CLUSTER))
    assert not lingering.holds(KEY, HERE)


def test_without_a_span_nothing_is_held(clock: Clock) -> None:
    lingering = Lingering(0.0, clock)
    lingering.begin()
    assert not lingering.holds(KEY, ELSEWHERE)


@pytest.fixture
def made(node: None, pins: Path, clock: Clock) -> Iterator[Datapath]:
    """A datapath that has served the local backend."""
    capacity = {"frontends": 4, "services": 64, "backends": 64, "flows": 1024}
    with closing(
        Datapath(
            pins,
            ring=by_turns,
            uplinks=(UPLINK,),
            capacity=capacity,
            clock=clock,
            linger=SECONDS,
        )
    ) as datapath:
        datapath.sync(wanted(HERE))
        yield datapath


def both(datapath: Datapath, want: FrontendDesired) -> float | None:
    """A round of the speaker: grow, then shrink; when it wants another."""
    desired = wanted(want)
    datapath.sync(desired, shrink=False)
    return datapath.sync(desired).again_at


@pytest.mark.root
def test_a_backend_that_moved_away_is_used_a_moment_longer(made: Datapath, clock: Clock) -> None:
    assert both(made, ELSEWHERE) == clock.now + SECONDS
    assert contents(made.observe()) == contents(wanted(HERE))
    clock.now += SECONDS
    assert both(made, ELSEWHERE) is None
    assert contents(made.observe()) == contents(wanted(ELSEWHERE))


@pytest.mark.root
def test_the_same_want_is_enough_for_the_end_of_it(made: Datapath, clock: Clock) -> None:
    desired = wanted(ELSEWHERE)
    made.sync(desired)
    clock.now += SECONDS
    made.sync(desired)
    assert contents(made.observe()) == contents(desired)


@pytest.mark.root
def test_a_backend_that_comes_back_in_time_was_never_gone(made: Datapath, clock: Clock) -> None:
    both(made, ELSEWHERE)
    assert both(made, HERE) is None
    clock.now += SECONDS
    assert both(made, HERE) is None
    assert contents(made.observe()) == contents(wanted(HERE))


@pytest.mark.root
def test_the_last_backend_of_all_goes_at_once(made: Datapath) -> None:
    assert both(made, NOWHERE) is None
    assert contents(made.observe()) == contents(wanted(NOWHERE))


@pytest.mark.root
def test_a_frontend_that_lingers_goes_with_its_service(made: Datapath) -> None:
    both(made, ELSEWHERE)
    report = made.sync(wanted())
    assert report.again_at is None
    assert contents(made.observe()) == contents(wanted())
