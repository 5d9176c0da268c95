"""The forwarder carries bytes and ends of streams both ways, and outlives those that break."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import pytest

from onehop.lab import kube_forward

SIZE = 3_000_000


class Far:
    """A server that answers with what it was sent, once the sender has ended."""

    def __init__(self) -> None:
        self.listener = socket.create_server(("127.0.0.1", 0))
        self.port: int = self.listener.getsockname()[1]
        self._thread = threading.Thread(target=self._serve, daemon=True)
        self._thread.start()

    def _serve(self) -> None:
        while True:
            try:
                connection, _ = self.listener.accept()
            except OSError:
                return
            with connection:
                connection.sendall(everything(connection))

    def close(self) -> None:
        """End it; twice is fine."""
        with suppress(OSError):
            self.listener.shutdown(socket.SHUT_RDWR)
        self.listener.close()
        self._thread.join(5)


def everything(connection: socket.socket) -> bytes:
    parts = []
    while part := connection.recv(1 << 16):
        parts.append(part)
    return b"".join(parts)


@pytest.fixture
def far() -> Iterator[Far]:
    made = Far()
    yield made
    made.close()


@pytest.fixture
def near(far: Far) -> Iterator[int]:
    """The port at which the forwarder takes connections."""
    reader, writer = os.pipe()
    with socket.create_server(("127.0.0.1", 0)) as listener:
        argv = [sys.executable, "-IS", str(Path(kube_forward.__file__))]
        argv += ["--fd", str(listener.fileno()), "--host", "127.0.0.1"]
        argv += ["--port", str(far.port), "--ready-fd", str(writer)]
        child = subprocess.Popen(argv, pass_fds=[listener.fileno(), writer])
        port = listener.getsockname()[1]
    os.close(writer)
    try:
        assert os.read(reader, 1) == b"1"
        yield port
        assert child.poll() is None
    finally:
        os.close(reader)
        child.terminate()
        assert child.wait(5) == 0


def test_all_that_is_said_arrives_both_ways(near: int) -> None:
    said = os.urandom(SIZE)
    with socket.create_connection(("127.0.0.1", near), timeout=10) as connection:
        connection.sendall(said)
        connection.shutdown(socket.SHUT_WR)
        assert everything(connection) == said


def test_a_client_that_breaks_off_ends_nobody_else(near: int) -> None:
    for _ in range(3):
        broken = socket.create_connection(("127.0.0.1", near), timeout=10)
        broken.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
        broken.sendall(b"half a sen")
        broken.close()
    test_all_that_is_said_arrives_both_ways(near)


def test_a_far_end_that_is_away_closes_the_connection(far: Far, near: int) -> None:
    far.close()
    with socket.create_connection(("127.0.0.1", near), timeout=10) as connection:
        assert connection.recv(1) == b""
