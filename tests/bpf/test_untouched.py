"""What the programs cannot read goes to the host as it came; some of it is counted."""

from __future__ import annotations

import random
import struct
from dataclasses import replace

import pytest

from tests.bpf.kernel import DROP, PASS, REDIRECT, Backend, Kernel, Tuple
from tests.bpf.packets import OURS, SYN, UDP, Packet

pytestmark = pytest.mark.root

V4 = Packet(source="198.51.100.7", sport=40000, destination="192.0.2.241", dport=9096, flags=SYN)
V6 = replace(V4, source="2001:db8:c::7", destination="2001:db8:1::241")
PROGRAMS = ("lb_uplink_ingress", "lb_uplink_egress", "lb_pod_ingress")


@pytest.fixture
def serving(kernel: Kernel) -> Kernel:
    """Both addresses served, so that whatever can be read is rewritten."""
    kernel.serve(V4.destination, 9096, [Backend(address="10.244.1.5", port=9092)])
    kernel.serve(V6.destination, 9096, [Backend(address="fd00::5", port=9092)])
    return kernel


def cut(packet: Packet, octets: int) -> bytes:
    return packet.frame()[:octets]


def with_octet(packet: Packet, at: int, value: int) -> bytes:
    frame = bytearray(packet.frame())
    frame[at] = value
    return bytes(frame)


COUNTED = {
    "first fragment": (replace(V4, fragment=0x2000).frame(), "FRAGMENT"),
    "later fragment": (replace(V4, fragment=0x0010).frame(), "FRAGMENT"),
    "v6 fragment": (replace(V6, extension=44).frame(), "FRAGMENT"),
    "v4 options": (replace(V4, options=bytes((1, 1, 1, 0))).frame(), "IPV4_OPTIONS"),
    "hop-by-hop": (replace(V6, extension=0).frame(), "EXTENSION_HEADER"),
    "routing header": (replace(V6, extension=43).frame(), "EXTENSION_HEADER"),
    "destination options": (replace(V6, extension=60).frame(), "EXTENSION_HEADER"),
    "authentication": (replace(V6, extension=51).frame(), "EXTENSION_HEADER"),
    "mobility": (replace(V6, extension=135).frame(), "EXTENSION_HEADER"),
    "no whole TCP header": (cut(V4, 14 + 20 + 19), "MALFORMED"),
    "no whole TCP header, v6": (cut(V6, 14 + 40 + 19), "MALFORMED"),
    "no whole UDP header": (cut(replace(V4, protocol=UDP), 14 + 20 + 7), "MALFORMED"),
    "version 5": (with_octet(V4, 14, 0x55), "MALFORMED"),
    "header length 4": (with_octet(V4, 14, 0x44), "MALFORMED"),
    "version 4 in a v6 frame": (with_octet(V6, 14, 0x40), "MALFORMED"),
}
QUIET = {
    "ICMP": with_octet(V4, 14 + 9, 1),
    "ICMPv6": with_octet(V6, 14 + 6, 58),
    "SCTP": with_octet(V4, 14 + 9, 132),
    "ARP": OURS + V4.from_mac + bytes.fromhex("0806000108000604000102") + bytes(21),
    "VLAN tag in the frame": V4.frame()[:12] + bytes.fromhex("8100000a") + V4.frame()[12:],
}


@pytest.mark.parametrize("case", COUNTED)
def test_what_cannot_be_balanced_passes_and_is_counted(serving: Kernel, case: str) -> None:
    frame, reason = COUNTED[case]
    assert serving.uplink(frame) == (PASS, frame)
    assert serving.counters() == {reason: 1}


@pytest.mark.parametrize("case", QUIET)
def test_other_protocols_pass_without_a_word(serving: Kernel, case: str) -> None:
    for program in PROGRAMS:
        assert serving.run(program, QUIET[case]) == (PASS, QUIET[case])
    assert serving.counters() == {}


@pytest.mark.parametrize("case", COUNTED)
def test_the_nodes_own_traffic_is_not_counted(serving: Kernel, case: str) -> None:
    frame, _ = COUNTED[case]
    for program in ("lb_uplink_egress", "lb_pod_ingress"):
        assert serving.run(program, frame) == (PASS, frame)
    assert serving.counters() == {}


@pytest.mark.parametrize("packet", [V4, V6], ids=["v4", "v6"])
def test_a_pod_that_is_a_client_passes(serving: Kernel, packet: Packet) -> None:
    for program in ("lb_uplink_egress", "lb_pod_ingress"):
        assert serving.run(program, packet) == (PASS, packet.frame())
    assert serving.flows() == {}


def test_random_frames_never_break_it(serving: Kernel) -> None:
    random_ = random.Random(20)
    for _ in range(1500):
        kind = random_.choice((0x0800, 0x86DD, random_.randrange(1 << 16)))
        body = random_.randbytes(random_.randrange(46, 200))
        frame = OURS + random_.randbytes(6) + struct.pack(">H", kind) + body
        for program in PROGRAMS:
            assert serving.run(program, frame) == (PASS, frame)


def test_a_packet_with_any_octets_overwritten_is_served_or_left_alone(serving: Kernel) -> None:
    """Whatever the damage: DNAT to our pod, or not a byte changed."""
    random_ = random.Random(21)
    verdicts = set()
    for _ in range(1500):
        packet = random_.choice((V4, V6))
        frame = bytearray(packet.frame())
        for _ in range(random_.randrange(1, 4)):
            frame[random_.randrange(12, len(frame))] = random_.randrange(256)
        whole = bytes(frame)[: random_.choice((len(frame), random_.randrange(14 + 40, 80)))]
        verdict, after = serving.uplink(whole)
        verdicts.add(verdict)
        assert verdict in (PASS, REDIRECT, DROP)
        assert (after == whole) == (verdict == PASS)
        assert len(after) == len(whole)
    assert verdicts == {PASS, REDIRECT}
    for key, flow in serving.flows().items():
        assert isinstance(key, Tuple)
        assert serving.flow(flow.rewrite.mirror) is not None
