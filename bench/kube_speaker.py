"""An EndpointSlice written to a real API server, to the wire, to the kernel and to clients.

The plant of bench/kube_plant.py: three nodes, each with a speaker, and Local Services whose only
endpoint moves between two nodes. MetalLB's speakers and kube-proxy run first, each alone where it
is measured alone; then ours with their datapath. An endpoint moves every few tenths of a second,
each address in its turn, so that none moves twice within MetalLB's five seconds of announcing,
except where it is moved to and fro at once.
"""

from __future__ import annotations

import contextlib
import functools
import signal
import socket
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field

from bench.clocks import Rules, Words, arp_wire, frames, sender
from bench.kube_connects import moves, pods
from bench.kube_moves import POOL, PORT, Mover, endpoint, vip
from bench.kube_plant import NODES, Plant, lan_mac, plant
from bench.kube_sides import (
    METALLB,
    US,
    Side,
    both,
    pins,
    start_proxy,
    start_speaker,
    stop_speaker,
)
from bench.row import Measure, percentiles
from onehop.adapters.bpf.errors import DatapathError
from onehop.adapters.bpf.tables import Tables
from onehop.lab import namespace
from onehop.lab.kube_build import METALLB as METALLB_PROGRAMS
from onehop.lab.kube_build import SERVER, prepare

PAUSE = 0.3  # seconds between moves
QUIET, SOON = 3.3, 0.2  # seconds without a change, and after the last
ANNOUNCING = 5.5  # seconds for which MetalLB repeats itself after a start
LONGEST = 3.0
THEIR_SHARE = 4  # of our rounds theirs make one: to move back takes MetalLB a second
THEIR_SPEAKER, THEIR_PROXY = "(MetalLB's speaker)", "(kube-proxy, nftables)"
THEIR_BOTH = "(MetalLB's speaker and kube-proxy)"
TO_WIRE = "EndpointSlice written to the new owner's first gratuitous frame"
BACK_TO_WIRE = "moved back at once, to the first gratuitous frame"
ANSWERED = "the same writes, to the API server's own answer"
TO_KERNEL = "EndpointSlice written to the kernel's map, 3 s after the last change"
SOON_TO_KERNEL = "EndpointSlice written to the kernel's map, 0.2 s after the last change"


@dataclass(slots=True)
class Found:
    """Milliseconds by what was measured and on whom."""

    values: dict[tuple[str, str], list[float]] = field(default_factory=dict)

    def add(self, what: str, versus: str, value: float) -> None:
        """One more."""
        self.values.setdefault((what, versus), []).append(value)

    def rows(self) -> Iterator[Measure]:
        """Both percentiles of each."""
        for (what, versus), values in self.values.items():
            note = f"{len(values)} changes, worst {max(values):.2f}"
            yield from percentiles(what, versus, values, note)


def run(rounds: int) -> list[Measure]:
    """`rounds` moves for the wire; for the kernel and for clients each endpoint to and fro."""
    found = Found()
    with plant(prepare(SERVER, print), prepare(METALLB_PROGRAMS, print)) as made:
        made.apply(*both("IPAddressPool", "all", {"addresses": [POOL]}))
        made.apply(*both("L2Advertisement", "all", {"interfaces": ["eno1"]}))
        lost = [*_ours(made, found, rounds), *_theirs(made, found, rounds)]
    return [*found.rows(), *lost]


def _ours(made: Plant, found: Found, rounds: int) -> list[Measure]:
    with serving(Mover(made, US)) as mover, speakers(made, US, mover):
        to_wire(mover, found, "", rounds)
        to_kernel(mover, found, "", [Maps(made, at) for at in range(2)])
        return _lost(mover, "")


