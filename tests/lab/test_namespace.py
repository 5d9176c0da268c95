"""Namespaces that are made and removed: nothing stays of one that could not be made."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from onehop.lab import namespace

pytestmark = pytest.mark.root

NAME = f"nstest-{os.getpid()}"  # nobody else on this machine takes it


def mounts(directory: Path) -> list[str]:
    """What is mounted below a directory."""
    lines = Path("/proc/self/mountinfo").read_text().splitlines()
    return [where for line in lines if (where := line.split()[4]).startswith(f"{directory}/")]


@pytest.fixture
def place(tmp_path: Path) -> Iterator[Path]:
    yield tmp_path
    for path in tmp_path.iterdir():
        namespace.remove(path)
    namespace.remove_names(tmp_path)


def test_a_namespace_is_pinned_and_named_until_it_is_removed(place: Path) -> None:
    path = place / "a"
    namespace.create(path, NAME)
    assert mounts(place) == [str(path)]
    assert (namespace.NAMES / NAME).readlink() == path
    assert namespace.inode(path) != Path("/proc/self/ns/net").stat().st_ino
    namespace.remove(path)
    namespace.remove_names(place)
    assert mounts(place) == []
    assert not (namespace.NAMES / NAME).is_symlink()


def test_nothing_is_left_where_the_name_is_taken(place: Path) -> None:
    first, second = place / "a", place / "b"
    namespace.create(first, NAME)
    with pytest.raises(FileExistsError):
        namespace.create(second, NAME)
    assert mounts(place) == [str(first)]
    assert not second.exists()
    assert (namespace.NAMES / NAME).readlink() == first


def test_a_namespace_that_is_there_is_left_alone(place: Path) -> None:
    path = place / "a"
    namespace.create(path, NAME)
    with pytest.raises(FileExistsError):
        namespace.create(path, f"{NAME}-b")
    assert mounts(place) == [str(path)]
    assert not (namespace.NAMES / f"{NAME}-b").is_symlink()
