"""One connection to an API server that is kept: a request goes out, its answer comes back.

HTTP/1.1 (RFC 9112), as much of it as an API server speaks to a client that asks for no encoding:
a body has a Content-Length or is chunked. One write carries the whole request, and the head of an
answer is looked at, not modelled, which takes a fifth of what the standard library's client takes.
"""

from __future__ import annotations

import socket
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from typing import NamedTuple

from onehop.adapters.kube import http
from onehop.adapters.kube.credentials import KubeConfigError
from onehop.adapters.kube.kubeconfig import Access
from onehop.model.address import host_port

_BODY_LIMIT = 1 << 24
# The kinds of patch (Kubernetes API concepts, "patch and apply").
APPLY_PATCH = "application/apply-patch+yaml"  # JSON is YAML
MERGE_PATCH = "application/merge-patch+json"
STRATEGIC_PATCH = "application/strategic-merge-patch+json"


class LostError(Exception):
    """The connection could not be made, or broke before the answer was whole.

    `was_sent`: the server may have done what was asked. `was_idle`: it had closed a kept
    connection before it saw the request, so that another try is safe. `status` is HTTP's when an
    answer came that has no lines, 0 otherwise.
    """

    def __init__(
        self, why: str, *, was_sent: bool, was_idle: bool = False, status: int = 0
    ) -> None:
        super().__init__(why)
        self.was_sent = was_sent
        self.was_idle = was_idle
        self.status = status


class Request(NamedTuple):
    """A request; `path` begins with a slash, `kind` is the media type of `body`."""

    method: str
    path: str
    body: bytes = b""
    kind: str = "application/json"
    accept: str = "application/json"


@dataclass(frozen=True, slots=True, kw_only=True)
class Answer:
    """An answer; `retry_after` seconds when the server named a span."""

    status: int
    body: bytes = b""
    retry_after: float | None = None


