"""OPEN and ROUTE-REFRESH, held against scapy."""

from __future__ import annotations

from dataclasses import replace
from ipaddress import IPv4Address

import pytest
from hypothesis import given
from hypothesis import strategies as st
from scapy.contrib import bgp as scapy

from onehop.model.address import Family
from onehop.proto.bgp.capability import Capabilities, GracefulRestart, LongLived
from onehop.proto.bgp.constants import RefreshSubtype
from onehop.proto.bgp.error import BgpError
from onehop.proto.bgp.message import (
    Open,
    RouteRefresh,
    decode_open,
    decode_route_refresh,
    encode_open,
    encode_route_refresh,
)
from onehop.proto.machine import DecodeError
from tests.unit.proto.bgp.test_capability import capabilities

PLAIN = Open(asn=64512, hold_time=90, identifier=IPv4Address("192.0.2.1"))
FULL = Open(
    asn=4_200_000_001,
    hold_time=180,
    identifier=IPv4Address("198.51.100.7"),
    capabilities=Capabilities(
        families=frozenset(Family),
        asn=4_200_000_001,
        route_refresh=True,
        graceful_restart=GracefulRestart(restart_time=120, families=frozenset(Family)),
    ),
)
HEAD = "04 fc00 005a c0000201"


def opened(parameters: str, head: str = HEAD) -> Open:
    return decode_open(bytes.fromhex(head + parameters))


def refusal(parameters: str, head: str = HEAD) -> BgpError:
    with pytest.raises(BgpError) as caught:
        opened(parameters, head)
    assert caught.value.code == 2
    return caught.value


def test_an_open_stands_on_the_wire_as_rfc_4271_draws_it() -> None:
    assert encode_open(PLAIN).hex() == "ff" * 16 + "001d0104fc00005ac000020100"


def test_the_two_octet_as_of_a_large_number_is_as_trans() -> None:
    """RFC 6793 4.2.2: 23456 stands where two octets are too few."""
    assert encode_open(FULL)[20:22] == (23456).to_bytes(2, "big")
    assert encode_open(replace(PLAIN, asn=65535))[20:22] == b"\xff\xff"
    assert encode_open(replace(PLAIN, asn=65536))[20:22] == b"\x5b\xa0"


@given(
    asn=st.integers(1, 0xFFFFFFFF),
    hold_time=st.sampled_from([0, 3, 9, 90, 65535]),
    identifier=st.ip_addresses(v=4).filter(lambda address: int(address) != 0),
    offered=capabilities,
)
def test_what_was_encoded_decodes_to_itself(
    asn: int, hold_time: int, identifier: IPv4Address, offered: Capabilities
) -> None:
    message = Open(
        asn=asn,
        hold_time=hold_time,
        identifier=identifier,
        capabilities=replace(offered, asn=asn),
    )
    whole = encode_open(message)
    assert len(whole) <= 4096
    assert decode_open(whole[19:]) == message


@pytest.mark.parametrize(
    ("offered", "layer", "field", "value"),
    [
        (Capabilities(families=frozenset({Family.IPV6})), scapy.BGPCapMultiprotocol, "afi", 2),
        (Capabilities(asn=4_200_000_001), scapy.BGPCapFourBytesASN, "asn", 4_200_000_001),
        (
            Capabilities(graceful_restart=GracefulRestart(restart_time=120)),
            scapy.BGPCapGracefulRestart,
            "restart_time",
            120,
        ),
        (Capabilities(route_refresh=True), scapy.BGPCapGeneric, "code", 2),
    ],
    ids=["family", "AS", "restart", "refresh"],
)
def test_scapy_reads_the_same(offered: Capabilities, layer: type, field: str, value: int) -> None:
    """One capability at a time: scapy looks at the first of a parameter only."""
    seen = scapy.BGP(encode_open(replace(FULL, capabilities=offered)))
    opened = seen[scapy.BGPOpen]
    assert (opened.version, opened.my_as, opened.hold_time) == (4, 23456, 180)
    assert opened.bgp_id == "198.51.100.7"
    assert [parameter.param_type for parameter in opened.opt_params] == [2]
    assert getattr(seen[layer], field) == value


def test_parameters_longer_than_255_octets_take_the_long_form() -> None:
    """RFC 9072 2: two octets of 255, then a length of two octets, each parameter likewise."""
    entries = tuple(LongLived(family=Family.IPV4, stale_time=n) for n in range(34))
    restart = GracefulRestart(restart_time=1, families=frozenset(Family))
    message = replace(
        PLAIN,
        capabilities=Capabilities(
            route_refresh=True, graceful_restart=restart, long_lived=entries
        ),
    )
    body = encode_open(message)[19:]
    assert body[9:16].hex() == "ffff01010200fe"
    assert decode_open(body) == message
    shorter = replace(message, capabilities=Capabilities(long_lived=entries))
    assert encode_open(shorter)[28:31].hex() == "f202f0"
    assert decode_open(encode_open(shorter)[19:]) == shorter


@pytest.mark.parametrize(
    "parameters",
    [
        "08 0206 4104 0000fde8",
        "0a 0206 4104 0000fde8 0200",
        "ff ff 0009 02 0006 4104 0000fde8",
        "01 ff 0009 02 0006 4104 0000fde8",
        "10 0206 4104 0000fde8 0206 4104 0000fde8",
    ],
    ids=["one", "an empty one behind", "long form", "long form, any length", "one each"],
)
def test_capabilities_are_found_in_every_form(parameters: str) -> None:
    """RFC 9072 2: the long form is accepted whatever the short length says, except 0."""
    assert opened(parameters).asn == 65000


