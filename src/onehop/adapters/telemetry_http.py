"""An HTTP endpoint for those who watch: /metrics, /healthz, /readyz and pages of state.

Whoever can reach the port may ask; what it tells are names, addresses and numbers. A client that
asks slowly, reads slowly or asks for too much is hung up on: none of them may cost the loop that
answers for addresses more than its share.
"""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Awaitable, Callable, Iterable, Mapping
from contextlib import suppress
from typing import Any

from onehop.adapters.exposition import CONTENT_TYPE

_PATIENCE = 5.0  # seconds: for the request to come, and for the answer to be taken
_REQUEST_BYTES = 8192
_CLIENTS = 16  # at a time
_PLAIN = "text/plain; charset=utf-8"
_JSON = "application/json"
_WORDS = {
    200: "OK",
    400: "Bad Request",
    404: "Not Found",
    405: "Method Not Allowed",
    503: "Service Unavailable",
}

_Answer = tuple[int, str, str]
Pages = Mapping[str, Callable[[], str | Awaitable[str]]]


class TelemetryServer:
    """Answers on one port. `metrics` gives text in pieces; `unready` says why not, or nothing.

    `pages` are documents in JSON, each made when it is asked for, by their path; one that takes
    long is made in a thread and awaited.
    """

    def __init__(
        self,
        metrics: Callable[[], Iterable[str]],
        unready: Callable[[], str],
        *,
        pages: Pages | None = None,
        patience: float = _PATIENCE,
    ) -> None:
        self._metrics = metrics
        self._pages = pages or {}
        self._patience = patience
        self._unready = unready
        self._server: asyncio.Server | None = None
        self._clients: set[asyncio.Task[None]] = set()

    async def start(self, host: str, port: int) -> int:
        """Listen; an empty host is every address of the machine. Returns the port.

        Raises:
            OSError: when the address cannot be had.
        """
        where: dict[str, Any] = {"host": host, "port": port} if host else {"sock": _any(port)}
        self._server = await asyncio.start_server(self._connected, limit=_REQUEST_BYTES, **where)
        found: int = self._server.sockets[0].getsockname()[1]
        return found

    async def close(self) -> None:
        """Hang up on everybody."""
        if self._server is not None:
            self._server.close()
        clients = tuple(self._clients)
        for client in clients:
            client.cancel()
        await asyncio.gather(*clients, return_exceptions=True)

    async def _connected(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None, "a server calls this in a task of its own"
        self._clients.add(task)
        task.add_done_callback(self._clients.discard)
        # Whoever breaks off or dawdles loses the connection, and nobody needs to know.
        with suppress(OSError, TimeoutError, asyncio.IncompleteReadError, asyncio.CancelledError):
            try:
                await asyncio.wait_for(self._serve(reader, writer), self._patience)
            finally:
                writer.transport.abort()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        if len(self._clients) > _CLIENTS:
            answer: _Answer = (503, _PLAIN, "too many clients\n")
            is_head = False
        else:
            try:
                head = await reader.readuntil(b"\r\n\r\n")
            except asyncio.LimitOverrunError:
                head = b""
            method, _, rest = head.partition(b"\r\n")[0].partition(b" ")
            is_head = method == b"HEAD"
            answer = await self._answer(method, rest)
        writer.transport.set_write_buffer_limits(high=0)  # `drain` is to wait for all of it
        status, kind, text = answer
        body = text.encode()
        writer.write(
            f"HTTP/1.1 {status} {_WORDS[status]}\r\nContent-Type: {kind}\r\n"
            f"Content-Length: {len(body)}\r\nConnection: close\r\n\r\n".encode()
        )
        if not is_head:
            writer.write(body)
        await writer.drain()
        if writer.can_write_eof():
            writer.write_eof()
        # The rest of what the client sends is read, or closing would reset what it has not read.
        while await reader.read(_REQUEST_BYTES):
            pass

    async def _answer(self, method: bytes, rest: bytes) -> _Answer:
        target, _, version = rest.partition(b" ")
        if not version.startswith(b"HTTP/1."):
            return 400, _PLAIN, "this speaks HTTP/1.1\n"
        if method not in (b"GET", b"HEAD"):
            return 405, _PLAIN, "only GET and HEAD\n"
        path = target.partition(b"?")[0]
        if path == b"/metrics":
            return 200, CONTENT_TYPE, await self._text()
        if path == b"/healthz":
            return 200, _PLAIN, "ok\n"
        if path == b"/readyz":
            why = self._unready()
            return (503, _PLAIN, f"{why}\n") if why else (200, _PLAIN, "ok\n")
        page = self._pages.get(path.decode("latin-1"))
        if page is not None:
            text = page()
            return 200, _JSON, text if isinstance(text, str) else await text
        there = ("/metrics", "/healthz", "/readyz", *self._pages)
        return 404, _PLAIN, f"there are {', '.join(there[:-1])} and {there[-1]}\n"

    async def _text(self) -> str:
        pieces = []
        for piece in self._metrics():
            pieces.append(piece)
            await asyncio.sleep(0)
        return "".join(pieces)


def _any(port: int) -> socket.socket:
    """One socket for all addresses of both families, so that both have the same port."""
    if socket.has_dualstack_ipv6():
        with suppress(OSError):  # IPv6 may be disabled
            return socket.create_server(
                ("", port), family=socket.AF_INET6, dualstack_ipv6=True, backlog=100
            )
    return socket.create_server(("", port), backlog=100)
