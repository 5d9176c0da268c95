"""The datapath's source ports are nobody else's."""

from __future__ import annotations

from pathlib import Path

import pytest

from onehop.adapters.bpf.ports import RESERVED, reserve, reserved


@pytest.mark.parametrize(
    ("text", "ranges"),
    [("", []), ("\n", []), ("8080", [(8080, 8080)]), ("1,3-5\n", [(1, 1), (3, 5)])],
)
def test_the_kernels_form_is_read(text: str, ranges: list[tuple[int, int]]) -> None:
    assert reserved(text) == ranges


@pytest.mark.parametrize(
    ("before", "after", "new"),
    [
        ("\n", "49152-65535", True),
        ("8080\n", "8080,49152-65535", True),
        ("49152-65000\n", "49152-65000,49152-65535", True),
        ("49152-65535\n", "49152-65535\n", False),
        ("80,40000-65535\n", "80,40000-65535\n", False),
    ],
)
def test_a_range_is_added_to_what_is_there(
    tmp_path: Path, before: str, after: str, new: bool
) -> None:
    path = tmp_path / "reserved"
    path.write_text(before)
    assert reserve(49152, 65535, path=path) is new
    assert path.read_text() == after


@pytest.mark.root
def test_the_kernel_takes_it_once(node: None) -> None:
    assert reserve(49152, 65535)
    assert not reserve(49152, 65535)
    assert reserved(RESERVED.read_text()) == [(49152, 65535)]
