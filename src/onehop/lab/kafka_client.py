"""A Kafka client that runs inside a host of the lab: `python -m onehop.lab.kafka_client`.

Each command does one thing against a bootstrap address, within a time limit, and prints one of
`kafka_answers` as JSON. A failure is one sentence on stderr and exit code 1. Topics are made for
the command and removed after it; each partition is led by a broker that is chosen here, so what
is measured or shown is that broker's path and no other.
"""

from __future__ import annotations

import argparse
import os
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field

import msgspec

from onehop.lab.kafka_answers import (
    Connection,
    Load,
    Member,
    Members,
    Metadata,
    NamedBroker,
    Roundtrip,
)
from onehop.lab.kafka_sockets import established_peers

try:
    from confluent_kafka import (
        OFFSET_BEGINNING,
        Consumer,
        KafkaException,
        Message,
        Producer,
        TopicPartition,
    )
    from confluent_kafka.admin import AdminClient, NewTopic
except ImportError:
    sys.exit("the Python package confluent-kafka is missing: run `make setup` to install it")

OFFSETS = "__consumer_offsets"
GROUPS_TRIED = 40


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
    """Where to ask, under which name, and until when."""

    bootstrap: str
    client_id: str
    limit: Limit

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
    said = session.admin().list_topics(timeout=session.limit.left("the metadata"))
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


def _reader(session: Session, name: str, partitions: int, counters: Counters) -> Consumer:
    settings = session.config(
        group_id=f"{name}-reader",
        enable_auto_commit=False,
        statistics_interval_ms=200,
        stats_cb=counters.take,
    )
    consumer = Consumer(settings)
    consumer.assign([TopicPartition(name, i, OFFSET_BEGINNING) for i in range(partitions)])
    return consumer


def roundtrip(session: Session, records: int, record_bytes: int) -> Roundtrip:
    """Write `records` to a partition of each broker, and read them back."""
    leaders = [broker.id for broker in metadata(session).brokers]
    wrote, read = Counters(), Counters()
    began = time.monotonic()
    with topic(session, leaders) as name:
        sent = {
            (partition, f"{partition}-{serial}-".encode().ljust(record_bytes, b"."))
            for partition in range(len(leaders))
            for serial in range(records)
        }
        producer = Producer(
            session.config(acks="all", statistics_interval_ms=200, stats_cb=wrote.take)
        )
        produced = _produce(session, producer, name, sent)
        consumer = _reader(session, name, len(leaders), read)
        got: set[tuple[int, bytes]] = set()

        def all_read() -> bool:
            got.update(_taken(consumer.consume(500, timeout=0.2)))
            return got >= sent

        session.limit.until("the records to come back", all_read)
        seconds = time.monotonic() - began
        seen = wrote.seen, read.seen
        session.limit.until("statistics", lambda: producer.poll(0.1) < 0 or wrote.seen > seen[0])
        session.limit.until(
            "statistics", lambda: not consumer.consume(1, 0.1) and read.seen > seen[1]
        )
        sockets = established_peers()
        consumer.close()
    return Roundtrip(
        topic=name,
        partitions=len(leaders),
        produced=produced,
        consumed=len(got & sent),
        seconds=seconds,
        connections=wrote.brokers + read.brokers,
        sockets=sockets,
    )


def _produce(session: Session, producer: Producer, name: str, sent: set[tuple[int, bytes]]) -> int:
    acked = 0

    def delivered(error: object, _message: Message) -> None:
        nonlocal acked
        acked += error is None

    for partition, value in sorted(sent):
        producer.produce(name, value, partition=partition, on_delivery=delivered)
    if producer.flush(session.limit.left("acknowledgements")):
        raise LateError("not every record was acknowledged in time")
    return acked


def _taken(messages: Sequence[Message]) -> Iterator[tuple[int, bytes]]:
    for message in messages:
        if message.error():
            raise KafkaException(message.error())
        yield message.partition(), message.value()


def load(
    session: Session,
    *,
    records: int,
    record_bytes: int,
    seconds: float,
    samples: int,
    broker: int | None,
) -> Load:
    """Throughput up and down, then latency, through one broker, or all when none is named."""
    known = [named.id for named in metadata(session).brokers]
    leaders = known if broker is None else [broker]
    payload = os.urandom(record_bytes)
    with topic(session, leaders) as name:
        produced, produce_seconds = _flood(session, name, payload, records, seconds)
        consumed, consume_seconds = _drain(session, name, len(leaders), produced, seconds)
        latencies = sorted(_one_by_one(session, name, len(leaders), payload, samples, seconds))
    return Load(
        record_bytes=record_bytes,
        produced=produced,
        produce_seconds=produce_seconds,
        consumed=consumed,
        consume_seconds=consume_seconds,
        latency_samples=len(latencies),
        latency_p50=percentile(latencies, 0.50),
        latency_p99=percentile(latencies, 0.99),
    )


