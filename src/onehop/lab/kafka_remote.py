"""Asking Kafka from inside a host of the lab: runs `kafka_client` there and reads its answer."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Protocol, TypeVar

import msgspec

import onehop
from onehop.lab.kafka import KafkaError
from onehop.lab.kafka_answers import Load, Member, Members, Metadata, Roundtrip
from onehop.lab.kafka_artifacts import require_package

Answer = TypeVar("Answer")

# Beyond the client's own deadline: the interpreter's start, and removing the topic.
GRACE = 15.0


class Run(Protocol):
    """Runs `argv` to its end inside a host of the lab, keeping what it prints.

    Raises subprocess.TimeoutExpired, with the process gone, after `timeout` seconds.
    """

    def __call__(
        self, host: str, argv: Sequence[str], *, timeout: float
    ) -> subprocess.CompletedProcess[str]:
        """The process that ended."""
        ...


class KafkaClient:
    """A real client (librdkafka) in `host`, which knows nothing but `bootstrap`.

    Making one raises ArtifactError when the client library is not installed.
    """

    def __init__(
        self,
        run: Run,
        host: str,
        bootstrap: str,
        *,
        deadline: float = 30.0,
        client_id: str = "onehop-lab",
    ) -> None:
        require_package()
        self._run = run
        self._host = host
        self._bootstrap = bootstrap
        self._deadline = deadline
        self._client_id = client_id

    def metadata(self) -> Metadata:
        """The brokers that the bootstrap server names.

        Raises:
            KafkaError: as every method here, when the client did not get its answer in time.
        """
        return self._ask(Metadata, "metadata")

    def roundtrip(self, *, records: int = 10, record_bytes: int = 1024) -> Roundtrip:
        """`records` written with acks=all to each broker, and read back."""
        sizes = ("--records", records), ("--record-bytes", record_bytes)
        return self._ask(Roundtrip, "roundtrip", *sizes)

    def load(
        self,
        *,
        records: int = 200_000,
        record_bytes: int = 1024,
        seconds: float = 3.0,
        samples: int = 500,
        broker: int | None = None,
    ) -> Load:
        """Throughput, then latency, each part for at most `seconds`; of one broker when named."""
        return self._ask(
            Load,
            "load",
            ("--records", records),
            ("--record-bytes", record_bytes),
            ("--seconds", seconds),
            ("--samples", samples),
            *([("--broker", broker)] if broker is not None else []),
        )

    def group_hosts(self) -> tuple[Member, ...]:
        """The client's address as each broker saw it, in the words of the group coordinators."""
        return self._ask(Members, "group-host").members

    def argv(self, command: str, *options: tuple[str, object]) -> list[str]:
        """What is run in the host."""
        source = Path(onehop.__file__).parent.parent
        program = ["env", f"PYTHONPATH={source}", sys.executable, "-m", "onehop.lab.kafka_client"]
        given = [*options, ("--client-id", self._client_id), ("--deadline", self._deadline)]
        said = [str(word) for option in given for word in option]
        return [*program, command, "--bootstrap", self._bootstrap, *said]

    def _ask(self, kind: type[Answer], command: str, *options: tuple[str, object]) -> Answer:
        where = f"Kafka client in {self._host}, {command} at {self._bootstrap}"
        try:
            argv = self.argv(command, *options)
            done = self._run(self._host, argv, timeout=self._deadline + GRACE)
        except subprocess.TimeoutExpired:
            raise KafkaError(f"{where}: no answer within {self._deadline:g} s") from None
        if done.returncode != 0:
            said = (done.stderr.strip().splitlines() or ["it said nothing"])[-1]
            raise KafkaError(f"{where}: {said}")
        try:
            return msgspec.json.decode(done.stdout, type=kind)
        except msgspec.DecodeError as failure:
            raise KafkaError(f"{where}: unreadable answer: {failure}") from failure
