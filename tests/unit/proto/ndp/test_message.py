"""The codec of neighbour messages, held against scapy and the checks of RFC 4861 7.1."""

from __future__ import annotations

from dataclasses import replace
from ipaddress import IPv6Address

import pytest
from hypothesis import given
from hypothesis import strategies as st
from scapy.layers.inet6 import (
    ICMPv6ND_NA,
    ICMPv6ND_NS,
    ICMPv6NDOptDstLLAddr,
    ICMPv6NDOptSrcLLAddr,
    IPv6,
)
from scapy.layers.l2 import Ether

from onehop.model.address import Mac
from onehop.proto.machine import DecodeError
from onehop.proto.ndp.message import (
    ALL_NODES,
    Message,
    NeighbourAdvertisement,
    NeighbourSolicitation,
    decode,
    encode,
    group_mac,
    solicited_node,
)
from onehop.proto.wire import internet_checksum

OURS, PEER = Mac.parse("02:00:00:00:01:01"), Mac.parse("02:00:00:00:00:99")
VIP, CLIENT = IPv6Address("fd00:200::241"), IPv6Address("fd00:200::9")
SOLICITATION = NeighbourSolicitation(
    destination=group_mac(solicited_node(VIP)),
    source=PEER,
    source_address=CLIENT,
    destination_address=solicited_node(VIP),
    target=VIP,
    link_layer=PEER,
)
ADVERTISEMENT = NeighbourAdvertisement(
    destination=PEER,
    source=OURS,
    source_address=VIP,
    destination_address=CLIENT,
    target=VIP,
    solicited=True,
    override=True,
    link_layer=OURS,
)

macs = st.binary(min_size=6, max_size=6).map(Mac)
unicast = st.ip_addresses(v=6).filter(lambda address: not address.is_multicast)
real_unicast = unicast.filter(lambda address: int(address) != 0)
solicitations = st.builds(
    NeighbourSolicitation,
    destination=macs,
    source=macs,
    source_address=real_unicast,
    destination_address=st.ip_addresses(v=6),
    target=unicast,
    link_layer=st.none() | macs,
)
advertisements = st.builds(
    NeighbourAdvertisement,
    destination=macs,
    source=macs,
    source_address=real_unicast,
    destination_address=unicast,
    target=unicast,
    router=st.booleans(),
    solicited=st.booleans(),
    override=st.booleans(),
    link_layer=st.none() | macs,
)
messages = solicitations | advertisements


def test_the_solicited_node_group_holds_the_last_three_octets() -> None:
    assert solicited_node(IPv6Address("4037::01:800:200e:8c6c")) == IPv6Address(
        "ff02::1:ff0e:8c6c"
    )
    assert str(group_mac(IPv6Address("ff02::1:ff0e:8c6c"))) == "33:33:ff:0e:8c:6c"


@given(messages)
def test_what_was_encoded_decodes_to_itself(message: Message) -> None:
    assert decode(encode(message)) == message
    assert decode(encode(message) + b"padding") == message


@given(messages)
def test_scapy_reads_the_same(message: Message) -> None:
    frame = encode(message)
    seen = Ether(frame)
    again = Ether(frame)
    kind = ICMPv6ND_NS if isinstance(message, NeighbourSolicitation) else ICMPv6ND_NA
    del again[kind].cksum
    assert Ether(again.build())[kind].cksum == seen[kind].cksum, "scapy's own checksum"
    assert (IPv6Address(seen[IPv6].src), IPv6Address(seen[IPv6].dst), seen[IPv6].hlim) == (
        message.source_address,
        message.destination_address,
        255,
    )
    assert IPv6Address(seen[kind].tgt) == message.target
    option = ICMPv6NDOptSrcLLAddr if kind is ICMPv6ND_NS else ICMPv6NDOptDstLLAddr
    assert bool(seen.haslayer(option)) is (message.link_layer is not None)
    if message.link_layer is not None:
        assert seen[option].lladdr == str(message.link_layer)
    if isinstance(message, NeighbourAdvertisement):
        flags = (message.router, message.solicited, message.override)
        assert flags == (seen[kind].R, seen[kind].S, seen[kind].O)


@given(st.binary(max_size=120))
def test_any_octets_decode_or_are_refused(frame: bytes) -> None:
    try:
        message = decode(frame)
    except DecodeError:
        return
    assert decode(encode(message)) == message


