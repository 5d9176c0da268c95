"""One kept connection on which lists are read and a watch is heard, on asyncio.

HTTP/1.1 (RFC 9112) as an API server speaks it to a client that asks for no compression. A body
comes in pieces as they arrive: an event of a watch is handed on before the next one is sent.
"""

from __future__ import annotations

import asyncio
import socket
import ssl
from collections.abc import AsyncGenerator
from contextlib import suppress
from dataclasses import dataclass

from onehop.adapters.kube import http
from onehop.adapters.kube.credentials import KubeConfigError
from onehop.adapters.kube.kubeconfig import Access
from onehop.model.address import host_port

_PIECE = 1 << 18
# Seconds of silence before the peer is probed, between two probes, and how many go unanswered.
KEEPALIVE = (10, 5, 2)


class LostError(Exception):
    """There was no connection, or it broke before the answer was whole."""


class QuietError(LostError):
    """Nothing came for longer than the server is ever silent."""


class Body:
    """Takes a body out of the stream: of a length, chunked (RFC 9112 7.1), or to the end."""

    def __init__(self, head: bytes) -> None:
        length = http.length_of(head)
        self._chunked = http.is_chunked(head)
        self._left = length if length and not self._chunked else 0
        self._buffer = bytearray()
        self.endless = length is None and not self._chunked
        self.done = length is not None and not self._chunked and not self._left
        self._after_data = False

    def feed(self, data: bytes) -> bytes:
        """What the next octets of the stream add to the body.

        Raises:
            LostError: when they are no chunks.
        """
        if self.endless:
            return data
        if not self._chunked:
            taken = data[: self._left]
            self._left -= len(taken)
            self.done = not self._left
            return taken
        self._buffer += data
        return self._dechunked()

    def _dechunked(self) -> bytes:
        parts, at, buffer = [], 0, self._buffer
        while not self.done:
            if self._left:
                part = bytes(buffer[at : at + self._left])
                if not part:
                    break
                parts.append(part)
                at += len(part)
                self._left -= len(part)
                self._after_data = not self._left
                continue
            end = buffer.find(b"\r\n", at)
            if end < 0:
                break
            self._line(bytes(buffer[at:end]))
            at = end + 2
        del buffer[:at]
        return parts[0] if len(parts) == 1 else b"".join(parts)

    def _line(self, line: bytes) -> None:
        if self._after_data:
            if line:
                raise LostError("a chunk is longer than it says")
            self._after_data = False
            return
        try:
            self._left = int(line.split(b";")[0], 16)
        except ValueError:
            raise LostError("a chunk has no size") from None
        if self._left < 0:
            raise LostError("a chunk has no size")
        # The API server sends no trailers, so the empty line that follows ends the body.
        self.done = not self._left


@dataclass(frozen=True, slots=True, kw_only=True)
class Answer:
    """The head of an answer; `retry_after` seconds when the server named a span."""

    status: int
    retry_after: float | None
    head: bytes


