"""When to try again: short at first, longer with each failure, never in step with other nodes.

RFC 4271 8.1.1 (DampPeerOscillations) and 10 (jitter). After a lost connection the peer may come
back at once and is let in; after an error it is kept out for the same span, which then begins
at a second, since what was wrong once is most likely wrong again.
"""

from __future__ import annotations

from collections.abc import Callable

FIRST = 0.25
FIRST_AFTER_ERROR = 1.0
LONGEST = 30.0
STABLE = 10.0  # a session that stood so long ends the history of failures


class Retry:
    """The failures in a row, and the span that they earn."""

    __slots__ = ("_failures", "_jitter")

    def __init__(self, jitter: Callable[[], float]) -> None:
        self._failures = 0
        self._jitter = jitter

    def succeeded(self) -> None:
        """Whatever failed before is forgiven."""
        self._failures = 0

    def failed(self, *, is_error: bool, fixed: float | None) -> float:
        """How many seconds to wait after one more failure.

        Args:
            is_error: one side found fault with what the other does.
            fixed: the span that is configured, in place of a growing one.
        """
        first = FIRST_AFTER_ERROR if is_error else FIRST
        span = fixed or min(LONGEST, first * 2.0 ** min(self._failures, 10))
        self._failures += 1
        return span * (0.75 + 0.25 * self._jitter())
