"""Telling statuses: after the round, a few at a time, and taken back at the end."""

from __future__ import annotations

import asyncio
import io
from ipaddress import ip_address

from onehop.adapters.telemetry import Log
from onehop.app.node_status import NodeStatusTeller
from onehop.model.desired import Announcement, DatapathDesired, NodeDesired
from onehop.model.service import Key
from onehop.model.status import NodeStatuses

WEB = Key("shop", "web")
CARRIES_WEB = NodeDesired(
    datapath=DatapathDesired(),
    announced={WEB: (Announcement(address=ip_address("192.0.2.1")),)},
    advertised={WEB: ("r1",)},
)


class Files:
    """Writes down what it is asked; `steps` of them say that more is left."""

    def __init__(self, steps: int = 0, failures: int = 0) -> None:
        self.said: list[NodeStatuses] = []
        self.steps = steps
        self.failures = failures
        self.limits: list[int] = []
        self.done = asyncio.Event()

    def want(self, statuses: NodeStatuses) -> None:
        self.said.append(statuses)

    def step(self, limit: int) -> bool:
        self.limits.append(limit)
        if self.failures:
            self.failures -= 1
            raise PermissionError(13, "Permission denied", "x.json")
        self.steps -= 1
        if self.steps <= 0:
            self.done.set()
        return self.steps > 0


def told(files: Files, *, quickly: float) -> str:
    """What is logged while a node tells what it carries, and then ends."""
    stream = io.StringIO()

    async def run() -> None:
        teller = NodeStatusTeller("node1", files, log=Log(stream=stream))
        teller.sync(CARRIES_WEB)
        assert files.said == [], "nothing is written within the round"
        await asyncio.wait_for(files.done.wait(), quickly)
        teller.sync(CARRIES_WEB)
        teller.close()

    asyncio.run(run())
    return stream.getvalue()


def test_statuses_are_told_after_the_round_and_taken_back_at_the_end() -> None:
    files = Files()
    assert told(files, quickly=5.0) == ""
    assert [set(said.bgp) for said in files.said] == [{WEB}, set()]
    assert [set(said.l2) for said in files.said] == [{WEB}, set()]


def test_many_are_written_in_steps() -> None:
    files = Files(steps=4)
    told(files, quickly=5.0)
    assert len(files.limits) == 5
    assert len(set(files.limits[:4])) == 1
    assert files.limits[0] < files.limits[4]


def test_a_failure_is_logged_and_tried_again() -> None:
    assert "status-not-written" in told(Files(failures=1), quickly=5.0)
