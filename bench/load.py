"""Load, and the server that answers it: tight loops over blocking sockets.

It runs as a file of its own with `python -IS`, one process a role, so that each can be pinned:

    load.py tcp-server PORT            answers 64-byte requests, one connection after the other
    load.py udp-sink PORT              reads datagrams as fast as they come
    load.py tcp-sink PORT              reads streams, one connection after the other
    load.py rr|crr|udp|up|down ADDRESS PORT SECONDS
                                       prints the count (bytes for up and down) and the seconds

Bulk is sent as a broker sends it, by sendfile, and read without a copy: to copy costs more than
any path does, and would hide what they differ in.
"""

import contextlib
import os
import socket
import sys
import time

SIZE = 64
CHUNK = 1 << 17
PATIENCE = 10_000  # looks at an empty queue, some milliseconds, before a sink sleeps
CUBIC = b"cubic"  # a namespace may default to BBR, whose pacing is not what is measured here


def tune(sock: socket.socket) -> None:
    """No delay, and the same congestion control everywhere."""
    sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_CONGESTION, CUBIC)


def ready() -> None:
    """Tell the parent that the socket listens."""
    print("ready", flush=True)


def tcp_server(port: int) -> None:
    """Answer each request with itself until the client closes; then the next connection."""
    listener = socket.socket()
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    tune(listener)
    listener.bind(("0.0.0.0", port))
    listener.listen(1024)
    ready()
    accept, read, write, close = listener._accept, os.read, os.write, os.close  # type: ignore[attr-defined]
    while True:
        # The raw descriptor: a socket object for each connection would be measured with it.
        connection, _ = accept()
        try:
            while request := read(connection, SIZE):
                write(connection, request)
        except ConnectionError:
            pass
        close(connection)


def udp_sink(port: int) -> None:
    """Read and forget; the kernel counts."""
    sock = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1 << 22)
    sock.bind(("0.0.0.0", port))
    ready()
    receive, buffer, at_once = sock.recv_into, bytearray(2048), socket.MSG_DONTWAIT
    while True:
        receive(buffer)
        # While datagrams flow it never sleeps: to wake it would cost the sender more than the
        # path does, and at random.
        for _ in range(PATIENCE):
            with contextlib.suppress(BlockingIOError):
                while True:
                    receive(buffer, 0, at_once)


def tcp_source_or_sink(port: int) -> None:
    """Read a stream to its end; one that begins with `>` is answered with data until it closes."""
    listener = socket.socket()
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    tune(listener)
    listener.bind(("0.0.0.0", port))
    listener.listen(16)
    ready()
    buffer, data = bytearray(1 << 20), bytes(CHUNK)
    while True:
        connection, _ = listener.accept()
        with contextlib.suppress(ConnectionError), connection:
            if connection.recv(1) == b">":
                while True:
                    connection.send(data)
            while connection.recv_into(buffer, 0, socket.MSG_TRUNC):  # taken, never copied
                pass


def request_response(where: tuple[str, int], seconds: float) -> tuple[int, float]:
    """Requests of 64 bytes on one connection, one at a time."""
    sock = socket.create_connection(where, timeout=5)
    sock.settimeout(None)
    tune(sock)
    # By descriptor: two system calls and little else. The clock is read once in a while.
    read, write, descriptor, clock = os.read, os.write, sock.fileno(), time.perf_counter_ns
    message, done = b"x" * SIZE, 0
    start = now = clock()
    end = start + int(seconds * 1e9)
    while now < end:
        for _ in range(64):
            write(descriptor, message)
            read(descriptor, SIZE)
        done += 64
        now = clock()
    sock.close()
    return done, (now - start) / 1e9


def connect_rate(where: tuple[str, int], seconds: float) -> tuple[int, float]:
    """Connect, one request, its answer, close; the client closes first and keeps TIME_WAIT."""
    clock, new = time.perf_counter_ns, socket.socket
    message, done = b"x" * SIZE, 0
    start = now = clock()
    end = start + int(seconds * 1e9)
    while now < end:
        sock = new()
        sock.connect(where)
        sock.send(message)
        sock.recv(SIZE)
        sock.close()
        done += 1
        now = clock()
    return done, (now - start) / 1e9


def udp_flood(where: tuple[str, int], seconds: float) -> tuple[int, float]:
    """Datagrams of 64 bytes, as fast as one sender can."""
    sock = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    sock.connect(where)
    send, clock, message, sent = sock.send, time.perf_counter_ns, b"x" * SIZE, 0
    start = now = clock()
    end = start + int(seconds * 1e9)
    while now < end:
        for _ in range(64):
            send(message)
        sent += 64
        now = clock()
    return sent, (now - start) / 1e9


def stream_up(where: tuple[str, int], seconds: float) -> tuple[int, float]:
    """Bytes sent and read: the clock stops when the server, at the end of it, has closed."""
    sock = socket.create_connection(where, timeout=5)
    sock.settimeout(None)
    tune(sock)
    pages = os.memfd_create("data")
    os.write(pages, bytes(CHUNK))
    to, send, clock, sent = sock.fileno(), os.sendfile, time.perf_counter_ns, 1
    sock.send(b"<")
    start = clock()
    end = start + int(seconds * 1e9)
    while clock() < end:
        sent += send(to, pages, 0, CHUNK)
    sock.shutdown(socket.SHUT_WR)
    sock.recv(1)
    return sent, (clock() - start) / 1e9


def stream_down(where: tuple[str, int], seconds: float) -> tuple[int, float]:
    """Bytes read from a server that sends without end."""
    sock = socket.create_connection(where, timeout=5)
    sock.settimeout(None)
    tune(sock)
    sock.send(b">")
    receive, clock, buffer, got = sock.recv_into, time.perf_counter_ns, bytearray(1 << 20), 0
    start = now = clock()
    end = start + int(seconds * 1e9)
    while now < end:
        got += receive(buffer)
        now = clock()
    sock.close()
    return got, (now - start) / 1e9


SERVERS = {"tcp-server": tcp_server, "tcp-sink": tcp_source_or_sink, "udp-sink": udp_sink}
CLIENTS = {
    "rr": request_response,
    "crr": connect_rate,
    "udp": udp_flood,
    "up": stream_up,
    "down": stream_down,
}


def main(words: list[str]) -> None:
    """Play the role that the words name."""
    role = words[0]
    if role in SERVERS:
        SERVERS[role](int(words[1]))
    else:
        count, took = CLIENTS[role]((words[1], int(words[2])), float(words[3]))
        print(count, took)


if __name__ == "__main__":
    main(sys.argv[1:])
