"""Tests that need something built come after all others, and say what they need."""

from __future__ import annotations

from dataclasses import dataclass, field
from types import SimpleNamespace
from typing import cast

import pytest

from onehop.lab.kube_build import HELM, METALLB, SERVER
from tests.kube.fixtures import modules_of, needed, pytest_collection_modifyitems


@dataclass
class Item:
    """As much of a test as the order looks at."""

    name: str
    marks: set[str] = field(default_factory=set)

    def get_closest_marker(self, name: str) -> str | None:
        return name if name in self.marks else None


def items(*made: Item) -> list[pytest.Item]:
    return cast("list[pytest.Item]", list(made))


def test_what_is_built_first_is_used_first_and_the_rest_keeps_its_order() -> None:
    found = items(
        Item("rival", {"kube", "peers"}),
        Item("b"),
        Item("server", {"kube", "root"}),
        Item("a", {"root"}),
        Item("chart", {"kube", "helm"}),
        Item("other", {"kube"}),
    )
    config = SimpleNamespace(option=SimpleNamespace(markexpr="kube or peers"))
    pytest_collection_modifyitems(cast("pytest.Config", config), found)
    assert [item.name for item in found] == ["b", "a", "server", "other", "rival", "chart"]
    assert modules_of(found[-1]) == [SERVER, HELM]
    assert modules_of(found[-2]) == [SERVER, METALLB]


def test_nothing_is_built_for_tests_that_need_nothing(
    tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path_factory.mktemp("empty")))
    monkeypatch.delenv("KUBEBUILDER_ASSETS", raising=False)
    assert needed(items(Item("a"), Item("b", {"root", "lab"}))) == []
    assert needed(items(Item("a", {"peers", "kube"}))) == [SERVER, METALLB]
    assert needed(items(Item("a", {"helm"}))) == [HELM]
