"""Nanoseconds of the datapath's program for one packet, by the kernel's test-run.

A test-run repeats the program on the frame that the run before left, so a single flow would be
found in the nearest cache each time. Here every flow is made by a real first packet, and then its
rewrite is turned to lead to another flow, at random: one run of 200 repeats crosses 200 flows,
as packets of many clients do, each with all of its look-ups, checksums and counters. Backends have
the addresses of the frontends for that. What is left at the end is compared with the flow it has
to have reached.

The figures include the test-run's own loop, which the last row gives alone. A new flow is one run
of one packet, with the caches as a system call leaves them.
"""

from __future__ import annotations

import os
import random
import statistics
from collections.abc import Iterator
from dataclasses import replace
from ipaddress import ip_address

from tests.bpf.kernel import FROM_CLIENT, REDIRECT, Backend, Flow, Kernel, Tuple
from tests.bpf.packets import ACK, SYN, Packet

from bench.network import CPUS
from bench.row import Measure
from onehop.adapters.bpf import syscall

STEPS, STARTS = 200, 1000
CASES = ((1, 10_000), (1_000, 10_000), (10_000, 100_000))
FIRST_VIP, FIRST_CLIENT = int(ip_address("10.200.0.1")), int(ip_address("172.20.0.1"))


def run(rounds: int) -> list[Measure]:
    """Every case, then the floor."""
    usual = os.sched_getaffinity(0)
    os.sched_setaffinity(0, {CPUS[0]})
    try:
        measures = [measure for case in CASES for measure in _case(*case, rounds)]
        return [*measures, _floor(rounds)]
    finally:
        os.sched_setaffinity(0, usual)


def _case(services: int, flows: int, rounds: int) -> Iterator[Measure]:
    kernel = Kernel(sizes={})
    try:
        program = kernel.object.program_fd("lb_uplink_ingress")
        for at in range(services):
            kernel.serve(_vip(at), 80, [Backend(address=_vip(at), port=80)], local=True)
        tuples = [_tuple(at, services) for at in range(flows)]
        new = [_run(program, each, SYN, 1)[1] for each in tuples]
        order = _chain(kernel, tuples)
        hits = [_hit(program, order) for _ in range(rounds)]
    finally:
        kernel.close()
    where = f"{_count(services)} service{'s' if services > 1 else ''}, {_count(flows)} flows"
    yield Measure(
        what=f"flow hit, {where}",
        value=round(statistics.median(hits), 1),
        unit="ns",
        note=f"{STARTS} starts x {STEPS} flows x {rounds} rounds, worst round {max(hits):.0f}",
    )
    if flows == CASES[-1][1]:
        yield Measure(
            what="new flow",
            value=statistics.median(new),
            unit="ns",
            note=f"median of {_count(flows)}, at {_count(services)} services",
        )


def _count(number: int) -> str:
    return f"{number:,}".replace(",", " ")


def _vip(at: int) -> str:
    return str(ip_address(FIRST_VIP + at))


def _tuple(at: int, services: int) -> Tuple:
    return Tuple(
        source=str(ip_address(FIRST_CLIENT + at // 20_000)),
        sport=20_000 + at % 20_000,
        destination=_vip(at % services),
        dport=80,
    )


def _chain(kernel: Kernel, tuples: list[Tuple]) -> list[Tuple]:
    """Let each flow lead to another, through all of them; answers with the order."""
    order = random.sample(tuples, len(tuples))
    flows = [kernel.flow(each) for each in order]
    for at, here in enumerate(order):
        there, flow, following = order[at + 1 - len(order)], flows[at], flows[at + 1 - len(order)]
        assert flow is not None, f"the first packet of {here} made no flow"
        assert following is not None, f"the first packet of {there} made no flow"
        turned = Flow(
            rewrite=Tuple(
                source=there.source,
                sport=there.sport,
                destination=there.destination,
                dport=there.dport,
                side=flow.rewrite.side,
            ),
            backend=following.backend,
            service=flow.service,
            seen=flow.seen,
            tcp=flow.tcp,
        )
        kernel.write_flow(here, turned)
        kernel.write_flow(turned.rewrite.mirror, replace(turned, rewrite=here.mirror))
    return order


def _hit(program: int, order: list[Tuple]) -> float:
    took = []
    for at in random.sample(range(len(order)), STARTS):
        left, nanoseconds = _run(program, order[at], ACK, STEPS)
        end = order[(at + STEPS) % len(order)]
        assert left[26:38] == _frame(end, ACK)[26:38], "the packet crossed every flow of the chain"
        took.append(nanoseconds)
    return statistics.median(took)


def _frame(where: Tuple, flags: int) -> bytes:
    assert where.side == FROM_CLIENT
    return Packet(
        source=where.source,
        sport=where.sport,
        destination=where.destination,
        dport=where.dport,
        flags=flags,
        ttl=255,
    ).frame()


def _run(program: int, where: Tuple, flags: int, repeat: int) -> tuple[bytes, int]:
    verdict, left, nanoseconds = syscall.run_program(program, _frame(where, flags), repeat)
    assert verdict == REDIRECT, f"verdict {verdict} for {where}"
    return left, nanoseconds


def _floor(rounds: int) -> Measure:
    """A frame of another protocol: the program looks at its type and lets it pass."""
    kernel = Kernel(sizes={})
    try:
        program = kernel.object.program_fd("lb_uplink_ingress")
        frame = bytes(12) + b"\x88\xcc" + bytes(50)
        took = [syscall.run_program(program, frame, STEPS)[2] for _ in range(rounds * 100)]
    finally:
        kernel.close()
    return Measure(what="frame of another protocol", value=statistics.median(took), unit="ns")
