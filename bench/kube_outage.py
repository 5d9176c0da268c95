"""The API server killed for ten minutes under traffic, and then back.

Three speakers with their datapath and a controller run on the plant of bench/kube_plant.py. A
client asks by UDP each 5 ms and connects each 50 ms, through an address under Local and through
one under Cluster. Then the API server and its etcd are killed, and started again after the
minutes. Every attempt to connect to the API server is counted at the API server's host, whoever
makes it. Once the server says that it is ready, an endpoint is moved and a Service is made.
"""

from __future__ import annotations

import contextlib
import socket
import struct
import threading
import time
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass

from bench.clocks import Words
from bench.kube_connects import Asked, Client, pods
from bench.kube_moves import POOL, PORT, SPACE, Mover, endpoint, vip
from bench.kube_plant import API, NODES, Plant, plant
from bench.kube_sides import US, both, pins, service, speaker_name, start_controller
from bench.kube_speaker import serving, speakers
from bench.row import Measure
from onehop.lab import namespace
from onehop.lab.kube_build import METALLB, SERVER, prepare

API_PORT = 6443
LOCAL, CLUSTER, MOVED = 0, 1, 2  # Services: two that are used, one that is moved afterwards
CONNECT_MS, DATAGRAM_MS = 50, 5
BEFORE, AFTER = 5.0, 10.0  # seconds of traffic around the outage
LONGEST = 30.0
EARLY = 10  # seconds after which every pause has grown
_OUTGOING = 4
_SYN, _SYN_ACK = 0x02, 0x12


def run(minutes: float) -> list[Measure]:
    """One outage of so many minutes."""
    with plant(prepare(SERVER, print), prepare(METALLB, print)) as made:
        made.apply(*both("IPAddressPool", "all", {"addresses": [POOL]}))
        made.apply(*both("L2Advertisement", "all", {"interfaces": ["eno1"]}))
        start_controller(made, US)  # ends with the plant
        mover = Mover(made, US, services=3, protocols=("TCP", "UDP"), cluster=(CLUSTER,))
        with serving(mover), speakers(made, US, mover), pods(made):
            return _outage(made, mover, minutes)


def _outage(made: Plant, mover: Mover, minutes: float) -> list[Measure]:
    with contextlib.ExitStack() as up:
        clients = [Client(made, str(vip(at)), CONNECT_MS, DATAGRAM_MS) for at in (LOCAL, CLUSTER)]
        for client in clients:
            up.callback(client.kill)
        attempts = up.enter_context(Attempts.counted(made))
        time.sleep(BEFORE)
        before = _statuses(made, mover)
        made.server.stop_apiserver()
        made.server.stop_etcd()
        attempts.begin()
        time.sleep(minutes * 60)
        found = attempts.end()
        caught_up = _caught_up(made, mover)
        time.sleep(AFTER)
        asked = [client.end() for client in clients]
        made.alive()
        withdrawn = _withdrawn(made) + sum(
            one != other for one, other in zip(before, _statuses(made, mover), strict=True)
        )
    return list(_rows(minutes, asked, withdrawn, found, caught_up))


def _statuses(made: Plant, mover: Mover) -> list[object]:
    paths = (made.client.path(mover.service(at)) for at in range(mover.services))
    return [made.client.get(path)["status"]["loadBalancer"] for path in paths]


def _withdrawn(made: Plant) -> int:
    """How often a speaker said that it announces an address no more."""
    logs = (made.log(speaker_name(US, at)) for at in range(len(NODES)))
    lines = [line for log in logs for line in log.read_text().splitlines()]
    return sum(" withdrawn " in line and str(vip(MOVED)) not in line for line in lines)


