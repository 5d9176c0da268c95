"""Connects and questions at an even rate through an address, and the pod that answers them.

It runs as a file of its own with `python -IS`, one process a role:

    traffic.py serve PORT NAME         answers each TCP connection with its name, each datagram
                                       with itself
    traffic.py ask ADDRESS PORT CONNECT_MS DATAGRAM_MS
                                       until its input ends; then prints what came of it as JSON

A connect begins every CONNECT_MS and a datagram is sent every DATAGRAM_MS, 0 for never. What was
not answered after LIMIT is lost, though it may be answered later. A connection may be made and not
answered.
"""

import contextlib
import json
import select
import socket
import sys
import time
from collections.abc import Callable

LIMIT = 0.3
SOCKETS = 64  # datagrams as so many flows


def serve(port: int, name: bytes) -> None:
    """Answer for ever.

    The client closes first and keeps TIME_WAIT: a pod sees the same client and port through
    different addresses, and would meet the one in the remains of the other.
    """
    listener, datagrams = socket.socket(), socket.socket(type=socket.SOCK_DGRAM)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    listener.bind(("0.0.0.0", port))
    listener.listen(1024)
    datagrams.bind(("0.0.0.0", port))
    poll = select.epoll()
    for sock in (listener, datagrams):
        poll.register(sock.fileno(), select.EPOLLIN)
    connections: dict[int, socket.socket] = {}
    print("ready", flush=True)
    while True:
        for number, _ in poll.poll():
            if number == datagrams.fileno():
                datagrams.sendto(*datagrams.recvfrom(64))
            elif number == listener.fileno():
                connection, _ = listener.accept()
                with contextlib.suppress(ConnectionError):
                    connection.send(name)
                connections[connection.fileno()] = connection
                poll.register(connection.fileno(), select.EPOLLIN)
            else:
                connections.pop(number).close()


class Connects:
    """Connects under way, and those that have ended: `[start, seconds, is made, who]`."""

    def __init__(self, where: tuple[str, int], poll: select.epoll) -> None:
        self._where, self._poll = where, poll
        self._open: dict[int, tuple[socket.socket, float]] = {}
        self._made: set[int] = set()
        self.ended: list[tuple[float, float, bool, str]] = []

    def begin(self) -> None:
        """One more."""
        sock = socket.socket()
        sock.setblocking(False)
        start = time.time()
        with contextlib.suppress(OSError):
            sock.connect(self._where)
        self._open[sock.fileno()] = (sock, start)
        self._poll.register(sock.fileno(), select.EPOLLIN | select.EPOLLOUT)

    def heard(self, number: int, events: int) -> bool:
        """Take what came on a descriptor, if it is one of ours."""
        if number not in self._open:
            return False
        if events & select.EPOLLOUT and not events & select.EPOLLERR:
            self._made.add(number)
            self._poll.modify(number, select.EPOLLIN)
        if events & ~select.EPOLLOUT:
            self._ended(number)
        return True

    def give_up(self) -> None:
        """Let go of what is over the limit."""
        for number, (_, start) in list(self._open.items()):
            if time.time() - start < LIMIT:
                break  # those that follow began later
            self._ended(number)

    def _ended(self, number: int) -> None:
        sock, start = self._open.pop(number)
        is_made, name = number in self._made, b""
        self._made.discard(number)
        with contextlib.suppress(OSError), sock:
            name = sock.recv(64)
        self.ended.append((start, time.time() - start, is_made or bool(name), name.decode()))


class Datagrams:
    """Datagrams, each with a number of its own."""

    def __init__(self, where: tuple[str, int], poll: select.epoll) -> None:
        self._socks: dict[int, socket.socket] = {}
        for _ in range(SOCKETS):
            sock = socket.socket(type=socket.SOCK_DGRAM)
            sock.connect(where)
            sock.setblocking(False)
            poll.register(sock.fileno(), select.EPOLLIN)
            self._socks[sock.fileno()] = sock
        self._turn = list(self._socks.values())
        self._waiting: dict[int, float] = {}
        self.asked = 0
        self.lost: list[float] = []

    def begin(self) -> None:
        """One more."""
        self._waiting[self.asked] = time.time()
        with contextlib.suppress(OSError):
            self._turn[self.asked % SOCKETS].send(self.asked.to_bytes(8, "big"))
        self.asked += 1

    def heard(self, number: int) -> None:
        """Take the answer on a descriptor."""
        with contextlib.suppress(OSError):
            self._waiting.pop(int.from_bytes(self._socks[number].recv(64), "big"), None)

    def give_up(self) -> None:
        """Count as lost what is over the limit."""
        for number, start in list(self._waiting.items()):
            if time.time() - start < LIMIT:
                break
            del self._waiting[number]
            self.lost.append(start)


class Turn:
    """When the next one of a kind begins."""

    def __init__(self, begin: Callable[[], None], every: float) -> None:
        self._begin, self._every = begin, every
        self.due = time.time()

    def take(self) -> None:
        """Begin one if it is time."""
        if self.due <= time.time():
            self._begin()
            self.due += self._every


def ask(where: tuple[str, int], connect: float, datagram: float) -> None:
    """Connect and ask until the input ends, and wait for the last answers after that."""
    poll = select.epoll()
    connects, datagrams = Connects(where, poll), Datagrams(where, poll)
    kinds = ((connects.begin, connect), (datagrams.begin, datagram))
    turns = [Turn(begin, every) for begin, every in kinds if every]
    poll.register(sys.stdin.fileno(), select.EPOLLIN | select.EPOLLHUP)
    print("ready", flush=True)
    end = 0.0
    while not end or time.time() < end:
        for turn in turns:
            turn.take()
        wait = min(turn.due for turn in turns) - time.time() if turns else LIMIT / 10
        for number, events in poll.poll(max(0.0, wait)):
            if number == sys.stdin.fileno():
                poll.unregister(number)
                turns, end = [], time.time() + LIMIT
            elif not connects.heard(number, events):
                datagrams.heard(number)
        connects.give_up()
        datagrams.give_up()
    found = {"connects": connects.ended, "asked": datagrams.asked, "lost": datagrams.lost}
    print(json.dumps(found))


def main(words: list[str]) -> None:
    """Play the role that the words name."""
    if words[0] == "serve":
        serve(int(words[1]), words[2].encode())
    else:
        ask((words[1], int(words[2])), float(words[3]) / 1000, float(words[4]) / 1000)


if __name__ == "__main__":
    main(sys.argv[1:])
