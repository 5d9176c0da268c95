"""Telemetry: one line an event, to standard error, as key=value pairs that grep and jq users know.

Secrets never reach it: callers pass names, addresses and reasons, never file contents.
"""

from __future__ import annotations

import json
import sys
import time
from typing import TextIO


def _cell(value: object) -> str:
    text = str(value)
    if text and not any(c.isspace() or c in '"=' for c in text):
        return text
    return json.dumps(text, ensure_ascii=False)


class Log:
    """Writes events; a repeated event with the same fields is written once a `quiet` span."""

    def __init__(self, *, stream: TextIO | None = None, quiet: float = 10.0) -> None:
        self._stream = stream
        self._quiet = quiet
        self._last: dict[str, float] = {}

    def __call__(self, event: str, /, **fields: object) -> None:
        """Write one event."""
        body = " ".join([event, *(f"{key}={_cell(value)}" for key, value in fields.items())])
        now = time.monotonic()
        if now - self._last.get(body, -self._quiet) < self._quiet:
            return
        if len(self._last) > 4096:  # a storm of distinct events must not grow memory
            self._last.clear()
        self._last[body] = now
        stamp = time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime())
        stream = self._stream or sys.stderr
        try:
            stream.write(f"{stamp}Z {body}\n")
            stream.flush()
        except OSError:
            return  # a full disk behind the log may not stop the load balancer
