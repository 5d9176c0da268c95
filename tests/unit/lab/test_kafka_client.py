"""Which broker coordinates a group."""

from __future__ import annotations

import pytest

from onehop.lab.kafka_client import coordinator_partition


@pytest.mark.parametrize(
    ("group", "partition"),
    [
        # Java: "abc".hashCode() is 96354, "Hello World".hashCode() -862545276, and the last
        # word's is the lowest number of all.
        ("abc", 96354 % 50),
        ("Hello World", 862545276 % 50),
        ("polygenelubricants", 0),
    ],
)
def test_coordinator_partition(group: str, partition: int) -> None:
    """A group's partition follows from Java's hash of its name, also where that is negative."""
    assert coordinator_partition(group, 50) == partition
