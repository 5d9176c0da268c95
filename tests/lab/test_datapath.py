"""Real connections through the loaded datapath: on both hooks, in both deliveries.

    client 192.168.200.10 ---- up0 node 192.168.200.201 ---- lxc0 pod 10.0.2.233

Nobody has configured 192.168.200.241; the client's neighbour table leads it to the node.
"""

from __future__ import annotations

import ctypes
import os
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path

import pytest

from onehop.adapters.bpf.datapath import Datapath
from onehop.core.balance import ring
from onehop.model.desired import DatapathDesired
from onehop.model.service import Protocol
from tests.unit.adapters.bpf.node import bpffs
from tests.unit.adapters.bpf.wants import LOCAL, a_backend, a_frontend, wanted

pytestmark = [pytest.mark.root, pytest.mark.lab]

ROOT = Path(__file__).resolve().parents[2]
NODE, CLIENT, POD = (f"bpfl-{name}-{os.getpid()}" for name in ("node", "client", "pod"))
VIP, VIP6 = "192.168.200.241", "fd00:200::241"
SEEN, SEEN6 = "192.168.200.10", "fd00:200::10"
UPLINK_MAC, POD_MAC, HOST_MAC = "02:da:00:00:00:01", "02:da:00:00:00:02", "02:da:00:00:00:03"
SETUP = {
    NODE: f"""
        link set lo up
        link set up0 up
        link set lxc0 up
        address add 192.168.200.201/24 dev up0
        address add fd00:200::201/64 dev up0 nodad
        route add 10.0.2.233/32 dev lxc0
        route add fd00:10::233/128 dev lxc0
        neighbour add 10.0.2.233 lladdr {POD_MAC} dev lxc0 nud permanent
        neighbour add fd00:10::233 lladdr {POD_MAC} dev lxc0 nud permanent
    """,
    CLIENT: f"""
        link set lo up
        link set eth0 up
        address add {SEEN}/24 dev eth0
        address add {SEEN6}/64 dev eth0 nodad
        neighbour add {VIP} lladdr {UPLINK_MAC} dev eth0 nud permanent
        neighbour add {VIP6} lladdr {UPLINK_MAC} dev eth0 nud permanent
    """,
    POD: f"""
        link set lo up
        link set eth0 up
        address add 10.0.2.233/32 dev eth0
        address add fd00:10::233/128 dev eth0 nodad
        route add 169.254.1.1 dev eth0
        route add default via 169.254.1.1
        route add fe80::1:1 dev eth0
        route add default via fe80::1:1 dev eth0
        neighbour add 169.254.1.1 lladdr {HOST_MAC} dev eth0 nud permanent
        neighbour add fe80::1:1 lladdr {HOST_MAC} dev eth0 nud permanent
    """,
}
WIRES = f"""
    link add up0 netns {NODE} address {UPLINK_MAC} type veth peer name eth0 netns {CLIENT}
    link add lxc0 netns {NODE} address {HOST_MAC} type veth peer name eth0 address {POD_MAC} netns {POD}
"""  # noqa: E501  # one line of `ip` is one line
_libc = ctypes.CDLL(None, use_errno=True)


def _batch(lines: str, *options: str) -> None:
    text = "\n".join(line.strip() for line in lines.strip().splitlines())
    subprocess.run(["ip", *options, "-batch", "-"], input=text, text=True, check=True)


def _inside(name: str, act: Callable[[], socket.socket]) -> socket.socket:
    """What `act` opens in a namespace stays there; the thread that opened it goes."""

    def entered() -> socket.socket:
        fd = os.open(f"/run/netns/{name}", os.O_RDONLY)
        try:
            if _libc.setns(fd, 0x40000000):
                raise OSError(ctypes.get_errno(), "setns")
            return act()
        finally:
            os.close(fd)

    with ThreadPoolExecutor(1) as thread:
        return thread.submit(entered).result(timeout=10)


@contextmanager
def _entered(name: str) -> Iterator[None]:
    """This thread in a namespace."""
    home = os.open("/proc/thread-self/ns/net", os.O_RDONLY)
    there = os.open(f"/run/netns/{name}", os.O_RDONLY)
    _libc.setns(there, 0x40000000)
    try:
        yield
    finally:
        _libc.setns(home, 0x40000000)
        os.close(home)
        os.close(there)


@pytest.fixture(scope="module")
def network() -> Iterator[None]:
    names = (NODE, CLIENT, POD)
    with ExitStack() as stack:
        for name in names:
            subprocess.run(["ip", "netns", "add", name], check=True)
            stack.callback(subprocess.run, ["ip", "netns", "del", name], check=True)
        _batch(WIRES)
        for name in names:
            _batch(SETUP[name], "-netns", name)
        forwarding = ("net.ipv4.conf.all.forwarding=1", "net.ipv6.conf.all.forwarding=1")
        subprocess.run(["ip", "netns", "exec", NODE, "sysctl", "-qw", *forwarding], check=True)
        yield


@pytest.fixture(scope="module")
def servers(network: None) -> Iterator[None]:
    """In the pod: TCP answers each line with who sent it, as long as the peer likes; UDP too."""
    tcp = _inside(POD, lambda: socket.create_server(("::", 9096), family=socket.AF_INET6,
                                                    dualstack_ipv6=True))  # fmt: skip
    udp = _inside(POD, lambda: socket.socket(socket.AF_INET, socket.SOCK_DGRAM))
    udp.bind(("10.0.2.233", 9053))
    threads = [
        threading.Thread(target=_accept, args=(tcp,), daemon=True),
        threading.Thread(target=_datagrams, args=(udp,), daemon=True),
    ]
    for thread in threads:
        thread.start()
    yield
    for each in (tcp, udp):
        with suppress(OSError):  # a datagram socket has no peer, but its reader wakes
            each.shutdown(socket.SHUT_RDWR)
        each.close()


