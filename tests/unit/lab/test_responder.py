"""A responder says who answers and whom it sees, then echoes; TCP and UDP, both families."""

from __future__ import annotations

import os
import select
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from onehop.lab import responder

FAMILIES = [(socket.AF_INET, "127.0.0.1"), (socket.AF_INET6, "::1")]


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as probe:
        return int(probe.getsockname()[1])


@pytest.fixture
def port() -> Iterator[int]:
    number = free_port()
    reader, writer = os.pipe()
    argv = [sys.executable, "-IS", str(Path(responder.__file__)), "--name", "pod-0"]
    argv += ["--port", str(number), "--ready-fd", str(writer)]
    child = subprocess.Popen(argv, pass_fds=(writer,))
    os.close(writer)
    try:
        assert select.select([reader], [], [], 10)[0]
        assert os.read(reader, 1) == b"1"
        yield number
    finally:
        child.terminate()
        assert child.wait(timeout=10) == 0
        os.close(reader)


@pytest.mark.parametrize(("family", "address"), FAMILIES)
def test_tcp(port: int, family: socket.AddressFamily, address: str) -> None:
    with socket.socket(family, socket.SOCK_STREAM) as client:
        client.settimeout(10)
        client.connect((address, port))
        with client.makefile("rwb") as stream:
            line = stream.readline().decode().split()
            assert line == ["pod-0", address, str(client.getsockname()[1])]
            stream.write(b"x" * 70_000 + b"\n")
            stream.flush()
            assert len(stream.readline()) == 70_001


@pytest.mark.parametrize(("family", "address"), FAMILIES)
def test_udp(port: int, family: socket.AddressFamily, address: str) -> None:
    with socket.socket(family, socket.SOCK_DGRAM) as client:
        client.settimeout(10)
        client.connect((address, port))
        client.send(b"hello")
        own = client.getsockname()[1]
        assert client.recv(100) == f"pod-0 {address} {own}\nhello".encode()


def test_a_client_that_leaves_or_resets_harms_nobody(port: int) -> None:
    for linger in (False, True):
        gone = socket.create_connection(("127.0.0.1", port), timeout=10)
        if linger:
            gone.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
        gone.send(b"x")
        gone.close()
    with socket.create_connection(("127.0.0.1", port), timeout=10) as client:
        assert client.recv(5) == b"pod-0"
