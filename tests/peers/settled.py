"""What is asked again and again, until the answer stays."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import TypeVar

T = TypeVar("T")


def settled(ask: Callable[[], T], stable: float, *, within: float = 30.0) -> T:
    """The answer, once it has been the same for `stable` seconds."""
    last, since, end = ask(), time.monotonic(), time.monotonic() + within
    while time.monotonic() - since < stable:
        assert time.monotonic() < end, f"the answers never settle; at last {last}"
        time.sleep(0.1)
        now = ask()
        if now != last:
            last, since = now, time.monotonic()
    return last
