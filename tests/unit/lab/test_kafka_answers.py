"""Answers survive the way from one namespace to another, and request logs are read rightly."""

from __future__ import annotations

import msgspec
import pytest

from onehop.lab.kafka_answers import (
    Connection,
    Load,
    Member,
    Members,
    Metadata,
    NamedBroker,
    Request,
    Roundtrip,
    requests,
)

LINE = (
    'Completed request:{"isForwarded":false,"requestHeader":{"clientId":"prober",'
    '"requestApiKeyName":"METADATA","requestApiVersion":13},"request":{"topics":[]},'
    '"connection":"%s","totalTimeMs":1.2,"listener":"EXTERNAL-9096","securityProtocol":"PLAINTEXT"}'
)


@pytest.mark.parametrize(
    "answer",
    [
        Metadata(cluster_id="c", brokers=(NamedBroker(id=0, host="192.0.2.1", port=9096),)),
        Roundtrip(
            topic="t",
            partitions=1,
            produced=2,
            consumed=2,
            seconds=0.5,
            connections=(Connection(broker=-1, address="a:1", sent_bytes=1, received_bytes=2),),
            sockets=("192.0.2.1:9096",),
        ),
        Members(members=(Member(group="g", coordinator=2, host="192.0.2.9"),)),
    ],
)
def test_json(answer: object) -> None:
    """What is written is what is read."""
    assert msgspec.json.decode(msgspec.json.encode(answer), type=type(answer)) == answer


def test_rates() -> None:
    """Rates are payload bytes a second, up and down apart."""
    load = Load(
        record_bytes=1000,
        produced=100,
        produce_seconds=2.0,
        consumed=99,
        consume_seconds=0.5,
        latency_samples=1,
        latency_p50=0.1,
        latency_p99=0.1,
    )
    assert (load.produce_rate, load.consume_rate) == (50_000, 198_000)


@pytest.mark.parametrize(
    ("connection", "local", "remote"),
    [
        (
            "10.0.2.233:9096-192.168.200.10:41359-2-0",
            "10.0.2.233",
            "192.168.200.10",
        ),
        ("[fd00::1]:9096-[2001:db8::9]:41359-0-17", "fd00::1", "2001:db8::9"),
    ],
)
def test_request(connection: str, local: str, remote: str) -> None:
    """A line names the address that was asked, and the one that asked."""
    assert requests([LINE % connection]) == (
        Request(
            api="METADATA",
            client_id="prober",
            listener="EXTERNAL-9096",
            local=local,
            remote=remote,
        ),
    )


@pytest.mark.parametrize(
    "line", ["", "Some other message", LINE[:120], '{"connection":"x"}', "{}"]
)
def test_other_lines(line: str) -> None:
    """A line that is being written, or another message, is no request."""
    good = LINE % "10.0.0.1:1-10.0.0.2:2-0-0"
    assert len(requests([line, good])) == 1
