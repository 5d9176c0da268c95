"""Load through a broker, or all of them: throughput up and down, then latency.

Each part is bounded in time and in records. What is measured is librdkafka's own path; Python only
feeds it, so figures of two paths compare and neither is a broker's limit.
"""

from __future__ import annotations

import os
import time
from collections.abc import Iterator, Sequence

from confluent_kafka import Producer

from onehop.lab.kafka_answers import Load
from onehop.lab.kafka_session import (
    Counters,
    LateError,
    Session,
    metadata,
    reader,
    taken,
    topic,
)


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
        produced, produce_seconds = _flood(session, name, len(leaders), payload, records, seconds)
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
    session: Session, name: str, partitions: int, payload: bytes, records: int, seconds: float
) -> tuple[int, float]:
    # A short queue, so that little is left to send when the time is over.
    producer = Producer(
        session.config(
            acks="all",
            linger_ms=5,
            batch_size=131072,
            queue_buffering_max_messages=20000,
        )
    )
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
    consumer = reader(session, name, partitions, Counters())
    # The clock starts with the first batch, so connecting does not count and neither does it.
    session.limit.until("the first record", lambda: bool(consumer.consume(1, 0.2)))
    began, count = time.monotonic(), 0
    while count < records - 1 and time.monotonic() - began < seconds:
        count += sum(1 for _ in taken(consumer.consume(1000, timeout=0.1)))
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
