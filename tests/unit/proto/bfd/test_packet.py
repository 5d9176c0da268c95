"""BFD Control packets, both ways, and each ground on which RFC 5880 6.8.6 discards one."""

from __future__ import annotations

from contextlib import suppress
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from onehop.proto.bfd.packet import (
    LENGTH,
    MAX_INTERVAL_US,
    ControlPacket,
    Diagnostic,
    State,
    decode,
    encode,
)
from onehop.proto.machine import DecodeError

NUMBER = st.integers(1, 0xFFFFFFFF)
INTERVAL = st.integers(0, MAX_INTERVAL_US)
UP = ControlPacket(state=State.UP, my_discriminator=0x01020304, your_discriminator=0x0A0B0C0D)
WIRE = bytes.fromhex("20c00318 01020304 0a0b0c0d 000f4240 000f4240 00000000".replace(" ", ""))


@st.composite
def packets(draw: st.DrawFn) -> ControlPacket:
    state = draw(st.sampled_from(State))
    least = 1 if state in (State.INIT, State.UP) else 0
    return ControlPacket(
        state=state,
        my_discriminator=draw(NUMBER),
        your_discriminator=draw(st.integers(least, 0xFFFFFFFF)),
        diagnostic=draw(st.integers(0, 31)),
        poll=draw(st.booleans()),
        final=draw(st.booleans()),
        control_plane_independent=draw(st.booleans()),
        demand=draw(st.booleans()),
        multiplier=draw(st.integers(1, 255)),
        desired_min_tx_us=draw(INTERVAL),
        required_min_rx_us=draw(INTERVAL),
        required_min_echo_rx_us=draw(INTERVAL),
    )


def test_a_packet_on_the_wire() -> None:
    assert encode(UP) == WIRE
    assert decode(WIRE) == UP


FLAGS = {"poll": 0x20, "final": 0x10, "control_plane_independent": 0x08, "demand": 0x02}


@pytest.mark.parametrize(("name", "bit"), FLAGS.items())
def test_each_flag_has_its_bit(name: str, bit: int) -> None:
    flagged = replace(UP, **{name: True})
    assert encode(flagged)[1] == 0xC0 | bit
    assert decode(encode(flagged)) == flagged


@given(packets())
def test_decoding_gives_back_what_was_encoded(packet: ControlPacket) -> None:
    octets = encode(packet)
    assert len(octets) == LENGTH
    assert decode(octets) == packet
    assert decode(octets + b"more") == packet


@given(st.binary(max_size=64))
def test_any_octets_are_a_packet_or_a_decode_error(octets: bytes) -> None:
    with suppress(DecodeError):
        assert encode(decode(octets))[:3] == octets[:3]


def _with(offset: int, value: int) -> bytes:
    octets = bytearray(WIRE)
    octets[offset] = value
    return bytes(octets)


NOTHING = bytes(4)
DISCARDED = {
    "no octets": (b"", "packet"),
    "23 octets": (WIRE[:23], "packet"),
    "version 0": (_with(0, 0x00), "version"),
    "version 2": (_with(0, 0x40), "version"),
    "length 23": (_with(3, 23), "length"),
    "length above the datagram": (_with(3, 25), "length"),
    "authenticated, length 24": (_with(1, 0xC4), "length"),
    "multiplier 0": (_with(2, 0), "detect multiplier"),
    "multipoint": (_with(1, 0xC1), "multipoint"),
    "my discriminator 0": (WIRE[:4] + NOTHING + WIRE[8:], "my discriminator"),
    "up to nobody": (WIRE[:8] + NOTHING + WIRE[12:], "your discriminator"),
    "init to nobody": (_with(1, 0x80)[:8] + NOTHING + WIRE[12:], "your discriminator"),
    "authentication": (bytes([0x20, 0xC4, 3, 26]) + WIRE[4:] + b"\1\2", "authentication"),
}


@pytest.mark.parametrize("name", DISCARDED)
def test_invalid_packets_are_discarded_with_the_field_at_fault(name: str) -> None:
    octets, field = DISCARDED[name]
    with pytest.raises(DecodeError) as caught:
        decode(octets)
    assert caught.value.field == field


@pytest.mark.parametrize("state", [State.DOWN, State.ADMIN_DOWN])
def test_a_system_that_is_down_need_not_know_us(state: State) -> None:
    first = replace(UP, state=state, your_discriminator=0)
    assert decode(encode(first)) == first


def test_a_reserved_diagnostic_is_no_ground_to_discard() -> None:
    assert decode(_with(0, 0x20 | 31)).diagnostic == 31


def test_every_diagnostic_has_a_sentence() -> None:
    assert len({diagnostic.sentence for diagnostic in Diagnostic}) == len(Diagnostic)
