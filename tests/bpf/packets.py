"""Packets by their fields: what is written is the whole frame, checksums included.

A test says what it sends as a `Packet` and what it expects as the same packet with other
fields; the frames are compared byte for byte, so nothing changes that nobody named.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass
from ipaddress import ip_address

TCP, UDP = 6, 17
FIN, SYN, RST, PSH, ACK = 1, 2, 4, 8, 16

# The loopback device of the kernel's test run: a frame to any other address is not for us.
OURS = bytes(6)


def ones_complement(data: bytes) -> int:
    """RFC 1071: the checksum of `data`."""
    if len(data) % 2:
        data += b"\0"
    total = sum(struct.unpack(f">{len(data) // 2}H", data))
    while total >> 16:
        total = (total & 0xFFFF) + (total >> 16)
    return ~total & 0xFFFF


@dataclass(frozen=True, kw_only=True)
class Packet:
    """One TCP or UDP packet of either family in an Ethernet frame."""

    source: str
    sport: int
    destination: str
    dport: int
    protocol: int = TCP
    flags: int = ACK
    ttl: int = 64
    payload: bytes = b"onehop"
    to_mac: bytes = OURS
    from_mac: bytes = bytes.fromhex("02aa00000001")
    checksummed: bool = True
    fragment: int = 0  # the flags and offset word of IPv4
    options: bytes = b""
    extension: int | None = None

    @property
    def v6(self) -> bool:
        return ":" in self.destination

    def _addresses(self) -> bytes:
        return ip_address(self.source).packed + ip_address(self.destination).packed

    def _transport(self) -> bytes:
        ports = struct.pack(">HH", self.sport, self.dport)
        if self.protocol == TCP:
            head = ports + struct.pack(">IIBBHHH", 7, 9, 5 << 4, self.flags, 512, 0, 0)
            at = 16
        else:
            head = ports + struct.pack(">HH", 8 + len(self.payload), 0)
            at = 6
        segment = bytearray(head + self.payload)
        if self.checksummed:
            pseudo = self._addresses() + struct.pack(">IHH", len(segment), 0, self.protocol)
            value = ones_complement(pseudo + segment)
            if self.protocol == UDP and value == 0:
                value = 0xFFFF  # RFC 768: zero says that there is none
            struct.pack_into(">H", segment, at, value)
        return bytes(segment)

    def frame(self) -> bytes:
        """The frame on the wire."""
        body = self._transport()
        if self.v6:
            kind, head = 0x86DD, self._v6_header(body)
        else:
            kind, head = 0x0800, self._v4_header(body)
        return self.to_mac + self.from_mac + struct.pack(">H", kind) + head + body

    def _v4_header(self, body: bytes) -> bytes:
        words = 5 + len(self.options) // 4
        head = bytearray(
            struct.pack(
                ">BBHHHBBH",
                4 << 4 | words,
                0,
                4 * words + len(body),
                77,
                self.fragment,
                self.ttl,
                self.protocol,
                0,
            )
            + self._addresses()
            + self.options
        )
        struct.pack_into(">H", head, 10, ones_complement(bytes(head)))
        return bytes(head)

    def _v6_header(self, body: bytes) -> bytes:
        extra = b"" if self.extension is None else struct.pack(">BB6x", self.protocol, 0)
        following = self.protocol if self.extension is None else self.extension
        length = len(extra) + len(body)
        return (
            struct.pack(">IHBB", 6 << 28, length, following, self.ttl) + self._addresses() + extra
        )
