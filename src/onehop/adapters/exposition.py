"""Figures as text that Prometheus reads: its exposition format, version 0.0.4.

A family is one metric with all its samples. Text comes in pieces, so that a loop which has ten
thousand samples to tell can do other things between two of them.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from itertools import islice
from typing import Literal

CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"
PIECE = 250  # lines: less than a millisecond's work

Sample = tuple[tuple[str, ...], float]


@dataclass(frozen=True, slots=True, kw_only=True)
class Metric:
    """What is told under one name; `labels` name the parts of each sample's first value."""

    name: str
    kind: Literal["counter", "gauge", "histogram"]
    help: str
    labels: tuple[str, ...] = ()


class Histogram:
    """How often something took how long, by upper bounds in seconds."""

    def __init__(self, bounds: tuple[float, ...]) -> None:
        self._bounds = bounds
        self._counts = [0] * (len(bounds) + 1)
        self._sum = 0.0

    def observe(self, seconds: float) -> None:
        """It took so long this time."""
        self._counts[bisect_left(self._bounds, seconds)] += 1
        self._sum += seconds

    def lines(self, name: str) -> Iterator[str]:
        """Buckets, which count all below their bound, then the sum and the count."""
        below = 0
        for bound, count in zip((*self._bounds, "+Inf"), self._counts, strict=True):
            below += count
            yield f'{name}_bucket{{le="{bound}"}} {below}'
        yield f"{name}_sum {self._sum!r}"
        yield f"{name}_count {below}"


Family = tuple[Metric, Iterable[Sample] | Histogram]


def exposition(families: Iterable[Family]) -> Iterator[str]:
    """The text, a piece at a time; each family is asked for its samples when its turn comes."""
    lines = (line for metric, samples in families for line in _lines(metric, samples))
    while piece := list(islice(lines, PIECE)):
        yield "\n".join(piece) + "\n"


def _lines(metric: Metric, samples: Iterable[Sample] | Histogram) -> Iterator[str]:
    text = metric.help.replace("\\", r"\\").replace("\n", r"\n")
    yield f"# HELP {metric.name} {text}"
    yield f"# TYPE {metric.name} {metric.kind}"
    if isinstance(samples, Histogram):
        yield from samples.lines(metric.name)
        return
    for values, number in samples:
        labels = ",".join(
            f'{label}="{_escaped(value)}"'
            for label, value in zip(metric.labels, values, strict=True)
        )
        yield f"{metric.name}{{{labels}}} {number}" if labels else f"{metric.name} {number}"


def _escaped(value: str) -> str:
    if "\\" in value or '"' in value or "\n" in value:
        return value.replace("\\", r"\\").replace('"', r"\"").replace("\n", r"\n")
    return value
