"""Rows under the names of their columns, as kubectl prints them."""

from __future__ import annotations

from collections.abc import Sequence

_GAP = "  "


def table(columns: Sequence[str], rows: Sequence[tuple[str, ...]]) -> str:
    """The rows under their names, each column as wide as its longest cell."""
    widths = [max(map(len, column)) for column in zip(columns, *rows, strict=True)]
    lines = (
        _GAP.join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)).rstrip()
        for line in (tuple(columns), *rows)
    )
    return "\n".join(lines)
