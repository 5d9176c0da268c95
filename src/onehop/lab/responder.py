"""A small server that stands in a pod where no Kafka is wanted.

To a TCP client it says one line, `POD CLIENT_ADDRESS CLIENT_PORT`, and then echoes whatever it
is sent; a UDP datagram is answered with that line and the datagram. So a client learns which pod
answered and under which address the pod saw it. Standard library only, and nothing of onehop's:
it is run as a file, without site packages, because a lab starts one for each pod.

    python -IS responder.py --name POD --port N [--port N ...] [--ready-fd FD]
"""

from __future__ import annotations

import argparse
import os
import selectors
import signal
import socket
import sys
from collections.abc import Callable
from contextlib import suppress

_CHUNK = 65536
_BACKLOG = 1024


class Responder:
    """Answers on every port, TCP and UDP, in both families, from one thread."""

    def __init__(self, name: str, ports: list[int]) -> None:
        self._name = name
        self._selector = selectors.DefaultSelector()
        for port in ports:
            self._listen(port)

    def _listen(self, port: int) -> None:
        listener = _bound(socket.SOCK_STREAM, port)
        listener.listen(_BACKLOG)
        self._selector.register(listener, selectors.EVENT_READ, self._accept)
        datagrams = _bound(socket.SOCK_DGRAM, port)
        self._selector.register(datagrams, selectors.EVENT_READ, self._answer)

    def serve(self) -> None:
        """Answer for ever."""
        while True:
            for key, _ in self._selector.select():
                call: Callable[[socket.socket], None] = key.data
                call(key.fileobj)  # type: ignore[arg-type]

    def _banner(self, peer: tuple[str, int]) -> bytes:
        address = peer[0].removeprefix("::ffff:")
        return f"{self._name} {address} {peer[1]}\n".encode()

    def _accept(self, listener: socket.socket) -> None:
        try:
            connection, peer = listener.accept()
        except OSError:
            return  # the client has gone already
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        with suppress(OSError):
            connection.sendall(self._banner(peer))
        self._selector.register(connection, selectors.EVENT_READ, self._echo)

    def _echo(self, connection: socket.socket) -> None:
        try:
            data = connection.recv(_CHUNK)
            connection.sendall(data)
        except OSError:
            data = b""
        if not data:
            self._selector.unregister(connection)
            connection.close()

    def _answer(self, datagrams: socket.socket) -> None:
        with suppress(OSError):
            data, peer = datagrams.recvfrom(_CHUNK)
            datagrams.sendto(self._banner(peer) + data, peer)


def _bound(kind: socket.SocketKind, port: int) -> socket.socket:
    bound = socket.socket(socket.AF_INET6, kind)
    bound.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    bound.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 0)
    bound.bind(("::", port))
    return bound


def main(arguments: list[str]) -> None:
    """Run a responder until it is told to end."""
    parser = argparse.ArgumentParser(prog="responder")
    parser.add_argument("--name", required=True)
    parser.add_argument("--port", type=int, action="append", required=True)
    parser.add_argument("--ready-fd", type=int)
    options = parser.parse_args(arguments)
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
    responder = Responder(options.name, options.port)
    if options.ready_fd is not None:
        os.write(options.ready_fd, b"1")
        os.close(options.ready_fd)
    responder.serve()


if __name__ == "__main__":
    main(sys.argv[1:])
