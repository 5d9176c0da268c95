"""What a client says and hears of its connections, and how it gives up."""

from __future__ import annotations

import json

import pytest

from onehop.lab.kafka_answers import Connection
from onehop.lab.kafka_session import LateError, Limit, Session, connections


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
