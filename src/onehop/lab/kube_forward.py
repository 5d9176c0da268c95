"""Carries connections from one network namespace into another, without a route between them.

The socket that listens was made in the one and is handed over; this process lives in the other.
Standard library only, and nothing of onehop's: it is run as a file, without site packages.

    python -IS kube_forward.py --fd N --host HOST --port PORT [--ready-fd FD]
"""

from __future__ import annotations

import argparse
import asyncio
import os
import signal
import socket
import sys

_CHUNK = 65536


async def serve(listener: socket.socket, host: str, port: int, ready: int | None) -> None:
    """Carry connections for ever."""
    carrying: set[asyncio.Task[None]] = set()

    async def accepted(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None, "a connection is served by a task"
        carrying.add(task)
        task.add_done_callback(carrying.discard)
        try:
            await _carried(reader, writer, host, port)
        except* OSError:
            pass  # either end may go at any time

    server = await asyncio.start_server(accepted, sock=listener, limit=_CHUNK)
    if ready is not None:
        os.write(ready, b"1")
        os.close(ready)
    async with server:
        await server.serve_forever()


async def _carried(
    reader: asyncio.StreamReader, writer: asyncio.StreamWriter, host: str, port: int
) -> None:
    try:
        far_reader, far_writer = await asyncio.open_connection(host, port, limit=_CHUNK)
        try:
            async with asyncio.TaskGroup() as both:
                both.create_task(_copied(reader, far_writer))
                both.create_task(_copied(far_reader, writer))
        finally:
            far_writer.close()
    finally:
        writer.close()


async def _copied(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """Copy one direction; its end is told, and the other goes on."""
    while data := await reader.read(_CHUNK):
        writer.write(data)
        await writer.drain()
    if writer.can_write_eof():
        writer.write_eof()


def main(arguments: list[str]) -> None:
    """Carry connections until told to end."""
    parser = argparse.ArgumentParser(prog="kube_forward")
    parser.add_argument("--fd", type=int, required=True)
    parser.add_argument("--host", required=True)
    parser.add_argument("--port", type=int, required=True)
    parser.add_argument("--ready-fd", type=int)
    options = parser.parse_args(arguments)
    signal.signal(signal.SIGTERM, lambda *_: os._exit(0))
    listener = socket.socket(fileno=options.fd)
    asyncio.run(serve(listener, options.host, options.port, options.ready_fd))


if __name__ == "__main__":
    main(sys.argv[1:])
