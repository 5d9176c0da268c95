"""What a client's packet meets on the uplink: who gets it, and how it looks then."""

from __future__ import annotations

from dataclasses import replace

import pytest

from tests.bpf.kernel import DROP, PASS, REDIRECT, Backend, Kernel, Tuple
from tests.bpf.packets import SYN, TCP, UDP, Packet

pytestmark = pytest.mark.root

FAMILIES = {
    "v4": ("198.51.100.7", "192.0.2.241", "10.244.1.5"),
    "v6": ("2001:db8:c::7", "2001:db8:1::241", "fd00:10:244::5"),
}


def hello(family: str, protocol: int = TCP, sport: int = 40000) -> Packet:
    client, address, _ = FAMILIES[family]
    return Packet(
        source=client,
        sport=sport,
        destination=address,
        dport=9096,
        protocol=protocol,
        flags=SYN,
    )


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize("protocol", [TCP, UDP])
class TestLocalBackend:
    def test_fast_delivery_changes_the_destination_and_redirects(
        self, kernel: Kernel, family: str, protocol: int
    ) -> None:
        pod = FAMILIES[family][2]
        number = kernel.serve(
            FAMILIES[family][1], 9096, [Backend(address=pod, port=9092)], protocol=protocol
        )
        packet = hello(family, protocol)
        expected = replace(packet, destination=pod, dport=9092)
        for _ in range(3):
            assert kernel.uplink(packet) == (REDIRECT, expected.frame())
        assert kernel.counters() == {}
        assert kernel.stats(number) == (3, 3 * len(packet.frame()), 1, 0)

    def test_the_pair_mirrors_itself(self, kernel: Kernel, family: str, protocol: int) -> None:
        pod = FAMILIES[family][2]
        kernel.serve(
            FAMILIES[family][1], 9096, [Backend(address=pod, port=9092)], protocol=protocol
        )
        packet = hello(family, protocol)
        kernel.uplink(packet)
        key = Tuple.of(packet)
        to = Tuple.of(replace(packet, destination=pod, dport=9092))
        assert {k: f.rewrite for k, f in kernel.flows().items()} == {
            key: to,
            to.mirror: key.mirror,
        }

    def test_without_a_link_the_stack_delivers(
        self, kernel: Kernel, family: str, protocol: int
    ) -> None:
        pod = FAMILIES[family][2]
        backend = Backend(address=pod, port=9096, link=0)
        kernel.serve(FAMILIES[family][1], 9096, [backend], protocol=protocol)
        packet = hello(family, protocol)
        assert kernel.uplink(packet) == (PASS, replace(packet, destination=pod).frame())

    def test_stack_delivery_passes(self, stack: Kernel, family: str, protocol: int) -> None:
        pod = FAMILIES[family][2]
        backend = Backend(address=pod, port=9096)
        stack.serve(FAMILIES[family][1], 9096, [backend], protocol=protocol)
        packet = hello(family, protocol)
        assert stack.uplink(packet) == (PASS, replace(packet, destination=pod).frame())


def test_no_backend_drops(kernel: Kernel) -> None:
    kernel.serve("192.0.2.241", 9096, [])
    assert kernel.uplink(hello("v4"))[0] == DROP
    assert kernel.counters() == {"NO_ENDPOINTS": 1}
