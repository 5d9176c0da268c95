"""One TCP connection, with TLS or without, whose octets are handed on by the event loop itself.

What arrives is given to a function in the very callback that the loop makes for a readable
socket: no task has to be woken and no copy is made, so that an event of a watch is acted on a few
hundred microseconds sooner than asyncio's own streams and their TLS in Python allow.
"""

from __future__ import annotations

import asyncio
import socket
import ssl
from collections.abc import Callable
from contextlib import suppress
from ipaddress import ip_address

from onehop.adapters.kube.kubeconfig import Access

# More than a record of TLS holds (RFC 8446 5.1): what is left of one after a read would wait where
# the kernel does not know of it.
_PIECE = 1 << 16
_AT_ONCE = 16  # pieces that are read before others on the loop have their turn
_WANTS = (BlockingIOError, ssl.SSLWantReadError, ssl.SSLWantWriteError)

Taker = Callable[[bytes], bool]


class EndError(Exception):
    """What a taker raises to end the hearing."""


class Stream:
    """A connection that one task at a time sends on and hears from."""

    def __init__(self, made: socket.socket) -> None:
        self._socket = made
        self._loop = asyncio.get_running_loop()
        self._taker: Taker | None = None
        self._done: asyncio.Future[bool] | None = None
        self._heard_at = 0.0
        self._timer: asyncio.TimerHandle | None = None

    async def send(self, data: bytes) -> None:
        """Send all of it.

        Raises:
            OSError: when the connection is broken.
        """
        while data:
            try:
                data = data[self._socket.send(data) :]
            except _WANTS as want:
                await _ready(self._loop, self._socket, want)

    async def hear(self, take: Taker, patience: float) -> bool:
        """Hand on what comes until `take` says that it has enough; False: the peer closed first.

        What `take` raises ends the hearing and is raised here.

        Raises:
            TimeoutError: when nothing came for `patience` seconds.
            OSError: when the connection broke.
        """
        self._taker = take
        done: asyncio.Future[bool] = self._loop.create_future()
        self._done = done
        self._heard_at = self._loop.time()
        self._timer = self._loop.call_later(patience, self._look, patience)
        self._loop.add_reader(self._socket.fileno(), self._readable)
        try:
            return await done
        finally:
            self._timer.cancel()
            self._taker = self._done = None
            if self._socket.fileno() >= 0:
                self._loop.remove_reader(self._socket.fileno())

    def close(self) -> None:
        """Let go of the connection."""
        if self._socket.fileno() >= 0:
            self._loop.remove_reader(self._socket.fileno())
        with suppress(OSError):
            self._socket.close()

    def _readable(self) -> None:
        done, take = self._done, self._taker
        if done is None or take is None or done.done():
            return
        try:
            for _ in range(_AT_ONCE):
                data = self._socket.recv(_PIECE)
                self._heard_at = self._loop.time()
                if not data or take(data):
                    done.set_result(bool(data))
                    return
        except _WANTS:
            return
        except (EndError, OSError) as error:
            done.set_exception(error)
        except BaseException as error:
            done.set_exception(error)
            raise

    def _look(self, patience: float) -> None:
        """Whether anything came since the timer was set."""
        done = self._done
        if done is None or done.done():
            return
        left = self._heard_at + patience - self._loop.time()
        if left > 0:
            self._timer = self._loop.call_later(left, self._look, patience)
        else:
            done.set_exception(TimeoutError())


async def connect(access: Access, options: tuple[tuple[int, int, int], ...]) -> Stream:
    """Connect to an API server; the options are set on the socket.

    Raises:
        OSError: when nobody answers at any of its addresses, or TLS fails.
    """
    loop = asyncio.get_running_loop()
    failed: OSError = OSError("it has no address")
    for family, where in await _addresses(loop, access):
        made = socket.socket(family, socket.SOCK_STREAM | socket.SOCK_CLOEXEC)
        try:
            made.setblocking(False)
            for level, option, value in options:
                made.setsockopt(level, option, value)
            await loop.sock_connect(made, where)
            return Stream(made if access.tls is None else await _secured(loop, made, access))
        except OSError as error:
            made.close()
            failed = error
        except BaseException:
            made.close()
            raise
    raise failed


async def _addresses(
    loop: asyncio.AbstractEventLoop, access: Access
) -> list[tuple[socket.AddressFamily, tuple[object, ...]]]:
    """Where the server may be reached; an address needs no look-up, which would take a thread."""
    try:
        address = ip_address(access.host)
    except ValueError:
        found = await loop.getaddrinfo(access.host, access.port, type=socket.SOCK_STREAM)
        return [(family, where) for family, _, _, _, where in found]
    family = socket.AF_INET if address.version == 4 else socket.AF_INET6
    return [(family, (access.host, access.port))]


async def _secured(
    loop: asyncio.AbstractEventLoop, made: socket.socket, access: Access
) -> ssl.SSLSocket:
    assert access.tls is not None, "asked for by whoever has it"
    secured = access.tls.wrap_socket(
        made, server_hostname=access.server_name, do_handshake_on_connect=False
    )
    try:
        while True:
            try:
                secured.do_handshake()
                return secured
            except _WANTS as want:
                await _ready(loop, secured, want)
    except BaseException:
        secured.close()
        raise


async def _ready(loop: asyncio.AbstractEventLoop, made: socket.socket, want: OSError) -> None:
    """Wait until the socket can do what it could not do before."""
    is_reading = isinstance(want, ssl.SSLWantReadError)
    add, remove = (
        (loop.add_reader, loop.remove_reader)
        if is_reading
        else (loop.add_writer, loop.remove_writer)
    )
    ready = loop.create_future()
    number = made.fileno()
    add(number, lambda: None if ready.done() else ready.set_result(None))
    try:
        await ready
    finally:
        remove(number)