def test_an_as_is_the_capability_s_before_the_two_octets() -> None:
    assert opened("00").asn == 64512
    assert opened("08 0206 4104 fa56ea01").asn == 4_200_000_001


@pytest.mark.parametrize("version", [0, 3, 5, 255])
def test_another_version_is_told_ours(version: int) -> None:
    error = refusal("00", f"{version:02x} fc00 005a c0000201")
    assert (error.subcode, error.data, error.offset) == (1, b"\0\4", 19)


@pytest.mark.parametrize(
    ("head", "parameters"),
    [
        ("04 0000 005a c0000201", "00"),
        ("04 0000 005a c0000201", "08 0206 4104 0000fde8"),
        ("04 fc00 005a c0000201", "08 0206 4104 00000000"),
    ],
)
def test_as_0_is_a_bad_peer_as(head: str, parameters: str) -> None:
    """RFC 7607 2."""
    error = refusal(parameters, head)
    assert (error.subcode, error.field, error.offset) == (2, "my AS", 20)


def test_an_identifier_of_zero_is_refused() -> None:
    """RFC 6286 2.2."""
    error = refusal("00", "04 fc00 005a 00000000")
    assert (error.subcode, error.field, error.offset) == (3, "BGP identifier", 24)


@pytest.mark.parametrize("hold_time", [1, 2])
def test_a_hold_time_of_one_or_two_seconds_is_refused(hold_time: int) -> None:
    error = refusal("00", f"04 fc00 {hold_time:04x} c0000201")
    assert (error.subcode, error.offset) == (6, 22)


@pytest.mark.parametrize("hold_time", [0, 3, 65535])
def test_every_other_hold_time_is_taken(hold_time: int) -> None:
    assert opened("00", f"04 fc00 {hold_time:04x} c0000201").hold_time == hold_time


@pytest.mark.parametrize("kind", ["01", "03", "fe"])
def test_a_parameter_that_is_no_capability_is_refused(kind: str) -> None:
    error = refusal(f"02 {kind}00")
    assert (error.subcode, error.offset) == (4, 29)


@pytest.mark.parametrize(
    "parameters",
    [
        "",
        "01",
        "05 0200",
        "00 00",
        "03 0206 41",
        "01 02",
        "02 0201",
        "ff ff",
        "ff ff 00",
        "ff ff 0004 02 0006",
        "ff ff 0003 02 0001",
        "04 0202 4104",
    ],
)
def test_parameters_that_do_not_add_up_are_refused(parameters: str) -> None:
    """RFC 4271 6.2: recognised and malformed is subcode 0."""
    assert refusal(parameters).subcode == 0


def test_a_malformed_capability_is_pointed_at() -> None:
    error = refusal("0b 0202 0200 0205 0200 410100")
    assert (error.field, error.offset) == ("capability FOUR_OCTET_AS", 19 + 10 + 4 + 2 + 2)


@given(st.binary(max_size=80))
def test_any_body_decodes_or_is_refused(body: bytes) -> None:
    for octets in (body, bytes.fromhex(HEAD) + body):
        try:
            message = decode_open(octets)
        except BgpError:
            continue
        assert message.asn


@pytest.mark.parametrize(
    ("octets", "message"),
    [
        ("0001 00 01", RouteRefresh(family=Family.IPV4)),
        ("0002 00 01", RouteRefresh(family=Family.IPV6)),
        ("0002 01 01", RouteRefresh(family=Family.IPV6, subtype=RefreshSubtype.BEGIN)),
        ("0001 02 01", RouteRefresh(family=Family.IPV4, subtype=RefreshSubtype.END)),
    ],
)
def test_a_refresh_names_a_family_and_a_phase(octets: str, message: RouteRefresh) -> None:
    whole = encode_route_refresh(message)
    assert whole == b"\xff" * 16 + b"\0\x17\5" + bytes.fromhex(octets)
    assert decode_route_refresh(whole[19:]) == message


@pytest.mark.parametrize(
    ("octets", "message"),
    [
        ("4004 00 47", RouteRefresh(family=None)),
        ("0001 00 02", RouteRefresh(family=None)),
        ("0001 ff 01", RouteRefresh(family=Family.IPV4, subtype=None)),
        ("0001 00 01 01 80 0001 80", RouteRefresh(family=Family.IPV4)),
        ("0001 03 01 00", RouteRefresh(family=Family.IPV4, subtype=None)),
    ],
    ids=["family", "SAFI", "subtype", "filters behind it", "subtype and octets behind it"],
)
def test_a_refresh_of_another_kind_is_read_as_unknown(octets: str, message: RouteRefresh) -> None:
    assert decode_route_refresh(bytes.fromhex(octets)) == message


@pytest.mark.parametrize("subtype", ["01", "02"])
def test_a_begin_or_end_of_another_length_is_refused(subtype: str) -> None:
    """RFC 7313 5: the data are the whole message."""
    body = bytes.fromhex(f"0001 {subtype} 01 00")
    with pytest.raises(BgpError) as caught:
        decode_route_refresh(body)
    assert (caught.value.code, caught.value.subcode) == (7, 1)
    assert caught.value.data == b"\xff" * 16 + b"\0\x18\5" + body


@pytest.mark.parametrize("length", range(4))
def test_a_refresh_cut_short_is_refused(length: int) -> None:
    with pytest.raises(DecodeError):
        decode_route_refresh(b"\0\1\0\1"[:length])