class Channel:
    """Connects when it is asked something, and keeps the connection while answers end well.

    A peer that vanished is noticed by its silence to probes, with no byte of ours under way. While
    none is there, many short tries to connect notice its return sooner than one long one, whose
    own tries the kernel makes ever more seldom.
    """

    def __init__(
        self,
        access: Access,
        *,
        answer_seconds: float = 30.0,
        connect_seconds: float = 5.0,
        keepalive: tuple[int, int, int] = KEEPALIVE,
    ) -> None:
        self._access = access
        self._patience = answer_seconds
        self._connect_patience = connect_seconds
        self._options = _options(*keepalive)
        self._reader: asyncio.StreamReader | None = None
        self._writer: asyncio.StreamWriter | None = None
        self._rest = b""
        self.connects = 0  # how often it had to connect: the server may be another one since
        self._host = host_port(access.host, access.port)

    async def ask(self, path: str, accept: str = "application/json") -> Answer:
        """Send a GET and read the head of the answer; after a 401 also with newer credentials.

        Raises:
            LostError: when there is none in time.
        """
        try:
            authorization = self._access.authorization()
            answer = await self._once(path, accept, authorization)
            if answer.status == 401 and self._access.renew(authorization):
                # A new connection, since a client certificate may be what was renewed.
                self.close()
                answer = await self._once(path, accept, self._access.authorization())
            return answer
        except KubeConfigError as error:
            raise LostError(str(error)) from error
        except TimeoutError:
            self.close()
            raise LostError(f"{self._host}: no answer in {self._patience:g} s") from None

    async def body(self, answer: Answer) -> bytes:
        """The whole body.

        Raises:
            LostError: when it breaks off.
        """
        pieces = [piece async for piece in self.pieces(answer, self._patience)]
        return b"".join(pieces)

    async def pieces(self, answer: Answer, patience: float) -> AsyncGenerator[bytes, None]:
        """The body as it comes. Whoever does not read it to its end has to close the generator.

        Raises:
            LostError: when it breaks off.
            QuietError: when nothing came for as long as `patience`.
        """
        body = Body(answer.head)
        data, self._rest = self._rest, b""
        try:
            while True:
                piece = body.feed(data) if data else b""
                if piece:
                    yield piece
                if body.done:
                    break
                data = await self._more(patience)
                if not data and body.endless:
                    break
                if not data:
                    raise LostError("the server closed the connection")
        except BaseException:
            self.close()
            raise
        if body.endless or http.is_last(answer.head):
            self.close()

    def close(self) -> None:
        """Let go of the connection; the next question makes another."""
        if self._writer is not None:
            with suppress(OSError):
                self._writer.transport.abort()
        self._reader = self._writer = None
        self._rest = b""

    async def _more(self, patience: float) -> bytes:
        assert self._reader is not None, "an answer is read where a question was asked"
        try:
            async with asyncio.timeout(patience):
                return await self._reader.read(_PIECE)
        except TimeoutError:
            raise QuietError(f"{self._host}: silent for {patience:g} s") from None
        except OSError as error:
            raise LostError(f"{self._host}: {http.why(error)}") from None

    async def _once(self, path: str, accept: str, authorization: str) -> Answer:
        was_kept = self._writer is not None
        try:
            return await self._exchange(path, accept, authorization)
        except LostError:
            # A kept connection may have been closed by the server while nothing was asked.
            if not was_kept:
                raise
        return await self._exchange(path, accept, authorization)

    async def _exchange(self, path: str, accept: str, authorization: str) -> Answer:
        try:
            async with asyncio.timeout(self._patience):
                if self._writer is None:
                    await self._connect()
                assert self._writer is not None, "connected above"
                self._writer.write(self._text(path, accept, authorization))
                head = await self._head()
            status = http.status_of(head)
        except LostError:
            self.close()
            raise
        except (OSError, ssl.SSLError) as error:
            self.close()
            if isinstance(error, TimeoutError):
                raise
            raise LostError(f"{self._host}: {http.why(error)}") from None
        except ValueError:
            self.close()
            raise LostError(f"{self._host}: the answer is not HTTP") from None
        return Answer(status=status, retry_after=http.retry_after(head), head=head)

    async def _connect(self) -> None:
        access = self._access
        try:
            async with asyncio.timeout(self._connect_patience):
                self._reader, self._writer = await asyncio.open_connection(
                    access.host,
                    access.port,
                    limit=_PIECE,
                    ssl=access.tls,
                    server_hostname=access.server_name if access.tls else None,
                )
        except TimeoutError:
            why = f"no connection in {self._connect_patience:g} s"
            raise LostError(f"{self._host}: {why}") from None
        self.connects += 1
        own = self._writer.get_extra_info("socket")
        for level, option, value in self._options:
            own.setsockopt(level, option, value)

    async def _head(self) -> bytes:
        assert self._reader is not None, "connected before"
        data = bytearray(self._rest)
        while True:
            end = data.find(b"\r\n\r\n")
            if end >= 0 and http.is_interim(data):  # an interim answer
                del data[: end + 4]
            elif end >= 0:
                self._rest = bytes(data[end + 4 :])
                return bytes(data[: end + 2])
            elif len(data) > http.HEAD_LIMIT:
                raise LostError(f"{self._host}: an endless head")
            else:
                more = await self._reader.read(_PIECE)
                if not more:
                    raise LostError(f"{self._host}: the server closed the connection")
                data += more

    def _text(self, path: str, accept: str, authorization: str) -> bytes:
        head = http.head_of_request(
            self._access, self._host, "GET", path, accept=accept, authorization=authorization
        )
        return f"{head}\r\n".encode()


def _options(idle: int, interval: int, count: int) -> tuple[tuple[int, int, int], ...]:
    """Options of a socket whose peer is given up after `count` probes without an answer."""
    return (
        (socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1),
        (socket.IPPROTO_TCP, socket.TCP_KEEPIDLE, idle),
        (socket.IPPROTO_TCP, socket.TCP_KEEPINTVL, interval),
        (socket.IPPROTO_TCP, socket.TCP_KEEPCNT, count),
        (socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, 1000 * (idle + interval * count)),
        (socket.IPPROTO_TCP, socket.TCP_NODELAY, 1),
    )
