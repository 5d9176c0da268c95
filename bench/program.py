"""Nanoseconds of the program on the uplink, by BPF_PROG_TEST_RUN on one pinned CPU.

The kernel repeats a program on one packet and ours rewrites it, so bench/program.bpf.c wraps the
datapath: each run first makes the next flow's packet. A figure is the whole run, with the test
run's own floor and the making (both are in the note); redirects are decided but not carried out.
Flows come in an order that skips through memory, so that tables larger than the caches cost what
they cost. A round runs every case once; the median over the rounds counts.
"""

from __future__ import annotations

import os
import statistics
import struct
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from ipaddress import IPv4Address
from pathlib import Path

from tools.build_bpf import build

from bench.row import ROOT, Measure, spread
from onehop.adapters.bpf import layout, syscall
from onehop.adapters.bpf.libbpf import Object
from onehop.adapters.bpf.loader import OBJECT
from onehop.adapters.bpf.syscall import Map
from onehop.model.service import Frontend, Protocol

SOURCE = Path("bench/program.bpf.c")
LOAD = struct.Struct("=IIQ")
STRIDE = 7919  # prime to every number of flows here
FIRST_VIP, FIRST_POD = IPv4Address("10.96.0.0"), IPv4Address("10.244.0.0")
PORT, TARGET, LINK = 9096, 9092, 1
REDIRECT, PASS = 7, 0xFFFFFFFF
RUNS = 1_000_000
VERIFIED_OFFSET = 216  # verified_insns in struct bpf_prog_info
LRU_FULL = 600_000  # two entries for each: more than the flow table holds
SYN, ACK = 0x02, 0x10
# An Ethernet frame to the test run's device (no address), IPv4, TCP, 60 bytes in all.
FRAME = (
    bytes(12)
    + bytes.fromhex("0800 45000028000040004006 0000 00000000 00000000".replace(" ", ""))
    + bytes.fromhex("0000 0000 00000001 00000001 5000 0200 0000 0000".replace(" ", ""))
    + bytes(6)
)
FLAGS_OFFSET = 14 + 20 + 13


@dataclass(frozen=True, slots=True, kw_only=True)
class Case:
    """What the maps hold and which flows come; no flows: every packet begins one."""

    what: str
    services: int
    flows: int
    served: bool = True
    flags: int = ACK
    verdict: int = REDIRECT
    times: list[int] = field(default_factory=list)
    floors: list[int] = field(default_factory=list)


def cases() -> tuple[Case, ...]:
    """In the order of the table."""
    return (
        Case(what="flow hit, 1 service, 10 000 flows", services=1, flows=10_000),
        Case(what="flow hit, 1 000 services, 10 000 flows", services=1_000, flows=10_000),
        Case(what="flow hit, 10 000 services, 100 000 flows", services=10_000, flows=100_000),
        Case(what="new flow", services=1_000, flows=0, flags=SYN),
        Case(what="unknown flow, from the midst of a connection", services=1_000, flows=0),
        Case(
            what="packet of no service, 10 000 flows",
            services=1_000,
            flows=10_000,
            served=False,
            verdict=PASS,
        ),
    )


class Bench:
    """The wrapped datapath loaded for one case."""

    def __init__(self, case: Case, path: Path) -> None:
        self.case = case
        self.object = Object(path)
        place = self.object.btf().variables(".rodata")["load"]
        section = next(name for name in self.object.maps if name.endswith(".rodata"))
        self.object.maps[section].set_bytes(
            place.offset, LOAD.pack(case.services, case.flows, STRIDE)
        )
        self.object.load()
        if case.served:
            self._fill()
        self.run("bench_run", 3 * case.flows or LRU_FULL)

    def _fill(self) -> None:
        maps = {name: Map(self.object.maps[name].fd, name) for name in layout.SIZES}
        numbers = [struct.pack("=I", number) for number in range(self.case.services)]
        state = layout.STATES[next(iter(layout.STATES))]
        words = [layout.Word(slot=i, backends=1).pack() for i in range(len(numbers))]
        maps["backends"].update_batch(
            (
                key,
                layout.BACKEND.pack(
                    layout.pack_place(FIRST_POD + i, TARGET), state, layout.BACKEND_LOCAL, LINK, 0
                ),
            )
            for i, key in enumerate(numbers)
        )
        maps["services"].update_batch(
            (key, struct.pack("=Q", word)) for key, word in zip(numbers, words, strict=True)
        )
        maps["frontends"].update_batch(
            (
                layout.pack_frontend(
                    Frontend(address=FIRST_VIP + i, port=PORT, protocol=Protocol.TCP)
                ),
                key,
            )
            for i, key in enumerate(numbers)
        )

    def run(self, program: str, repeat: int) -> int:
        """Nanoseconds for one run, after a look at the verdict."""
        descriptor = self.object.program_fd(program)
        frame = bytearray(FRAME)
        frame[FLAGS_OFFSET] = self.case.flags
        verdict, _, nanoseconds = syscall.run_program(descriptor, bytes(frame), repeat)
        wanted = self.case.verdict if program == "bench_run" else PASS
        if verdict != wanted:
            raise RuntimeError(f"{self.case.what}: {program} said {verdict}, not {wanted}")
        return nanoseconds

    def measure(self) -> None:
        """One round."""
        self.case.floors.append(self.run("bench_make", RUNS))
        self.case.times.append(self.run("bench_run", RUNS))


@contextmanager
def _one_cpu() -> Iterator[None]:
    before = os.sched_getaffinity(0)
    os.sched_setaffinity(0, {min(before)})
    try:
        yield
    finally:
        os.sched_setaffinity(0, before)


def verified() -> list[Measure]:
    """How many instructions the kernel's verifier walked through: it gives up at a million."""
    shipped = Object(OBJECT)
    shipped.load()
    rows = []
    for name in shipped.programs:
        (walked,) = struct.unpack_from(
            "=I", syscall.object_info(shipped.program_fd(name)), VERIFIED_OFFSET
        )
        rows.append(Measure(what=f"verified, {name}", value=walked, unit="instructions"))
    shipped.close()
    return rows


def run(rounds: int) -> list[Measure]:
    """A row for each case, then what the verifier had to do."""
    with tempfile.TemporaryDirectory() as folder, _one_cpu():
        path = build(ROOT, Path(folder) / "program.bpf.o", SOURCE)
        benches = [Bench(case, path) for case in cases()]
        for _ in range(rounds):
            for bench in benches:
                bench.measure()
        for bench in benches:
            bench.object.close()
    return [_row(bench.case) for bench in benches] + verified()


def _row(case: Case) -> Measure:
    low, high = spread(case.times)
    return Measure(
        what=case.what,
        value=statistics.median(case.times),
        unit="ns",
        note=(
            f"{statistics.median(case.floors):g} of it floor and making the packet, "
            f"{len(case.times)} rounds, quartiles {low:g} to {high:g}"
        ),
    )
