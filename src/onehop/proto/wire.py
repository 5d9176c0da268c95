"""Reading and writing bytes that a peer sent: every read is checked against the end.

Also the two things that ARP and NDP frames share: the Ethernet II header (IEEE 802.3 3.1.1) and
the Internet checksum (RFC 1071).
"""

from __future__ import annotations

from onehop.model.address import Mac
from onehop.proto.machine import DecodeError

ETHERNET_HEADER = 14
ETHERTYPE_ARP = 0x0806
ETHERTYPE_IPV6 = 0x86DD
BROADCAST = Mac(b"\xff" * 6)


class Reader:
    """A cursor over `data` from `offset`; reading past the end is a DecodeError."""

    __slots__ = ("_data", "offset")

    def __init__(self, data: bytes, offset: int = 0) -> None:
        self._data = data
        self.offset = offset

    @property
    def remaining(self) -> int:
        """How many octets are left."""
        return len(self._data) - self.offset

    def octets(self, count: int, field: str) -> bytes:
        """The next `count` octets.

        Raises:
            DecodeError: when fewer are left.
        """
        start, end = self.offset, self.offset + count
        if end > len(self._data):
            why = f"{count} octets needed, {max(self.remaining, 0)} left"
            raise DecodeError(field, start, why)
        self.offset = end
        return self._data[start:end]

    def uint(self, size: int, field: str) -> int:
        """The next `size` octets as an unsigned number in network byte order.

        Raises:
            DecodeError: when fewer are left.
        """
        return int.from_bytes(self.octets(size, field), "big")


def ethernet(destination: Mac, source: Mac, ethertype: int) -> bytes:
    """An Ethernet II header."""
    return destination.octets + source.octets + ethertype.to_bytes(2, "big")


def is_unicast(octets: bytes) -> bool:
    """Whether a MAC names one station: neither a group address nor all zeros."""
    return not octets[0] & 1 and any(octets)


def internet_checksum(data: bytes) -> int:
    """The Internet checksum of `data` (RFC 1071); 0 over data that holds its own right sum.

    2**16 is 1 modulo 2**16 - 1, so the end-around sum of the 16-bit words is the whole read as one
    number, modulo 2**16 - 1. One division beats a loop over the words.
    """
    if len(data) % 2:
        data += b"\0"
    total = int.from_bytes(data, "big")
    if total == 0:
        return 0xFFFF
    return 0xFFFF - (total % 0xFFFF or 0xFFFF)
