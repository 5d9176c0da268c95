"""ARP answers a second, and how fast one comes: our announcers beside the kernel itself.

One wire, a client that asks from one CPU and a node that answers on the other. For the rate the
answers are counted by the client's kernel as they arrive, so the client needs no time to read them
and an answer that never came does not count. For the latency it asks one question at a time.
"""

from __future__ import annotations

import asyncio
import signal
import socket
import statistics
import struct
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from ipaddress import IPv4Address

from bench.network import CPUS, Network, network
from bench.row import Measure, percentile
from onehop.adapters.linux.link import Links
from onehop.app.announcers import Announcers
from onehop.model.address import Mac
from onehop.model.desired import Announcement

LINK = "wire0"
CLIENT = "02:00:00:00:00:99"
ARP = 0x0806
HELD = 1000
FIRST = int(IPv4Address("198.18.0.0"))
KERNEL = "192.168.202.1"  # the node's own address, which its kernel answers for
RATE_SECONDS = 0.4
ASKS = 4000
WINDOW = 512
STEP = 32  # questions between two looks at the counter of answers


def _requests(targets: list[bytes]) -> list[bytes]:
    mac = Mac.parse(CLIENT).octets
    head = b"\xff" * 6 + mac + struct.pack("!HHHBBH", ARP, 1, 0x0800, 6, 4, 1)
    sender = mac + IPv4Address("192.168.202.2").packed
    return [head + sender + bytes(6) + target for target in targets]


def _socket(ethertype: int) -> socket.socket:
    asking = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, 0)
    asking.bind((LINK, ethertype))
    return asking


def _arrived(asking: socket.socket) -> int:
    """How many frames reached the socket since the last look, read or dropped."""
    return int(struct.unpack("II", asking.getsockopt(263, 6, 8))[0])  # PACKET_STATISTICS


def _rate(requests: list[bytes]) -> float:
    """Answers a second, with up to `WINDOW` questions on the way at any moment."""
    with _socket(ARP) as asking:
        # Nobody reads the answers: they are counted and, the buffer being full, dropped.
        asking.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1)
        _arrived(asking)
        asked = answered = 0
        start = heard_at = time.perf_counter()
        while (now := time.perf_counter()) < start + RATE_SECONDS:
            arrived = _arrived(asking)
            answered += arrived
            if arrived:
                heard_at = now
            elif now > heard_at + 0.02:
                asked = answered  # what was lost on the way is waited for no more
            if asked - answered < WINDOW:
                for _ in range(STEP):
                    asking.send(requests[asked % len(requests)])
                    asked += 1
        return answered / (heard_at - start)


def _polled(asking: socket.socket, until_ns: int) -> bytes:
    while time.perf_counter_ns() < until_ns:
        with suppress(BlockingIOError):
            return asking.recv(64)
    raise TimeoutError("a question without an answer")


def _latencies(requests: list[bytes]) -> list[float]:
    """Microseconds from question to answer, one question at a time."""
    spans = []
    with _socket(ARP) as asking:
        # What the rate left on the way comes first.
        asking.settimeout(0.1)
        with suppress(TimeoutError):
            while asking.recv(64):
                pass
        # Polled, so that the client's own waking up is no part of the span.
        asking.setblocking(False)
        for number in range(ASKS):
            request = requests[number % len(requests)]
            start = time.perf_counter_ns()
            asking.send(request)
            answer = _polled(asking, start + 5_000_000_000)
            assert answer[28:32] == request[38:42], "an answer to another question"
            spans.append((time.perf_counter_ns() - start) / 1000)
    return spans


def _ask(kind: str) -> None:
    """The client's side: one line `rate p50 p99`."""
    ours = [(FIRST + number).to_bytes(4, "big") for number in range(HELD)]
    requests = _requests([IPv4Address(KERNEL).packed] if kind == "kernel" else ours)
    rate = _rate(requests)
    spans = _latencies(requests)
    print(rate, statistics.median(spans), percentile(spans, 99))


async def _answer() -> None:
    """The node's side: hold a thousand addresses until told to stop."""
    links, announcers = Links(), Announcers(on_fact=print)
    announcements = tuple(
        Announcement(address=IPv4Address(FIRST + number), links=frozenset({LINK}))
        for number in range(HELD)
    )
    while announcers.sync(announcements, links.links()).changed < HELD:
        links.refresh()
        await asyncio.sleep(0.01)
    await asyncio.sleep(5)  # until the announcements are behind us
    print("ready", flush=True)
    stop = asyncio.Event()
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, stop.set)
    await stop.wait()
    announcers.close()
    links.close()


def _wired(net: Network) -> None:
    net.ip(
        "client",
        f"link add {LINK} address {CLIENT} type veth peer name {LINK} netns {net.prefix}node",
        f"link set {LINK} up",
    )
    net.ip("node", f"link set {LINK} up", f"address add {KERNEL}/24 dev {LINK}")


@contextmanager
def _answering(net: Network) -> Iterator[None]:
    _wired(net)
    child = net.start("node", [sys.executable, "-m", "bench.arp", "answer"], cpu=CPUS[-1])
    assert child.stdout is not None
    if child.stdout.readline().strip() != "ready":
        raise RuntimeError("the announcers did not start")
    yield


def run(rounds: int) -> list[Measure]:
    """Rounds of ours and the kernel's in turn; medians over the rounds."""
    seen: dict[str, list[tuple[float, float, float]]] = {"ours": [], "kernel": []}
    with network("node") as net, _answering(net):
        for _ in range(rounds):
            for kind, figures in seen.items():
                words = [sys.executable, "-m", "bench.arp", "ask", kind]
                rate, p50, p99 = net.run("client", words, cpu=CPUS[0]).split()
                figures.append((float(rate), float(p50), float(p99)))
    ours, kernel = (
        [statistics.median(column) for column in zip(*figures, strict=True)]
        for figures in seen.values()
    )
    names = (("ARP answers", "1/s"), ("ARP answer, p50", "µs"), ("ARP answer, p99", "µs"))
    return [
        Measure(
            what=what,
            value=round(value, 1),
            unit=unit,
            note=(
                f"the kernel for its own address: {other:,.5g} {unit}; "
                f"medians of {rounds} rounds in turn, {HELD} addresses held"
            ),
        )
        for (what, unit), value, other in zip(names, ours, kernel, strict=True)
    ]


if __name__ == "__main__":
    if sys.argv[1] == "answer":
        asyncio.run(_answer())
    else:
        _ask(sys.argv[2])
