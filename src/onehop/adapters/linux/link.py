"""The node's network links, followed through netlink.

`Links` is a doorbell and a table: its descriptor becomes readable when a link or an address
changed, `refresh` reads the whole table anew. Nothing is pieced together from events, so an
overrun of the socket loses nothing.
"""

from __future__ import annotations

import re
import socket
import struct
from ipaddress import IPv4Interface, IPv6Interface

from onehop.adapters.linux import netlink
from onehop.model.address import Mac
from onehop.model.node import Link

# The links that MetalLB leaves alone by default: those of container networks and tunnels.
DEFAULT_EXCLUDE = re.compile(
    r"^(docker|cbr|dummy|virbr|lxcbr|veth|lo$|cali|tunl|flannel|kube-ipvs|cni|nodelocaldns|lxc)"
)

_GETLINK, _GETADDR = 18, 22
_GROUPS = 0x1 | 0x10 | 0x100  # RTMGRP_LINK, RTMGRP_IPV4_IFADDR, RTMGRP_IPV6_IFADDR
_LINK_HEADER = struct.Struct("=BxHiII")  # family, type, index, flags, change
_ADDRESS_HEADER = struct.Struct("=BBBBi")  # family, prefix length, flags, scope, index
_IFF_UP, _IFF_BROADCAST, _IFF_NOARP, _IFF_LOWER_UP = 0x1, 0x2, 0x80, 0x10000
_IFLA_ADDRESS, _IFLA_IFNAME, _IFLA_MASTER, _IFLA_LINKINFO = 1, 3, 10, 18
_IFLA_EXT_MASK, _IFLA_CARRIER_CHANGES = 29, 35
_INFO_KIND = 1
_SKIP_STATISTICS = 1 << 3
_IFA_ADDRESS, _IFA_LOCAL = 1, 2

_Interface = IPv4Interface | IPv6Interface


def carries_arp(link: Link) -> bool:
    """Whether ARP can be spoken on a link now."""
    return link.up and link.broadcast and link.speaks


def carries_ndp(link: Link) -> bool:
    """Whether NDP can be spoken on a link now: IPv6 is alive where a link-local address is."""
    return (
        link.up
        and link.speaks
        and any(own.version == 6 and own.ip.is_link_local for own in link.addresses)
    )


class Links:
    """The links of the network namespace that this was made in, but for those `exclude` matches.

    Raises:
        NetlinkError: when the kernel refuses, also from `refresh`.
    """

    def __init__(self, exclude: re.Pattern[str] | None = DEFAULT_EXCLUDE) -> None:
        self._exclude = exclude
        try:
            self._bell = socket.socket(
                socket.AF_NETLINK, socket.SOCK_RAW | socket.SOCK_NONBLOCK, socket.NETLINK_ROUTE
            )
            self._bell.bind((0, _GROUPS))
        except OSError as error:
            raise netlink.NetlinkError("follow links", error) from error
        self._links: tuple[Link, ...] = ()
        self.refresh()

    def fileno(self) -> int:
        """The descriptor to wait on: readable when `refresh` may find a change."""
        return self._bell.fileno()

    def links(self) -> tuple[Link, ...]:
        """The links as last read, by index; the identical tuple while nothing changed."""
        return self._links

    def refresh(self) -> bool:
        """Read all links and addresses; true when something changed."""
        self._silence()
        links = tuple(link for link in _read() if not self._excludes(link.name))
        if links == self._links:
            return False
        self._links = links
        return True

    def _excludes(self, name: str) -> bool:
        return self._exclude is not None and self._exclude.match(name) is not None

    def _silence(self) -> None:
        # Before the table is read: a change while it is read rings again.
        while True:
            try:
                self._bell.recv(1 << 16)
            except BlockingIOError:
                return
            except OSError:
                continue  # ENOBUFS: events were lost, which the table makes good

    def close(self) -> None:
        """Stop following; closing twice is no error."""
        self._bell.close()


def _read() -> tuple[Link, ...]:
    addresses: dict[int, list[_Interface]] = {}
    for body in netlink.table(_GETADDR, _ADDRESS_HEADER.pack(0, 0, 0, 0, 0), "list addresses"):
        _add_address(body, addresses)
    request = _LINK_HEADER.pack(0, 0, 0, 0, 0) + netlink.attribute(
        _IFLA_EXT_MASK, struct.pack("=I", _SKIP_STATISTICS)
    )
    found = (_link(body, addresses) for body in netlink.table(_GETLINK, request, "list links"))
    return tuple(sorted((link for link in found if link is not None), key=_index))


def _index(link: Link) -> int:
    return link.index


def _add_address(body: bytes, addresses: dict[int, list[_Interface]]) -> None:
    family, prefix_length, _, _, index = _ADDRESS_HEADER.unpack_from(body)
    values = netlink.attributes(body, _ADDRESS_HEADER.size)
    # On a point-to-point link IFA_ADDRESS is the peer and IFA_LOCAL is ours.
    octets = values.get(_IFA_LOCAL) or values.get(_IFA_ADDRESS) or b""
    if family == socket.AF_INET and len(octets) == 4:
        addresses.setdefault(index, []).append(IPv4Interface((octets, prefix_length)))
    elif family == socket.AF_INET6 and len(octets) == 16:
        addresses.setdefault(index, []).append(IPv6Interface((octets, prefix_length)))


def _link(body: bytes, addresses: dict[int, list[_Interface]]) -> Link | None:
    """A link, or None when it has no MAC, so that nothing could be announced on it."""
    _, _, index, flags, _ = _LINK_HEADER.unpack_from(body)
    values = netlink.attributes(body, _LINK_HEADER.size)
    octets = values.get(_IFLA_ADDRESS, b"")
    if len(octets) != 6:
        return None
    kind = netlink.attributes(values.get(_IFLA_LINKINFO, b"")).get(_INFO_KIND, b"")
    return Link(
        index=index,
        name=_text(values.get(_IFLA_IFNAME, b"")),
        mac=Mac(octets),
        up=flags & (_IFF_UP | _IFF_LOWER_UP) == _IFF_UP | _IFF_LOWER_UP,
        broadcast=bool(flags & _IFF_BROADCAST),
        no_arp=bool(flags & _IFF_NOARP),
        master=_number(values.get(_IFLA_MASTER, b"")),
        kind=_text(kind),
        addresses=tuple(addresses.get(index, ())),
        carrier_changes=_number(values.get(_IFLA_CARRIER_CHANGES, b"")),
    )


def _text(value: bytes) -> str:
    return value.rstrip(b"\0").decode("utf-8", "replace")


def _number(value: bytes) -> int:
    return int.from_bytes(value, "little")
