"""The catalogue of Events: fit for the API, and used to the last kind."""

from __future__ import annotations

import ast
from pathlib import Path
from string import Formatter

import pytest

from onehop.adapters.kube import event_kinds
from onehop.adapters.kube.event_kinds import KINDS, EventKind

FOLDER = Path(event_kinds.__file__).parent
NAMES = {
    name: value for name, value in vars(event_kinds).items() if isinstance(value, EventKind)
}  # fmt: skip


def test_the_list_is_whole() -> None:
    assert sorted(map(repr, NAMES.values())) == sorted(map(repr, KINDS))


@pytest.mark.parametrize("name", NAMES)
def test_each_kind_is_sent_somewhere(name: str) -> None:
    used = {
        node.id
        for path in FOLDER.glob("*.py") if path.name != "event_kinds.py"
        for node in ast.walk(ast.parse(path.read_text())) if isinstance(node, ast.Name)
    }  # fmt: skip
    assert name in used


@pytest.mark.parametrize("kind", KINDS, ids=list(NAMES))
def test_a_kind_can_be_written_and_printed(kind: EventKind) -> None:
    assert all(0 < len(each) <= 128 for each in (kind.reason or "x", kind.action))
    assert all(name for _, name, _, _ in Formatter().parse(kind.note) if name is not None)
    assert "|" not in "".join((kind.note, kind.when, kind.metallb))  # it is a cell of a table