def percentile(ordered: Sequence[float], share: float) -> float:
    """The smallest value that `share` of the values do not exceed; they come sorted."""
    return ordered[max(0, -int(-share * len(ordered) // 1) - 1)]


def _flood(
    session: Session, name: str, payload: bytes, records: int, seconds: float
) -> tuple[int, float]:
    producer = Producer(session.config(acks="all", linger_ms=5, batch_size=131072))
    partitions = len(producer.list_topics(name, timeout=5).topics[name].partitions)
    began, count = time.monotonic(), 0
    while count < records and time.monotonic() - began < seconds:
        try:
            producer.produce(name, payload, partition=count % partitions)
            count += 1
        except BufferError:
            producer.poll(0.01)
    if producer.flush(session.limit.left("acknowledgements")):
        raise LateError("not every record was acknowledged in time")
    return count, time.monotonic() - began


def _drain(
    session: Session, name: str, partitions: int, records: int, seconds: float
) -> tuple[int, float]:
    consumer = _reader(session, name, partitions, Counters())
    # The clock starts with the first batch, so connecting does not count and neither does it.
    session.limit.until("the first record", lambda: bool(consumer.consume(1, 0.2)))
    began, count = time.monotonic(), 0
    while count < records - 1 and time.monotonic() - began < seconds:
        count += sum(1 for _ in _taken(consumer.consume(1000, timeout=0.1)))
    elapsed = time.monotonic() - began
    consumer.close()
    return count, elapsed


def _one_by_one(
    session: Session, name: str, partitions: int, payload: bytes, samples: int, seconds: float
) -> Iterator[float]:
    producer = Producer(session.config(acks="all", linger_ms=0))
    for partition in range(partitions):
        # The first record to a broker pays for the connection.
        producer.produce(name, payload, partition=partition)
    producer.flush(session.limit.left("connections"))
    until = time.monotonic() + seconds
    for serial in range(samples):
        began = time.perf_counter()
        producer.produce(name, payload, partition=serial % partitions)
        if producer.flush(session.limit.left("an acknowledgement")):
            raise LateError("a record was not acknowledged in time")
        yield time.perf_counter() - began
        if time.monotonic() > until:
            return


def group_hosts(session: Session) -> Members:
    """Join groups until each broker was a coordinator, and ask where the member came from."""
    admin, found = session.admin(), dict[int, Member]()
    brokers = [broker.id for broker in metadata(session).brokers]
    with topic(session, brokers[:1]) as name:
        for serial in range(GROUPS_TRIED):
            group = f"{name}-{serial}"
            if len(found) < len(brokers) and _leader(session, admin, group) not in found:
                member = _joined(session, admin, group, name)
                found[member.coordinator] = member
    return Members(members=tuple(member for _, member in sorted(found.items())))


def _leader(session: Session, admin: AdminClient, group: str) -> int | None:
    """The broker that will coordinate `group`; None when groups were never used before."""
    topics = admin.list_topics(timeout=session.limit.left("the coordinators")).topics
    partitions = topics[OFFSETS].partitions if OFFSETS in topics else {}
    if not partitions:
        return None
    return int(partitions[coordinator_partition(group, len(partitions))].leader)


def coordinator_partition(group: str, partitions: int) -> int:
    """The partition of the offsets topic that holds `group`: Java's string hash, its sign dropped.

    Kafka takes 0 for the one number that has no positive counterpart in 32 bits.
    """
    hashed = 0
    for character in group:
        hashed = (hashed * 31 + ord(character)) & 0xFFFFFFFF
    signed = hashed - 2**32 if hashed >= 2**31 else hashed
    return 0 if signed == -(2**31) else abs(signed) % partitions


def _joined(session: Session, admin: AdminClient, group: str, name: str) -> Member:
    joined: list[object] = []
    consumer = Consumer(session.config(group_id=group))
    consumer.subscribe([name], on_assign=lambda _consumer, parts: joined.extend(parts))
    try:
        session.limit.until("a group", lambda: consumer.poll(0.1) is not None or bool(joined))
        left = session.limit.left("a group")
        said = admin.describe_consumer_groups([group], request_timeout=left)[group].result(left)
    finally:
        consumer.close()
    # Kafka prints a Java address: a slash where the host's name would stand.
    host = said.members[0].host.rpartition("/")[2]
    return Member(group=group, coordinator=said.coordinator.id, host=host)


def _arguments(argv: Sequence[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="kafka_client")
    parser.add_argument("command", choices=["metadata", "roundtrip", "load", "group-host"])
    parser.add_argument("--bootstrap", required=True, help="address:port")
    parser.add_argument("--client-id", default="onehop-lab")
    parser.add_argument("--deadline", type=float, default=30.0, help="seconds for all of it")
    parser.add_argument("--records", type=int, default=10, help="a partition, or at most for load")
    parser.add_argument("--record-bytes", type=int, default=1024)
    parser.add_argument("--seconds", type=float, default=3.0, help="for each part of the load")
    parser.add_argument("--samples", type=int, default=500, help="for the latency")
    parser.add_argument("--broker", type=int, help="load this broker alone")
    return parser.parse_args(argv)


def _answer(given: argparse.Namespace) -> Metadata | Roundtrip | Load | Members:
    session = Session(
        bootstrap=given.bootstrap, client_id=given.client_id, limit=Limit(given.deadline)
    )
    match given.command:
        case "metadata":
            return metadata(session)
        case "roundtrip":
            return roundtrip(session, given.records, given.record_bytes)
        case "load":
            return load(
                session,
                records=given.records,
                record_bytes=given.record_bytes,
                seconds=given.seconds,
                samples=given.samples,
                broker=given.broker,
            )
        case _:
            return group_hosts(session)


def main(argv: Sequence[str]) -> int:
    """Run one command; the exit code says whether it succeeded."""
    given = _arguments(argv)
    try:
        answer = _answer(given)
    except (KafkaException, LateError) as failure:
        print(f"{given.command} at {given.bootstrap}: {failure}", file=sys.stderr)
        return 1
    print(msgspec.json.encode(answer).decode())
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
