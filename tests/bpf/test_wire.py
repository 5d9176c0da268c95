"""Real connections through the programs: both families, both deliveries, both hooks.

Offloads decide where a checksum is finished: `on` everywhere nobody ever verifies one; `off` at
the ends the packet is complete before it is rewritten; `off` at the node's devices the kernel
completes what the program left, and the receiver verifies it.
"""

from __future__ import annotations

import random
import socket
import struct
import time
from collections.abc import Callable, Iterator
from dataclasses import replace

import pytest

from tests.bpf.kernel import FAST, STACK, Backend, Kernel, Tuple
from tests.bpf.packets import SYN, TCP, UDP, Packet
from tests.bpf.wire import ADDRESSES, MACS, PODS, VIPS, Received, Wire, aside, receive

pytestmark = pytest.mark.root

PORT, TARGET = 9096, 9092
MEGABYTES = 3 << 20
DEVICES = {
    "on": (),
    "ends": (("client", "uplink"), ("pod0", "eth0"), ("pod1", "eth0")),
    "nodes": (("node0", "uplink"), ("node0", "lxc"), ("node1", "uplink"), ("node1", "lxc")),
}
BLOB = random.Random(3).randbytes(MEGABYTES)


@pytest.fixture(scope="module")
def wire() -> Iterator[Wire]:
    wire = Wire()
    yield wire
    wire.close()


