"""What lives long is kept from the garbage collector, which would walk it again and again.

A process loads its modules, reads all objects and decides on them once; nearly all of that stays.
What goes later is counted by references alone, so nothing is lost when it is not looked at.
"""

from __future__ import annotations

import gc
from collections.abc import Callable

from onehop.model.desired import Report

_THRESHOLDS = 50_000, 20, 100


def spare() -> None:
    """Keep all that is there now from the collector, and call it seldom from now on."""
    gc.collect()
    gc.freeze()
    gc.set_threshold(*_THRESHOLDS)


def sparing(round_: Callable[[], Report], is_settled: Callable[[], bool]) -> Callable[[], Report]:
    """A round that also spares what is there once `is_settled` first holds after it."""
    spare()
    spared = False

    def round_and_spare() -> Report:
        nonlocal spared
        report = round_()
        if not spared and is_settled():
            spared = True
            spare()
        return report

    return round_and_spare
