"""Laws that hold for every flow, whatever its addresses."""

from __future__ import annotations

from dataclasses import replace
from ipaddress import IPv4Address, IPv6Address, ip_address

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from onehop.core import balance
from tests.bpf.conftest import ROUTER_MAC, UPLINK_MAC
from tests.bpf.kernel import REDIRECT, TURNS, Backend, Kernel, Tuple, number_of
from tests.bpf.packets import ACK, FIN, RST, SYN, TCP, UDP, Packet

pytestmark = pytest.mark.root

VIPS = {4: ("192.0.2.241", "192.0.2.242"), 6: ("2001:db8:1::241", "2001:db8:1::242")}
PODS = {4: "10.244.{}.{}", 6: "fd00:10:244:{:x}::{:x}"}
ROUTED = {
    "to_mac": bytes.fromhex(ROUTER_MAC.replace(":", "")),
    "from_mac": bytes.fromhex(UPLINK_MAC.replace(":", "")),
}
# Clients whose answers the router takes; refused and directly connected ones have tests elsewhere.
CLIENTS = st.one_of(
    st.integers(int(IPv4Address("100.64.0.0")), int(IPv4Address("100.127.255.255"))).map(
        IPv4Address
    ),
    st.integers(int(IPv6Address("2a00::")), int(IPv6Address("2a0f::"))).map(IPv6Address),
)
PORTS = st.integers(1, 65535)


@st.composite
def packets(draw: st.DrawFn) -> Packet:
    client = draw(CLIENTS)
    return Packet(
        source=str(client),
        sport=draw(PORTS),
        destination=draw(st.sampled_from(VIPS[client.version])),
        dport=9096,
        protocol=draw(st.sampled_from((TCP, UDP))),
        flags=draw(st.sampled_from((SYN, ACK, FIN | ACK, RST))),
        ttl=draw(st.integers(2, 255)),
        payload=draw(st.binary(min_size=6, max_size=64)),
    )


def pods(version: int, count: int, local: bool, number: int) -> list[Backend]:
    """Both frontends of a family share half of their pods, so that flows can clash."""
    return [
        Backend(address=PODS[version].format(number * (i % 2), i + 1), port=9092, local=local)
        for i in range(count)
    ]


def served(kernel: Kernel, count: int, table: int, local: bool) -> dict[str, list[Backend]]:
    kernel.clear()
    found = {}
    for version, addresses in VIPS.items():
        for number, address in enumerate(addresses):
            found[address] = pods(version, count, local, number)
            for protocol in (TCP, UDP):
                kernel.serve(address, 9096, found[address], protocol=protocol, table=table)
    return found


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow])
@given(
    flows=st.lists(packets(), min_size=1, max_size=12),
    count=st.integers(1, 12),
    table=st.integers(0, 2),
    local=st.booleans(),
)
def test_there_and_back(
    loaded: Kernel, flows: list[Packet], count: int, table: int, local: bool
) -> None:
    """Prediction, mirror and round trip for any flows, also of one client at two frontends."""
    backends = served(loaded, count, table, local)
    for packet in flows:
        there = go(loaded, packet, backends[packet.destination], table, local)
        come_back(loaded, packet, there, local)
    for key, flow in loaded.flows().items():
        other = loaded.flow(flow.rewrite.mirror)
        assert other is not None
        assert other.rewrite == key.mirror
        assert (other.tcp, other.backend, other.service) == (flow.tcp, flow.backend, flow.service)


def go(kernel: Kernel, packet: Packet, backends: list[Backend], table: int, local: bool) -> Packet:
    """The client's packet reaches the backend that balance predicts, and nothing else changes."""
    wanted = balance.selected(
        kernel.model(backends),
        TURNS[table],
        (ip_address(packet.source), packet.sport),
        (ip_address(packet.destination), packet.dport),
        number_of(packet.protocol),
    )
    assert wanted is not None
    verdict, after = kernel.uplink(packet)
    flow = kernel.flow(Tuple.of(packet))
    assert flow is not None
    expected = replace(
        packet,
        source=flow.rewrite.source,
        sport=flow.rewrite.sport,
        destination=str(wanted.address),
        dport=wanted.port,
    )
    if local:
        assert expected.source == packet.source
    else:
        assert expected.source in ("192.0.2.10", "2001:db8:1::10")
        expected = replace(expected, ttl=packet.ttl - 1, **ROUTED)
    assert (verdict, after) == (REDIRECT, expected.frame())
    return expected


def come_back(kernel: Kernel, packet: Packet, there: Packet, local: bool) -> None:
    """The backend's answer reaches the client as the answer to what it sent."""
    answer = Packet(
        source=there.destination,
        sport=there.dport,
        destination=there.source,
        dport=there.sport,
        protocol=packet.protocol,
    )
    expected = replace(
        answer,
        source=packet.destination,
        sport=packet.dport,
        destination=packet.source,
        dport=packet.sport,
        ttl=answer.ttl - 1,
        **ROUTED,
    )
    assert (kernel.pod if local else kernel.uplink)(answer) == (REDIRECT, expected.frame())
