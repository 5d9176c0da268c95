"""A store over an empty folder, and the texts that tests put there."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from onehop.adapters.manifests import Manifests


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    path = tmp_path / "cluster"
    path.mkdir()
    return path


@pytest.fixture
def store(folder: Path) -> Iterator[Manifests]:
    manifests = Manifests(folder)
    yield manifests
    manifests.close()
