"""`python -m fuzz [--seconds N]`: every fuzzer in turn, with a new seed for each batch.

A seed that failed is printed: `python -m fuzz.fuzz_NAME 20000 SEED` plays it again.
"""

from __future__ import annotations

import argparse
import contextlib
import random
import sys
import time
from importlib import import_module
from pathlib import Path

BATCH = 20_000


def names() -> list[str]:
    """The fuzzers there are."""
    return sorted(path.stem for path in Path(__file__).parent.glob("fuzz_*.py"))


def fuzz(name: str, seconds: float) -> tuple[int, int]:
    """Frames thrown and frames answered within the time; a find raises after naming its seed."""
    run, thrown, answered = import_module(f"fuzz.{name}").run, 0, 0
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        seed = random.randrange(1 << 32)
        with contextlib.ExitStack() as found:
            again = f"{name}: found by `python -m fuzz.{name} {BATCH} {seed}`"
            found.callback(print, again, file=sys.stderr)
            answered += run(BATCH, seed)
            found.pop_all()
        thrown += BATCH
    return thrown, answered


def main() -> None:
    """Run all of them."""
    parser = argparse.ArgumentParser(prog="python -m fuzz", description=__doc__)
    parser.add_argument("--seconds", type=float, default=30.0, help="for each fuzzer")
    seconds = parser.parse_args().seconds
    for name in names():
        thrown, answered = fuzz(name, seconds)
        print(f"{name}: {thrown:,} frames, {answered:,} answered, none raised")


if __name__ == "__main__":
    main()
