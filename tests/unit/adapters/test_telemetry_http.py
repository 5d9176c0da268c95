"""The endpoint: three paths, pages besides, and patience with nobody."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Awaitable, Callable, Iterator
from contextlib import suppress

import pytest

from onehop.adapters.telemetry_http import TelemetryServer


def served(
    body: Callable[[int], Awaitable[None]],
    *,
    metrics: Callable[[], Iterator[str]] = lambda: iter(("a 1\n", "b 2\n")),
    unready: str = "",
    patience: float = 5.0,
) -> None:
    """Have `body` talk to a server at the port that it is given."""

    async def run() -> None:
        server = TelemetryServer(metrics, lambda: unready, patience=patience)
        port = await server.start("127.0.0.1", 0)
        try:
            await asyncio.wait_for(body(port), 20)
        finally:
            await server.close()

    asyncio.run(run())


async def said(port: int, request: bytes) -> bytes:
    """All that a server answers."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    writer.write(request)
    answer = await reader.read()
    writer.close()
    return answer


def asked(request: bytes, **more: object) -> tuple[bytes, bytes]:
    """The status line's code and words, and the body."""
    found: list[bytes] = []

    async def body(port: int) -> None:
        found.append(await said(port, request))

    served(body, **more)  # type: ignore[arg-type]
    head, _, text = found[0].partition(b"\r\n\r\n")
    lines = head.split(b"\r\n")
    assert b"Connection: close" in lines
    return lines[0].removeprefix(b"HTTP/1.1 "), text


def test_metrics_are_told_in_the_format_of_prometheus() -> None:
    found: list[bytes] = []

    async def body(port: int) -> None:
        found.append(await said(port, b"GET /metrics HTTP/1.1\r\nHost: x\r\n\r\n"))

    served(body)
    assert found[0].endswith(b"\r\n\r\na 1\nb 2\n")
    assert b"Content-Type: text/plain; version=0.0.4; charset=utf-8\r\n" in found[0]
    assert b"Content-Length: 8\r\n" in found[0]


@pytest.mark.parametrize(
    ("request_line", "answer"),
    [
        (b"GET /healthz HTTP/1.1", (b"200 OK", b"ok\n")),
        (b"GET /readyz?verbose HTTP/1.0", (b"200 OK", b"ok\n")),
        (b"HEAD /metrics HTTP/1.1", (b"200 OK", b"")),
        (
            b"GET / HTTP/1.1",
            (b"404 Not Found", b"there are /metrics, /healthz and /readyz\n"),
        ),
        (b"POST /metrics HTTP/1.1", (b"405 Method Not Allowed", b"only GET and HEAD\n")),
        (b"GET /metrics", (b"400 Bad Request", b"this speaks HTTP/1.1\n")),
        (b"\x16\x03\x01\x02\x00", (b"400 Bad Request", b"this speaks HTTP/1.1\n")),
        (b"GET /" + b"a" * 20000, (b"400 Bad Request", b"this speaks HTTP/1.1\n")),
    ],
)
def test_what_is_asked_is_answered(request_line: bytes, answer: tuple[bytes, bytes]) -> None:
    assert asked(request_line + b"\r\nHost: x\r\n\r\n") == answer


def test_pages_are_served_beside_the_rest() -> None:
    async def slowly() -> str:
        return await asyncio.to_thread(lambda: "[1]")

    pages = {"/state/a": lambda: "{}", "/state/b": slowly}

    async def run() -> None:
        server = TelemetryServer(lambda: (), lambda: "", pages=pages)
        port = await server.start("127.0.0.1", 0)
        for path, body in (
            (b"/state/a", b"{}"),
            (b"/state/b", b"[1]"),
            (b"/", b"there are /metrics, /healthz, /readyz, /state/a and /state/b\n"),
        ):
            answer = await said(port, b"GET " + path + b" HTTP/1.1\r\n\r\n")
            assert answer.endswith(b"\r\n\r\n" + body)
        await server.close()

    asyncio.run(run())


def test_who_is_not_ready_says_why() -> None:
    request = b"GET /readyz HTTP/1.1\r\n\r\n"
    assert asked(request, unready="still listing") == (
        b"503 Service Unavailable",
        b"still listing\n",
    )


def test_the_loop_does_other_things_between_two_pieces() -> None:
    turns: list[int] = []
    seen: list[int] = []

    def metrics() -> Iterator[str]:
        for _ in range(5):
            yield "x 1\n"
            seen.append(len(turns))

    async def body(port: int) -> None:
        async def count() -> None:
            while True:
                turns.append(1)
                await asyncio.sleep(0)

        counting = asyncio.create_task(count())
        await said(port, b"GET /metrics HTTP/1.1\r\n\r\n")
        counting.cancel()
        with suppress(asyncio.CancelledError):
            await counting

    served(body, metrics=metrics)
    assert len(set(seen)) == 5


def test_who_says_nothing_is_hung_up_on() -> None:
    async def body(port: int) -> None:
        assert await said(port, b"GET /metr") == b""
        assert (await said(port, b"GET /healthz HTTP/1.1\r\n\r\n")).endswith(b"ok\n")

    served(body, patience=0.1)


def test_too_many_at_a_time_are_told_so() -> None:
    async def body(port: int) -> None:
        idle = [await asyncio.open_connection("127.0.0.1", port) for _ in range(16)]
        answer = await said(port, b"GET /healthz HTTP/1.1\r\n\r\n")
        assert answer.startswith(b"HTTP/1.1 503 ")
        for _, writer in idle:
            writer.close()

    served(body)


def test_a_port_that_is_taken_is_an_error_of_the_system() -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:

        async def run() -> None:
            await TelemetryServer(lambda: (), lambda: "").start(
                "127.0.0.1", taken.getsockname()[1]
            )

        with pytest.raises(OSError, match="in use"):
            asyncio.run(run())


def test_all_addresses_of_the_machine_are_both_families() -> None:
    async def run() -> None:
        server = TelemetryServer(lambda: (), lambda: "")
        port = await server.start("", 0)
        for host in ("127.0.0.1", "::1"):
            reader, writer = await asyncio.open_connection(host, port)
            writer.write(b"GET /healthz HTTP/1.1\r\n\r\n")
            assert (await reader.read()).endswith(b"ok\n")
            writer.close()
        await server.close()

    asyncio.run(run())
