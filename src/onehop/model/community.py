"""Communities: their values as text, and the one extended community that we make.

That one tells how much traffic a next hop can take. Its form is that of
draft-ietf-idr-link-bandwidth 2, which routers have read for years: type 0x40, subtype 0x04, an AS
of two octets, and octets a second as an IEEE 754 single.
"""

from __future__ import annotations

import struct

from onehop.model.bgp import LargeCommunity

WELL_KNOWN = {
    "graceful-shutdown": 0xFFFF0000,
    "accept-own": 0xFFFF0001,
    "llgr-stale": 0xFFFF0006,
    "no-llgr": 0xFFFF0007,
    "blackhole": 0xFFFF029A,
    "no-export": 0xFFFFFF01,
    "no-advertise": 0xFFFFFF02,
    "no-export-subconfed": 0xFFFFFF03,
    "no-peer": 0xFFFFFF04,
}
_NON_TRANSITIVE_AS_SPECIFIC = 0x40  # RFC 4360 3.1
_LINK_BANDWIDTH = 0x04
_AS_TRANS = 23456  # RFC 6793 9: for an AS that two octets cannot hold


def link_bandwidth(asn: int, bytes_per_second: float) -> bytes:
    """The 8 octets that give a route this weight among its equals."""
    asn = asn if asn <= 0xFFFF else _AS_TRANS
    return struct.pack(
        "!BBHf", _NON_TRANSITIVE_AS_SPECIFIC, _LINK_BANDWIDTH, asn, bytes_per_second
    )


def is_value(text: str) -> bool:
    """Whether a community is meant as a value rather than as a name."""
    return not text or ":" in text or text.isdigit()


def parse_community(text: str) -> int | LargeCommunity | None:
    """The community written as `A:B`, `large:A:B:C` or by a well-known name; None for others."""
    if text in WELL_KNOWN:
        return WELL_KNOWN[text]
    form, colon, rest = text.partition(":")
    is_large = form == "large" and bool(colon)
    numbers = _numbers(rest if is_large else text, 1 << (32 if is_large else 16))
    if is_large and len(numbers) == 3:
        return LargeCommunity(*numbers)
    if not is_large and len(numbers) == 2:
        return numbers[0] << 16 | numbers[1]
    return None


def _numbers(text: str, limit: int) -> tuple[int, ...]:
    words = text.split(":")
    # The length comes first: int() refuses thousands of digits by an exception.
    if not all(
        word.isascii() and word.isdigit() and len(word) <= 10 and int(word) < limit
        for word in words
    ):
        return ()
    return tuple(map(int, words))
