"""A snapshot is complete when the store is."""

from onehop.core.snapshot import Snapshot
from tests.builders import the_objects


def test_snapshot_is_complete_when_every_kind_was_listed() -> None:
    assert not Snapshot().complete
    assert Snapshot(objects=the_objects()).complete
