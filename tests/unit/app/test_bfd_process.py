"""The BFD process and its client: how they begin, what they refuse and how they end."""

from __future__ import annotations

import os
import socket
import subprocess
import time
from collections.abc import Iterator
from dataclasses import replace
from ipaddress import ip_address
from pathlib import Path as File

import pytest

from onehop.app.bfd_client import PROCESS
from onehop.app.bfd_lines import PathUp, Ready, decode, encode_wanted
from onehop.app.bfd_process import PRIORITY, Parent
from onehop.lab import namespace
from onehop.model.bgp import BFDProfile
from onehop.model.reason import Reason, Refusal
from onehop.model.service import Key
from onehop.proto.bfd.profile import FLOOR, FLOOR_WITHOUT_PRIORITY
from onehop.proto.bfd.session import Path, Terms
from tests.lab.bfd_lan import NODE, ROUTER, Lan, Node, lan
from tests.lab.wire import eventually

pytestmark = pytest.mark.root

PROFILE = BFDProfile(
    key=Key("metallb-system", "unit"), receive_interval_ms=60, transmit_interval_ms=60
)
PATH = Path(peer=ip_address(ROUTER))
WITHOUT_PRIORITY = ("setpriv", "--bounding-set=-sys_nice", *PROCESS)


@pytest.fixture
def network(tmp_path: File) -> Iterator[Lan]:
    with lan(tmp_path) as made:
        yield made


def refusals(node: Node, path: Path) -> tuple[Refusal, ...]:
    return node.call(lambda: node.client.refusals(path))


def _used(node: Node) -> float:
    """Seconds of processor time that the process has had."""
    fields = File(f"/proc/{node.client.pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


class TestClient:
    def test_two_of_us_agree(self, network: Lan) -> None:
        nodes = [network.node(), Node(network.path("router"))]
        network.nodes.append(nodes[1])
        for node, peer in zip(nodes, (ROUTER, NODE), strict=True):
            path = Path(peer=ip_address(peer))
            node.call(lambda node=node, path=path: node.client.sync({path: PROFILE}))
        for node in nodes:
            ((_, fact),) = eventually(lambda node=node: list(node.facts))
            assert isinstance(fact, PathUp)
            assert node.call(lambda node=node, fact=fact: node.client.is_up(fact.path))
            session = eventually(
                lambda node=node, fact=fact: node.call(lambda: node.client.session(fact.path))
            )
            assert session.detection_time == pytest.approx(0.18)
            assert node.client.floor == FLOOR
        assert os.sched_getscheduler(nodes[0].client.pid) == os.SCHED_FIFO
        assert os.sched_getparam(nodes[0].client.pid).sched_priority == PRIORITY

    def test_without_priority_the_floor_is_higher_and_that_is_said(self, network: Lan) -> None:
        node = network.node(WITHOUT_PRIORITY)
        node.call(lambda: node.client.sync({PATH: PROFILE}))
        said = eventually(lambda: refusals(node, PATH))
        assert [one.reason for one in said] == [Reason.BFD_INTERVAL_RAISED] * 2
        assert node.client.ready == Ready(
            real_time=False, detail="SCHED_FIFO: Operation not permitted"
        )
        assert node.client.floor == FLOOR_WITHOUT_PRIORITY

    def test_nothing_runs_until_something_is_wanted(self, network: Lan) -> None:
        node = network.node()
        node.call(lambda: node.client.sync({}))
        assert node.client.pid is None
        assert refusals(node, PATH) == ()

    def test_a_session_that_cannot_be_had_says_why_until_it_can(self, network: Lan) -> None:
        node = network.node()
        path = replace(PATH, local=ip_address("192.0.2.77"))
        node.call(lambda: node.client.sync({path: PROFILE, PATH: PROFILE}))
        (said,) = eventually(lambda: refusals(node, path))
        why = "the source address 192.0.2.77 is not this node's"
        assert said == Refusal(reason=Reason.BFD_DOWN, detail=f"BFD to {ROUTER}: {why}")
        assert refusals(node, PATH) == ()
        network.run("node", "ip", "address", "add", "192.0.2.77/24", "dev", "net0")
        eventually(lambda: not refusals(node, path))

    def test_a_flood_does_not_take_the_processor(self, network: Lan) -> None:
        node = network.node()
        node.call(lambda: node.client.sync({PATH: PROFILE}))
        eventually(lambda: node.client.statistics.sessions)
        with (
            namespace.entered(network.path("router")),
            socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as flood,
        ):
            flood.connect((NODE, 3784))
            used, start, sent = _used(node), time.monotonic(), 0
            while time.monotonic() < start + 0.5:
                sent += flood.send(bytes(24)) > 0
            # Of the span that it really was: on a busy machine half a second may be longer.
            share = (_used(node) - used) / (time.monotonic() - start)
        assert sent > 5000
        assert share < 0.7
        discarded = eventually(lambda: node.client.statistics.discarded.get("version", 0))
        assert 100 < discarded < sent

    @pytest.mark.parametrize("command", [("false",), ("/no/such/program",)])
    def test_a_process_that_never_starts_is_tried_ever_more_slowly(
        self, network: Lan, command: tuple[str, ...]
    ) -> None:
        node = network.node(command)
        start = time.monotonic()
        node.call(lambda: node.client.sync({PATH: PROFILE}))
        eventually(lambda: node.client.starts >= 4)
        assert time.monotonic() - start >= 0.1 + 0.2 + 0.4
        node.call(lambda: node.client.sync({}))
        starts = node.client.starts
        eventually(lambda: node.client.pid is None)
        assert node.client.starts == starts


class TestProcess:
    def test_it_ends_with_its_speaker(self, network: Lan) -> None:
        ours, theirs = socket.socketpair()
        with ours, namespace.entered(network.path("node")):
            with theirs:
                process = subprocess.Popen(PROCESS, stdin=theirs.fileno())
            network.processes.append(process)
            ours.sendall(encode_wanted({PATH: Terms()}))
            lines = ours.makefile("rb")
            assert decode(lines.readline()) == Ready(real_time=True)
            lines.close()
            assert process.poll() is None
        assert process.wait(5) == 0


class TestParent:
    def test_lines_come_whole(self) -> None:
        ours, theirs = socket.socketpair()
        with ours, theirs:
            parent = Parent(theirs)
            assert parent.received() == []
            ours.sendall(b"one\ntwo\nthr")
            assert parent.received() == [b"one", b"two"]
            ours.sendall(b"ee\n")
            assert parent.received() == [b"three"]
            ours.shutdown(socket.SHUT_WR)
            assert parent.received() == []
            assert parent.is_closed

    def test_a_speaker_that_does_not_read_costs_a_line_of_each_key(self) -> None:
        ours, theirs = socket.socketpair()
        with ours, theirs:
            parent = Parent(theirs)
            line = b"x" * 999 + b"\n"
            for number in range(10_000):
                parent.send(number % 3, line[:-5] + b"%04d\n" % number)
            assert parent.is_waiting
            last = b""
            while parent.is_waiting:
                last += ours.recv(1 << 20)
                parent.flush()
            last += ours.recv(1 << 20)
            assert last.splitlines()[-3:] == [line[:-5] + b"%04d" % n for n in (9997, 9998, 9999)]
            assert len(last) < 1_000_000

    def test_a_speaker_that_is_gone_ends_it(self) -> None:
        ours, theirs = socket.socketpair()
        with theirs:
            parent = Parent(theirs)
            ours.close()
            parent.send("key", b"line\n")
            assert parent.is_closed
