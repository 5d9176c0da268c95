"""Every metric there is, and what all processes tell.

Names that begin with `metallb_` are MetalLB's own, with its labels and its meaning, so that its
dashboards and alerts go on working; what it has no name for begins with `onehop_`. The modules
beside this one gather the samples; `docs/reference/metrics.md` is made of this list.
"""

from __future__ import annotations

import os
import time
from collections.abc import Awaitable, Callable, Iterable, Iterator
from pathlib import Path
from typing import Protocol

from onehop import __version__
from onehop.adapters.exposition import Family, Histogram, Metric, exposition
from onehop.adapters.telemetry_http import Pages, TelemetryServer
from onehop.model.address import host_port
from onehop.model.reason import Reason, Refusal

CONTROLLER: list[Metric] = []
SPEAKER: list[Metric] = []
_SECONDS = (0.0005, 0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1.0, 5.0)
_CLIENT = "metallb_k8s_client_"


def _both(metric: Metric) -> Metric:
    CONTROLLER.append(metric)
    SPEAKER.append(metric)
    return metric


BUILD = _both(
    Metric(name="onehop_build_info", kind="gauge", help="Always 1.", labels=("version",))
)
MEMORY = _both(
    Metric(
        name="process_resident_memory_bytes",
        kind="gauge",
        help="Memory of the process that is in use.",
    )
)
CPU = _both(
    Metric(
        name="process_cpu_seconds_total",
        kind="counter",
        help="Processor time that the process has used.",
    )
)
STARTED = _both(
    Metric(
        name="process_start_time_seconds",
        kind="gauge",
        help="When the process began, in seconds since the epoch.",
    )
)
UPDATES = _both(
    Metric(
        name=f"{_CLIENT}updates_total",
        kind="counter",
        help="Rounds: each takes in all that has changed in the store since the one before.",
    )
)
UPDATE_ERRORS = _both(
    Metric(
        name=f"{_CLIENT}update_errors_total",
        kind="counter",
        help="Rounds in which something could not be carried out.",
    )
)
CONFIG_LOADED = _both(
    Metric(
        name=f"{_CLIENT}config_loaded_bool",
        kind="gauge",
        help="1 once the store has told every kind of object.",
    )
)
CONFIG_STALE = _both(
    Metric(
        name=f"{_CLIENT}config_stale_bool",
        kind="gauge",
        help="1 while an object that is wrong keeps its last good version, or is left out.",
    )
)
PROBLEMS = _both(
    Metric(
        name="onehop_config_problems",
        kind="gauge",
        help="Faults of configuration objects and files; the log and `onehop explain` name them.",
    )
)
FAILURES = _both(
    Metric(
        name="onehop_failures",
        kind="gauge",
        help="Things that the last round could not carry out; the log names them.",
    )
)
STALENESS = _both(
    Metric(
        name="onehop_store_stale_seconds",
        kind="gauge",
        help="For how long nothing has been heard of the store; 0 while it is in touch.",
    )
)
DECISION = _both(
    Metric(name="onehop_decision_seconds", kind="histogram", help="How long a decision took.")
)
ROUND = _both(
    Metric(
        name="onehop_round_seconds",
        kind="histogram",
        help="How long a round took: the decision, and all that was carried out.",
    )
)


class RoundFigures:
    """What a loop counts of its rounds."""

    def __init__(self) -> None:
        self.decision = Histogram(_SECONDS)
        self.round = Histogram(_SECONDS)
        self.rounds = 0
        self.failed = 0
        self.failures = 0
        self.problems = 0
        self.is_complete = False

    def unready(self) -> str:
        """Why nothing is done yet; empty once a round was, on all that the store has."""
        if not self.is_complete:
            return "the store has not told everything yet"
        return "" if self.rounds else "nothing is decided yet"

    def ended(self, *, begun: float, decided: float, failures: int) -> None:
        """A round is over; both instants are of `time.monotonic`."""
        self.decision.observe(decided - begun)
        self.round.observe(time.monotonic() - begun)
        self.rounds += 1
        self.failures = failures
        self.failed += failures > 0


def process_families() -> Iterator[Family]:
    """What every process tells of itself."""
    ticks, page = os.sysconf("SC_CLK_TCK"), os.sysconf("SC_PAGESIZE")
    # proc(5): the name in parentheses may hold anything; the fields after it are counted from 3.
    fields = Path("/proc/self/stat").read_text().rpartition(")")[2].split()
    booted = time.time() - time.clock_gettime(time.CLOCK_BOOTTIME)
    yield BUILD, [((__version__,), 1)]
    yield MEMORY, [((), int(fields[21]) * page)]
    yield CPU, [((), (int(fields[11]) + int(fields[12])) / ticks)]
    yield STARTED, [((), booted + int(fields[19]) / ticks)]


def round_families(figures: RoundFigures, staleness: Callable[[], float]) -> Iterator[Family]:
    """What a loop tells of its rounds."""
    yield UPDATES, [((), figures.rounds)]
    yield UPDATE_ERRORS, [((), figures.failed)]
    yield CONFIG_LOADED, [((), int(figures.is_complete))]
    yield CONFIG_STALE, [((), int(figures.problems > 0))]
    yield PROBLEMS, [((), figures.problems)]
    yield FAILURES, [((), figures.failures)]
    yield STALENESS, [((), staleness())]
    yield DECISION, figures.decision
    yield ROUND, figures.round


class Figures(Protocol):
    """All that one process tells."""

    def families(self) -> Iterable[Family]:
        """Every metric with its samples."""
        ...

    def unready(self) -> str:
        """Why the process does not do its work yet; empty when it does."""
        ...

    def pages(self) -> Pages:
        """What it tells of its state besides, in JSON, by path."""
        ...


async def serve(
    address: tuple[str, int], figures: Figures, run: Callable[[], Awaitable[None]]
) -> Refusal | None:
    """Tell figures over HTTP while `run` runs; a Refusal says why it was not begun."""
    server = TelemetryServer(
        lambda: exposition(figures.families()), figures.unready, pages=figures.pages()
    )
    host, port = address
    try:
        await server.start(host, port)
    except OSError as error:
        detail = f"--metrics-address {host_port(host, port)}: {error.strerror or error}"
        return Refusal(reason=Reason.LISTEN_FAILED, detail=detail)
    try:
        await run()
    finally:
        await server.close()
    return None
