"""Bounds-checked reading, Ethernet headers and the Internet checksum."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from scapy.utils import checksum as scapy_checksum

from onehop.model.address import Mac
from onehop.proto.machine import DecodeError
from onehop.proto.wire import (
    BROADCAST,
    ETHERTYPE_ARP,
    Reader,
    ethernet,
    internet_checksum,
    is_unicast,
)


def test_reading_moves_on_octet_by_octet() -> None:
    reader = Reader(b"\x01\x02\x03\x04\x05", 1)
    assert reader.octets(2, "a") == b"\x02\x03"
    assert (reader.offset, reader.remaining) == (3, 2)
    assert reader.uint(2, "b") == 0x0405
    assert reader.octets(0, "nothing") == b""


@pytest.mark.parametrize(
    ("data", "offset", "count", "why"),
    [
        (b"", 0, 1, "sender at offset 0: 1 octets needed, 0 left"),
        (b"abc", 2, 2, "sender at offset 2: 2 octets needed, 1 left"),
        (b"abc", 9, 1, "sender at offset 9: 1 octets needed, 0 left"),
    ],
    ids=["empty", "cut short", "past the end"],
)
def test_reading_past_the_end_names_the_field(
    data: bytes, offset: int, count: int, why: str
) -> None:
    with pytest.raises(DecodeError) as caught:
        Reader(data, offset).octets(count, "sender")
    assert str(caught.value) == why


def test_an_ethernet_header_is_destination_source_type() -> None:
    header = ethernet(BROADCAST, Mac.parse("02:00:00:00:00:01"), ETHERTYPE_ARP)
    assert header.hex() == "ffffffffffff0200000000010806"


@pytest.mark.parametrize(
    ("mac", "unicast"),
    [
        ("02:00:00:00:00:01", True),
        ("00:00:00:00:00:01", True),
        ("ff:ff:ff:ff:ff:ff", False),
        ("33:33:00:00:00:01", False),
        ("01:00:5e:00:00:01", False),
        ("00:00:00:00:00:00", False),
    ],
)
def test_a_group_or_nothing_is_not_unicast(mac: str, unicast: bool) -> None:
    assert is_unicast(Mac.parse(mac).octets) is unicast


@pytest.mark.parametrize(
    ("data", "checksum"),
    [
        (b"", 0xFFFF),
        (bytes(8), 0xFFFF),
        (b"\xff\xff", 0x0000),
        (b"\xff\xff\xff\xff", 0x0000),
        (b"\x00\x01\xf2\x03\xf4\xf5\xf6\xf7", 0x220D),  # the example of RFC 1071 3
        (b"\x01", 0xFEFF),
    ],
)
def test_checksums(data: bytes, checksum: int) -> None:
    assert internet_checksum(data) == checksum


@given(st.binary(max_size=100))
def test_checksum_agrees_with_scapy(data: bytes) -> None:
    assert internet_checksum(data) == scapy_checksum(data)
