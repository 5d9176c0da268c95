"""Three real Kafka brokers in network namespaces, and real clients that reach them.

    client .10, other .11          pods kafka-0, kafka-1, kafka-2
         |                              |        |        |
    -----+------------- bridge ---------+--------+--------+-----   (namespace `lan`, no uplink)

Each pod holds its pod address (10.0.x.y) and, in the load balancer's stead, the external address
that its broker advertises. So what is shown here is Kafka and its clients; the path to the
addresses is shown elsewhere.
"""

from __future__ import annotations

import os
import subprocess
import time
from collections.abc import Iterator, Sequence
from dataclasses import replace
from ipaddress import IPv4Address
from pathlib import Path
from typing import IO

import pytest

from onehop.lab.kafka import KafkaCluster, KafkaError
from onehop.lab.kafka_answers import NamedBroker
from onehop.lab.kafka_artifacts import (
    archive_is_accepted,
    cache_directory,
    installed,
    prepare,
)
from onehop.lab.kafka_node import Broker
from onehop.lab.kafka_remote import KafkaClient

pytestmark = [pytest.mark.root, pytest.mark.kafka, pytest.mark.lab]

PINS = Path(__file__).parents[2] / "tools" / "kafka"
PODS = {"kafka-0": "10.0.2.233", "kafka-1": "10.0.0.74", "kafka-2": "10.0.1.189"}
CLIENTS = {"client": "192.168.200.10", "other": "192.168.200.11"}
EXTERNAL = [IPv4Address("192.168.200.241") + index for index in range(3)]
BOOTSTRAP = f"{EXTERNAL[0]}:9096"


class Namespaces:
    """Named network namespaces on one bridge; everything they hold goes with them."""

    def __init__(self) -> None:
        self._prefix = f"ohkafka{os.getpid()}-"
        self._made: list[str] = []

    def add(self, host: str) -> None:
        _ip("netns", "add", self._prefix + host)
        self._made.append(host)
        self.ip(host, "link", "set", "lo", "up")

    def ip(self, host: str, *words: str) -> None:
        _ip("-n", self._prefix + host, *words)

    def plug(self, host: str, *addresses: str) -> None:
        self.add(host)
        peer = ("peer", "name", host, "netns", self._prefix + "lan")
        self.ip(host, "link", "add", "eth0", "type", "veth", *peer)
        self.ip("lan", "link", "set", host, "master", "br0", "up")
        for address in addresses:
            self.ip(host, "addr", "add", address, "dev", "eth0")
        self.ip(host, "link", "set", "eth0", "up")

    def popen(
        self, host: str, argv: Sequence[str], *, stdout: IO[bytes], stderr: int
    ) -> subprocess.Popen[bytes]:
        inside = ["ip", "netns", "exec", self._prefix + host, *argv]
        return subprocess.Popen(inside, stdin=subprocess.DEVNULL, stdout=stdout, stderr=stderr)

    def run(
        self, host: str, argv: Sequence[str], *, timeout: float
    ) -> subprocess.CompletedProcess[str]:
        inside = ["ip", "netns", "exec", self._prefix + host, *argv]
        return subprocess.run(inside, capture_output=True, text=True, timeout=timeout, check=False)

    def pids(self) -> list[int]:
        found = [_ip("netns", "pids", self._prefix + host) for host in self._made]
        return [int(pid) for text in found for pid in text.split()]

    def remove(self) -> None:
        for host in reversed(self._made):
            _ip("netns", "del", self._prefix + host)


def _ip(*words: str) -> str:
    return subprocess.run(["ip", *words], check=True, capture_output=True, text=True).stdout


@pytest.fixture(scope="module")
def namespaces() -> Iterator[Namespaces]:
    made = Namespaces()
    try:
        made.add("lan")
        made.ip("lan", "link", "add", "br0", "type", "bridge")
        made.ip("lan", "link", "set", "br0", "up")
        for (pod, address), external in zip(PODS.items(), EXTERNAL, strict=True):
            made.plug(pod, f"{address}/16", f"{external}/24")
        for client, address in CLIENTS.items():
            made.plug(client, f"{address}/24")
        yield made
    finally:
        made.remove()