def _caught_up(made: Plant, mover: Mover) -> tuple[float, float]:
    """Seconds from the server's word until a change is in force, and a new Service served."""
    word = Words(pins(made, 1))
    number = word.place(vip(MOVED), PORT)
    made.server.start_etcd()
    made.server.start_apiserver()  # returns once the server says that it is ready
    ready = time.monotonic()
    mover.connect()
    mover.put(MOVED, endpoint(1))
    mover.answered()
    new = service("new", SPACE, US)
    made.apply(new)
    moved = created = 0.0
    while not (moved and created):
        now = time.monotonic() - ready
        moved = moved or now * word.filled(number)
        ingress = made.client.get(made.client.path(new))["status"]["loadBalancer"].get("ingress")
        created = created or now * bool(ingress)
        if now > LONGEST:
            return moved or now, created or now
        time.sleep(0.01)
    return moved, created


class Attempts:
    """Connections to the API server that somebody begins: who, and in which second."""

    def __init__(self, sock: socket.socket) -> None:
        self._sock = sock
        self._seen: Counter[tuple[int, str]] = Counter()
        self._begin = 0.0
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._count, daemon=True)
        self._thread.start()

    @classmethod
    @contextlib.contextmanager
    def counted(cls, made: Plant) -> Iterator[Attempts]:
        """Count at the API server's host, also what comes from that host."""
        with namespace.entered(made.where("api")):
            sock = socket.socket(socket.AF_PACKET, socket.SOCK_DGRAM, socket.htons(0x0800))
        sock.settimeout(0.2)
        with sock:
            found = cls(sock)
            try:
                yield found
            finally:
                found.close()

    def begin(self) -> None:
        """The server is gone."""
        self._begin = time.monotonic()
        self._seen.clear()

    def end(self) -> Found:
        """What was seen since."""
        return Found(seconds=time.monotonic() - self._begin, seen=self._seen.copy())

    def close(self) -> None:
        """Count no more."""
        self._stop.set()
        self._thread.join()

    def _count(self) -> None:
        to, port = socket.inet_aton(API), struct.pack("!H", API_PORT)
        while not self._stop.is_set():
            try:
                packet, (_, _, kind, *_) = self._sock.recvfrom(128)
            except TimeoutError:
                continue
            header = (packet[0] & 15) * 4
            ours = packet[9] == socket.IPPROTO_TCP and packet[16:20] == to and kind != _OUTGOING
            begins = packet[header + 13] & _SYN_ACK == _SYN
            if ours and begins and packet[header + 2 : header + 4] == port:
                second = int(time.monotonic() - self._begin)
                self._seen[second, socket.inet_ntoa(packet[12:16])] += 1


@dataclass(frozen=True, slots=True, kw_only=True)
class Found:
    """The attempts of an outage, by second and by who made them."""

    seconds: float
    seen: Counter[tuple[int, str]]

    @property
    def rate(self) -> float:
        """Attempts a second, of all together."""
        return self.seen.total() / self.seconds

    @property
    def note(self) -> str:
        """Who, and the worst second."""
        seconds: Counter[int] = Counter()
        hosts: Counter[str] = Counter()
        for (second, host), count in self.seen.items():
            seconds[second] += count
            hosts[host] += count
        late = [count for second, count in seconds.items() if second >= EARLY]
        each = ", ".join(f"{hosts[host] / self.seconds:.2f} from {host}" for host in sorted(hosts))
        worst = f"worst second {max(seconds.values(), default=0)}"
        return f"{each}; {worst}, after {EARLY} s {max(late, default=0)}"


def _rows(
    minutes: float,
    asked: list[Asked],
    withdrawn: int,
    found: Found,
    caught_up: tuple[float, float],
) -> Iterator[Measure]:
    for what, value, unit, note in (
        ("addresses withdrawn", withdrawn, "addresses", ""),
        (
            "requests lost",
            sum(len(each.lost) + each.not_made + each.not_answered for each in asked),
            "requests",
            f"of {sum(each.asked for each in asked)} by UDP "
            f"and {sum(len(each.connects) for each in asked)} connects",
        ),
        ("tries to reach the API server", round(found.rate, 2), "1/s", found.note),
        ("caught up, a moved endpoint", round(caught_up[0], 2), "s", "in the kernel's map"),
        ("caught up, a new Service", round(caught_up[1], 2), "s", "in its status"),
    ):
        yield Measure(
            what=what,
            value=value,
            unit=unit,
            versus=f"API server away for {minutes:g} minutes",
            note=note,
        )
