"""Apache Kafka in the lab: one real broker in each pod, started, watched and removed.

The lab gives a callable that starts a process inside a pod, so nothing here knows how the lab
makes its pods. What a cluster leaves in its folder (data, logs, process ids) is enough for another
process to stop it, and all of it goes when it is stopped.
"""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import time
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import IO, Protocol

from onehop.lab.kafka_answers import Request, requests
from onehop.lab.kafka_artifacts import Artifacts
from onehop.lab.kafka_node import (
    CLUSTER_ID,
    JVM_OPTIONS,
    Broker,
    log_file,
    meta_file,
    node_file,
)
from onehop.lab.state import LabError

STARTED = "Kafka Server started"
FAILED_LINES = 12


class KafkaError(LabError):
    """Kafka did not do what the lab needs; the text is for the user."""


class Popen(Protocol):
    """Starts `argv` inside a pod or host of the lab; the process started must *become* `argv`.

    A wrapper that stays as the parent would be killed in the broker's stead.
    """

    def __call__(
        self, host: str, argv: Sequence[str], *, stdout: IO[bytes], stderr: int
    ) -> subprocess.Popen[bytes]:
        """The running process."""
        ...


class KafkaCluster:
    """Combined broker and controller nodes under one folder."""

    def __init__(
        self,
        brokers: tuple[Broker, ...],
        directory: Path,
        popen: Popen,
        artifacts: Artifacts,
        *,
        settings: tuple[str, ...] = (),
        jvm_options: tuple[str, ...] = (),
    ) -> None:
        self.brokers = brokers
        self.directory = directory
        self._popen = popen
        self.artifacts = artifacts
        self._settings = settings
        self._jvm_options = jvm_options
        self._children: dict[int, subprocess.Popen[bytes]] = {}

    def start(self) -> None:
        """Start all brokers at once; one alone has no majority and would give up in a minute.

        Raises:
            KafkaError: when the folder already holds a running cluster.
        """
        if any(self._pid(broker) is not None for broker in self.brokers):
            raise KafkaError(f"Kafka is already running in {self.directory}")
        for broker in self.brokers:
            self._write(broker)
        for broker in self.brokers:
            self._launch(broker)

    def wait_ready(self, deadline: float) -> None:
        """Return when every broker serves its clients; `deadline` is in monotonic seconds.

        A broker says that it has started only after the controller unfenced it and its
        listeners take connections.

        Raises:
            KafkaError: when a broker ended, with the end of its log, or the deadline passed.
        """
        waiting = list(self.brokers)
        while waiting:
            waiting = [broker for broker in waiting if not self._has_started(broker)]
            for broker in waiting:
                if self._pid(broker) is None:
                    raise KafkaError(f"Kafka broker {broker.name} ended:\n{self._tail(broker)}")
            if waiting and time.monotonic() > deadline:
                names = ", ".join(broker.name for broker in waiting)
                raise KafkaError(f"Kafka is not ready in time: {names}\n{self._tail(waiting[0])}")
            if waiting:
                time.sleep(0.05)

    def stop(self, *, graceful: bool = False) -> None:
        """End every broker that this folder knows of, and remove the folder.

        The data goes with the folder, so a controlled shutdown would gain nothing and, with
        the quorum leaving at the same time, wait for votes that never come.
        """
        for broker in self.brokers:
            self._signal(broker, signal.SIGTERM if graceful else signal.SIGKILL)
        for broker in self.brokers:
            self._await_end(broker, 30.0 if graceful else 5.0)
            shutil.rmtree(self._home(broker), ignore_errors=True)
        # Only what is ours: a folder that holds something else is not removed.
        with suppress(OSError):
            self.directory.rmdir()

    def pids(self) -> dict[int, int]:
        """The running brokers' process ids by node id."""
        found = {broker.node_id: self._pid(broker) for broker in self.brokers}
        return {node: pid for node, pid in found.items() if pid is not None}

    def record_requests(self, *, wanted: bool) -> None:
        """Turn each broker's request log on or off; it follows within about a second."""
        for broker in self.brokers:
            self._write_log_file(broker, record_requests=wanted)

    def requests(self, broker: Broker) -> tuple[Request, ...]:
        """What `broker` was asked while its requests were recorded, oldest first."""
        try:
            return requests(self._request_log(broker).read_text().splitlines())
        except FileNotFoundError:
            return ()

    def _request_log(self, broker: Broker) -> Path:
        return self._home(broker) / "requests.log"

    def _home(self, broker: Broker) -> Path:
        return self.directory / broker.name

    def _write(self, broker: Broker) -> None:
        home = self._home(broker)
        data = home / "data"
        shutil.rmtree(home, ignore_errors=True)
        data.mkdir(parents=True)
        text = node_file(broker, self.brokers, data, self._settings)
        (home / "server.properties").write_text(text)
        # What `kafka-storage format` leaves, at two seconds of JVM a node less. Without the
        # checkpoint the cluster's features stay at level 0 and new consumer groups fail.
        (data / "meta.properties").write_text(meta_file(broker, CLUSTER_ID))
        shutil.copyfile(self.artifacts.checkpoint, data / "bootstrap.checkpoint")
        self._write_log_file(broker, record_requests=False)

    def _write_log_file(self, broker: Broker, *, record_requests: bool) -> None:
        path = self._home(broker) / "log4j2.properties"
        fresh = path.with_suffix(".new")
        fresh.write_text(log_file(self._request_log(broker), record_requests=record_requests))
        fresh.replace(path)

    def _launch(self, broker: Broker) -> None:
        home = self._home(broker)
        # In a session of its own: an interrupt typed at the terminal is for the lab, which then
        # stops its brokers, and a terminal that closes ends none of a lab that stays up.
        argv = [
            "setsid",
            *self.artifacts.java_command((*JVM_OPTIONS, *self._jvm_options)),
            f"-Dlog4j2.configurationFile={home / 'log4j2.properties'}",
            "kafka.Kafka",
            str(home / "server.properties"),
        ]
        with (home / "broker.log").open("wb") as log:
            child = self._popen(broker.host, argv, stdout=log, stderr=subprocess.STDOUT)
        self._children[broker.node_id] = child
        (home / "pid").write_text(f"{child.pid} {_birth(child.pid)}\n")

    def _has_started(self, broker: Broker) -> bool:
        return STARTED in self._said(broker)

    def _tail(self, broker: Broker) -> str:
        return "\n".join(self._said(broker).splitlines()[-FAILED_LINES:])

    def _said(self, broker: Broker) -> str:
        try:
            return (self._home(broker) / "broker.log").read_text(errors="replace")
        except FileNotFoundError:
            return "it was never started"

    def _pid(self, broker: Broker) -> int | None:
        """The broker's process id while it runs; a number that was given anew does not count."""
        child = self._children.get(broker.node_id)
        if child is not None and child.poll() is not None:
            return None
        try:
            pid, birth = (self._home(broker) / "pid").read_text().split()
        except (FileNotFoundError, NotADirectoryError):
            return None
        return int(pid) if _birth(int(pid)) == birth else None

    def _signal(self, broker: Broker, number: signal.Signals) -> None:
        pid = self._pid(broker)
        if pid is None:
            return
        with suppress(ProcessLookupError):
            os.kill(pid, number)

    def _await_end(self, broker: Broker, seconds: float) -> None:
        deadline = time.monotonic() + seconds
        while self._pid(broker) is not None:
            if time.monotonic() > deadline:
                self._signal(broker, signal.SIGKILL)
                deadline += seconds
            time.sleep(0.02)
        child = self._children.pop(broker.node_id, None)
        if child is not None:
            child.wait()


def _birth(pid: int) -> str:
    """When the process started, in the kernel's ticks; with the id it names one process."""
    try:
        stat = Path(f"/proc/{pid}/stat").read_text()
    except (FileNotFoundError, ProcessLookupError):
        return "gone"
    # The second field is a name in brackets that may hold spaces; state and start follow it.
    fields = stat.rpartition(")")[2].split()
    return "gone" if fields[0] in ("Z", "X") else fields[19]
