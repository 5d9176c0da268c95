"""The link bandwidth community, octet by octet."""

from __future__ import annotations

import pytest

from onehop.model.bgp import LargeCommunity
from onehop.model.community import is_value, link_bandwidth, parse_community


@pytest.mark.parametrize(
    ("asn", "bandwidth", "octets"),
    [
        (64512, 1.0, "4004fc003f800000"),
        (1, 0.0, "4004000100000000"),
        (65535, 125_000_000.0, "4004ffff4cee6b28"),
        (65536, 2.0, "40045ba040000000"),
        (4_200_000_001, 0.5, "40045ba03f000000"),
    ],
)
def test_a_weight_is_an_ieee_number_behind_the_as(asn: int, bandwidth: float, octets: str) -> None:
    assert link_bandwidth(asn, bandwidth).hex() == octets


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("0:0", 0),
        ("65535:65535", 0xFFFFFFFF),
        ("64512:7", 64512 << 16 | 7),
        ("graceful-shutdown", 0xFFFF0000),
        ("no-export", 0xFFFFFF01),
        ("large:1:2:3", LargeCommunity(1, 2, 3)),
        ("large:4294967295:0:0", LargeCommunity(4294967295, 0, 0)),
        ("65536:0", None),
        ("0:-1", None),
        ("0:1:2", None),
        ("large:1:2", None),
        ("large:1:2:4294967296", None),
        ("large", None),
        ("", None),
        (":", None),
        ("1:", None),
        ("\u0661:1", None),
        ("\u00b2:1", None),
        ("9" * 5000 + ":1", None),
        ("blackhole ", None),
    ],
)
def test_communities_as_text(text: str, value: int | LargeCommunity | None) -> None:
    assert parse_community(text) == value


@pytest.mark.parametrize(
    ("text", "expected"),
    [("1:2", True), ("", True), ("12", True), ("large:", True), ("mine", False), ("a1", False)],
)
def test_a_value_is_told_from_a_name(text: str, expected: bool) -> None:
    assert is_value(text) is expected
