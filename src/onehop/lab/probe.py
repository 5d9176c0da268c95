"""A client's probe from inside a host of the lab: which source does the server see?

With Kafka in the pods it is a bare ApiVersions request (protocol guide, API key 18, version 0),
which the broker's own request log shows with both ends; with responders it is their greeting.
"""

from __future__ import annotations

import socket
import struct
import time
from collections.abc import Callable
from dataclasses import dataclass

from onehop.lab.kafka import KafkaCluster
from onehop.lab.lab import Lab
from onehop.lab.state import LabError
from onehop.model.address import IPAddress

_API_VERSIONS = 18
_LOGGED_WITHIN = 20.0  # seconds: a broker follows a change of its log level within one or two
CONNECT_TIMEOUT = 5.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Seen:
    """What a server saw of a probe: who answered, from which address, and how many bytes went."""

    server: str
    source: str
    payload_bytes: int


def connected(lab: Lab, host: str, address: IPAddress, port: int) -> socket.socket:
    """A TCP connection from `host`.

    Raises:
        LabError: when nothing answers.
    """
    try:
        with lab.inside(host):
            connection = socket.create_connection((str(address), port), timeout=CONNECT_TIMEOUT)
    except OSError as error:
        raise LabError(f"{host} -> {address}:{port}: {error}") from error
    connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    return connection


def received(connection: socket.socket, size: int) -> bytes:
    """Exactly `size` bytes.

    Raises:
        LabError: when the peer ended before.
    """
    parts, left = [], size
    while left:
        part = connection.recv(left)
        if not part:
            raise LabError("the server closed the connection")
        parts.append(part)
        left -= len(part)
    return b"".join(parts)


def api_versions(connection: socket.socket, client_id: str, times: int) -> int:
    """Send ApiVersions requests one after the other; the payload bytes of both ways come back."""
    name = client_id.encode()
    total = 0
    for number in range(times):
        body = struct.pack("!hhih", _API_VERSIONS, 0, number, len(name)) + name
        connection.sendall(struct.pack("!i", len(body)) + body)
        (size,) = struct.unpack("!i", received(connection, 4))
        received(connection, size)
        total += 8 + len(body) + size
    return total


def kafka_probe(
    lab: Lab, cluster: KafkaCluster, host: str, address: IPAddress, port: int, times: int = 20
) -> Seen:
    """What the broker behind an address logged of a probe, in Kafka's own words.

    Raises:
        LabError: when nothing answers, or no broker logged it.
    """
    cluster.record_requests(wanted=True)
    try:
        deadline = time.monotonic() + _LOGGED_WITHIN
        while time.monotonic() < deadline:
            name = f"onehop-probe-{time.monotonic_ns()}"
            with connected(lab, host, address, port) as connection:
                payload = api_versions(connection, name, times)
                found = _logged(cluster, name)
            if found is not None:
                return Seen(server=found[0], source=found[1], payload_bytes=payload)
    finally:
        cluster.record_requests(wanted=False)
    raise LabError(f"no broker logged a request that came in by {address}:{port}")


def _logged(cluster: KafkaCluster, client_id: str) -> tuple[str, str] | None:
    deadline = time.monotonic() + 0.5
    while time.monotonic() < deadline:
        for broker in cluster.brokers:
            for request in cluster.requests(broker):
                if request.client_id == client_id:
                    return broker.name, request.remote
        time.sleep(0.05)
    return None


def responder_probe(lab: Lab, host: str, address: IPAddress, port: int, times: int = 20) -> Seen:
    """What the responder behind an address greets a probe with.

    Raises:
        LabError: when nothing answers.
    """
    with connected(lab, host, address, port) as connection:
        greeting = b""
        while not greeting.endswith(b"\n"):
            greeting += received(connection, 1)
        name, source, _ = greeting.decode().split()
        for _ in range(times):
            connection.sendall(b"x" * 64)
            received(connection, 64)
    return Seen(server=name, source=source, payload_bytes=len(greeting) + 128 * times)


def eventually(claim: Callable[[], bool], seconds: float = 5.0) -> bool:
    """Whether the claim came true in time."""
    deadline = time.monotonic() + seconds
    while not claim():
        if time.monotonic() > deadline:
            return False
        time.sleep(0.02)
    return True
