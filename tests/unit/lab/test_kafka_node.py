"""What a broker is told."""

from __future__ import annotations

from dataclasses import replace
from ipaddress import ip_address
from pathlib import Path

import pytest

from onehop.lab.kafka_node import (
    FAST_FAILURE,
    Broker,
    log_file,
    meta_file,
    node_file,
)


def a_broker(node_id: int, pod: str, external: str) -> Broker:
    return Broker(
        node_id=node_id,
        namespace="kafka",
        name=f"kafka-{node_id}",
        host=f"kafka-{node_id}",
        pod_address=ip_address(pod),
        advertised_address=ip_address(external),
    )


BROKERS = (
    a_broker(0, "10.0.2.233", "192.168.200.241"),
    a_broker(1, "10.0.0.74", "192.168.200.242"),
    a_broker(2, "10.0.1.189", "192.168.200.243"),
)


def settings_of(text: str) -> dict[str, str]:
    """The file as Kafka reads it: a later line wins."""
    return dict(line.split("=", 1) for line in text.splitlines())


def test_listeners() -> None:
    """Brokers and controllers talk on pod addresses; clients are told the external address."""
    said = settings_of(node_file(BROKERS[1], BROKERS, Path("/data")))
    assert said["process.roles"] == "broker,controller"
    assert said["node.id"] == "1"
    assert said["controller.quorum.voters"] == (
        "0@10.0.2.233:9090,1@10.0.0.74:9090,2@10.0.1.189:9090"
    )
    assert said["listeners"] == (
        "CONTROLPLANE-9090://10.0.0.74:9090,REPLICATION-9091://10.0.0.74:9091,"
        "EXTERNAL-9096://0.0.0.0:9096"
    )
    assert said["advertised.listeners"] == (
        "REPLICATION-9091://10.0.0.74:9091,EXTERNAL-9096://192.168.200.242:9096"
    )
    assert said["listener.security.protocol.map"] == (
        "CONTROLPLANE-9090:PLAINTEXT,REPLICATION-9091:PLAINTEXT,EXTERNAL-9096:PLAINTEXT"
    )
    assert said["log.dirs"] == "/data"


def test_ipv6() -> None:
    """IPv6 addresses are in brackets, and the external listener is on every IPv6 address."""
    broker = a_broker(0, "fd00::1", "2001:db8::241")
    said = settings_of(node_file(broker, (broker,), Path("/data")))
    assert said["controller.quorum.voters"] == "0@[fd00::1]:9090"
    assert said["listeners"].endswith("EXTERNAL-9096://[::]:9096")
    assert said["advertised.listeners"].endswith("EXTERNAL-9096://[2001:db8::241]:9096")


def test_node_port() -> None:
    """The port that clients are told may differ from the one that the broker listens on."""
    broker = replace(BROKERS[0], advertised_port=30793)
    said = settings_of(node_file(broker, BROKERS, Path("/data")))
    assert "EXTERNAL-9096://0.0.0.0:9096" in said["listeners"]
    assert said["advertised.listeners"].endswith("EXTERNAL-9096://192.168.200.241:30793")


@pytest.mark.parametrize(
    ("size", "copies", "in_sync"),
    [(1, "1", "1"), (2, "2", "2"), (3, "3", "2"), (5, "3", "2")],
)
def test_replication(size: int, copies: str, in_sync: str) -> None:
    """A cluster of any size can keep its own topics; with three, one may be missing."""
    brokers = tuple(a_broker(n, f"10.0.0.{n + 1}", f"192.0.2.{n + 1}") for n in range(size))
    said = settings_of(node_file(brokers[0], brokers, Path("/data")))
    assert said["offsets.topic.replication.factor"] == copies
    assert said["default.replication.factor"] == copies
    assert said["min.insync.replicas"] == in_sync
    assert said["transaction.state.log.min.isr"] == in_sync


def test_settings_and_rack() -> None:
    """The caller's settings win, and a rack is told only when there is one."""
    plain = settings_of(node_file(BROKERS[0], BROKERS, Path("/data")))
    assert "broker.rack" not in plain
    assert "broker.session.timeout.ms" not in plain
    racked = replace(BROKERS[0], rack="node1")
    said = settings_of(
        node_file(racked, BROKERS, Path("/data"), (*FAST_FAILURE, "num.io.threads=4"))
    )
    assert said["broker.rack"] == "node1"
    assert said["broker.session.timeout.ms"] == "2000"
    assert said["num.io.threads"] == "4"


def test_meta_file() -> None:
    """A data folder is formatted for its node and its cluster."""
    assert settings_of(meta_file(BROKERS[2], "id")) == {
        "version": "1",
        "cluster.id": "id",
        "node.id": "2",
    }


@pytest.mark.parametrize(("wanted", "level"), [(True, "DEBUG"), (False, "WARN")])
def test_log_file(wanted: bool, level: str) -> None:
    """Requests are logged to their own file only when wanted; the file is read again later."""
    said = settings_of(log_file(Path("/logs/requests.log"), record_requests=wanted))
    assert said["logger.requests.level"] == level
    assert said["appender.requests.fileName"] == "/logs/requests.log"
    assert said["monitorInterval"] == "1"
