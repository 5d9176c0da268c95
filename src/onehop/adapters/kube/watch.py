"""One kept connection on which lists are read and a watch is heard, on asyncio.

HTTP/1.1 (RFC 9112) as an API server speaks it to a client that asks for no compression. A body
comes in pieces as they arrive: an event of a watch is handed on before the next one is sent.
"""

from __future__ import annotations

import asyncio
import socket
import ssl
from collections.abc import Callable
from dataclasses import dataclass
from typing import ParamSpec, TypeVar

from onehop.adapters.kube import http
from onehop.adapters.kube.credentials import KubeConfigError
from onehop.adapters.kube.kubeconfig import Access
from onehop.adapters.kube.stream import EndError, Stream, connect
from onehop.model.address import host_port

P = ParamSpec("P")
T = TypeVar("T")
# Seconds of silence before the peer is probed, between two probes, and how many go unanswered.
KEEPALIVE = (10, 5, 2)


class LostError(EndError):
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
        self._stream: Stream | None = None
        self._rest = b""
        self.connects = 0  # how often it had to connect: the server may be another one since
        self._host = host_port(access.host, access.port)

    async def ask(self, path: str, accept: str = "application/json") -> Answer:
        """Send a GET and read the head of the answer; after a 401 also with newer credentials.

        Raises:
            LostError: when there is none in time.
        """
        try:
            authorization = await self._shown(self._access.authorization)
            answer = await self._once(path, accept, authorization)
            if answer.status == 401 and await self._shown(self._access.renew, authorization):
                # A new connection, since a client certificate may be what was renewed.
                self.close()
                authorization = await self._shown(self._access.authorization)
                answer = await self._once(path, accept, authorization)
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
        pieces: list[bytes] = []
        await self.attend(answer, self._patience, pieces.append)
        return b"".join(pieces)

    async def attend(
        self, answer: Answer, patience: float, hear: Callable[[bytes], object]
    ) -> None:
        """Hand on the body as it comes, to its end; `hear` is called by the loop itself.

        What it raises ends the connection and is raised here.

        Raises:
            LostError: when it breaks off.
            QuietError: when nothing came for as long as `patience`.
        """
        body = Body(answer.head)

        def take(data: bytes) -> bool:
            piece = body.feed(data)
            if piece:
                hear(piece)
            return body.done

        try:
            whole = body.done or await self._hear(take, patience)
            if not whole and not body.endless:
                raise LostError("the server closed the connection")
        except TimeoutError:
            self.close()
            raise QuietError(f"{self._host}: silent for {patience:g} s") from None
        except OSError as error:
            self.close()
            raise LostError(f"{self._host}: {http.why(error)}") from None
        except BaseException:
            self.close()
            raise
        if body.endless or http.is_last(answer.head):
            self.close()

    def close(self) -> None:
        """Let go of the connection; the next question makes another."""
        if self._stream is not None:
            self._stream.close()
        self._stream = None
        self._rest = b""

    async def _shown(self, ask: Callable[P, T], *args: P.args, **more: P.kwargs) -> T:
        """What credentials answer, in a thread where that may take seconds."""
        if self._access.credentials.is_slow:
            return await asyncio.to_thread(ask, *args, **more)
        return ask(*args, **more)

    async def _hear(self, take: Callable[[bytes], bool], patience: float) -> bool:
        """Hand on what came already, and then what comes."""
        assert self._stream is not None, "an answer is read where a question was asked"
        rest, self._rest = self._rest, b""
        if rest and take(rest):
            return True
        return await self._stream.hear(take, patience)

    async def _once(self, path: str, accept: str, authorization: str) -> Answer:
        was_kept = self._stream is not None
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
                self._stream = self._stream or await self._connect()
                await self._stream.send(self._text(path, accept, authorization))
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

    async def _connect(self) -> Stream:
        try:
            async with asyncio.timeout(self._connect_patience):
                made = await connect(self._access, self._options)
        except TimeoutError:
            why = f"no connection in {self._connect_patience:g} s"
            raise LostError(f"{self._host}: {why}") from None
        self.connects += 1
        return made

    async def _head(self) -> bytes:
        data = bytearray()
        head = b""

        def take(more: bytes) -> bool:
            nonlocal head
            data.extend(more)
            while (end := data.find(b"\r\n\r\n")) >= 0:
                head = bytes(data[: end + 2])
                del data[: end + 4]
                if not http.is_interim(head):
                    self._rest = bytes(data)
                    return True
            if len(data) > http.HEAD_LIMIT:
                raise LostError(f"{self._host}: an endless head")
            return False

        if not await self._hear(take, self._patience):
            raise LostError(f"{self._host}: the server closed the connection")
        return head

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