def _accept(server: socket.socket) -> None:
    while True:
        try:
            connection, peer = server.accept()
        except OSError:
            return
        threading.Thread(target=_answer, args=(connection, peer[0]), daemon=True).start()


def _answer(connection: socket.socket, peer: str) -> None:
    with connection:
        try:
            while connection.recv(100):
                connection.sendall(peer.removeprefix("::ffff:").encode())
        except OSError:
            return


def _datagrams(server: socket.socket) -> None:
    while True:
        try:
            _, peer = server.recvfrom(100)
        except OSError:
            return
        if not peer:
            return
        server.sendto(peer[0].encode(), peer)


def _connect(address: str, port: int) -> socket.socket:
    return _inside(CLIENT, lambda: socket.create_connection((address, port), timeout=5))


def _ask(connection: socket.socket) -> str:
    connection.sendall(b"who?")
    return connection.recv(100).decode()


WANT: DatapathDesired = wanted(
    a_frontend(VIP, a_backend("10.0.2.233", local=True), policy=LOCAL),
    a_frontend(VIP6, a_backend("fd00:10::233", local=True), policy=LOCAL),
    a_frontend(
        VIP,
        a_backend("10.0.2.233", 9053, local=True),
        port=53,
        protocol=Protocol.UDP,
        policy=LOCAL,
        service="kafka/names",
    ),
)
SMALL = {"flows": 4096}


@pytest.fixture(params=[(h, d) for h in ("tcx", "clsact") for d in ("fast", "stack")])
def datapath(request: pytest.FixtureRequest, servers: None, tmp_path: Path) -> Iterator[Datapath]:
    hook, delivery = request.param
    with _entered(NODE), bpffs(tmp_path / "bpf") as pins:
        made = Datapath(
            pins, ring=ring, uplinks=("up0",), hook=hook, delivery=delivery, capacity=SMALL
        )
        report = made.sync(WANT)
        assert not report.failures
        assert {row.mode for row in made.rows()} == {delivery}
        yield made
        made.remove()


def test_a_client_reaches_the_pod_and_is_seen_as_itself(datapath: Datapath) -> None:
    for address, seen in ((VIP, SEEN), (VIP6, SEEN6)):
        with _connect(address, 9096) as connection:
            assert connection.getpeername()[0] == address
            assert _ask(connection) == seen


def _datagrams_there_and_back(count: int) -> None:
    with _inside(CLIENT, lambda: socket.socket(socket.AF_INET, socket.SOCK_DGRAM)) as client:
        client.settimeout(5)
        for _ in range(count):
            client.sendto(b"who?", (VIP, 53))
            said, peer = client.recvfrom(100)
            assert (said.decode(), peer) == (SEEN, (VIP, 53))


def test_datagrams_come_back_from_the_frontend(datapath: Datapath) -> None:
    _datagrams_there_and_back(1)


def test_the_table_counts_what_went_through(datapath: Datapath) -> None:
    _datagrams_there_and_back(10)
    [row] = [each for each in datapath.rows() if each.frontend.protocol is Protocol.UDP]
    assert row.statistics.flows == 1
    assert row.statistics.packets == 20
    assert row.statistics.bytes >= 20 * 28
    assert row.statistics.drops == 0


def test_without_a_backend_nothing_answers_and_it_is_counted(datapath: Datapath) -> None:
    datapath.sync(wanted(a_frontend(VIP, policy=LOCAL)))
    with pytest.raises(TimeoutError):
        _inside(CLIENT, lambda: socket.create_connection((VIP, 9096), timeout=0.3))
    [row] = datapath.rows()
    assert row.statistics.drops >= 1
    datapath.sync(WANT)
    with _connect(VIP, 9096) as connection:
        assert _ask(connection) == SEEN


SPEAK = """
import sys
from pathlib import Path
from onehop.adapters.bpf.datapath import Datapath
from onehop.core.balance import ring
from tests.lab.test_datapath import SMALL, WANT
made = Datapath(Path(sys.argv[1]), ring=ring, uplinks=("up0",), hook=sys.argv[2], capacity=SMALL)
print(len(made.sync(WANT).failures), flush=True)
sys.stdin.read()
"""


@pytest.mark.parametrize("hook", ["tcx", "clsact"])
def test_traffic_flows_while_nobody_is_there(servers: None, tmp_path: Path, hook: str) -> None:
    """Kill -9 of the process: an open connection and a new one do not notice, nor at take-over."""
    with _entered(NODE), bpffs(tmp_path / "bpf") as pins:
        speaker = subprocess.Popen(
            [sys.executable, "-c", SPEAK, str(pins), hook],
            cwd=ROOT,
            env={**os.environ, "PYTHONPATH": f"{ROOT / 'src'}:{ROOT}"},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        with speaker, _opened_after(speaker) as connection:
            speaker.send_signal(signal.SIGKILL)
            speaker.wait(timeout=10)
            assert _ask(connection) == SEEN
            with _connect(VIP, 9096) as another:
                assert _ask(another) == SEEN
            made = Datapath(pins, ring=ring, uplinks=("up0",), hook=hook, capacity=SMALL)
            assert made.sync(WANT).changed == 0
            assert _ask(connection) == SEEN
            made.remove()


@contextmanager
def _opened_after(speaker: subprocess.Popen[str]) -> Iterator[socket.socket]:
    assert speaker.stdout is not None
    assert speaker.stdout.readline() == "0\n"
    with _connect(VIP, 9096) as connection:
        assert _ask(connection) == SEEN
        yield connection
