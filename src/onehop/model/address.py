"""Addresses: families, ranges and MACs, and the arithmetic that pools need.

IP addresses are `ipaddress` objects everywhere; a string is never an address. A range is
inclusive at both ends and holds one family, as MetalLB's `start-end` form does.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address, ip_network

IPAddress = IPv4Address | IPv6Address
IPNetwork = IPv4Network | IPv6Network


class Family(Enum):
    """An IP family, with the name that Kubernetes gives it."""

    IPV4 = "IPv4"
    IPV6 = "IPv6"


def family_of(address: IPAddress) -> Family:
    """The family of one address."""
    return Family.IPV4 if address.version == 4 else Family.IPV6


def host_port(host: object, port: int) -> str:
    """`host:port`, an IPv6 address in the brackets that it needs there (RFC 3986 3.2.2)."""
    text = str(host)
    return f"[{text}]:{port}" if ":" in text else f"{text}:{port}"


@dataclass(frozen=True, slots=True, order=True)
class Mac:
    """A 48-bit link-layer address; `octets` is what stands on the wire."""

    octets: bytes

    def __str__(self) -> str:
        return ":".join(f"{octet:02x}" for octet in self.octets)

    @classmethod
    def parse(cls, text: str) -> Mac:
        """The MAC written as six hexadecimal octets.

        Raises:
            ValueError: when `text` is anything else.
        """
        parts = text.split(":")
        if len(parts) != 6 or any(len(part) not in (1, 2) for part in parts):
            raise ValueError(f"{text!r} is not a MAC address")
        return cls(bytes(int(part, 16) for part in parts))


@dataclass(frozen=True, slots=True, kw_only=True)
class AddressRange:
    """All addresses from `first` to `last`, both included, of one family.

    `text` is how the user wrote it, for messages.
    """

    first: IPAddress
    last: IPAddress
    text: str

    def __contains__(self, address: object) -> bool:
        if not isinstance(address, (IPv4Address, IPv6Address)):
            return False
        if address.version != self.first.version:
            return False
        return int(self.first) <= int(address) <= int(self.last)

    @property
    def size(self) -> int:
        """How many addresses the range holds."""
        return int(self.last) - int(self.first) + 1

    @property
    def family(self) -> Family:
        """The family of the range."""
        return family_of(self.first)

    def overlaps(self, other: AddressRange) -> bool:
        """Whether an address lies in both ranges."""
        return (
            self.first.version == other.first.version
            and int(self.first) <= int(other.last)
            and int(other.first) <= int(self.last)
        )


def parse_range(text: str) -> AddressRange:
    """The range that a pool's `addresses` entry names: a CIDR or `start-end`.

    Host bits of a CIDR are masked and space around the ends of a range is dropped, as MetalLB
    does; a range over two families is refused, where MetalLB lets it through.

    Raises:
        ValueError: with a sentence for the user, when `text` names no range.
    """
    if "-" in text:
        return _parse_ends(text)
    try:
        network = ip_network(text.strip(), strict=False)
    except ValueError:
        raise ValueError(f"invalid CIDR or range {text!r}") from None
    return AddressRange(first=network[0], last=network[-1], text=text)


def _parse_ends(text: str) -> AddressRange:
    parts = text.split("-")
    if len(parts) != 2:
        raise ValueError(f"invalid range {text!r}: it needs one start and one end")
    try:
        first, last = (ip_address(part.strip()) for part in parts)
    except ValueError:
        raise ValueError(f"invalid range {text!r}: an end is not an IP address") from None
    if first.version != last.version:
        raise ValueError(f"invalid range {text!r}: its ends are of two families")
    if int(first) > int(last):
        raise ValueError(f"invalid range {text!r}: start {first} is after end {last}")
    return AddressRange(first=first, last=last, text=text)
