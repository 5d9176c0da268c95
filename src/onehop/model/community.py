"""The one extended community that we make: how much traffic a next hop can take.

Its form is that of draft-ietf-idr-link-bandwidth 2, which routers have read for years: type 0x40,
subtype 0x04, an AS of two octets, and octets a second as an IEEE 754 single.
"""

from __future__ import annotations

import struct

_NON_TRANSITIVE_AS_SPECIFIC = 0x40  # RFC 4360 3.1
_LINK_BANDWIDTH = 0x04
_AS_TRANS = 23456  # RFC 6793 9: for an AS that two octets cannot hold


def link_bandwidth(asn: int, bytes_per_second: float) -> bytes:
    """The 8 octets that give a route this weight among its equals."""
    asn = asn if asn <= 0xFFFF else _AS_TRANS
    return struct.pack(
        "!BBHf", _NON_TRANSITIVE_AS_SPECIFIC, _LINK_BANDWIDTH, asn, bytes_per_second
    )
