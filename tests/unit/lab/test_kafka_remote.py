"""A client's answers and failures, as they come back from its namespace."""

from __future__ import annotations

import subprocess
from collections.abc import Sequence

import msgspec
import pytest

from onehop.lab.kafka import KafkaError
from onehop.lab.kafka_answers import Member, Members, Metadata, NamedBroker
from onehop.lab.kafka_remote import KafkaClient


class Host:
    """Stands for a host of the lab: answers with what it was given and remembers the question."""

    def __init__(self, stdout: str = "", stderr: str = "", code: int = 0) -> None:
        self._said = (code, stdout, stderr)
        self.asked: list[str] = []

    def __call__(
        self, host: str, argv: Sequence[str], *, timeout: float
    ) -> subprocess.CompletedProcess[str]:
        self.asked = [host, *argv]
        code, stdout, stderr = self._said
        if code == 124:
            raise subprocess.TimeoutExpired(argv, timeout)
        return subprocess.CompletedProcess(argv, code, stdout, stderr)


def said(answer: object) -> str:
    return msgspec.json.encode(answer).decode() + "\n"


def test_metadata() -> None:
    """The question carries bootstrap, client id and deadline; the answer is a value."""
    answer = Metadata(cluster_id="c", brokers=(NamedBroker(id=0, host="192.0.2.1", port=9096),))
    host = Host(said(answer))
    client = KafkaClient(host, "client", "192.0.2.1:9096", deadline=5, client_id="me")
    assert client.metadata() == answer
    assert host.asked[0] == "client"
    assert host.asked[-8:] == [
        "onehop.lab.kafka_client",
        "metadata",
        *("--bootstrap", "192.0.2.1:9096"),
        *("--client-id", "me"),
        *("--deadline", "5"),
    ]


def test_load_of_broker_zero() -> None:
    """Node ids start at 0, so asking for broker 0 is not asking for all."""
    host = Host(code=1)
    client = KafkaClient(host, "client", "192.0.2.1:9096")
    with pytest.raises(KafkaError):
        client.load(broker=0)
    assert host.asked[host.asked.index("--broker") + 1] == "0"
    with pytest.raises(KafkaError):
        client.load()
    assert "--broker" not in host.asked


def test_group_hosts() -> None:
    """The members come without their wrapping."""
    member = Member(group="g", coordinator=1, host="192.0.2.9")
    host = Host(said(Members(members=(member,))))
    assert KafkaClient(host, "client", "192.0.2.1:9096").group_hosts() == (member,)


@pytest.mark.parametrize(
    ("host", "sentence"),
    [
        (Host(stderr="noise\nno route", code=1), "no route"),
        (Host(code=1), "it said nothing"),
        (Host(code=124), "no answer within 30 s"),
        (Host(stdout="{}"), "unreadable answer: .*cluster_id"),
        (Host(stdout="Traceback"), "unreadable answer"),
    ],
)
def test_failures(host: Host, sentence: str) -> None:
    """Every failure is a sentence that names host, command and address."""
    client = KafkaClient(host, "client", "192.0.2.1:9096")
    with pytest.raises(
        KafkaError, match=rf"^Kafka client in client, metadata at 192\.0\.2\.1:9096: {sentence}"
    ):
        client.metadata()
