"""BGP: three speakers to one BIRD router, until the router's kernel shows their next hops.

    client -- router (BIRD 2, merge paths) -- LAN -- a, b, c (a peer each, a pod each)

Three real `onehop speaker` processes watch one folder. A change writes one EndpointSlice anew,
with an endpoint on every node or on none; the clock starts before the file is put in place and
stops at the last change of the route that the router's kernel tells, with three next hops or
none. A start counts from the process's own, with the router's BIRD already waiting.

At the end with traffic the speakers have their eBPF datapath, and a client behind the router asks
a Service by UDP, a thousand times a second from many ports, so that the router spreads it; every
question without an answer is lost. Where the link is cut, BFD watches at 100 ms x 3: the node's
port leaves the bridge, so that the carrier stays.

BIRD, FRR and ExaBGP stand in the speakers' place, one kind after the other in each round, told
one prefix and 10 000 by `configure`, `vtysh` and ExaBGP's bulk form from a pipe; there our side is
the speaker's BGP effectors in three processes. What they read is at hand before the clock starts.
The router's kernel is then looked at every few milliseconds: its number of prefixes, and then
every route's length, which tells its next hops.
"""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Iterator
from pathlib import Path

from bench.bgp_cluster import peer, put, service
from bench.bgp_ends import Ends, client_behind
from bench.bgp_fib import WITHIN, Fib
from bench.bgp_others import ExaBgp, Frr, has_exabgp, has_frr
from bench.bgp_rivals import (
    PREFIXES,
    ROUTER,
    BirdRival,
    Control,
    Ours,
    Rival,
    bird,
    ended,
    passive,
)
from bench.bgp_rounds import FEW, MANY, NODES, Bench
from bench.network import Network, network
from bench.row import Measure, percentiles, ratio

ONE = PREFIXES[:1]
MOST = 10_000
SEVERAL = 10  # flaps of a rival's prefix in each round
VERSUS_FILE = "from the changed file, three next hops"
Took = dict[tuple[str, str], list[float]]
Noting = Callable[[str, float, float], None]

_KERNEL = """\
protocol kernel {
  merge paths on limit 16;
  netlink rx buffer 16777216;
  ipv4 { import none; export where source = RTS_BGP; };
}"""