@given(st.sampled_from([SOLICITATION, ADVERTISEMENT]), st.integers(12, 85), st.integers(1, 255))
def test_damage_is_found_or_harmless(message: Message, offset: int, flip: int) -> None:
    """The checksum covers all but hop limit, version, lengths and traffic class."""
    frame = bytearray(encode(message))
    frame[offset] ^= flip
    try:
        found = decode(bytes(frame))
    except DecodeError:
        return
    assert found == message


def mended(frame: bytes) -> bytes:
    """The frame with the checksum that its contents ask for."""
    payload = frame[54:56] + b"\0\0" + frame[58:]
    pseudo = frame[22:54] + len(payload).to_bytes(4, "big") + b"\0\0\0\x3a"
    checksum = internet_checksum(pseudo + payload).to_bytes(2, "big")
    return frame[:18] + len(payload).to_bytes(2, "big") + frame[20:56] + checksum + frame[58:]


def changed(message: Message, offset: int, octets: bytes) -> bytes:
    frame = encode(message)
    return mended(frame[:offset] + octets + frame[offset + len(octets) :])


def test_mending_an_intact_frame_changes_nothing() -> None:
    assert mended(encode(SOLICITATION)) == encode(SOLICITATION)


@pytest.mark.parametrize(
    ("frame", "field"),
    [
        (changed(SOLICITATION, 12, b"\x08\x00"), "ethertype"),
        (changed(SOLICITATION, 14, b"\x40"), "version"),
        (changed(SOLICITATION, 20, b"\x06"), "next header"),
        (changed(SOLICITATION, 21, b"\xfe"), "hop limit"),
        (changed(SOLICITATION, 22, b"\xff"), "source address"),
        (changed(SOLICITATION, 54, b"\x85"), "type"),
        (changed(SOLICITATION, 55, b"\x01"), "code"),
        (changed(SOLICITATION, 62, b"\xff"), "target"),
        (changed(SOLICITATION, 79, b"\x00"), "option length"),
        (changed(SOLICITATION, 79, b"\x02"), "option"),
        (encode(SOLICITATION)[:56] + b"\0\0" + encode(SOLICITATION)[58:], "checksum"),
        (mended(encode(SOLICITATION)[:70]), "payload length"),
        (mended(encode(SOLICITATION)[:79]), "option length"),
        (changed(ADVERTISEMENT, 38, ALL_NODES.packed), "flags"),
        (changed(ADVERTISEMENT, 62, b"\xff"), "target"),
        (changed(ADVERTISEMENT, 79, b"\x00"), "option length"),
        (
            encode(replace(SOLICITATION, source_address=IPv6Address(0))),
            "options",
        ),
        (
            encode(
                replace(
                    SOLICITATION,
                    source_address=IPv6Address(0),
                    destination_address=VIP,
                    link_layer=None,
                )
            ),
            "destination address",
        ),
    ],
)
def test_what_rfc_4861_calls_invalid_is_refused_by_name(frame: bytes, field: str) -> None:
    with pytest.raises(DecodeError) as caught:
        decode(frame)
    assert caught.value.field == field


def test_duplicate_address_detection_is_valid() -> None:
    probe = replace(SOLICITATION, source_address=IPv6Address(0), link_layer=None)
    assert decode(encode(probe)) == probe


def test_reserved_flags_are_ignored() -> None:
    assert decode(changed(ADVERTISEMENT, 58, b"\x7f\xff\xff\xff")) == ADVERTISEMENT
    assert decode(changed(SOLICITATION, 58, b"\xff\xff\xff\xff")) == SOLICITATION


def test_other_options_are_skipped_and_the_first_link_layer_one_counts() -> None:
    nonce = b"\x0e\x01\x01\x02\x03\x04\x05\x06"  # RFC 3971 5.3.2
    first, second = b"\x01\x01" + PEER.octets, b"\x01\x01" + OURS.octets
    bare = encode(replace(SOLICITATION, link_layer=None))
    assert decode(mended(bare + nonce + first + second)) == SOLICITATION
    assert decode(mended(bare + nonce)) == replace(SOLICITATION, link_layer=None)


@pytest.mark.parametrize("length", range(86))
def test_every_shorter_frame_is_refused(length: int) -> None:
    with pytest.raises(DecodeError):
        decode(encode(SOLICITATION)[:length])
