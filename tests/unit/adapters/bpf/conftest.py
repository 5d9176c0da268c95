"""A namespace for the whole folder; for each test a BPF file system, and a clock that stands."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.unit.adapters.bpf.clock import Clock
from tests.unit.adapters.bpf.node import bpffs, namespace


@pytest.fixture
def node() -> Iterator[None]:
    with namespace():
        yield


@pytest.fixture
def pins(tmp_path: Path) -> Iterator[Path]:
    with bpffs(tmp_path / "bpf") as folder:
        yield folder


@pytest.fixture
def clock() -> Clock:
    return Clock()
