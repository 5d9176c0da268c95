"""The arithmetic of latencies."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from onehop.lab.kafka_load import percentile


@pytest.mark.parametrize(
    ("share", "value"), [(0.0, 1.0), (0.5, 50.0), (0.99, 99.0), (0.991, 100.0), (1.0, 100.0)]
)
def test_percentile(share: float, value: float) -> None:
    """The nearest rank: a value that was measured, never one in between."""
    assert percentile([float(n) for n in range(1, 101)], share) == value


@given(st.lists(st.floats(0, 1), min_size=1), st.floats(0, 1))
def test_percentile_covers(values: list[float], share: float) -> None:
    """At least that share of the values do not exceed it."""
    limit = percentile(sorted(values), share)
    assert sum(value <= limit for value in values) >= share * len(values) * (1 - 1e-12)
