"""A row of a bench: what was measured, against what, and whether the budget is kept."""

from __future__ import annotations

import json
import statistics
import tomllib
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
RESULTS = ROOT / "build" / "bench"


@dataclass(frozen=True, slots=True, kw_only=True)
class Measure:
    """One figure; `note` tells what stands behind it, such as the two rates of a ratio."""

    what: str
    value: float
    unit: str
    versus: str = ""
    note: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """A figure beside its budget; a row without one is only measured and always ok."""

    what: str
    value: float
    unit: str
    versus: str
    budget: str
    ok: bool
    note: str = ""


def ratio(
    what: str, versus: str, ours: Sequence[float], theirs: Sequence[float], unit: str
) -> Measure:
    """The median of the rounds' own ratios: what disturbs a round disturbs both its sides."""
    rounds = [a / b for a, b in zip(ours, theirs, strict=True)]
    low, high = spread(rounds)
    return Measure(
        what=what,
        value=round(statistics.median(rounds), 3),
        unit="ratio",
        versus=versus,
        note=(
            f"{statistics.median(ours):,.5g} / {statistics.median(theirs):,.5g} {unit}, "
            f"{len(rounds)} rounds, quartiles {low:.2f} to {high:.2f}"
        ),
    )


def spread(values: Sequence[float]) -> tuple[float, float]:
    """The first and third quartile."""
    if len(values) < 2:
        return values[0], values[0]
    first, _, third = statistics.quantiles(values, n=4, method="inclusive")
    return first, third


def percentile(values: Sequence[float], percent: float) -> float:
    """The smallest value that `percent` of all do not exceed."""
    ordered = sorted(values)
    at = max(0, -(-len(ordered) * percent // 100) - 1)
    return ordered[int(at)]


def percentiles(what: str, versus: str, values: Sequence[float], note: str) -> Iterator[Measure]:
    """Two rows of milliseconds: the middle, and what all but one in a hundred stay within."""
    for percent in (50, 99):
        yield Measure(
            what=f"{what}, p{percent}",
            value=round(percentile(values, percent), 2),
            unit="ms",
            versus=versus,
            note=note,
        )


def judged(bench: str, measures: Iterable[Measure]) -> list[Row]:
    """Each measure beside the budget that budgets.toml gives it."""
    budgets = {
        (entry["what"], entry["versus"]): entry
        for entry in tomllib.loads((ROOT / "bench" / "budgets.toml").read_text()).get(bench, [])
    }
    rows = []
    for measure in measures:
        entry = budgets.get((measure.what, measure.versus), {})
        least, most = entry.get("min"), entry.get("max")
        sign = f">= {least:g}" if least is not None else f"<= {most:g}" if most is not None else ""
        kept = (least is None or measure.value >= least) and (
            most is None or measure.value <= most
        )
        rows.append(Row(budget=sign, ok=kept, **asdict(measure)))
    return rows


def write(bench: str, rows: Sequence[Row]) -> Path:
    """The rows as build/bench/NAME.json."""
    RESULTS.mkdir(parents=True, exist_ok=True)
    path = RESULTS / f"{bench}.json"
    path.write_text(json.dumps([asdict(row) for row in rows], indent=1) + "\n")
    return path
