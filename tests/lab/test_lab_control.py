"""A lab with its controller and speakers: clients arrive, policies move them, nothing stays."""

from __future__ import annotations

import ctypes
import os
import signal
import struct
import time
from collections.abc import Callable, Iterator
from ipaddress import IPv4Address
from pathlib import Path

import pytest

from onehop.lab import settle
from onehop.lab.lab import Lab, LabSpec
from onehop.lab.observe import (
    arp_line,
    forget_neighbours,
    greeting,
    neighbours,
    routes,
    uplink_counters,
)
from onehop.lab.state import LabError, Layout

pytestmark = [pytest.mark.root, pytest.mark.lab]

NAME = f"labtest-{os.getpid()}-c"  # nobody else on this machine takes it
CLIENT = IPv4Address("192.168.200.10")
EXTERNAL = IPv4Address("192.168.200.241")
MACS = {"node0": "f4:6b:8c:82:42:33", "node1": "f4:6b:8c:82:42:2b"}

_BPF = 321
_GET_BY_ID = {"map_id": 14, "prog_id": 13, "link_id": 30}
_OBJ_GET = 7


def eventually(claim: Callable[[], object], what: str, seconds: float = 10.0) -> None:
    deadline = time.monotonic() + seconds
    while not claim():
        assert time.monotonic() < deadline, what
        time.sleep(0.02)


@pytest.fixture(scope="module")
def lab() -> Iterator[Lab]:
    with Lab.up(LabSpec(name=NAME)) as made:
        yield made


def test_everything_serves_when_up_returns(lab: Lab) -> None:
    assert lab.unsettled == ()
    names = [record.name for record in lab.supervisor.records() if record.is_alive()]
    pods = [f"responder-kafka-{n}" for n in range(3)]
    assert names == ["controller", *pods, *(f"speaker-node{n}" for n in range(3))]


def test_policies_move_the_address_and_what_the_pod_sees(lab: Lab) -> None:
    """Local: node1, where the pod is, and the client's own address. Cluster: node0, and its."""
    for policy, node, source in (
        ("Local", "node1", CLIENT),
        ("Cluster", "node0", IPv4Address("192.168.200.200")),
        ("Local", "node1", CLIENT),
    ):
        lab.set_policy(policy)
        greeting(lab, "client", EXTERNAL, 9096)  # whoever answers: the client must know a MAC
        wanted = f"? ({EXTERNAL}) at {MACS[node]} [ether] on enp1s0"
        eventually(
            lambda wanted=wanted: arp_line(lab, "client", EXTERNAL) == wanted,  # type: ignore[misc]
            f"{policy}: never {wanted}",
        )
        seen = greeting(lab, "client", EXTERNAL, 9096)
        assert (seen.pod, seen.source) == ("kafka-0", source)


def test_the_clients_table_is_read_and_emptied(lab: Lab) -> None:
    greeting(lab, "client", EXTERNAL, 9096)
    assert neighbours(lab, "client")[EXTERNAL].link == "enp1s0"
    forget_neighbours(lab, "client")
    entry = neighbours(lab, "client").get(EXTERNAL)
    assert entry is None or entry.mac is None
    assert arp_line(lab, "client", IPv4Address("192.168.200.99")) == ""
    assert routes(lab, "client").startswith("192.168.200.0/24 dev enp1s0")


def test_counters_grow_on_the_link_that_carries(lab: Lab) -> None:
    before = uplink_counters(lab)["node1"]
    greeting(lab, "client", EXTERNAL, 9096)
    after = uplink_counters(lab)["node1"]
    moved = after - before
    assert min(moved.received_packets, moved.sent_packets) >= 2
    assert min(moved.received_bytes, moved.sent_bytes) >= 2 * 54


def test_an_attached_lab_is_the_same(lab: Lab) -> None:
    other = Lab.attach(NAME)
    assert other.topology == lab.topology
    assert greeting(other, "client", EXTERNAL, 9096).pod == "kafka-0"
    with pytest.raises(LabError, match="no host 'x'"):
        other.host("x")
    with pytest.raises(LabError, match="is not up"):
        Lab.attach(f"{NAME}-none")


def test_what_nobody_answers_for_is_said(lab: Lab) -> None:
    strange = IPv4Address("192.168.200.99")
    left = settle.wait(0.2, lambda: settle.unanswered(lab.layout, lab.topology, (strange,)))
    assert left == (strange,)
    assert settle.without_status(lab.layout, lab.objects) == ()
    assert settle.without_status(Layout(f"{NAME}-none"), lab.objects) == tuple(
        sorted(lab.objects.services)
    )


def test_a_speaker_that_was_killed_is_named_with_what_it_said(lab: Lab) -> None:
    lab.supervisor.send("speaker-node2", signal.SIGKILL)
    record = next(r for r in lab.supervisor.records() if r.name == "speaker-node2")
    eventually(lambda: not record.is_alive(), "SIGKILL ends a process")
    with pytest.raises(LabError, match=r"speaker-node2 ended:\n.*speaker-started"):
        lab.supervisor.check()
    lab.start_speaker("node2")
    lab.supervisor.check()
    with pytest.raises(KeyError):
        lab.supervisor.send("speaker-node9", signal.SIGTERM)


def test_a_control_plane_that_cannot_start_is_shown_and_removed() -> None:
    """The last words of what ended stand in the error of `up`."""
    with pytest.raises(LabError, match=r"(?s)speaker-node. ended:\n.*'--delivery': 'sideways'"):
        Lab.up(LabSpec(name=f"{NAME}-broken", delivery="sideways"))
    assert not Layout(f"{NAME}-broken").root.exists()


def test_programs_and_maps_go_with_the_lab() -> None:
    with Lab.up(LabSpec(name=f"{NAME}-maps")) as lab:
        files = (path for path in lab.layout.bpf.rglob("*") if path.is_file())
        # the kernel itself puts two iterators into every BPF file system
        pinned = [path for path in files if path.suffix != ".debug"]
        ids = {identity for path in pinned for identity in _identities(path)}
    kinds = {kind for kind, _ in ids}
    assert "map_id" in kinds
    assert {"prog_id", "link_id"} & kinds
    eventually(lambda: not [i for i in ids if _exists(*i)], f"some of {ids} stay")


def _bpf(command: int, attributes: bytes) -> int:
    buffer = ctypes.create_string_buffer(attributes.ljust(128, b"\0"))
    return int(ctypes.CDLL(None).syscall(_BPF, command, buffer, 128))


def _identities(path: Path) -> Iterator[tuple[str, int]]:
    """The numbers of the kernel objects that are pinned at `path`."""
    name = ctypes.create_string_buffer(os.fsencode(path))
    handle = _bpf(_OBJ_GET, struct.pack("QII", ctypes.addressof(name), 0, 0))
    assert handle >= 0, path
    try:
        for line in Path(f"/proc/self/fdinfo/{handle}").read_text().splitlines():
            key, _, value = line.partition(":")
            if key in _GET_BY_ID:
                yield key, int(value)
    finally:
        os.close(handle)


def _exists(kind: str, number: int) -> bool:
    handle = _bpf(_GET_BY_ID[kind], struct.pack("III", number, 0, 0))
    if handle >= 0:
        os.close(handle)
    return handle >= 0
