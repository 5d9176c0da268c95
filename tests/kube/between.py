"""Stands between a program and the API server, and does to requests what networks do."""

from __future__ import annotations

import asyncio
import re
import socket
import ssl
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

from onehop.lab.kube_server import Site

_LENGTH = re.compile(rb"\r\ncontent-length:[ \t]*(\d+)", re.IGNORECASE)
# What is done with a request: None lets it through, octets answer it, HOLE loses it.
Fate = bytes | None
HOLE = b"hole"  # the request vanishes and the connection stays open
Rule = Callable[[str, str], Fate]


def canned(status: int, reason: str, *headers: str) -> bytes:
    """An answer of the API server that it never gave."""
    body = b'{"kind":"Status","status":"Failure","reason":"%s","message":"%s by a test","code":%d}'
    text = body % (reason.encode(), reason.encode(), status)
    lines = [f"HTTP/1.1 {status} {reason}", "Content-Type: application/json", *headers]
    return "\r\n".join([*lines, f"Content-Length: {len(text)}", "", ""]).encode() + text


class Between:
    """Plain HTTP on one side, the API server's TLS on the other.

    `listener` may be of another network namespace: what runs there reaches the server by way of
    here, and there is no route.
    """

    def __init__(self, site: Site, listener: socket.socket | None = None) -> None:
        self._site = site
        self._tls = ssl.create_default_context(cafile=str(site.ca))
        self._loop = asyncio.new_event_loop()
        self._tasks: set[asyncio.Task[None]] = set()
        self._near: set[asyncio.StreamWriter] = set()
        self.asked: list[tuple[float, str, str]] = []
        self.rule: Rule = lambda method, path: None
        self.cutting = False
        self._thread = threading.Thread(target=self._run)
        self._thread.start()
        own = listener or socket.create_server(("127.0.0.1", 0))
        starting = asyncio.start_server(self._serve, sock=own)
        self._server = asyncio.run_coroutine_threadsafe(starting, self._loop).result(10)

    @property
    def server(self) -> str:
        port = self._server.sockets[0].getsockname()[1]
        return f"http://127.0.0.1:{port}"

    def kubeconfig(self, real: Path, to: Path) -> Path:
        """The same kubeconfig by way of here."""
        to.write_text(real.read_text().replace(self._site.server, self.server))
        return to

    def drop(self) -> None:
        """End every connection there is; new ones are welcome."""
        asyncio.run_coroutine_threadsafe(self._dropped(), self._loop).result(10)

    async def _dropped(self) -> None:
        for writer in list(self._near):
            writer.transport.abort()

    def close(self) -> None:
        """End every connection."""
        asyncio.run_coroutine_threadsafe(self._end(), self._loop).result(10)
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(10)
        self._loop.close()

    def _run(self) -> None:
        self._loop.run_forever()

    async def _end(self) -> None:
        self._server.close()
        others = list(self._tasks)
        for task in others:
            task.cancel()
        await asyncio.gather(*others, return_exceptions=True)
        await asyncio.sleep(0.01)  # transports that were aborted end in the loop's next turns

    def _mine(self, task: asyncio.Task[None] | None) -> None:
        assert task is not None, "each connection is served in a task"
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _opened(self) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        """A connection to the server; who is cancelled meanwhile leaves none half open."""
        opening = asyncio.ensure_future(
            asyncio.open_connection(self._site.address, self._site.port, ssl=self._tls)
        )
        try:
            return await asyncio.shield(opening)
        except asyncio.CancelledError:
            _, writer = await opening
            writer.transport.abort()
            raise

    async def _serve(self, near: asyncio.StreamReader, to: asyncio.StreamWriter) -> None:
        far: asyncio.StreamWriter | None = None
        self._mine(asyncio.current_task())
        self._near.add(to)
        try:
            while True:
                request = await _request(near)
                method, path = request.split(b" ", 2)[:2]
                self.asked.append((time.monotonic(), method.decode(), path.decode()))
                # In a thread: a rule may itself ask the server for something.
                fate = await asyncio.to_thread(self.rule, method.decode(), path.decode())
                if fate == HOLE:
                    continue
                if fate is not None:
                    to.write(fate)
                    continue
                if far is None:
                    answers, far = await self._opened()
                    self._mine(asyncio.create_task(self._back(answers, to)))
                far.write(request)
        except (OSError, asyncio.IncompleteReadError, asyncio.CancelledError):
            pass
        finally:
            self._near.discard(to)
            for writer in (to, far):
                if writer is not None:
                    writer.transport.abort()

    async def _back(self, answers: asyncio.StreamReader, to: asyncio.StreamWriter) -> None:
        with suppress(OSError):
            while data := await answers.read(1 << 16):
                if self.cutting and b'"type":' in data:
                    to.write(data[: len(data) // 2])
                    break
                to.write(data)
        to.close()


async def _request(near: asyncio.StreamReader) -> bytes:
    head = await near.readuntil(b"\r\n\r\n")
    length = _LENGTH.search(head)
    return head + (await near.readexactly(int(length[1])) if length else b"")
