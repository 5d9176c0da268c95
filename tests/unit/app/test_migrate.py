"""Waiting for a store that lists its kinds one after another."""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import replace

import pytest

from onehop.app.migrate import migration_plan
from onehop.app.stores import IncompleteError, complete_objects
from onehop.model.desired import ClusterDesired, Report
from onehop.model.objects import Objects
from onehop.model.reason import Problem, Reason
from tests.builders import a_pool, a_service, the_objects

WHOLE = the_objects(pools=(a_pool(),), services=(a_service("web", "192.0.2.241"),))
PARTS = replace(WHOLE, complete=False)


class SlowStore:
    """A store that is complete at its `late`-th refresh; each but the last announces the next."""

    def __init__(self, late: int, parts: Objects = PARTS) -> None:
        self._left = late
        self._objects = parts
        self._reader, self._writer = os.pipe()

    def objects(self) -> Objects:
        return self._objects

    def fileno(self) -> int:
        return self._reader

    def refresh(self) -> bool:
        if self._left > 1:
            os.write(self._writer, b".")
        self._left -= 1
        if self._left == 0:
            self._objects = WHOLE
        return True

    def sync(self, want: ClusterDesired) -> Report:
        raise AssertionError("a plan writes nothing")

    def close(self) -> None:
        os.close(self._reader)
        os.close(self._writer)


@pytest.fixture(params=[1, 3])
def store(request: pytest.FixtureRequest) -> Iterator[SlowStore]:
    made = SlowStore(request.param)
    yield made
    made.close()


def test_the_plan_waits_until_everything_is_listed(store: SlowStore) -> None:
    assert migration_plan(store, patience=10).all_stay


def test_patience_ends_and_says_what_was_wrong() -> None:
    problem = Problem(
        source="https://api",
        line=0,
        object="",
        field="",
        reason=Reason.MANIFEST_UNREADABLE,
        detail="connection refused",
    )
    silent = SlowStore(1 << 30, replace(PARTS, problems=(problem,)))
    os.set_blocking(silent._writer, False)
    try:
        with pytest.raises(IncompleteError, match=r"within 0 s: https://api: connection refused"):
            complete_objects(silent, patience=0)
    finally:
        silent.close()


def test_without_any_problem_there_was_no_answer() -> None:
    silent = SlowStore(2)
    try:
        with pytest.raises(IncompleteError, match="no answer"):
            complete_objects(silent, patience=0)
    finally:
        silent.close()
