"""Connects through an address whose only endpoint moves from one node to another.

A client connects each 10 ms and each connect has 300 ms; the pods of both nodes answer all the
time, so that what is lost is lost on the way.
"""

from __future__ import annotations

import contextlib
import functools
import json
import random
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from bench.kube_moves import POD_PORT, PORT, Mover, endpoint, vip
from bench.kube_plant import NODES, Plant
from bench.row import Measure, percentile
from onehop.lab import namespace

TRAFFIC = Path(__file__).with_name("traffic.py")
EVERY_MS = 10
BEFORE, BETWEEN, AFTER = 0.5, 0.3, 0.8  # seconds of connects around a change


@dataclass(frozen=True, slots=True, kw_only=True)
class Asked:
    """What came of the traffic of a client.

    `connects` are start, seconds, whether it was made, and who answered; `lost` is when those
    datagrams were sent that nobody answered.
    """

    connects: list[tuple[float, float, bool, str]]
    asked: int
    lost: list[float]

    @property
    def not_made(self) -> int:
        """How many connects were lost."""
        return sum(not is_made for _, _, is_made, _ in self.connects)

    @property
    def not_answered(self) -> int:
        """How many connections were made and heard nothing."""
        return sum(is_made and not who for _, _, is_made, who in self.connects)


@contextlib.contextmanager
def pods(made: Plant) -> Iterator[None]:
    """The pods of all nodes answer with their node's name."""
    try:
        for at, name in enumerate(NODES):
            words = [sys.executable, "-IS", str(TRAFFIC), "serve", str(POD_PORT), name]
            made.start(f"pod{at}", f"p{at}", words)
        for at in range(len(NODES)):
            log = made.log(f"pod{at}")
            made.until(functools.partial(_is_ready, log), "a pod is ready")
        yield
    finally:
        for at in range(len(NODES)):
            made.stop(f"pod{at}")


def _is_ready(log: Path) -> bool:
    return b"ready" in log.read_bytes()


class Client:
    """A client that connects and asks until it is ended."""

    def __init__(self, made: Plant, address: str, connect_ms: float, datagram_ms: float) -> None:
        words = [sys.executable, "-IS", str(TRAFFIC), "ask", address, str(PORT)]
        with namespace.entered(made.where("cli")):
            self._child = subprocess.Popen(
                [*words, str(connect_ms), str(datagram_ms)],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
            )
        assert self._child.stdout is not None
        self._child.stdout.readline()

    def end(self) -> Asked:
        """Ask no more, and tell what came of it."""
        out, _ = self._child.communicate(timeout=60)
        return Asked(**json.loads(out))

    def kill(self) -> None:
        """End it, whatever it does."""
        self._child.kill()
        self._child.wait()


def moves(mover: Mover, versus: str, numbers: range, *, ending: bool) -> list[Measure]:
    """Move each endpoint in its turn, and in the next turn back.

    With `ending` the old one serves on for a while. `numbers` go on from an earlier call's.
    """
    founds, gaps = [], []
    for number in numbers:
        at, node = number % mover.services, 1 - number // mover.services % 2
        founds.append(_moved(mover, at, node, ending=ending))
        gaps.append(_gap(founds[-1], NODES[1 - node], NODES[node]))
    lost = [each.not_made for each in founds]
    how = "the old endpoint ends first" if ending else "the old endpoint is gone at once"
    note = f"{len(numbers)} moves, at most {max(lost)} in one, "
    note += f"gap p50 {percentile(gaps, 50):.1f} ms, worst {max(gaps):.1f}"
    return [
        Measure(
            what=f"connects lost in Local moves, {how}",
            value=sum(lost),
            unit="connects",
            versus=versus,
            note=note,
        ),
        Measure(
            what=f"connected in Local moves and never answered, {how}",
            value=sum(each.not_answered for each in founds),
            unit="connects",
            versus=versus,
            note=f"of {sum(len(each.connects) for each in founds):,} connects",
        ),
    ]


def _moved(mover: Mover, at: int, node: int, *, ending: bool) -> Asked:
    """Move one endpoint while a client connects."""
    client = Client(mover.plant, str(vip(at)), EVERY_MS, 0)
    try:
        time.sleep(BEFORE + random.uniform(0, EVERY_MS / 1000))
        if ending:
            _put(mover, at, endpoint(1 - node, ending=True), endpoint(node))
            time.sleep(BETWEEN + random.uniform(0, EVERY_MS / 1000))
        _put(mover, at, endpoint(node))
        time.sleep(AFTER)
        return client.end()
    finally:
        client.kill()


def _put(mover: Mover, at: int, *endpoints: dict[str, Any]) -> None:
    mover.put(at, *endpoints)
    mover.answered()


def _gap(found: Asked, old: str, new: str) -> float:
    """Milliseconds from the last answer of the old node's pod to the first of the new one's."""
    answers = {
        name: [start + took for start, took, _, who in found.connects if who == name]
        for name in (old, new)
    }
    if not all(answers.values()):
        raise RuntimeError(f"{old} answered {len(answers[old])} times, {new} {len(answers[new])}")
    return max(0.0, (min(answers[new]) - max(answers[old])) * 1000)
