"""The kernel table of the bench's router: told as it changes, and asked."""

from __future__ import annotations

import os
import socket
import struct
import time
from collections.abc import Iterator

from bench.network import Network
from onehop.lab import namespace

QUIET = 0.008
WITHIN = 30.0
RTM_NEWROUTE, RTM_DELROUTE, RTM_GETROUTE, IPV4_ROUTES = 24, 25, 26, 0x40
RTA_DST, RTA_GATEWAY, RTA_MULTIPATH = 1, 5, 9
PROTO_BIRD = 12
SO_RCVBUFFORCE = 33


class Fib:
    """The router's kernel table: told as it changes, and asked."""

    def __init__(self, net: Network) -> None:
        with namespace.entered(net.path("router")):
            self._events = socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, 0)
            self._ask = socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, 0)
            self._statistics = os.open("/proc/thread-self/net/fib_triestat", os.O_RDONLY)
        self._events.setsockopt(socket.SOL_SOCKET, SO_RCVBUFFORCE, 1 << 25)
        self._events.bind((0, IPV4_ROUTES))
        self._ask.bind((0, 0))
        self._base = self._prefixes()

    def close(self) -> None:
        """Ask and hear no more."""
        self._events.close()
        self._ask.close()
        os.close(self._statistics)

    def forget(self) -> None:
        """Drop what has been told so far."""
        self._events.setblocking(False)
        while True:
            try:
                self._events.recv(1 << 16)
            except BlockingIOError:
                return
            except OSError:
                continue  # more was said than the buffer holds

    def until(self, wanted: dict[str, int]) -> float:
        """When the last of these prefixes came to have so many next hops, and then kept them.

        What the kernel says is only read once it is silent: the speakers need the processors.
        """
        state: dict[str, int] = {}
        at = 0.0
        end = time.monotonic() + WITHIN
        while time.monotonic() < end:
            for heard_at, message in self._heard():
                for kind, prefix, hops in _routes(message):
                    if prefix in wanted:
                        state[prefix] = 0 if kind == RTM_DELROUTE else hops
                        at = heard_at
            if all(state.get(prefix) == hops for prefix, hops in wanted.items()):
                return at
        raise RuntimeError(f"the router's kernel had {state}, not {wanted}")

    def _heard(self) -> list[tuple[float, bytes]]:
        """Messages with their times, until none has come for a while."""
        heard: list[tuple[float, bytes]] = []
        while True:
            self._events.settimeout(QUIET if heard else WITHIN)
            try:
                message = self._events.recv(1 << 16)
            except TimeoutError:
                return heard
            heard.append((time.monotonic(), message))

    def count(self, hops: int) -> int:
        """How many of BIRD's routes have this many next hops."""
        request = struct.pack("=IHHII", 28, RTM_GETROUTE, 0x301, 1, 0) + struct.pack(
            "=BBBBBBBBI", socket.AF_INET, 0, 0, 0, 0, 0, 0, 0, 0
        )
        self._ask.send(request)
        found = 0
        while True:
            message = self._ask.recv(1 << 18)
            at = 0
            while at < len(message):
                length, kind = struct.unpack_from("=IH", message, at)
                if kind != RTM_NEWROUTE:
                    return found
                if message[at + 21] == PROTO_BIRD:
                    found += _hops(message, at, length) == hops
                at += (length + 3) & ~3

    def until_count(self, prefixes: int, hops: int) -> float:
        """When this many routes had this many next hops; 0 hops: when there were none."""
        end = time.monotonic() + WITHIN
        while time.monotonic() < end:
            if self._prefixes() - self._base == prefixes:
                at = time.monotonic()
                if hops == 0 or self.count(hops) == prefixes:
                    return at
            time.sleep(0.002)
        have = self._prefixes() - self._base
        raise RuntimeError(f"the router's kernel has {have} routes, not {prefixes} by {hops}")

    def _prefixes(self) -> int:
        # Without rules of their own the main and the local table are one, told twice.
        text = os.pread(self._statistics, 1 << 14, 0).decode()
        return next(int(x.split()[-1]) for x in text.splitlines() if "\tPrefixes:" in x)


def _routes(message: bytes) -> Iterator[tuple[int, str, int]]:
    """Kind, prefix and number of next hops of every route in a message of the kernel."""
    at = 0
    while at + 16 <= len(message):
        length, kind = struct.unpack_from("=IH", message, at)
        if kind in (RTM_NEWROUTE, RTM_DELROUTE):
            attributes = dict(_attributes(message, at + 28, at + length))
            if len(attributes.get(RTA_DST, b"")) == 4:
                prefix = socket.inet_ntoa(attributes[RTA_DST])
                yield kind, prefix, _hops(message, at, length)
        at += (length + 3) & ~3


def _attributes(message: bytes, at: int, end: int) -> Iterator[tuple[int, bytes]]:
    while at + 4 <= end:
        length, kind = struct.unpack_from("=HH", message, at)
        yield kind, message[at + 4 : at + length]
        at += (length + 3) & ~3


def _hops(message: bytes, at: int, length: int) -> int:
    attributes = dict(_attributes(message, at + 28, at + length))
    several = attributes.get(RTA_MULTIPATH)
    if several is None:
        return int(RTA_GATEWAY in attributes)
    hops = place = 0
    while place + 8 <= len(several):
        place += (struct.unpack_from("=H", several, place)[0] + 3) & ~3
        hops += 1
    return hops
