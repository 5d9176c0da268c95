"""Where a backend was before it came is known for a moment."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing
from dataclasses import replace
from pathlib import Path

import pytest

from onehop.adapters.bpf import layout, syscall
from onehop.adapters.bpf.datapath import Datapath
from onehop.adapters.bpf.syscall import Map
from onehop.model.desired import FrontendDesired
from tests.unit.adapters.bpf.clock import Clock
from tests.unit.adapters.bpf.node import POD_ADDRESS, UPLINK
from tests.unit.adapters.bpf.wants import LOCAL, a_backend, a_frontend, by_turns, wanted

pytestmark = pytest.mark.root

SECONDS = 0.25
OLD = a_backend("10.0.3.7")
HERE = a_frontend("192.168.200.241", a_backend(POD_ADDRESS, local=True), policy=LOCAL)
ELSEWHERE = replace(HERE, backends=(), total=1, elsewhere=OLD)
BOTH = replace(HERE, total=2, elsewhere=OLD)
NOWHERE = replace(HERE, backends=(), total=0)


def make(pins: Path, clock: Clock, linger: float = SECONDS) -> Datapath:
    capacity = {"frontends": 4, "services": 64, "backends": 64, "flows": 1024}
    return Datapath(
        pins, ring=by_turns, uplinks=(UPLINK,), capacity=capacity, clock=clock, linger=linger
    )


@pytest.fixture
def made(node: None, pins: Path, clock: Clock) -> Iterator[Datapath]:
    with closing(make(pins, clock)) as datapath:
        yield datapath


def both(datapath: Datapath, *wants: FrontendDesired) -> float | None:
    """A round of the speaker: grow, then shrink; when it wants another."""
    desired = wanted(*wants)
    datapath.sync(desired, shrink=False)
    return datapath.sync(desired).again_at


def predecessors(pins: Path) -> list[tuple[bytes, int]]:
    """Address and port of each that stands in the kernel, and the state of its record."""
    with (
        closing(Map(syscall.pinned(pins / "predecessors"))) as kernel,
        closing(Map(syscall.pinned(pins / "backends"))) as backends,
    ):
        records = [backends.lookup(number) or b"" for number in kernel.items().values()]
    return [layout.BACKEND.unpack(record)[:2] for record in records]


STANDING = [(layout.pack_place(OLD.address, OLD.port), 1)]


def test_it_stands_before_anybody_is_sent_here(made: Datapath, pins: Path) -> None:
    both(made, ELSEWHERE)
    assert predecessors(pins) == []
    made.sync(wanted(HERE), shrink=False)
    assert predecessors(pins) == STANDING


def test_it_goes_after_a_moment_and_its_backend_with_it(
    made: Datapath, pins: Path, clock: Clock
) -> None:
    both(made, ELSEWHERE)
    assert both(made, HERE) == clock.now + SECONDS
    clock.now += SECONDS / 2
    assert both(made, HERE) == clock.now + SECONDS / 2
    assert predecessors(pins) == STANDING
    clock.now += SECONDS / 2
    assert both(made, HERE) is None
    assert predecessors(pins) == []
    with closing(Map(syscall.pinned(pins / "backends"))) as kernel:
        states = [layout.BACKEND.unpack(record)[1] for record in kernel.items().values()]
    assert sum(states) == 1


def test_the_same_want_is_enough_for_the_end_of_it(
    made: Datapath, pins: Path, clock: Clock
) -> None:
    both(made, ELSEWHERE)
    desired = wanted(HERE)
    made.sync(desired)
    clock.now += SECONDS
    made.sync(desired)
    assert predecessors(pins) == []


def test_a_backend_that_comes_back_at_once_has_one_too(made: Datapath, pins: Path) -> None:
    both(made, HERE)
    both(made, ELSEWHERE)  # lingers
    both(made, HERE)
    assert predecessors(pins) == STANDING


def test_the_last_one_elsewhere_is_one_when_it_goes(made: Datapath, pins: Path) -> None:
    both(made, BOTH)
    both(made, HERE)
    assert predecessors(pins) == STANDING


def test_it_may_serve_on_where_it_was(made: Datapath, pins: Path, clock: Clock) -> None:
    both(made, ELSEWHERE)
    both(made, BOTH)
    assert predecessors(pins) == STANDING
    clock.now += SECONDS
    both(made, BOTH)
    assert predecessors(pins) == []


@pytest.mark.parametrize("after", [replace(BOTH, total=2), replace(HERE, total=3), ELSEWHERE])
def test_one_more_elsewhere_or_less_here_is_no_succession(
    made: Datapath, pins: Path, after: FrontendDesired
) -> None:
    both(made, HERE)
    both(made, after)
    assert predecessors(pins) == []


@pytest.mark.parametrize("before", [NOWHERE, HERE, replace(NOWHERE, total=2)])
def test_without_one_before_there_is_none(
    made: Datapath, pins: Path, before: FrontendDesired
) -> None:
    both(made, before)
    assert both(made, HERE) is None
    assert predecessors(pins) == []


def test_an_address_that_came_along_is_no_predecessor(made: Datapath, pins: Path) -> None:
    moved = replace(ELSEWHERE, elsewhere=a_backend(POD_ADDRESS))
    both(made, moved)
    assert both(made, HERE) is None
    assert predecessors(pins) == []
    assert [row.mode for row in made.rows()] == ["fast"]


def test_it_uses_the_record_of_one_that_others_have(
    made: Datapath, pins: Path, clock: Clock
) -> None:
    other = a_frontend("192.168.200.242", OLD, service="kafka/broker-1")
    both(made, ELSEWHERE, other)
    both(made, HERE, other)
    assert predecessors(pins) == STANDING
    clock.now += SECONDS
    both(made, HERE, other)
    assert [row.backends for row in made.rows() if row.service == other.service] == [(OLD,)]


def test_it_goes_with_its_service(made: Datapath, pins: Path) -> None:
    both(made, ELSEWHERE)
    both(made, HERE)
    assert both(made) is None
    assert predecessors(pins) == []


def test_an_earlier_process_leaves_none(node: None, pins: Path, clock: Clock) -> None:
    with closing(make(pins, clock)) as datapath:
        both(datapath, ELSEWHERE)
        both(datapath, HERE)
    with closing(make(pins, clock)) as datapath:
        both(datapath, HERE)
        assert predecessors(pins) == []


def test_without_a_span_there_is_none(node: None, pins: Path, clock: Clock) -> None:
    with closing(make(pins, clock, linger=0.0)) as datapath:
        both(datapath, ELSEWHERE)
        assert both(datapath, HERE) is None
        assert predecessors(pins) == []
