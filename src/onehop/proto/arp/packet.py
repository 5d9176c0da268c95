"""The ARP packet for IPv4 over Ethernet, both ways (RFC 826; hlen 6 and plen 4 only).

Names are those of RFC 5227 1.2: sender and target, each with a hardware and a protocol address.
Octets after the packet are Ethernet padding and are ignored.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import IntEnum
from ipaddress import IPv4Address

from onehop.model.address import Mac
from onehop.proto.machine import DecodeError
from onehop.proto.wire import BROADCAST, ETHERNET_HEADER, ETHERTYPE_ARP, Reader, ethernet

FRAME_LENGTH = ETHERNET_HEADER + 28
# hardware type Ethernet, protocol type IPv4, hlen 6, plen 4
FORMAT = b"\x00\x01\x08\x00\x06\x04"
UNKNOWN = Mac(bytes(6))


class Operation(IntEnum):
    """The two opcodes of RFC 826; the others (RFC 5494) are not for us."""

    REQUEST = 1
    REPLY = 2


@dataclass(frozen=True, slots=True, kw_only=True)
class ArpPacket:
    """One ARP packet and the Ethernet addresses that carried it."""

    destination: Mac
    source: Mac
    operation: Operation
    sender: Mac
    sender_address: IPv4Address
    target: Mac
    target_address: IPv4Address


def decode(frame: bytes) -> ArpPacket:
    """The packet in an Ethernet frame.

    Raises:
        DecodeError: when it is cut short, or is no ARP request or reply for IPv4 over Ethernet.
    """
    reader = Reader(frame)
    destination = Mac(reader.octets(6, "destination"))
    source = Mac(reader.octets(6, "source"))
    if reader.uint(2, "ethertype") != ETHERTYPE_ARP:
        raise DecodeError("ethertype", 12, "not ARP")
    if reader.octets(6, "format") != FORMAT:
        raise DecodeError("format", 14, "not IPv4 over Ethernet")
    operation = reader.uint(2, "operation")
    if operation not in (Operation.REQUEST, Operation.REPLY):
        raise DecodeError("operation", 20, f"{operation} is neither request nor reply")
    return ArpPacket(
        destination=destination,
        source=source,
        operation=Operation(operation),
        sender=Mac(reader.octets(6, "sender")),
        sender_address=IPv4Address(reader.octets(4, "sender_address")),
        target=Mac(reader.octets(6, "target")),
        target_address=IPv4Address(reader.octets(4, "target_address")),
    )


def encode(packet: ArpPacket) -> bytes:
    """The Ethernet frame of a packet, without padding (the driver of the link pads)."""
    return b"".join(
        (
            ethernet(packet.destination, packet.source, ETHERTYPE_ARP),
            FORMAT,
            packet.operation.to_bytes(2, "big"),
            packet.sender.octets,
            packet.sender_address.packed,
            packet.target.octets,
            packet.target_address.packed,
        )
    )


def announcement(mac: Mac, address: IPv4Address, operation: Operation) -> bytes:
    """A gratuitous broadcast that binds `address` to `mac` (RFC 5227 2.3).

    The request form is the RFC's. In the reply form the target is the sender too: that is what
    Linux takes for gratuitous and accepts even for an entry it learnt within the last second.
    """
    target = UNKNOWN if operation is Operation.REQUEST else mac
    return encode(
        ArpPacket(
            destination=BROADCAST,
            source=mac,
            operation=operation,
            sender=mac,
            sender_address=address,
            target=target,
            target_address=address,
        )
    )
