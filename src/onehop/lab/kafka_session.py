"""A client's session with Kafka: where it asks, until when, and the topics made for it.

The lab's client is built on this, and it on confluent-kafka (librdkafka).
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field

import msgspec
from confluent_kafka import Consumer, KafkaException, Message, TopicPartition
from confluent_kafka.admin import AdminClient, NewTopic

from onehop.lab.kafka_answers import Connection, Metadata, NamedBroker

FIRST_OFFSET = 0


class LateError(Exception):
    """What was waited for did not come in time; the text says what it was."""


class Limit:
    """The instant at which a command gives up."""

    def __init__(self, seconds: float) -> None:
        self._at = time.monotonic() + seconds

    def left(self, what: str) -> float:
        """The seconds that are left for `what`.

        Raises:
            LateError: when there are none.
        """
        left = self._at - time.monotonic()
        if left <= 0:
            raise LateError(f"no time left for {what}")
        return left

    def until(self, what: str, claim: Callable[[], bool]) -> None:
        """Ask until `claim` holds; it is expected to wait a little by itself.

        Raises:
            LateError: when the time is over first.
        """
        while not claim():
            self.left(what)


@dataclass(frozen=True, slots=True, kw_only=True)
class Session:
    """Where to ask, under which name, and until when.

    `complaints` are what the library said of its connections while it kept trying.
    """

    bootstrap: str
    client_id: str
    limit: Limit
    complaints: list[str] = field(default_factory=list)

    def config(self, **more: object) -> dict[str, object]:
        """The library's settings; `more` has underscores where they have dots."""
        given = {
            key if key.endswith("_cb") else key.replace("_", "."): value
            for key, value in more.items()
        }
        return {
            "bootstrap.servers": self.bootstrap,
            "client.id": self.client_id,
            "socket.timeout.ms": 5000,
            "log_level": 0,
            "error_cb": lambda error: self.complaints.append(error.str()),
            **given,
        }

    def admin(self) -> AdminClient:
        """A client for questions."""
        return AdminClient(self.config())


@dataclass(slots=True, kw_only=True)
class Counters:
    """The latest of librdkafka's periodic statistics, of one client."""

    brokers: tuple[Connection, ...] = ()
    seen: int = 0

    def take(self, text: str) -> None:
        """The statistics callback."""
        self.seen += 1
        self.brokers = connections(text)


class _Broker(msgspec.Struct):
    nodeid: int
    nodename: str
    connects: int = 0
    txbytes: int = 0
    rxbytes: int = 0


class _Statistics(msgspec.Struct):
    brokers: dict[str, _Broker] = field(default_factory=dict)


def connections(text: str) -> tuple[Connection, ...]:
    """The brokers that a client connected to, by librdkafka's statistics."""
    brokers = msgspec.json.decode(text, type=_Statistics).brokers.values()
    return tuple(
        Connection(
            broker=broker.nodeid,
            address=broker.nodename,
            sent_bytes=broker.txbytes,
            received_bytes=broker.rxbytes,
        )
        for broker in sorted(brokers, key=lambda broker: (broker.nodeid, broker.nodename))
        # The group coordinator has an entry of its own without an address until it is used.
        if broker.connects and broker.nodename
    )


def metadata(session: Session) -> Metadata:
    """What the bootstrap server says its brokers are."""
    admin = session.admin()
    try:
        said = admin.list_topics(timeout=session.limit.left("the metadata"))
    finally:
        admin.poll(0)
    brokers = sorted(said.brokers.values(), key=lambda broker: int(broker.id))
    return Metadata(
        cluster_id=said.cluster_id,
        brokers=tuple(NamedBroker(id=b.id, host=b.host, port=b.port) for b in brokers),
    )


@contextmanager
def topic(session: Session, leaders: Sequence[int]) -> Iterator[str]:
    """A new topic whose partition `i` is led by broker `leaders[i]`; it is deleted at the end."""
    admin = session.admin()
    nodes = sorted(admin.list_topics(timeout=session.limit.left("the brokers")).brokers)
    name = f"onehop-{os.getpid()}-{time.time_ns()}"
    replicas = [[lead, *(node for node in nodes if node != lead)][:3] for lead in leaders]
    new = NewTopic(name, num_partitions=len(leaders), replica_assignment=replicas)
    left = session.limit.left("a topic")
    admin.create_topics([new], operation_timeout=left)[name].result(timeout=left)

    def led() -> bool:
        said = admin.list_topics(name, timeout=session.limit.left("leaders")).topics[name]
        now = [part.leader for _, part in sorted(said.partitions.items())]
        if now != list(leaders):
            time.sleep(0.05)
        return now == list(leaders)

    session.limit.until("the leaders of a new topic", led)
    yield name
    admin.delete_topics([name])[name].result(timeout=5)


def reader(session: Session, name: str, partitions: int, counters: Counters) -> Consumer:
    """A consumer at the beginning of every partition of the topic `name`."""
    settings = session.config(
        group_id=f"{name}-reader",
        enable_auto_commit=False,
        statistics_interval_ms=200,
        stats_cb=counters.take,
    )
    consumer = Consumer(settings)
    # The number, since the word for it ("beginning") costs librdkafka half a second to look up.
    consumer.assign([TopicPartition(name, i, FIRST_OFFSET) for i in range(partitions)])
    return consumer


def taken(messages: Sequence[Message]) -> Iterator[tuple[int, bytes]]:
    """Partition and value of each message.

    Raises:
        KafkaException: when a broker sent an error in a message's place.
    """
    for message in messages:
        if message.error():
            raise KafkaException(message.error())
        yield message.partition(), message.value()
