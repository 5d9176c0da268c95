"""The object that is shipped is the one that the sources give, wherever they lie."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
from tools.build_bpf import ROOT, BuildError, build

from tests.bpf.kernel import OBJECT


def test_the_object_is_up_to_date_and_holds_no_path(tmp_path: Path) -> None:
    shutil.copytree(ROOT / "bpf", tmp_path / "bpf")
    built = build(tmp_path, tmp_path / "lb.bpf.o")
    assert built.read_bytes() == OBJECT.read_bytes()


def test_a_missing_compiler_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", "")
    with pytest.raises(BuildError, match="clang and llvm-strip not found"):
        build()


def test_what_the_compiler_says_is_passed_on_and_nothing_is_left(tmp_path: Path) -> None:
    (tmp_path / "bpf").mkdir()
    (tmp_path / "bpf" / "lb.bpf.c").write_text("int f(void) { return unknown; }\n")
    target = tmp_path / "lb.bpf.o"
    target.write_bytes(b"the old one")
    with pytest.raises(BuildError, match="use of undeclared identifier 'unknown'"):
        build(tmp_path, target)
    assert target.read_bytes() == b"the old one"
    assert sorted(path.name for path in tmp_path.iterdir()) == ["bpf", "lb.bpf.o"]
