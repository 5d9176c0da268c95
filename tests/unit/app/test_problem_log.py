"""Problems are said once when they begin, and once when they end."""

from __future__ import annotations

import io

from onehop.adapters.telemetry import Log
from onehop.app.problem_log import ProblemLog
from onehop.model.reason import Problem, Reason


def problem(name: str) -> Problem:
    return Problem(
        source="", line=0, object=f"Service shop/{name}", field="", reason=Reason.FIELD_INVALID,
        detail="bad",
    )  # fmt: skip


def test_each_is_said_when_it_begins_and_when_it_ends() -> None:
    said = io.StringIO()
    told = ProblemLog(Log(stream=said))
    told.tell([problem("b"), problem("a")])
    told.tell((problem("a"), problem("b")))
    assert len(told) == 2
    told.tell([problem("b")])
    told.tell([])
    assert len(told) == 0
    lines = said.getvalue().splitlines()
    found = [("solved" in line, "shop/a" in line) for line in lines]
    assert found == [(False, True), (False, False), (True, True), (True, False)]
