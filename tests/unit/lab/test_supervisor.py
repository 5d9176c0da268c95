"""Only what a record names, PID and start time both, is ever taken for a process of ours."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import pytest

from onehop.lab.state import LabError, start_time
from onehop.lab.supervisor import ProcessRecord, Supervisor


class Folder:
    """The part of a lab's layout that a supervisor uses, in a place of the test's own."""

    name = "unit"

    def __init__(self, root: Path) -> None:
        self.root = root
        self.logs, self.pids, self.namespaces = (root / n for n in ("logs", "pids", "netns"))
        for folder in (self.logs, self.pids, self.namespaces):
            folder.mkdir()

    def namespace(self, host: str) -> Path:
        return self.namespaces / host


@pytest.fixture
def folder(tmp_path: Path) -> Folder:
    return Folder(tmp_path)


@pytest.fixture
def supervisor(folder: Folder) -> Supervisor:
    return Supervisor(folder)


def a_record(pid: int, started: int) -> ProcessRecord:
    return ProcessRecord(name="x", host="a", pid=pid, started=started, argv=(), log="")


def test_a_reused_pid_is_not_the_process() -> None:
    started = start_time(os.getpid())
    assert started is not None
    assert a_record(os.getpid(), started).is_alive()
    assert not a_record(os.getpid(), started + 1).is_alive()
    assert not a_record(os.getpid(), 0).is_alive()


def test_a_process_of_another_start_is_left_alone(folder: Folder, supervisor: Supervisor) -> None:
    child = subprocess.Popen(["sleep", "60"])
    try:
        supervisor.adopt("x", "a", child, log=folder.logs / "x.log")
        path = folder.pids / "x.json"
        record = path.read_text().replace(f'"started": {start_time(child.pid)}', '"started": 1')
        path.write_text(record)
        Supervisor(folder).stop_all()
        assert child.poll() is None
    finally:
        child.kill()
        child.wait()


@pytest.mark.parametrize("sudden", [False, True])
def test_an_adopted_process_is_ended(
    folder: Folder, supervisor: Supervisor, *, sudden: bool
) -> None:
    child = subprocess.Popen(["sleep", "60"])
    supervisor.adopt("x", "a", child, log=folder.logs / "x.log", sudden=sudden)
    supervisor.check()
    supervisor.stop_all()
    assert child.returncode == (-9 if sudden else -15)
    with pytest.raises(LabError, match="x ended"):
        supervisor.check()


def test_one_process_is_stopped_and_forgotten(folder: Folder, supervisor: Supervisor) -> None:
    child = subprocess.Popen(["sleep", "60"])
    supervisor.adopt("x", "a", child, log=folder.logs / "x.log")
    supervisor.stop("x")
    supervisor.stop("x")
    assert child.returncode == -15
    assert supervisor.records() == ()


def test_the_end_of_a_log_is_shown(folder: Folder, supervisor: Supervisor) -> None:
    child = subprocess.Popen(["true"])
    supervisor.adopt("x", "a", child, log=folder.logs / "x.log")
    assert supervisor.tail("x") == supervisor.tail("y") == "  (it said nothing)"
    (folder.logs / "x.log").write_text("".join(f"line {n}\n" for n in range(40)))
    assert supervisor.tail("x").splitlines() == [f"  line {n}" for n in range(25, 40)]
    supervisor.stop_all()


def test_a_broken_record_is_no_process(folder: Folder, supervisor: Supervisor) -> None:
    (folder.pids / "x.json").write_text("{")
    (folder.pids / "y.json").write_text("{}")
    assert supervisor.records() == ()
