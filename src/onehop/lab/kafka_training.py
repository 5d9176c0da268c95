"""The run from which the class-data archive is made: one broker, a small load, a clean end.

`kafka_artifacts` starts it in a network namespace of its own, where it brings the loopback up
and nothing else exists. The archive holds the classes that this run used, so the load is what the
lab's brokers will see: metadata, produce, fetch and a consumer group.
"""

from __future__ import annotations

import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from ipaddress import IPv4Address
from pathlib import Path
from typing import IO

from onehop.lab.kafka import KafkaCluster
from onehop.lab.kafka_artifacts import Artifacts, read_record
from onehop.lab.kafka_client import group_hosts, roundtrip
from onehop.lab.kafka_node import Broker
from onehop.lab.kafka_session import Limit, Session

LOOPBACK = IPv4Address("127.0.0.1")


def start_here(
    host: str, argv: Sequence[str], *, stdout: IO[bytes], stderr: int
) -> subprocess.Popen[bytes]:
    """Start a broker in this very namespace."""
    return subprocess.Popen(argv, stdout=stdout, stderr=stderr, stdin=subprocess.DEVNULL)


def train(artifacts: Artifacts) -> None:
    """Write the archive of `artifacts`; it appears under its name only when it is whole."""
    broker = Broker(
        node_id=1,
        namespace="training",
        name="training-1",
        host="",
        pod_address=LOOPBACK,
        advertised_address=LOOPBACK,
    )
    fresh = artifacts.archive.with_suffix(".new")
    fresh.unlink(missing_ok=True)
    options = (f"-XX:ArchiveClassesAtExit={fresh}", "-Xlog:cds=off", "-Xlog:cds+dynamic=off")
    with tempfile.TemporaryDirectory() as scratch:
        cluster = KafkaCluster(
            (broker,), Path(scratch, "kafka"), start_here, artifacts, jvm_options=options
        )
        try:
            cluster.start()
            cluster.wait_ready(time.monotonic() + 60)
            session = Session(
                bootstrap=f"{LOOPBACK}:{broker.external_port}",
                client_id="training",
                limit=Limit(60),
            )
            roundtrip(session, 50, 1024)
            group_hosts(session)
        finally:
            cluster.stop(graceful=True)
    fresh.replace(artifacts.archive)


if __name__ == "__main__":
    subprocess.run(["ip", "link", "set", "lo", "up"], check=True)
    train(read_record(Path(sys.argv[1])))
