"""Waiting for a store that cannot be read yet, and saying why."""

from __future__ import annotations

import asyncio
import io
import os
from pathlib import Path

import pytest

from onehop.adapters.telemetry import Log
from onehop.app.stores import StoreChoice, StoreError, await_complete, open_store
from onehop.model.desired import ClusterDesired, Report
from onehop.model.objects import Objects
from onehop.model.reason import Problem, Reason

AWAY = Problem(
    source="", line=0, object="", field="", reason=Reason.API_UNREACHABLE, detail="gone since noon"
)


class Slow:
    """Complete at the third refresh."""

    def __init__(self) -> None:
        self.descriptor = os.eventfd(1)
        self.left = [Objects(problems=(AWAY,)), Objects(problems=(AWAY,)), Objects(complete=True)]
        self.now = Objects()

    def objects(self) -> Objects:
        return self.now

    def fileno(self) -> int:
        return self.descriptor

    def refresh(self) -> bool:
        self.now = self.left.pop(0)
        return True

    def sync(self, want: ClusterDesired) -> Report:
        raise AssertionError(f"nothing is written while waiting: {want}")


def test_a_store_is_waited_for_and_each_problem_is_said_once() -> None:
    store, said = Slow(), io.StringIO()
    asyncio.run(await_complete(store, Log(stream=said, quiet=0.0)))
    os.close(store.descriptor)
    assert store.left == []
    assert said.getvalue().count("gone since noon") == 1


def test_a_folder_that_cannot_be_a_store_is_named(tmp_path: Path) -> None:
    folder = StoreChoice(folder=tmp_path, state_folder=tmp_path)
    with pytest.raises(StoreError, match=r"^--manifests .*statuses cannot be kept"):
        open_store(folder)
