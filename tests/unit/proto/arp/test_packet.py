"""The ARP codec, held against scapy."""

from __future__ import annotations

from dataclasses import replace
from ipaddress import IPv4Address

import pytest
from hypothesis import given
from hypothesis import strategies as st
from scapy.layers.l2 import ARP, Ether

from onehop.model.address import Mac
from onehop.proto.arp.packet import (
    FRAME_LENGTH,
    ArpPacket,
    Operation,
    announcement,
    decode,
    encode,
)
from onehop.proto.machine import DecodeError

OURS = Mac.parse("02:00:00:00:01:01")
PEER = Mac.parse("02:00:00:00:00:99")
REQUEST = ArpPacket(
    destination=Mac.parse("ff:ff:ff:ff:ff:ff"),
    source=PEER,
    operation=Operation.REQUEST,
    sender=PEER,
    sender_address=IPv4Address("192.168.200.9"),
    target=Mac(bytes(6)),
    target_address=IPv4Address("192.168.200.241"),
)

macs = st.binary(min_size=6, max_size=6).map(Mac)
addresses = st.ip_addresses(v=4)
packets = st.builds(
    ArpPacket,
    destination=macs,
    source=macs,
    operation=st.sampled_from(Operation),
    sender=macs,
    sender_address=addresses,
    target=macs,
    target_address=addresses,
)


def test_a_request_stands_on_the_wire_as_rfc_826_draws_it() -> None:
    assert encode(REQUEST).hex() == (
        "ffffffffffff" "020000000099" "0806" "0001" "0800" "06" "04" "0001"
        "020000000099" "c0a8c809" "000000000000" "c0a8c8f1"
    )  # fmt: skip


@given(packets)
def test_what_was_encoded_decodes_to_itself(packet: ArpPacket) -> None:
    frame = encode(packet)
    assert len(frame) == FRAME_LENGTH
    assert decode(frame) == packet
    assert decode(frame + bytes(18)) == packet, "padding is ignored"


@given(packets)
def test_scapy_reads_the_same(packet: ArpPacket) -> None:
    seen = Ether(encode(packet))
    assert (seen.dst, seen.src) == (str(packet.destination), str(packet.source))
    arp = seen[ARP]
    assert (arp.op, arp.hwsrc, arp.psrc, arp.hwdst, arp.pdst) == (
        packet.operation,
        str(packet.sender),
        str(packet.sender_address),
        str(packet.target),
        str(packet.target_address),
    )


@given(st.binary(max_size=64))
def test_any_octets_decode_or_are_refused(frame: bytes) -> None:
    try:
        packet = decode(frame)
    except DecodeError:
        return
    assert encode(packet) == frame[:FRAME_LENGTH]


@given(st.integers(0, FRAME_LENGTH - 1), st.binary(min_size=1, max_size=4))
def test_damaged_packets_decode_or_are_refused(offset: int, damage: bytes) -> None:
    good = encode(REQUEST)
    frame = (good[:offset] + damage + good[offset + len(damage) :])[:FRAME_LENGTH]
    try:
        packet = decode(frame)
    except DecodeError:
        return
    assert encode(packet) == frame


@pytest.mark.parametrize(
    ("offset", "octets", "field"),
    [
        (12, "0800", "ethertype"),
        (14, "0006", "format"),
        (16, "86dd", "format"),
        (18, "08", "format"),
        (19, "10", "format"),
        (20, "0000", "operation"),
        (20, "0003", "operation"),
    ],
)
def test_other_formats_are_refused_by_name(offset: int, octets: str, field: str) -> None:
    frame = bytearray(encode(REQUEST))
    frame[offset : offset + len(octets) // 2] = bytes.fromhex(octets)
    with pytest.raises(DecodeError) as caught:
        decode(bytes(frame))
    assert caught.value.field == field


@pytest.mark.parametrize("length", range(FRAME_LENGTH))
def test_every_shorter_frame_is_refused(length: int) -> None:
    with pytest.raises(DecodeError):
        decode(encode(REQUEST)[:length])


@pytest.mark.parametrize(
    ("operation", "target"), [(Operation.REQUEST, Mac(bytes(6))), (Operation.REPLY, OURS)]
)
def test_an_announcement_names_the_address_twice(operation: Operation, target: Mac) -> None:
    """Sender and target address of a gratuitous packet are the same (RFC 5227 2.3)."""
    address = IPv4Address("192.168.200.241")
    assert decode(announcement(OURS, address, operation)) == replace(
        REQUEST,
        source=OURS,
        operation=operation,
        sender=OURS,
        sender_address=address,
        target=target,
    )
