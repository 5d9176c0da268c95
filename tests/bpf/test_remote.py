"""Backends of other nodes: the node's own address, a port of the range, and the way back."""

from __future__ import annotations

import subprocess
from collections.abc import Iterator
from dataclasses import replace

import pytest

from tests.bpf.conftest import ROUTER_MAC, UPLINK_MAC
from tests.bpf.kernel import (
    DROP,
    PASS,
    REDIRECT,
    Backend,
    Flow,
    Kernel,
    Tuple,
    earlier,
    ticks,
)
from tests.bpf.packets import ACK, FIN, SYN, TCP, UDP, Packet

pytestmark = pytest.mark.root

FAMILIES = {
    "v4": ("198.51.100.7", "192.0.2.241", "10.244.2.5", "192.0.2.10"),
    "v6": ("2001:db8:c::7", "2001:db8:1::241", "fd00:10:244:2::5", "2001:db8:1::10"),
}
ROUTED = {
    "to_mac": bytes.fromhex(ROUTER_MAC.replace(":", "")),
    "from_mac": bytes.fromhex(UPLINK_MAC.replace(":", "")),
}
FEW = (50000, 50003)


def hello(family: str = "v4", sport: int = 40000, protocol: int = TCP) -> Packet:
    client, address, _, _ = FAMILIES[family]
    return Packet(
        source=client,
        sport=sport,
        destination=address,
        dport=9096,
        protocol=protocol,
        flags=SYN,
    )


def serve(kernel: Kernel, family: str = "v4", protocol: int = TCP) -> int:
    _, address, pod, _ = FAMILIES[family]
    backend = Backend(address=pod, port=9092, local=False)
    return kernel.serve(address, 9096, [backend], protocol=protocol)


def port_of(kernel: Kernel, packet: Packet) -> int:
    """The source port that the flow of a client's packet got."""
    flow = kernel.flow(Tuple.of(packet))
    assert flow is not None
    return flow.rewrite.sport


def forwarded(kernel: Kernel, packet: Packet, family: str = "v4") -> Packet:
    """The client's packet as it must leave towards the other node."""
    _, _, pod, node = FAMILIES[family]
    sport = port_of(kernel, packet)
    return replace(
        packet,
        source=node,
        sport=sport,
        destination=pod,
        dport=9092,
        ttl=packet.ttl - 1,
        **ROUTED,
    )


def answer_to(kernel: Kernel, packet: Packet, family: str = "v4") -> Packet:
    """What the backend sends back to the node, as it comes in."""
    _, _, pod, node = FAMILIES[family]
    return Packet(
        source=pod,
        sport=9092,
        destination=node,
        dport=port_of(kernel, packet),
        protocol=packet.protocol,
        flags=SYN | ACK,
        ttl=63,
    )


@pytest.fixture
def narrow(namespace: None) -> Iterator[Kernel]:
    """A datapath with four source ports."""
    kernel = Kernel(ports=FEW)
    yield kernel
    kernel.close()


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize("protocol", [TCP, UDP])
class TestBothWays:
    def test_there(self, kernel: Kernel, family: str, protocol: int) -> None:
        number = serve(kernel, family, protocol)
        packet = hello(family, protocol=protocol)
        first = kernel.uplink(packet)
        assert first == (REDIRECT, forwarded(kernel, packet, family).frame())
        assert kernel.uplink(packet) == first
        assert 49152 <= port_of(kernel, packet) <= 65535
        assert kernel.stats(number)[2] == 1
        assert kernel.tries() == {0: 1}

    def test_and_back(self, kernel: Kernel, family: str, protocol: int) -> None:
        serve(kernel, family, protocol)
        packet = hello(family, protocol=protocol)
        kernel.uplink(packet)
        answer = answer_to(kernel, packet, family)
        expected = replace(
            answer,
            source=packet.destination,
            sport=9096,
            destination=packet.source,
            dport=40000,
            ttl=62,
            **ROUTED,
        )
        assert kernel.uplink(answer) == (REDIRECT, expected.frame())
        assert kernel.counters() == {}