def _theirs(made: Plant, found: Found, rounds: int) -> list[Measure]:
    with serving(Mover(made, METALLB)) as mover:
        with speakers(made, METALLB, mover):
            to_wire(mover, found, THEIR_SPEAKER, rounds // THEIR_SHARE)
        with proxies(made), contextlib.ExitStack() as up:
            sights = [up.enter_context(contextlib.closing(Ruled(made, at))) for at in range(2)]
            to_kernel(mover, found, THEIR_PROXY, sights)
            with speakers(made, METALLB, mover):
                return _lost(mover, THEIR_BOTH)


def _lost(mover: Mover, versus: str) -> list[Measure]:
    services = mover.services
    with pods(mover.plant):
        return [
            *moves(mover, versus, range(services), ending=False),
            *moves(mover, versus, range(services, 2 * services), ending=True),
        ]


@contextlib.contextmanager
def serving(mover: Mover) -> Iterator[Mover]:
    """Its Services are there."""
    mover.create()
    try:
        yield mover
    finally:
        mover.close()


@contextlib.contextmanager
def speakers(made: Plant, side: Side, mover: Mover) -> Iterator[None]:
    """A side's speakers, ours with their datapath, once they serve and have announced it."""
    with contextlib.ExitStack() as up:
        if side is US:
            for at in range(len(NODES)):
                namespace.mount_bpf(pins(made, at).parent)
                up.callback(namespace.unmount, pins(made, at).parent)
        wire = up.enter_context(arp_wire(made.where("cli")))
        for at in range(len(NODES)):
            start_speaker(made, side, at, datapath=side is US)
            up.callback(stop_speaker, made, side, at, signal.SIGTERM)
        _await_announced(made, mover, wire)
        if side is US:
            made.until(lambda: _is_carried(made, mover), "the datapath holds every Service")
        time.sleep(ANNOUNCING)
        made.alive()
        yield


def _await_announced(made: Plant, mover: Mover, wire: socket.socket) -> None:
    missing = {vip(at).packed for at in range(mover.services)}

    def heard() -> bool:
        missing.difference_update(frame[28:32] for _, frame in frames(wire))
        return not missing

    made.until(heard, "every address is announced")


def _is_carried(made: Plant, mover: Mover) -> bool:
    for at in range(len(NODES)):
        try:
            with contextlib.closing(Tables.open(pins(made, at))) as tables:
                if len(tables.rows()) < mover.services:
                    return False
        except DatapathError:
            return False  # not everything is pinned yet
    return True


@contextlib.contextmanager
def proxies(made: Plant) -> Iterator[None]:
    """kube-proxy on every node, once its rules stand."""
    try:
        for at in range(len(NODES)):
            start_proxy(made, at)
        time.sleep(ANNOUNCING)
        made.alive()
        yield
    finally:
        for at in range(len(NODES)):
            made.stop(f"kube-proxy{at}", signal.SIGTERM)


class Maps:
    """Sees when a node's kernel map gets the backend of a Service."""

    def __init__(self, made: Plant, node: int) -> None:
        self._words = Words(pins(made, node))
        self._number = 0

    def begin(self, at: int) -> None:
        """The endpoint of this Service is about to come."""
        self._number = self._words.place(vip(at), PORT)
        if self._words.filled(self._number):
            raise RuntimeError(f"{vip(at)} has a backend here already")

    def seen_at(self) -> int:
        """The time now if it is there, else 0."""
        return time.time_ns() if self._words.filled(self._number) else 0


class Ruled:
    """Sees when a node's nftables rules change."""

    def __init__(self, made: Plant, node: int) -> None:
        self._rules = Rules(made.where(f"n{node}"))

    def begin(self, at: int) -> None:
        """The endpoint of this Service is about to come."""
        del at  # nothing else changes meanwhile
        self._rules.changed_at()

    def seen_at(self) -> int:
        """The time now if there was a change, else 0."""
        return self._rules.changed_at()

    def close(self) -> None:
        """Look no longer."""
        self._rules.close()


def to_wire(mover: Mover, found: Found, versus: str, rounds: int) -> None:
    """Move each endpoint in its turn to the second node, and to and fro at once."""
    with arp_wire(mover.plant.where("cli")) as wire:
        for number in range(rounds):
            at = number % mover.services
            for what, node in ((TO_WIRE, 1), *((BACK_TO_WIRE, node) for node in (0, 1, 0))):
                time.sleep(PAUSE)
                for _ in frames(wire):
                    pass
                start = mover.put(at, endpoint(node))
                owner = sender(lan_mac(node), vip(at))
                seen_at = functools.partial(_first, mover, wire, owner)
                wait = functools.partial(mover.wait, wire)
                found.add(what, versus, milliseconds(start, seen_at, wait))
                mover.answered()
                found.add(ANSWERED, versus, (mover.answered_at - start) / 1e6)


def _first(mover: Mover, wire: socket.socket, owner: bytes) -> int:
    mover.look()
    return min((stamp for stamp, frame in frames(wire) if frame[22:32] == owner), default=0)


def to_kernel(mover: Mover, found: Found, versus: str, sights: Sequence[Maps | Ruled]) -> None:
    """Move an endpoint after a quiet spell, and another one soon after it; at last all back."""
    half = mover.services // 2
    for number in range(2 * half):
        turn, first = divmod(number, half)
        node = 1 - turn % 2
        for what, at, pause in ((TO_KERNEL, first, QUIET), (SOON_TO_KERNEL, first + half, SOON)):
            time.sleep(pause)
            sights[node].begin(at)
            start = mover.put(at, endpoint(node))
            found.add(what, versus, milliseconds(start, sights[node].seen_at))
            mover.answered()


def _doze() -> None:
    time.sleep(30e-6)


def milliseconds(
    start: int, seen_at: Callable[[], int], wait: Callable[[], None] = _doze
) -> float:
    """Milliseconds from `start` to what is waited for.

    What never comes is counted with the longest time, so that no percentile hides it.
    """
    while (now := time.time_ns()) - start < LONGEST * 1e9:
        if seen := seen_at():
            return (seen - start) / 1e6
        wait()
    return (now - start) / 1e6
