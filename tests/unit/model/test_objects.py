"""The store before anything was listed."""

from __future__ import annotations

from dataclasses import fields

import pytest

from onehop.model.objects import Objects
from onehop.model.service import Key


def test_a_store_that_was_not_listed_is_incomplete() -> None:
    assert not Objects().complete


def test_every_kind_starts_empty_and_cannot_be_written_to() -> None:
    empty = Objects()
    kinds = [f.name for f in fields(Objects) if f.name not in ("complete", "problems")]
    assert kinds
    for kind in kinds:
        assert dict(getattr(empty, kind)) == {}
        with pytest.raises(TypeError):
            getattr(empty, kind)[Key("", "a")] = None
