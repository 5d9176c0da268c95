"""Starting, watching and stopping brokers, with a shell script in the place of the JVM."""

from __future__ import annotations

import os
import subprocess
import time
from collections.abc import Iterator, Sequence
from ipaddress import IPv4Address
from pathlib import Path
from typing import IO

import pytest

from onehop.lab.kafka import STARTED, KafkaCluster, KafkaError
from onehop.lab.kafka_artifacts import Artifacts
from onehop.lab.kafka_node import Broker

SERVES = f"echo '{STARTED}'; exec sleep 60"
SILENT = "exec sleep 60"
ENDS = "echo 'no such address'; exit 1"


def start_here(
    host: str, argv: Sequence[str], *, stdout: IO[bytes], stderr: int
) -> subprocess.Popen[bytes]:
    return subprocess.Popen(argv, stdin=subprocess.DEVNULL, stdout=stdout, stderr=stderr)


class Place:
    """Makes clusters of two brokers that behave as a line of shell says."""

    def __init__(self, root: Path) -> None:
        self._root = root
        self._made: list[KafkaCluster] = []
        (root / "artifacts").mkdir()
        (root / "artifacts" / "bootstrap.checkpoint").write_bytes(b"features")
        self.directory = root / "lab" / "kafka"

    def cluster(self, line: str) -> KafkaCluster:
        java = self._root / "java"
        java.write_text(f"#!/bin/sh\n{line}\n")
        java.chmod(0o755)
        artifacts = Artifacts(directory=self._root / "artifacts", java=java, jars=(), sums="")
        brokers = tuple(
            Broker(
                node_id=index,
                namespace="kafka",
                name=f"kafka-{index}",
                host=f"kafka-{index}",
                pod_address=IPv4Address("10.0.0.10") + index,
                advertised_address=IPv4Address("192.0.2.10") + index,
            )
            for index in range(2)
        )
        made = KafkaCluster(brokers, self.directory, start_here, artifacts)
        self._made.append(made)
        return made

    def clear(self) -> None:
        for made in self._made:
            made.stop()


@pytest.fixture
def place(tmp_path: Path) -> Iterator[Place]:
    made = Place(tmp_path)
    yield made
    made.clear()


def soon() -> float:
    return time.monotonic() + 10


def test_life(place: Place) -> None:
    """Brokers start formatted and with their own files, and leave nothing when stopped."""
    cluster = place.cluster(SERVES)
    cluster.start()
    cluster.wait_ready(soon())
    running = cluster.pids()
    assert sorted(running) == [0, 1]
    home = place.directory / "kafka-1"
    assert "node.id=1\n" in (home / "server.properties").read_text()
    assert "node.id=1\n" in (home / "data" / "meta.properties").read_text()
    assert (home / "data" / "bootstrap.checkpoint").read_bytes() == b"features"
    cluster.stop()
    assert cluster.pids() == {}
    assert not [pid for pid in running.values() if Path(f"/proc/{pid}").exists()]
    assert not place.directory.exists()


def test_own_session(place: Place) -> None:
    """An interrupt typed at the terminal does not reach the brokers."""
    cluster = place.cluster(SERVES)
    cluster.start()
    cluster.wait_ready(soon())
    assert os.getsid(0) not in {os.getsid(pid) for pid in cluster.pids().values()}


def test_stop_by_folder(place: Place) -> None:
    """Another process finds the brokers by what their folder says."""
    first, second = place.cluster(SERVES), place.cluster(SERVES)
    first.start()
    first.wait_ready(soon())
    assert second.pids() == first.pids()
    with pytest.raises(KafkaError, match="already running in"):
        second.start()
    second.stop()
    assert first.pids() == {}


def test_recycled_number(place: Place) -> None:
    """A process id that now belongs to another process is left alone."""
    cluster = place.cluster(SERVES)
    home = place.directory / "kafka-0"
    home.mkdir(parents=True)
    (home / "pid").write_text(f"{os.getpid()} 1\n")
    assert cluster.pids() == {}
    cluster.stop()
    assert not home.exists()


def test_foreign_file(place: Place) -> None:
    """A folder that holds something else is not removed with the brokers."""
    cluster = place.cluster(SERVES)
    cluster.start()
    notes = place.directory / "notes"
    notes.write_text("mine")
    cluster.stop()
    assert list(place.directory.iterdir()) == [notes]


def test_ended(place: Place) -> None:
    """A broker that ends is named with the end of its log, at once."""
    cluster = place.cluster(ENDS)
    cluster.start()
    with pytest.raises(KafkaError, match=r"kafka-[01] ended:\nno such address"):
        cluster.wait_ready(soon())


def test_late(place: Place) -> None:
    """Brokers that do not start in time are all named."""
    cluster = place.cluster(SILENT)
    cluster.start()
    with pytest.raises(KafkaError, match="not ready in time: kafka-0, kafka-1"):
        cluster.wait_ready(time.monotonic() - 1)


def test_never_started(place: Place) -> None:
    """Waiting for a cluster that nobody started is a sentence, not a wait."""
    with pytest.raises(KafkaError, match="it was never started"):
        place.cluster(SERVES).wait_ready(soon())


def test_requests(place: Place) -> None:
    """No request is known before the log is turned on; turning it on changes the level."""
    cluster = place.cluster(SERVES)
    cluster.start()
    assert cluster.requests(cluster.brokers[0]) == ()
    cluster.record_requests(wanted=True)
    said = (place.directory / "kafka-0" / "log4j2.properties").read_text()
    assert "logger.requests.level=DEBUG\n" in said