class Connection:
    """Made at the first request, and anew after it broke. It belongs to one thread."""

    def __init__(self, access: Access, *, timeout: float = 4.0) -> None:
        self._access = access
        self._timeout = timeout
        self._host = host_port(access.host, access.port)
        self._socket: socket.socket | None = None
        self._buffer = bytearray()
        self._authorization = ""
        self._used = False

    def exchange(self, request: Request) -> Answer:
        """Send a request and wait for the whole answer; a 401 is tried once more, freshly read.

        Raises:
            LostError: when there is no whole answer within the timeout.
        """
        answer = self._once(request)
        if answer.status == 401 and self._renewed():
            # A new connection, since a client certificate may be what was renewed.
            self.close()
            answer = self._once(request)
        return answer

    def lines(self, request: Request, *, idle: Callable[[], float]) -> Iterator[bytes]:
        """Send a request and yield the answer line by line, until its end.

        Raises:
            LostError: when the connection breaks, the answer is an error, or nothing comes for
                as long as `idle` says each time.
        """
        deadline = time.monotonic() + self._timeout
        self._send(request, deadline)
        head = self._head(deadline)
        if head[9:10] != b"2" or not http.is_chunked(head):
            self.close()
            status = head[9:12].decode(errors="replace")
            code = int(status) if status.isdecimal() else 0
            raise LostError(f"HTTP {status}", was_sent=True, status=code)
        rest = b""
        for chunk in self._chunks(time.monotonic() + idle(), idle=idle):
            *whole, rest = (rest + chunk).split(b"\n")
            yield from whole

    def interrupt(self) -> None:
        """Have whatever waits for an answer fail now. The one method for another thread."""
        there = self._socket
        if there is not None:
            with suppress(OSError):
                # Not the method of a TLS socket, which takes the session from under its reader.
                socket.socket.shutdown(there, socket.SHUT_RDWR)

    def close(self) -> None:
        """Let go of the connection; the next request makes another."""
        if self._socket is not None:
            with suppress(OSError):
                self._socket.close()
        self._socket = None
        self._buffer.clear()

    def _renewed(self) -> bool:
        try:
            return self._access.renew(self._authorization)
        except KubeConfigError as error:
            raise LostError(str(error), was_sent=False) from error

    def _once(self, request: Request) -> Answer:
        deadline = time.monotonic() + self._timeout
        try:
            self._send(request, deadline)
            return self._answer(deadline)
        except LostError as lost:
            self.close()
            if not lost.was_idle:
                raise
        self._send(request, deadline)
        return self._answer(deadline)

    def _answer(self, deadline: float) -> Answer:
        head = self._head(deadline)
        try:
            status = http.status_of(head)
        except ValueError:
            self.close()
            raise LostError("the answer is not HTTP", was_sent=True) from None
        body = self._body(head, status, deadline)
        self._used = True
        if http.is_last(head):
            self.close()
        return Answer(status=status, body=body, retry_after=http.retry_after(head))

    def _body(self, head: bytes, status: int, deadline: float) -> bytes:
        if status in (204, 304):
            return b""
        if http.is_chunked(head):
            return b"".join(self._chunks(deadline))
        length = http.length_of(head)
        if length is None:
            self.close()
            raise LostError("the answer has no length", was_sent=True)
        return self._take(self._bounded(length), deadline)

    def _bounded(self, length: int) -> int:
        if length > _BODY_LIMIT:
            self.close()
            raise LostError(f"an answer of {length} octets", was_sent=True)
        return length

    def _head(self, deadline: float) -> bytes:
        """The head of the answer, interim ones (1xx) stepped over."""
        while True:
            while (end := self._buffer.find(b"\r\n\r\n")) < 0:
                if len(self._buffer) > http.HEAD_LIMIT:
                    self.close()
                    raise LostError("an endless head", was_sent=True)
                self._fill(deadline)
            head = bytes(self._buffer[: end + 2])
            del self._buffer[: end + 4]
            if not http.is_interim(head):
                return head

    def _chunks(
        self, deadline: float, *, idle: Callable[[], float] | None = None
    ) -> Iterator[bytes]:
        """The chunks of a body (RFC 9112 7.1); trailers are dropped.

        With `idle` the deadline is that of the next chunk only.
        """
        while True:
            line = self._line(deadline).split(b";")[0].strip()
            try:
                size = self._bounded(int(line, 16))
            except ValueError:
                self.close()
                raise LostError("a chunk has no size", was_sent=True) from None
            if size == 0:
                while self._line(deadline):
                    pass
                return
            chunk = self._take(size, deadline)
            self._take(2, deadline)
            yield chunk
            if idle is not None:
                deadline = time.monotonic() + idle()

    def _line(self, deadline: float) -> bytes:
        while (end := self._buffer.find(b"\r\n")) < 0:
            self._fill(deadline)
        line = bytes(self._buffer[:end])
        del self._buffer[: end + 2]
        return line

    def _take(self, size: int, deadline: float) -> bytes:
        while len(self._buffer) < size:
            self._fill(deadline)
        taken = bytes(self._buffer[:size])
        del self._buffer[:size]
        return taken

    def _fill(self, deadline: float) -> None:
        assert self._socket is not None, "an answer is read where a request was sent"
        was_idle = self._used and not self._buffer
        try:
            self._socket.settimeout(max(0.001, deadline - time.monotonic()))
            more = self._socket.recv(1 << 16)
        except TimeoutError:
            self.close()
            raise LostError("no answer in time", was_sent=True) from None
        except OSError as error:
            self.close()
            raise LostError(http.why(error), was_sent=True, was_idle=was_idle) from None
        if not more:
            self.close()
            raise LostError("the server closed the connection", was_sent=True, was_idle=was_idle)
        self._used = False
        self._buffer += more

    def _send(self, request: Request, deadline: float) -> None:
        if self._socket is None:
            self._connect(deadline)
        assert self._socket is not None, "connected above"
        try:
            self._socket.settimeout(max(0.001, deadline - time.monotonic()))
            self._socket.sendall(self._text(request))
        except TimeoutError:
            self.close()
            raise LostError("the request could not be sent in time", was_sent=True) from None
        except OSError as error:
            self.close()
            raise LostError(http.why(error), was_sent=False, was_idle=self._used) from None

    def _text(self, request: Request) -> bytes:
        try:
            self._authorization = self._access.authorization()
        except KubeConfigError as error:  # a plugin that fails now may not fail the next time
            raise LostError(str(error), was_sent=False) from error
        head = http.head_of_request(
            self._access,
            self._host,
            request.method,
            request.path,
            accept=request.accept,
            authorization=self._authorization,
        )
        body = (
            f"Content-Type: {request.kind}\r\nContent-Length: {len(request.body)}\r\n"
            if request.body
            else ""
        )
        return f"{head}{body}\r\n".encode() + request.body

    def _connect(self, deadline: float) -> None:
        access = self._access
        self._used = False
        self._buffer.clear()
        try:
            self._socket = plain = socket.create_connection(
                (access.host, access.port), timeout=max(0.001, deadline - time.monotonic())
            )
            plain.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            if access.tls is not None:
                self._socket = access.tls.wrap_socket(plain, server_hostname=access.server_name)
        except (OSError, ValueError) as error:
            self.close()
            raise LostError(f"{self._host}: {http.why(error)}", was_sent=False) from None
