"""What is wanted of nothing: empty, equal to itself, and not to be written to."""

from __future__ import annotations

import pytest

from onehop.model.desired import ClusterDesired, DatapathDesired, NodeDesired, Report
from onehop.model.service import Key


def test_nothing_wanted_equals_nothing_wanted() -> None:
    assert DatapathDesired() == DatapathDesired()
    assert NodeDesired(datapath=DatapathDesired()) == NodeDesired(datapath=DatapathDesired())


def test_what_is_wanted_cannot_be_written_to() -> None:
    wanted = NodeDesired(datapath=DatapathDesired())
    for mapping in (
        wanted.withheld,
        wanted.datapath.frontends,
        ClusterDesired(statuses={}).released,
    ):
        with pytest.raises(TypeError):
            mapping[Key("a", "b")] = None  # type: ignore[index]


def test_a_report_of_nothing_names_no_change_and_no_failure() -> None:
    assert Report() == Report(changed=0, failures=())
