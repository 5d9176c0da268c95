"""BGP: three speakers to one BIRD router, until the router's kernel shows their next hops.

    router (BIRD 2, merge paths) -- LAN -- a, b, c (a peer each)

Three real `onehop speaker` processes with `--datapath none` watch one folder. A change writes one
EndpointSlice anew, with an endpoint on every node or on none; the clock starts before the file is
put in place and stops at the last change of the route that the router's kernel tells, with three
next hops or none. A start counts from the process's own, with the router's BIRD already waiting.

For 10 000 prefixes the three peers are, one kind after the other in each round, our BGP effectors
in three processes, BIRD with a file of static routes and `configure`, and ExaBGP with its bulk
form from a pipe. The clock starts before they are told. The router's kernel is looked at every
few milliseconds: its number of prefixes, and then every route's length, which tells its next hops.
"""

from __future__ import annotations

import statistics
import time
from collections.abc import Iterator
from pathlib import Path

from bench.bgp_cluster import put, service
from bench.bgp_fib import WITHIN, Fib
from bench.bgp_rivals import (
    PREFIXES,
    ROUTER,
    BirdRival,
    Control,
    ExaBgp,
    Ours,
    Rival,
    bird,
    has_exabgp,
    passive,
)
from bench.bgp_rounds import FEW, MANY, NODES, Bench
from bench.network import network
from bench.row import Measure, percentile, ratio


def run(rounds: int) -> list[Measure]:
    """Real speakers first, then every kind of peer with many prefixes, then memory."""
    with network(*NODES, clients=("router",)) as net:
        config = passive(ROUTER, [host.address for host in net.nodes.values()])
        router = bird(net, "router", [*config, _KERNEL])
        fib = Fib(net)
        try:
            bench = Bench(net=net, router=router, fib=fib)
            few, many = bench.folder(FEW), bench.folder(MANY)
            put(few, "flap-service", service(FEW))
            for _ in range(rounds):
                bench.round(few)
            for _ in range(max(1, rounds // 2)):
                bench.many(many)
            measures = list(_speaker_rows(bench))
            measures += _mass(bench, max(1, rounds // 2))
        finally:
            fib.close()
            router.close()
    measures.append(_memory())
    return measures


_KERNEL = """\
protocol kernel {
  merge paths on limit 16;
  netlink rx buffer 16777216;
  ipv4 { import none; export where source = RTS_BGP; };
}"""


def _speaker_rows(bench: Bench) -> Iterator[Measure]:
    for what, values in bench.spans.items():
        note = f"{len(values)} times, {min(values):.2f} to {max(values):.2f}"
        if what in ("announced", "withdrawn"):
            for percent in (50, 99):
                yield Measure(
                    what=f"one prefix {what}, p{percent}",
                    value=round(percentile(values, percent), 2),
                    unit="ms",
                    versus="from the changed file, three next hops",
                    note=note,
                )
        else:
            versus = f"{MANY if 'last' in what else FEW:,} Services".replace(",", " ")
            middle = round(statistics.median(values), 1)
            yield Measure(what=what, value=middle, unit="ms", versus=versus, note=note)
    yield Measure(
        what="sessions reset by edits that do not concern them",
        value=bench.resets,
        unit="rounds",
        note=f"{bench.edits} edits and {2 * len(bench.spans['announced'])} of a slice",
    )


def _mass(bench: Bench, rounds: int) -> Iterator[Measure]:
    rivals: list[Rival] = [Ours(bench.net, NODES, [ROUTER]), BirdRival(bench.net, NODES)]
    if has_exabgp():
        rivals.append(ExaBgp(bench.net, NODES))
    took: dict[tuple[str, str], list[float]] = {}
    for _ in range(rounds):
        for rival in rivals:
            rival.start()
            bench.router.until("Established", len(NODES))
            time.sleep(1.0)  # BIRD and ExaBGP hold back what comes right after a session's start
            for what, announce in (("announced", True), ("withdrawn", False)):
                begin = time.monotonic()
                rival.tell(announce=announce)
                prefixes, hops = (len(PREFIXES), len(NODES)) if announce else (0, 0)
                until = bench.fib.until_count(prefixes, hops)
                took.setdefault((rival.name, what), []).append((until - begin) * 1e3)
                time.sleep(0.5)
            rival.close()
            bench.router.until("Passive", len(NODES))
    for what in ("announced", "withdrawn"):
        ours = took[Ours.name, what]
        yield Measure(
            what=f"10 000 prefixes {what}",
            value=round(statistics.median(ours), 1),
            unit="ms",
            note=f"{len(ours)} times, {min(ours):.0f} to {max(ours):.0f}",
        )
        for rival in rivals[1:]:
            yield ratio(f"10 000 prefixes {what}", rival.name, ours, took[rival.name, what], "ms")


def _memory() -> Measure:
    """One process of ours with a BIRD on each of three other hosts."""
    with network(*NODES, clients=("router",)) as net:
        own = net.nodes["a"].address
        others = {"router": ROUTER, **{name: net.nodes[name].address for name in NODES[1:]}}
        controls = [bird(net, name, passive(at, [own])) for name, at in others.items()]
        ours = Ours(net, ["a"], list(others.values()))
        ours.start()
        for control in controls:
            control.until("Established", 1)
        time.sleep(0.5)
        idle = _resident(ours.children[0].pid)
        ours.tell(announce=True)
        for control in controls:
            _until_routes(control)
        full = _resident(ours.children[0].pid)
        ours.close()
        for control in controls:
            control.close()
    return Measure(
        what="memory over idle",
        value=round(full - idle, 1),
        unit="MB",
        versus="10 000 prefixes to 3 peers",
        note=f"{idle:.1f} to {full:.1f}: the effectors of BGP, without a cluster's objects",
    )


def _until_routes(control: Control) -> None:
    end = time.monotonic() + WITHIN
    while f"{len(PREFIXES)} of {len(PREFIXES)} routes" not in control.ask("show route count"):
        if time.monotonic() > end:
            raise RuntimeError(f"not every route came: {control.ask('show route count')}")
        time.sleep(0.02)


def _resident(pid: int) -> float:
    status = Path(f"/proc/{pid}/status").read_text()
    line = next(line for line in status.splitlines() if line.startswith("VmRSS:"))
    return int(line.split()[1]) / 1024
