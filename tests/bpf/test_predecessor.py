"""Connections that began on another node, whose packets come here since its backend moved."""

from __future__ import annotations

import struct
from dataclasses import replace

import pytest

from tests.bpf.conftest import ROUTER_MAC, UPLINK_MAC
from tests.bpf.kernel import DROP, GONE, REDIRECT, Backend, Kernel, Tuple
from tests.bpf.packets import ACK, FIN, RST, SYN, UDP, Packet

pytestmark = pytest.mark.root

FAMILIES = {
    "v4": ("198.51.100.7", "192.0.2.241", "10.244.1.5", "10.244.2.5"),
    "v6": ("2001:db8:c::7", "2001:db8:1::241", "fd00:10:244:1::5", "fd00:10:244:2::5"),
}
BEFORE = 7  # the number of the backend that had the Service
CLIENT, VIP, POD, OLD = FAMILIES["v4"]
OLD_BACKEND = Backend(address=OLD, port=9093, local=False, link=0)
HELLO = Packet(source=CLIENT, sport=40000, destination=VIP, dport=9096, flags=SYN)
LAST = replace(HELLO, flags=ACK)  # of a handshake


def there(packet: Packet, old: str = OLD) -> Packet:
    """The packet on its way to where the connection began."""
    return replace(
        packet,
        destination=old,
        dport=9093,
        ttl=63,
        to_mac=bytes.fromhex(ROUTER_MAC.replace(":", "")),
        from_mac=bytes.fromhex(UPLINK_MAC.replace(":", "")),
    )


@pytest.fixture
def moved(kernel: Kernel) -> Kernel:
    """A Service whose backend came from elsewhere a moment ago."""
    number = kernel.serve(VIP, 9096, [Backend(address=POD, port=9092)], local=True)
    kernel.precede(number, BEFORE, OLD_BACKEND)
    return kernel


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize("flags", [ACK, FIN | ACK, RST, SYN | ACK])
def test_what_began_there_goes_on_there(kernel: Kernel, family: str, flags: int) -> None:
    client, address, pod, old = FAMILIES[family]
    number = kernel.serve(address, 9096, [Backend(address=pod, port=9092)], local=True)
    kernel.precede(number, BEFORE, replace(OLD_BACKEND, address=old))
    packet = replace(LAST, source=client, destination=address, flags=flags)
    assert kernel.uplink(packet) == (REDIRECT, there(packet, old).frame())
    assert kernel.flows() == {}  # this node has no part in the answers
    assert kernel.stats(number) == (1, len(packet.frame()), 0, 0)


def test_the_flow_of_a_connection_that_began_here_leads_here(moved: Kernel) -> None:
    moved.uplink(HELLO)
    assert moved.uplink(LAST) == (
        REDIRECT,
        replace(LAST, destination=POD, dport=9092).frame(),
    )


def test_datagrams_begin_here(kernel: Kernel) -> None:
    number = kernel.serve(VIP, 9096, [Backend(address=POD, port=9092)], protocol=UDP, local=True)
    kernel.precede(number, BEFORE, OLD_BACKEND)
    packet = replace(HELLO, protocol=UDP)
    kernel.uplink(packet)
    assert kernel.flow(Tuple.of(packet)) is not None


def test_another_service_has_no_part_in_it(moved: Kernel) -> None:
    number = moved.serve("192.0.2.242", 9096, [Backend(address=POD, port=9092)], local=True)
    packet = replace(LAST, destination="192.0.2.242")
    moved.uplink(packet)
    assert moved.stats(number)[2] == 1


def test_once_the_old_one_is_gone_this_one_is_asked(moved: Kernel) -> None:
    moved.write_backend(BEFORE, replace(OLD_BACKEND, state=GONE))
    moved.uplink(LAST)
    assert moved.flow(Tuple.of(LAST)) is not None


def test_later_this_one_is_asked(moved: Kernel) -> None:
    moved.maps["predecessors"].delete_batch([struct.pack("<I", 0)])
    moved.uplink(LAST)
    assert moved.flow(Tuple.of(LAST)) is not None


def test_at_the_last_hop_it_is_dropped(moved: Kernel) -> None:
    assert moved.uplink(replace(LAST, ttl=1))[0] == DROP
    assert moved.counters() == {"TTL_EXPIRED": 1}
