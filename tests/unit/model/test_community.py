"""The link bandwidth community, octet by octet."""

from __future__ import annotations

import pytest

from onehop.model.community import link_bandwidth


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