class TestPorts:
    def test_all_of_the_range_is_used_and_then_no_more(self, narrow: Kernel) -> None:
        number = serve(narrow)
        packets = [hello(sport=sport) for sport in range(40000, 40004)]
        for packet in packets:
            assert narrow.uplink(packet)[0] == REDIRECT
        assert sorted(port_of(narrow, packet) for packet in packets) == [*range(50000, 50004)]
        for packet in packets:
            assert narrow.uplink(answer_to(narrow, packet))[0] == REDIRECT
        assert narrow.uplink(hello(sport=40009))[0] == DROP
        assert narrow.counters() == {"PORTS_EXHAUSTED": 1}
        assert narrow.tries()[32] == 1
        assert narrow.stats(number) == (8, 8 * len(packets[0].frame()), 4, 1)

    def test_flows_that_have_their_port_go_on(self, narrow: Kernel) -> None:
        serve(narrow)
        packets = [hello(sport=sport) for sport in range(40000, 40005)]
        for packet in packets:
            narrow.uplink(packet)
        assert [narrow.uplink(packet)[0] for packet in packets] == [REDIRECT] * 4 + [DROP]

    def test_another_backend_has_ports_of_its_own(self, narrow: Kernel) -> None:
        serve(narrow)
        other = Backend(address="10.244.2.6", port=9092, local=False)
        narrow.serve("192.0.2.242", 9096, [other])
        for sport in range(40000, 40004):
            assert narrow.uplink(hello(sport=sport))[0] == REDIRECT
            packet = replace(hello(sport=sport), destination="192.0.2.242")
            assert narrow.uplink(packet)[0] == REDIRECT

    def test_the_port_of_a_flow_that_ended_is_taken_over(self, narrow: Kernel) -> None:
        serve(narrow)
        packets = [hello(sport=sport) for sport in range(40000, 40004)]
        for packet in packets:
            narrow.uplink(packet)
        ended = packets[2]
        port = port_of(narrow, ended)
        narrow.uplink(replace(ended, flags=FIN | ACK))
        narrow.uplink(replace(answer_to(narrow, ended), flags=FIN | ACK))
        age(narrow, answer_key(narrow, ended), seconds=12)
        late = hello(sport=40009)
        assert narrow.uplink(late)[0] == REDIRECT
        assert port_of(narrow, late) == port

    def test_a_lost_first_half_is_found_again_by_its_port(self, kernel: Kernel) -> None:
        """Even when an earlier candidate, then another's, is free by now."""
        serve(kernel)
        packet = hello()
        kernel.uplink(packet)
        blocker = answer_key(kernel, packet)
        kernel.forget(Tuple.of(packet))
        kernel.forget(blocker)
        stranger = Flow(
            rewrite=Tuple.of(hello(sport=1)).mirror, backend=0, service=0, seen=ticks(), tcp=8
        )
        kernel.write_flow(blocker, stranger)
        kernel.uplink(packet)
        port = port_of(kernel, packet)
        assert port != blocker.dport
        kernel.forget(Tuple.of(packet))
        kernel.forget(blocker)
        assert kernel.uplink(replace(packet, flags=ACK))[0] == REDIRECT
        assert port_of(kernel, packet) == port


def answer_key(kernel: Kernel, packet: Packet) -> Tuple:
    flow = kernel.flow(Tuple.of(packet))
    assert flow is not None
    return flow.rewrite.mirror


def age(kernel: Kernel, key: Tuple, seconds: int) -> None:
    flow = kernel.flow(key)
    assert flow is not None
    kernel.write_flow(key, replace(flow, seen=earlier(flow, seconds)))


class TestNoWay:
    @pytest.mark.parametrize("family", FAMILIES)
    def test_a_node_without_an_address_of_the_family(self, namespace: None, family: str) -> None:
        kernel = Kernel(node_v4="0.0.0.0", node_v6="::")
        kernel.object.close()
        addressless = Kernel(node_v4="::", node_v6="::")
        serve(addressless, family)
        assert addressless.uplink(hello(family))[0] == DROP
        assert addressless.counters() == {"NO_NODE_ADDRESS": 1}
        addressless.close()

    @pytest.mark.parametrize(
        ("client", "pod"),
        [
            ("198.51.100.7", "203.0.113.5"),
            ("198.51.100.7", "198.51.100.130"),
            ("198.51.100.7", "198.51.100.70"),
            ("2001:db8:c::7", "2001:db8:dead::5"),
        ],
        ids=["unreachable", "blackhole", "prohibit", "v6 unreachable"],
    )
    def test_a_route_that_refuses(self, kernel: Kernel, client: str, pod: str) -> None:
        family = "v6" if ":" in pod else "v4"
        address = FAMILIES[family][1]
        kernel.serve(address, 9096, [Backend(address=pod, port=9092, local=False)])
        packet = replace(hello(family), source=client)
        assert kernel.uplink(packet)[0] == DROP
        assert kernel.counters() == {"NO_ROUTE": 1}

    @pytest.mark.parametrize("family", FAMILIES)
    @pytest.mark.parametrize("ttl", [0, 1])
    def test_the_last_hop(self, kernel: Kernel, family: str, ttl: int) -> None:
        serve(kernel, family)
        packet = replace(hello(family), ttl=ttl)
        assert kernel.uplink(packet) == (DROP, packet.frame())
        assert kernel.counters() == {"TTL_EXPIRED": 1}

    def test_a_neighbour_not_known_yet_is_left_to_the_kernel(self, kernel: Kernel) -> None:
        """The verdict is redirect, the frame keeps its link-layer addresses until then."""
        backend = Backend(address="192.0.2.77", port=9092, local=False)
        kernel.serve("192.0.2.241", 9096, [backend])
        packet = hello()
        verdict, after = kernel.uplink(packet)
        expected = replace(
            packet,
            source="192.0.2.10",
            sport=port_of(kernel, packet),
            destination="192.0.2.77",
            dport=9092,
            ttl=63,
        )
        assert (verdict, after) == (REDIRECT, expected.frame())

    def test_without_forwarding_the_stack_has_the_word(self, kernel: Kernel) -> None:
        serve(kernel)
        packet = hello()
        subprocess.run(["sysctl", "-qw", "net.ipv4.conf.lo.forwarding=0"], check=True)
        try:
            verdict, after = kernel.uplink(packet)
        finally:
            subprocess.run(["sysctl", "-qw", "net.ipv4.conf.lo.forwarding=1"], check=True)
        _, _, pod, node = FAMILIES["v4"]
        expected = replace(
            packet, source=node, sport=port_of(kernel, packet), destination=pod, dport=9092
        )
        assert (verdict, after) == (PASS, expected.frame())
