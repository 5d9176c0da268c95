"""When to try again."""

from __future__ import annotations

import pytest

from onehop.proto.bgp.retry import Retry


def test_spans_double_from_a_quarter_of_a_second_to_half_a_minute() -> None:
    """RFC 4271 8.1.1 (DampPeerOscillations)."""
    retry = Retry(lambda: 1.0)
    spans = [retry.failed(is_error=False, fixed=None) for _ in range(12)]
    assert spans == [0.25, 0.5, 1, 2, 4, 8, 16, 30, 30, 30, 30, 30]


def test_after_an_error_they_begin_at_a_second() -> None:
    retry = Retry(lambda: 1.0)
    spans = [retry.failed(is_error=True, fixed=None) for _ in range(7)]
    assert spans == [1, 2, 4, 8, 16, 30, 30]


def test_a_thousand_failures_overflow_nothing() -> None:
    retry = Retry(lambda: 1.0)
    assert [retry.failed(is_error=False, fixed=None) for _ in range(5000)][-1] == 30


def test_success_ends_the_history() -> None:
    retry = Retry(lambda: 1.0)
    for _ in range(9):
        retry.failed(is_error=False, fixed=None)
    retry.succeeded()
    assert retry.failed(is_error=False, fixed=None) == 0.25


@pytest.mark.parametrize(("jitter", "span"), [(0.0, 3.0), (0.5, 3.5), (1.0, 4.0)])
def test_a_configured_span_does_not_grow_and_has_jitter_too(jitter: float, span: float) -> None:
    """RFC 4271 10: 75 to 100 % of the value."""
    retry = Retry(lambda: jitter)
    assert [retry.failed(is_error=False, fixed=4.0) for _ in range(3)] == [span] * 3
