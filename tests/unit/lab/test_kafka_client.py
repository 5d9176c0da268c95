"""The arithmetic of the client, and how it gives up."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from onehop.lab.kafka_answers import Connection
from onehop.lab.kafka_client import (
    LateError,
    Limit,
    Session,
    connections,
    coordinator_partition,
    percentile,
)


@pytest.mark.parametrize(
    ("share", "value"), [(0.0, 1.0), (0.5, 50.0), (0.99, 99.0), (0.991, 100.0), (1.0, 100.0)]
)
def test_percentile(share: float, value: float) -> None:
    """The nearest rank: a value that was measured, never one in between."""
    assert percentile([float(n) for n in range(1, 101)], share) == value


@given(st.lists(st.floats(0, 1), min_size=1), st.floats(0, 1))
def test_percentile_covers(values: list[float], share: float) -> None:
    """At least that share of the values do not exceed it."""
    limit = percentile(sorted(values), share)
    assert sum(value <= limit for value in values) >= share * len(values) * (1 - 1e-12)


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


def test_connections() -> None:
    """Brokers that were never connected to, and entries without an address, are left out."""

    def broker(nodeid: int, name: str, connects: int) -> dict[str, object]:
        return {
            "nodeid": nodeid,
            "nodename": name,
            "connects": connects,
            "txbytes": 7,
            "rxbytes": 9,
        }

    text = json.dumps(
        {
            "name": "onehop-lab",
            "brokers": {
                "b": broker(1, "192.0.2.2:9096", 1),
                "a": broker(0, "192.0.2.1:9096", 2),
                "unused": broker(2, "192.0.2.3:9096", 0),
                "GroupCoordinator": broker(-1, "", 1),
            },
        }
    )
    assert connections(text) == (
        Connection(broker=0, address="192.0.2.1:9096", sent_bytes=7, received_bytes=9),
        Connection(broker=1, address="192.0.2.2:9096", sent_bytes=7, received_bytes=9),
    )


def test_limit() -> None:
    """A claim that never holds ends with a sentence that says what was waited for."""
    with pytest.raises(LateError, match="no time left for the tide"):
        Limit(0.0).until("the tide", lambda: False)
    asked = iter([False, False, True])
    Limit(60.0).until("the tide", lambda: next(asked))
    assert list(asked) == []


def test_config() -> None:
    """Dots stand where Python has underscores, but for the callbacks."""
    session = Session(bootstrap="192.0.2.1:9096", client_id="me", limit=Limit(1.0))
    said = session.config(linger_ms=5, stats_cb=len)
    assert said["bootstrap.servers"] == "192.0.2.1:9096"
    assert said["linger.ms"] == 5
    assert said["stats_cb"] is len