@pytest.fixture(scope="module")
def stopped(
    namespaces: Namespaces, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[KafkaCluster]:
    brokers = tuple(
        Broker(
            node_id=index,
            namespace="kafka",
            name=pod,
            host=pod,
            pod_address=IPv4Address(address),
            advertised_address=external,
        )
        for index, ((pod, address), external) in enumerate(
            zip(PODS.items(), EXTERNAL, strict=True)
        )
    )
    made = KafkaCluster(
        brokers,
        tmp_path_factory.mktemp("lab") / "kafka",
        namespaces.popen,
        installed(cache_directory()),
    )
    try:
        yield made
    finally:
        made.stop()


@pytest.fixture
def cluster(stopped: KafkaCluster) -> KafkaCluster:
    """The one cluster of this module, running whatever the test before did to it."""
    if not stopped.pids():
        stopped.start()
        stopped.wait_ready(time.monotonic() + 40)
    return stopped


@pytest.fixture
def client(namespaces: Namespaces, cluster: KafkaCluster) -> KafkaClient:
    return KafkaClient(namespaces.run, "client", BOOTSTRAP)


def test_metadata(client: KafkaClient) -> None:
    """A client that knows one address is told every broker's external address."""
    assert client.metadata().brokers == tuple(
        NamedBroker(id=index, host=str(external), port=9096)
        for index, external in enumerate(EXTERNAL)
    )


def test_roundtrip(client: KafkaClient) -> None:
    """Every record comes back, over connections to each broker's own external address."""
    seen = client.roundtrip(records=20)
    assert (seen.partitions, seen.produced, seen.consumed) == (3, 60, 60)
    own = {f"{external}:9096" for external in EXTERNAL}
    assert own <= set(seen.sockets)
    carried = {c.broker: c.address for c in seen.connections if c.sent_bytes > 20 * 1024}
    assert carried == {index: f"{external}:9096" for index, external in enumerate(EXTERNAL)}


@pytest.mark.parametrize("host", CLIENTS)
def test_group_hosts(namespaces: Namespaces, cluster: KafkaCluster, host: str) -> None:
    """Each broker names the address that a client came from, and tells two clients apart."""
    members = KafkaClient(namespaces.run, host, BOOTSTRAP).group_hosts()
    assert [(member.coordinator, member.host) for member in members] == [
        (index, CLIENTS[host]) for index in range(3)
    ]


def test_load(client: KafkaClient) -> None:
    """A load through one broker is bounded, and what was written is read."""
    seen = client.load(records=3000, seconds=2, samples=50, broker=1)
    assert 0 < seen.produced <= 3000
    assert seen.consumed == seen.produced - 1
    assert 0 < seen.latency_p50 <= seen.latency_p99
    assert seen.latency_samples == 50


def test_request_log(namespaces: Namespaces, cluster: KafkaCluster) -> None:
    """A broker's request log names both ends of a bare probe, and stops when told to."""
    broker = cluster.brokers[0]
    prober = KafkaClient(namespaces.run, "other", BOOTSTRAP, client_id="prober")

    def probes_logged() -> list[tuple[str, str]]:
        prober.metadata()
        seen = [r for r in cluster.requests(broker) if r.client_id == "prober"]
        return [(request.local, request.remote) for request in seen]

    deadline = time.monotonic() + 30
    cluster.record_requests(wanted=True)
    try:
        while not (seen := probes_logged()):
            assert time.monotonic() < deadline, cluster.requests(broker)
    finally:
        cluster.record_requests(wanted=False)
    assert set(seen) == {(str(EXTERNAL[0]), CLIENTS["other"])}
    while len(now := probes_logged()) > len(seen):
        assert time.monotonic() < deadline, "requests are still logged"
        seen = now


def test_unreachable(namespaces: Namespaces, cluster: KafkaCluster) -> None:
    """An address that nobody holds is one sentence with client, command and address."""
    nobody = KafkaClient(namespaces.run, "client", "192.168.200.9:9096", deadline=2)
    with pytest.raises(KafkaError, match=r"client, metadata at 192\.168\.200\.9:9096: "):
        nobody.metadata()


def test_stop(namespaces: Namespaces, cluster: KafkaCluster) -> None:
    """Another process can stop the cluster by its folder; no process and no file stays."""
    running = cluster.pids()
    assert sorted(running.values()) == sorted(namespaces.pids())
    other = KafkaCluster(cluster.brokers, cluster.directory, namespaces.popen, cluster.artifacts)
    with pytest.raises(KafkaError, match="already running"):
        other.start()
    other.stop()
    assert namespaces.pids() == []
    assert not cluster.directory.exists()
    with pytest.raises(KafkaError, match="broker kafka-0 ended"):
        cluster.wait_ready(time.monotonic() + 5)


def test_prepared_once() -> None:
    """A second set-up has nothing to do, and the JVM takes the archive."""
    said: list[str] = []
    found = prepare(cache_directory(), PINS / "pom.xml", PINS / "SHA256SUMS", said.append)
    assert said == []
    assert archive_is_accepted(found)


def test_archive_of_other_jars(tmp_path: Path) -> None:
    """The JVM refuses the archive when one jar is newer than it, and set-up sees that."""
    found = installed(cache_directory())
    copy = replace(found, directory=tmp_path)
    copy.archive.symlink_to(found.archive)
    (tmp_path / "libs").mkdir()
    for jar in found.jars:
        (tmp_path / "libs" / jar.name).symlink_to(found.directory / "libs" / jar.name)
    assert archive_is_accepted(copy)
    newer = tmp_path / "libs" / found.jars[0].name
    text = newer.read_bytes()
    newer.unlink()
    newer.write_bytes(text)
    assert not archive_is_accepted(copy)
