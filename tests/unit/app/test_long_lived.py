"""Sparing the collector: at the start, and once more when there is all that stays."""

from __future__ import annotations

import gc
from collections.abc import Iterator

import pytest

from onehop.app.long_lived import sparing
from onehop.model.desired import Report


@pytest.fixture(autouse=True)
def collector() -> Iterator[None]:
    """The collector of the tests' own process, as it was."""
    before = gc.get_threshold()
    yield
    gc.unfreeze()
    gc.set_threshold(*before)


def test_what_the_first_settled_round_made_is_spared_and_nothing_later() -> None:
    kept: list[list[object]] = []
    settled = False

    def made() -> Report:
        kept.append([object()])
        return Report(changed=len(kept))

    round_ = sparing(made, lambda: settled)
    assert gc.get_freeze_count() > 0
    assert round_() == Report(changed=1)
    assert any(each is kept[0] for each in gc.get_objects())
    settled = True
    assert round_() == Report(changed=2)
    # Neither is walked any more.
    assert not any(each is kept[0] or each is kept[1] for each in gc.get_objects())
    round_()
    assert any(each is kept[2] for each in gc.get_objects())