def run(rounds: int) -> list[Measure]:
    """Real speakers first, then every kind of peer with many prefixes, then memory."""
    fewer = max(1, rounds // 4)
    with network(*NODES, clients=("router",)) as net:
        router = bird(net, "router", [*passive(ROUTER, _addresses(net)), _KERNEL])
        fib = Fib(net)
        try:
            bench = Bench(net=net, router=router, fib=fib)
            few, many = bench.folder(FEW), bench.folder(MANY)
            put(few, "flap-service", service(FEW))
            bench.first(few)
            for _ in range(rounds):
                bench.round(few)
            for _ in range(fewer):
                bench.many(many)
            took = _mass(bench, max(1, rounds // 2), fewer)
        finally:
            fib.close()
            router.close()
    ends = _ends(rounds, fewer)
    return [*_speaker_rows(bench), *ends, *_rival_rows(took), _memory()]


def _addresses(net: Network) -> list[str]:
    return [host.address for host in net.nodes.values()]


def _ends(rounds: int, fewer: int) -> list[Measure]:
    """Ends with traffic, and links that are cut."""
    with network(*NODES, clients=("router",)) as net:
        client_behind(net)
        bfd = 'protocol bfd { interface "*" { interval 100 ms; multiplier 3; }; }'
        config = passive(ROUTER, _addresses(net), more="bfd on;")
        router = bird(net, "router", [bfd, *config, _KERNEL])
        fib = Fib(net)
        try:
            ends = Ends(Bench(net=net, router=router, fib=fib))
            for _ in range(rounds):
                ends.terminated()
            ends.cut(fewer)
        finally:
            fib.close()
            router.close()
    return ends.measures()


def _speaker_rows(bench: Bench) -> Iterator[Measure]:
    for what, values in bench.spans.items():
        note = f"{len(values)} times, {min(values):.2f} to {max(values):.2f}"
        if what.startswith("one prefix"):
            yield from percentiles(what, VERSUS_FILE, values, note)
        else:
            versus = f"{MANY if 'last' in what else FEW:,} Services".replace(",", " ")
            middle = round(statistics.median(values), 1)
            yield Measure(what=what, value=middle, unit="ms", versus=versus, note=note)
    yield Measure(
        what="sessions reset by edits that do not concern them",
        value=bench.resets,
        unit="rounds",
        note=f"{bench.edits} edits and {2 * len(bench.spans['one prefix announced'])} of a slice",
    )


def _mass(bench: Bench, rounds: int, fewer: int) -> Took:
    """Ours and BIRD in each round, and the slow ones in the first of them."""
    rivals: list[Rival] = [Ours(bench.net, NODES, [ROUTER]), BirdRival(bench.net, NODES)]
    slow: list[Rival] = [Frr(bench.net, NODES)] if has_frr() else []
    slow += [ExaBgp(bench.net, NODES)] if has_exabgp() else []
    took: Took = {}
    for at in range(rounds):
        for rival in rivals + (slow if at < fewer else []):
            _tell_rival(bench, rival, took)
    return took


def _tell_rival(bench: Bench, rival: Rival, took: Took) -> None:
    """A start, a prefix that comes and goes, 10 000 that do, and an end."""

    def note(what: str, begin: float, end: float) -> None:
        took.setdefault((what, rival.name), []).append((end - begin) * 1e3)

    begin = time.monotonic()
    rival.start()
    note("start to Established, three", begin, bench.router.until("Established", len(NODES)))
    time.sleep(1.0)  # BIRD and ExaBGP hold back what comes right after a session's start
    if not isinstance(rival, Ours):  # the effectors alone are no speaker
        for _ in range(SEVERAL):
            for what, prefixes in (("announced", ONE), ("withdrawn", ())):
                rival.prepare(prefixes)
                bench.fib.forget()
                begin = time.monotonic()
                rival.tell()
                end = bench.fib.until({ONE[0]: len(NODES) if prefixes else 0})
                note(f"one prefix {what}", begin, end)
                time.sleep(0.05)
    for what, prefixes in (("announced", PREFIXES), ("withdrawn", [])):
        rival.prepare(prefixes)
        begin = time.monotonic()
        rival.tell()
        end = bench.fib.until_count(len(prefixes), len(NODES) if prefixes else 0)
        note(f"10 000 prefixes {what}", begin, end)
        time.sleep(0.5)
    if not isinstance(rival, Ours):
        _end_rival(bench, rival, note)
    rival.close()
    bench.router.until("Passive", len(NODES))


def _end_rival(bench: Bench, rival: Rival, note: Noting) -> None:
    rival.prepare(PREFIXES[:FEW])
    rival.tell()
    bench.fib.until_count(FEW, len(NODES))
    bench.fib.forget()
    begin = time.monotonic()
    rival.children[0].terminate()
    wanted = dict.fromkeys(PREFIXES[:FEW], len(NODES) - 1)
    note("SIGTERM to withdrawn", begin, bench.fib.until(wanted))


def _rival_rows(took: Took) -> Iterator[Measure]:
    for (what, name), values in took.items():
        note = f"{len(values)} times, {min(values):.2f} to {max(values):.2f}"
        if what.startswith("one prefix"):
            yield from percentiles(what, f"{name} in our place", values, note)
        elif name != Ours.name or what.startswith("10 000"):
            middle = round(statistics.median(values), 1)
            versus = f"{name} in our place" if name != Ours.name else ""
            yield Measure(what=what, value=middle, unit="ms", versus=versus, note=note)
    for what in ("10 000 prefixes announced", "10 000 prefixes withdrawn"):
        ours = took[what, Ours.name]
        for (each, name), theirs in took.items():
            if each == what and name != Ours.name:
                yield ratio(what, name, ours[: len(theirs)], theirs, "ms")


def _memory() -> Measure:
    """A speaker with a BIRD on each of three other hosts: without Services, and with many."""
    with network(*NODES, clients=("router",)) as net:
        own = net.nodes["a"].address
        others = {"router": ROUTER, **{name: net.nodes[name].address for name in NODES[1:]}}
        controls = [bird(net, name, passive(at, [own])) for name, at in others.items()]
        fib = Fib(net)
        bench = Bench(net=net, router=controls[0], fib=fib)
        sizes = [_resident_with(bench, services, others, controls) for services in (0, MOST)]
        fib.close()
        for control in controls:
            control.close()
    idle, full = sizes
    return Measure(
        what="memory over idle",
        value=round(full - idle, 1),
        unit="MB",
        versus="10 000 prefixes to 3 peers",
        note=f"{idle:.1f} to {full:.1f} MB: with 10 000 Services and their endpoints",
    )


def _resident_with(
    bench: Bench, services: int, others: dict[str, str], controls: list[Control]
) -> float:
    folder = bench.folder(services)
    put(folder, "peer", *(peer(name, peerAddress=address) for name, address in others.items()))
    speaker = bench.speaker("a", folder)
    for control in controls:
        control.until("Established", 1)
        _until_routes(control, services)
    time.sleep(1.0)  # its report has been written by then
    size = _resident(speaker.pid)
    ended(bench.net, [speaker])
    for control in controls:
        control.until("Passive", 1)
    return size


def _until_routes(control: Control, routes: int) -> None:
    end = time.monotonic() + WITHIN
    while f"{routes} of {routes} routes" not in control.ask("show route count"):
        if time.monotonic() > end:
            raise RuntimeError(f"not every route came: {control.ask('show route count')}")
        time.sleep(0.05)


def _resident(pid: int) -> float:
    status = Path(f"/proc/{pid}/status").read_text()
    line = next(line for line in status.splitlines() if line.startswith("VmRSS:"))
    return int(line.split()[1]) / 1024
