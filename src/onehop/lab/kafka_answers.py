"""What the lab's Kafka client reports, and what a broker's request log tells.

`kafka_client` prints one of these as JSON, `KafkaClient` reads it back: the two run in different
network namespaces and share nothing else.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import msgspec


@dataclass(frozen=True, slots=True, kw_only=True)
class NamedBroker:
    """A broker as Metadata names it: the address that a client is told to use."""

    id: int
    host: str
    port: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Metadata:
    """A bootstrap server's answer; brokers are sorted by id."""

    cluster_id: str
    brokers: tuple[NamedBroker, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Connection:
    """One broker as the client library used it; `broker` is -1 for a bootstrap address."""

    broker: int
    address: str
    sent_bytes: int
    received_bytes: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Roundtrip:
    """Records written with acks=all and read back; `consumed` counts those equal to what was sent.

    `sockets` are the remote ends, `address:port`, of the client's established TCP connections in
    the kernel's table while it worked.
    """

    topic: str
    partitions: int
    produced: int
    consumed: int
    seconds: float
    connections: tuple[Connection, ...]
    sockets: tuple[str, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Load:
    """Throughput and latency through whatever path leads to the brokers.

    Produce and consume figures are for a pipelined run, latencies for one record in flight with
    acks=all.
    """

    record_bytes: int
    produced: int
    produce_seconds: float
    consumed: int
    consume_seconds: float
    latency_samples: int
    latency_p50: float
    latency_p99: float

    @property
    def produce_rate(self) -> float:
        """Bytes of payload a second."""
        return self.produced * self.record_bytes / self.produce_seconds

    @property
    def consume_rate(self) -> float:
        """Bytes of payload a second."""
        return self.consumed * self.record_bytes / self.consume_seconds


@dataclass(frozen=True, slots=True, kw_only=True)
class Member:
    """A group's member as its coordinator saw it: `host` is the address it connected from."""

    group: str
    coordinator: int
    host: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Members:
    """One member a broker, sorted by coordinator."""

    members: tuple[Member, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Request:
    """A request as the broker logged it: which of its addresses it came to, and where from."""

    api: str
    client_id: str
    listener: str
    local: str
    remote: str


class _Header(msgspec.Struct):
    api: str = msgspec.field(name="requestApiKeyName", default="")
    client_id: str | None = msgspec.field(name="clientId", default="")


class _Line(msgspec.Struct):
    connection: str
    listener: str
    header: _Header = msgspec.field(name="requestHeader")


def requests(lines: Iterable[str]) -> tuple[Request, ...]:
    """The requests of a broker's `kafka.request.logger` lines; other lines are passed over."""
    found = (_request(line) for line in lines)
    return tuple(request for request in found if request is not None)


def _request(line: str) -> Request | None:
    _, brace, rest = line.partition("{")
    try:
        read = msgspec.json.decode(brace + rest, type=_Line)
    except msgspec.DecodeError:
        # The line that is being written, or another message of the same logger.
        return None
    # "10.0.2.233:9096-192.168.200.10:41359-2-0": local, remote, processor, serial number.
    local, remote, *_ = read.connection.split("-")
    return Request(
        api=read.header.api,
        client_id=read.header.client_id or "",
        listener=read.listener,
        local=_host(local),
        remote=_host(remote),
    )


def _host(end: str) -> str:
    return end.rpartition(":")[0].strip("[]")