@pytest.fixture(params=["tcx", "clsact"])
def hook(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture(params=[FAST, STACK], ids=["fast", "stack"])
def delivery(request: pytest.FixtureRequest) -> int:
    return int(request.param)


@pytest.fixture
def node0(wire: Wire, hook: str, delivery: int) -> Iterator[Kernel]:
    """node0's datapath, attached, knowing no service yet."""
    kernel = Kernel(node_v4="192.0.2.10", node_v6="2001:db8:1::10", delivery=delivery)
    names = ["lb_uplink_ingress", "lb_uplink_egress"]
    if delivery == FAST:
        names.append("lb_pod_ingress")
    with wire.attached({name: kernel.object.program_fd(name) for name in names}, hook):
        yield kernel
    kernel.close()


@pytest.fixture(params=list(DEVICES))
def offloads(request: pytest.FixtureRequest, wire: Wire) -> Iterator[None]:
    devices = DEVICES[request.param]
    for name, device in devices:
        wire.offloads(name, device, "off")
    yield
    for name, device in devices:
        wire.offloads(name, device, "on")


def backend(wire: Wire, pod: str, family: str) -> Backend:
    local = pod == "pod0"
    link = wire.index("node0", "lxc") if local else 0
    return Backend(address=PODS[pod][family], port=TARGET, local=local, link=link)


def exchange(wire: Wire, where: str, own: str, to: str, port: int) -> tuple[Received, bytes]:
    """Send the blob up and get it back: what the server saw, and what came back."""
    seen: list[Received] = []
    server = wire.listener(where, own, TARGET, socket.SOCK_STREAM)

    def serve() -> None:
        connection, peer = server.accept()
        with connection:
            connection.settimeout(10)
            data = receive(connection, MEGABYTES)
            seen.append(Received(peer[0], len(data)))
            connection.sendall(data)

    with server, wire.client(to, socket.SOCK_STREAM) as client:
        thread = aside(serve)
        client.connect((to, port))
        client.sendall(BLOB)
        back = receive(client, MEGABYTES)
        thread.join(10)
    return seen[0], back


@pytest.mark.usefixtures("offloads")
@pytest.mark.parametrize("family", VIPS)
class TestTcp:
    def test_to_a_local_pod_in_the_clients_name(
        self, wire: Wire, node0: Kernel, family: str, delivery: int
    ) -> None:
        node0.serve(VIPS[family], PORT, [backend(wire, "pod0", family)])
        before = wire.routed("node0")
        seen, back = exchange(wire, "pod0", PODS["pod0"][family], VIPS[family], PORT)
        client = ADDRESSES["client"][family == "v6"].split("/")[0]
        assert seen == Received(client, MEGABYTES)
        assert back == BLOB
        assert wire.checksum_errors() == {}
        assert node0.counters() == {}
        assert (wire.routed("node0") > before) == (delivery == STACK)

    def test_to_a_pod_of_another_node_in_this_nodes_name(
        self, wire: Wire, node0: Kernel, family: str
    ) -> None:
        node0.serve(VIPS[family], PORT, [backend(wire, "pod1", family)])
        before = wire.routed("node0")
        seen, back = exchange(wire, "pod1", PODS["pod1"][family], VIPS[family], PORT)
        node = ADDRESSES["node0"][family == "v6"].split("/")[0]
        assert seen == Received(node, MEGABYTES)
        assert back == BLOB
        assert wire.checksum_errors() == {}
        assert node0.counters() == {}
        assert wire.routed("node0") == before


@pytest.mark.parametrize("family", VIPS)
@pytest.mark.parametrize("pod", PODS)
def test_udp(wire: Wire, node0: Kernel, family: str, pod: str) -> None:
    node0.serve(VIPS[family], PORT, [backend(wire, pod, family)], protocol=UDP)
    server = wire.listener(pod, PODS[pod][family], TARGET, socket.SOCK_DGRAM)
    with server, wire.client(VIPS[family], socket.SOCK_DGRAM) as client:
        client.connect((VIPS[family], PORT))
        for size in (1, 100, 1400):
            client.send(BLOB[:size])
            data, peer = server.recvfrom(2048)
            server.sendto(data[::-1], peer)
            assert client.recv(2048) == BLOB[:size][::-1]
    assert wire.checksum_errors() == {}


@pytest.mark.parametrize("family", VIPS)
@pytest.mark.parametrize("pod", PODS)
def test_node_port(wire: Wire, node0: Kernel, family: str, pod: str) -> None:
    address = ADDRESSES["node0"][family == "v6"].split("/")[0]
    node0.own(address)
    anywhere = "0.0.0.0" if family == "v4" else "::"
    node0.serve(anywhere, 30096, [backend(wire, pod, family)], protocol=TCP)
    seen, back = exchange(wire, pod, PODS[pod][family], address, 30096)
    assert seen.octets == MEGABYTES
    assert back == BLOB


@pytest.mark.parametrize("family", VIPS)
def test_a_backend_on_the_hosts_own_network(wire: Wire, node0: Kernel, family: str) -> None:
    own = ADDRESSES["node0"][family == "v6"].split("/")[0]
    node0.serve(VIPS[family], PORT, [Backend(address=own, port=TARGET, link=0)])
    seen, back = exchange(wire, "node0", own, VIPS[family], PORT)
    client = ADDRESSES["client"][family == "v6"].split("/")[0]
    assert seen == Received(client, MEGABYTES)
    assert back == BLOB


def test_a_tagged_frame_belongs_to_its_vlan(wire: Wire, node0: Kernel) -> None:
    """The kernel takes the tag off before the program runs, so only its mark tells."""
    node0.serve(VIPS["v4"], PORT, [backend(wire, "pod0", "v4")])
    packet = Packet(
        source="192.0.2.7",
        sport=40000,
        destination=VIPS["v4"],
        dport=PORT,
        flags=SYN,
        to_mac=bytes.fromhex(MACS["node0"].replace(":", "")),
    )
    other = replace(packet, sport=40001)
    frame = other.frame()
    tagged = frame[:12] + bytes.fromhex("8100000a") + frame[12:]
    with wire.inside("client"):
        raw = socket.socket(socket.AF_PACKET, socket.SOCK_RAW)
    with raw:
        raw.bind(("uplink", 0))
        raw.send(tagged)
        raw.send(packet.frame())  # veth delivers in order: once this one is seen, so was the other
    wait_for(lambda: Tuple.of(packet) in node0.flows())
    assert Tuple.of(other) not in node0.flows()


SOL_PACKET, PACKET_VNET_HDR = 263, 15
JUMBO = 9000
JUMBO_LINKS = (
    ("client", "uplink"), ("lan", "p-client"), ("lan", "p-node0"), ("node0", "uplink"),
    ("node0", "lxc"), ("pod0", "eth0"),
)  # fmt: skip


@pytest.fixture
def jumbo(wire: Wire) -> Iterator[None]:
    for mtu in (JUMBO, 1500):
        for name, device in JUMBO_LINKS:
            wire.in_(name, "link", "set", device, "mtu", str(mtu))
        if mtu == JUMBO:
            yield


@pytest.mark.usefixtures("jumbo")
@pytest.mark.parametrize("family", VIPS)
@pytest.mark.parametrize("linear", [14, 14 + 20, 14 + 40 + 4])
def test_headers_that_lie_in_pages_are_brought_together(
    wire: Wire, node0: Kernel, family: str, linear: int
) -> None:
    """A sender that names the length of its headers has the rest of the frame put into pages."""
    node0.serve(VIPS[family], PORT, [backend(wire, "pod0", family)], protocol=UDP)
    packet = Packet(
        source=ADDRESSES["client"][family == "v6"].split("/")[0],
        sport=40002,
        destination=VIPS[family],
        dport=PORT,
        protocol=UDP,
        payload=BLOB[:5000],
        to_mac=bytes.fromhex(MACS["node0"].replace(":", "")),
    )
    server = wire.listener("pod0", PODS["pod0"][family], TARGET, socket.SOCK_DGRAM)
    with wire.inside("client"):
        raw = socket.socket(socket.AF_PACKET, socket.SOCK_RAW)
    with server, raw:
        raw.setsockopt(SOL_PACKET, PACKET_VNET_HDR, 1)
        raw.bind(("uplink", 0))
        raw.send(struct.pack("=BBHHHH", 0, 0, linear, 0, 0, 0) + packet.frame())
        data, peer = server.recvfrom(JUMBO)
    assert data == packet.payload
    assert peer[1] == packet.sport
    assert node0.counters() == {}


def wait_for(condition: Callable[[], bool]) -> None:
    end = time.monotonic() + 5
    while not condition():
        assert time.monotonic() < end, "it did not happen within 5 s"
        time.sleep(0.005)
