"""What a client's packet meets on the uplink: who gets it, and how it looks then."""

from __future__ import annotations

from dataclasses import replace
from ipaddress import ip_address
from typing import Any

import pytest

from onehop.core import balance
from onehop.model.service import Protocol
from tests.bpf.kernel import (
    DROP,
    GONE,
    PASS,
    REDIRECT,
    TERMINATING,
    TURNS,
    Backend,
    Kernel,
    Tuple,
)
from tests.bpf.packets import ACK, SYN, TCP, UDP, Packet

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


class TestNobodyServes:
    def test_no_backend_anywhere_is_dropped(self, kernel: Kernel) -> None:
        number = kernel.serve("192.0.2.241", 9096, [])
        assert kernel.uplink(hello("v4"))[0] == DROP
        assert kernel.counters() == {"NO_ENDPOINTS": 1}
        assert kernel.stats(number) == (0, 0, 0, 1)
        assert kernel.flows() == {}

    def test_local_without_a_local_backend_is_dropped(self, kernel: Kernel) -> None:
        kernel.serve("192.0.2.241", 9096, [], local=True)
        assert kernel.uplink(hello("v4"))[0] == DROP
        assert kernel.counters() == {"NO_LOCAL_ENDPOINT": 1}

    def test_a_node_port_without_backend_is_dropped(self, kernel: Kernel) -> None:
        kernel.own("192.0.2.10")
        kernel.serve("0.0.0.0", 9096, [])
        assert kernel.uplink(replace(hello("v4"), destination="192.0.2.10"))[0] == DROP
        assert kernel.counters() == {"NO_ENDPOINTS": 1}

    def test_a_backend_that_the_table_still_names_but_is_gone(self, kernel: Kernel) -> None:
        gone = Backend(address="10.244.1.5", port=9092, state=GONE)
        number = kernel.serve("192.0.2.241", 9096, [gone])
        assert kernel.uplink(hello("v4"))[0] == DROP
        assert kernel.counters() == {"BACKEND_GONE": 1}
        assert kernel.stats(number)[3] == 1

    @pytest.mark.parametrize(
        "changed",
        [{"dport": 9097}, {"destination": "192.0.2.242"}, {"protocol": UDP}],
        ids=["another port", "another address", "another protocol"],
    )
    def test_what_is_no_frontend_passes_untouched(
        self, kernel: Kernel, changed: dict[str, Any]
    ) -> None:
        kernel.serve("192.0.2.241", 9096, [Backend(address="10.244.1.5", port=9092)])
        packet = replace(hello("v4"), **changed)
        assert kernel.uplink(packet) == (PASS, packet.frame())
        assert kernel.counters() == {}
        assert kernel.flows() == {}

    def test_a_frame_for_another_host_passes(self, kernel: Kernel) -> None:
        kernel.serve("192.0.2.241", 9096, [Backend(address="10.244.1.5", port=9092)])
        packet = replace(hello("v4"), to_mac=bytes.fromhex("02aa00000009"))
        assert kernel.uplink(packet) == (PASS, packet.frame())

    def test_an_answering_syn_ack_passes_when_no_flow_knows_it(self, kernel: Kernel) -> None:
        packet = replace(hello("v4"), destination="192.0.2.10", dport=50000, flags=SYN | ACK)
        assert kernel.uplink(packet) == (PASS, packet.frame())


class TestNodePort:
    @pytest.mark.parametrize(
        ("node", "anywhere", "family"),
        [("192.0.2.10", "0.0.0.0", "v4"), ("2001:db8:1::10", "::", "v6")],
    )
    def test_every_own_address_answers(
        self, kernel: Kernel, node: str, anywhere: str, family: str
    ) -> None:
        pod = FAMILIES[family][2]
        kernel.own(node)
        kernel.serve(anywhere, 30096, [Backend(address=pod, port=9092)])
        packet = replace(hello(family), destination=node, dport=30096)
        expected = replace(packet, destination=pod, dport=9092)
        assert kernel.uplink(packet) == (REDIRECT, expected.frame())

    def test_a_foreign_address_does_not(self, kernel: Kernel) -> None:
        kernel.own("192.0.2.10")
        kernel.serve("0.0.0.0", 30096, [Backend(address="10.244.1.5", port=9092)])
        packet = replace(hello("v4"), destination="192.0.2.11", dport=30096)
        assert kernel.uplink(packet) == (PASS, packet.frame())

    def test_the_families_are_apart(self, kernel: Kernel) -> None:
        kernel.own("2001:db8:1::10")
        kernel.serve("0.0.0.0", 30096, [Backend(address="10.244.1.5", port=9092)])
        packet = replace(hello("v6"), destination="2001:db8:1::10", dport=30096)
        assert kernel.uplink(packet) == (PASS, packet.frame())


@pytest.mark.parametrize("table", [0, 1, 2])
@pytest.mark.parametrize("family", FAMILIES)
def test_the_backend_is_the_one_that_balance_predicts(
    kernel: Kernel, table: int, family: str
) -> None:
    client, address, pod = FAMILIES[family]
    count = [2, 10, 40][table]
    backends = [Backend(address=pod[:-1] + str(i + 1), port=9092) for i in range(count)]
    kernel.serve("192.0.2.99", 1, backends[:2], table=table)  # our table is not the first
    kernel.serve(address, 9096, backends, table=table)
    met = set()
    for sport in range(1024, 1324):
        packet = hello(family, sport=sport)
        wanted = balance.selected(
            kernel.model(backends),
            TURNS[table],
            (ip_address(client), sport),
            (ip_address(address), 9096),
            Protocol.TCP,
        )
        assert wanted is not None
        expected = replace(packet, destination=str(wanted.address), dport=9092)
        assert kernel.uplink(packet) == (REDIRECT, expected.frame())
        met.add(wanted.address)
    assert len(met) >= min(count, 35)


def test_udp_without_checksum_stays_without(kernel: Kernel) -> None:
    backend = Backend(address="10.244.1.5", port=9092)
    kernel.serve("192.0.2.241", 9096, [backend], protocol=UDP)
    packet = replace(hello("v4", UDP), checksummed=False)
    expected = replace(packet, destination="10.244.1.5", dport=9092)
    assert kernel.uplink(packet) == (REDIRECT, expected.frame())


def test_a_udp_checksum_that_becomes_zero_is_written_as_ones(kernel: Kernel) -> None:
    backend = Backend(address="10.244.1.5", port=9092)
    kernel.serve("192.0.2.241", 9096, [backend], protocol=UDP)
    packet = replace(hello("v4", UDP), payload=bytes(2))
    wanted = replace(packet, destination="10.244.1.5", dport=9092)
    missing = int.from_bytes(wanted.frame()[40:42], "big")  # what the sum lacks with no payload
    packet = replace(packet, payload=missing.to_bytes(2, "big"))
    expected = replace(packet, destination="10.244.1.5", dport=9092)
    assert expected.frame()[40:42] == b"\xff\xff"
    assert kernel.uplink(packet) == (REDIRECT, expected.frame())


def test_a_terminating_backend_in_the_table_still_serves(kernel: Kernel) -> None:
    backend = Backend(address="10.244.1.5", port=9092, state=TERMINATING)
    kernel.serve("192.0.2.241", 9096, [backend])
    assert kernel.uplink(hello("v4"))[0] == REDIRECT
