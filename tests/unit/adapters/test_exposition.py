"""The text that Prometheus reads."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

import pytest

from onehop.adapters.exposition import PIECE, Family, Histogram, Metric, Sample, exposition

UP = Metric(name="up", kind="gauge", help="1 while it is up.", labels=("peer", "vrf"))
COUNT = Metric(name="count_total", kind="counter", help="How many.")


def text(*families: Family) -> str:
    return "".join(exposition(families))


def test_a_family_is_its_help_its_type_and_its_samples() -> None:
    assert text((UP, [(("a:179", ""), 1), (("b:179", "red"), 0)]), (COUNT, [((), 7)])) == (
        "# HELP up 1 while it is up.\n"
        "# TYPE up gauge\n"
        'up{peer="a:179",vrf=""} 1\n'
        'up{peer="b:179",vrf="red"} 0\n'
        "# HELP count_total How many.\n"
        "# TYPE count_total counter\n"
        "count_total 7\n"
    )


def test_a_value_cannot_break_out_of_its_label() -> None:
    metric = Metric(name="m", kind="gauge", help="a\\b\nc", labels=("x",))
    said = text((metric, [(('"},evil 1\n\\',), 2.5)]))
    assert said.splitlines() == [
        "# HELP m a\\\\b\\nc",
        "# TYPE m gauge",
        'm{x="\\"},evil 1\\n\\\\"} 2.5',
    ]


def test_a_sample_with_another_number_of_labels_is_a_defect() -> None:
    with pytest.raises(ValueError, match="argument"):
        text((UP, [(("a",), 1)]))


def test_a_histogram_counts_all_below_each_bound() -> None:
    histogram = Histogram((0.001, 0.01))
    for seconds in (0.0005, 0.001, 0.005, 3.0):
        histogram.observe(seconds)
    metric = Metric(name="d_seconds", kind="histogram", help="x")
    assert text((metric, histogram)).splitlines()[2:] == [
        'd_seconds_bucket{le="0.001"} 2',
        'd_seconds_bucket{le="0.01"} 3',
        'd_seconds_bucket{le="+Inf"} 4',
        "d_seconds_sum 3.0065",
        "d_seconds_count 4",
    ]


def test_text_comes_in_pieces_and_samples_when_their_turn_is() -> None:
    asked: list[int] = []

    def samples() -> Iterator[Sample]:
        for number in range(1000):
            asked.append(number)
            yield ((str(number), ""), number)

    families: Iterable[Family] = [(UP, samples())]
    pieces = exposition(families)
    assert len(next(pieces).splitlines()) == PIECE
    assert len(asked) < PIECE + 2
    rest = list(pieces)
    assert sum(len(piece.splitlines()) for piece in rest) == 1002 - PIECE
    assert all(piece.endswith("\n") for piece in rest)
