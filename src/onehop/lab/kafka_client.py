"""A Kafka client that runs inside a host of the lab: `python -m onehop.lab.kafka_client`.

Each command does one thing against a bootstrap address, within a time limit, and prints one of
`kafka_answers` as JSON. A failure is one sentence on stderr and exit code 1. Topics are made for
the command and removed after it; each partition is led by a broker that is chosen here, so what
is measured or shown is that broker's path and no other.
"""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Sequence

import msgspec
from confluent_kafka import Consumer, KafkaException, Message, Producer
from confluent_kafka.admin import AdminClient

from onehop.lab.kafka_answers import Load, Member, Members, Metadata, Roundtrip
from onehop.lab.kafka_load import load
from onehop.lab.kafka_session import (
    Counters,
    LateError,
    Limit,
    Session,
    metadata,
    reader,
    taken,
    topic,
)
from onehop.lab.kafka_sockets import established_peers

OFFSETS = "__consumer_offsets"
GROUPS_TRIED = 40


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
        consumer = reader(session, name, len(leaders), read)
        got: set[tuple[int, bytes]] = set()

        def all_read() -> bool:
            got.update(taken(consumer.consume(500, timeout=0.2)))
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


def _answer(given: argparse.Namespace, session: Session) -> Metadata | Roundtrip | Load | Members:
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
    limit = Limit(given.deadline)
    session = Session(bootstrap=given.bootstrap, client_id=given.client_id, limit=limit)
    try:
        answer = _answer(given, session)
    except LateError as failure:
        said = str(failure)
    except KafkaException as failure:
        said = failure.args[0].str()
    else:
        print(msgspec.json.encode(answer).decode())
        return 0
    print("; ".join([said, *session.complaints[-1:]]), file=sys.stderr)
    return 1


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
