"""Membership of IPv6 multicast groups on one link, which is what makes the kernel speak MLD.

A frame socket hears all groups that reach the link. A switch that listens to MLD (RFC 4541 3)
sends a group only where somebody said to be a member, so the solicited-node groups of addresses
that no host has configured must be joined (RFC 4861 7.2.1).
"""

from __future__ import annotations

import errno
import socket
import struct
from ipaddress import IPv6Address

from onehop.model.node import Link

# The kernel charges each membership to the socket's option memory (net.core.optmem_max).
_FULL = (errno.ENOBUFS, errno.ENOMEM)


class Memberships:
    """The groups joined on a link; `unjoined` counts those that the kernel refused."""

    def __init__(self, link: Link) -> None:
        self._index = link.index
        self._groups: frozenset[IPv6Address] = frozenset()
        self._sockets: list[socket.socket] = []
        self._socket_by_group: dict[IPv6Address, socket.socket] = {}
        self.unjoined = 0

    def sync(self, groups: frozenset[IPv6Address]) -> None:
        """Be a member of exactly these groups."""
        for group in self._groups - groups:
            self._leave(group)
        failed = {group for group in groups - self._groups if not self._join(group)}
        self.unjoined = len(failed)
        self._groups = groups - failed

    def _request(self, group: IPv6Address) -> bytes:
        return group.packed + struct.pack("=i", self._index)

    def _join(self, group: IPv6Address) -> bool:
        """Join through the newest socket, or through one more when that one is full."""
        for fresh in (False, True):
            if fresh or not self._sockets:
                try:
                    self._sockets.append(socket.socket(socket.AF_INET6, socket.SOCK_DGRAM))
                except OSError:
                    return False  # IPv6 is disabled, or no descriptor is left
            joining = self._sockets[-1]
            try:
                joining.setsockopt(
                    socket.IPPROTO_IPV6, socket.IPV6_JOIN_GROUP, self._request(group)
                )
            except OSError as error:
                if error.errno in _FULL and not fresh:
                    continue
                return False
            self._socket_by_group[group] = joining
            return True
        return False

    def _leave(self, group: IPv6Address) -> None:
        leaving = self._socket_by_group.pop(group)
        try:
            leaving.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_LEAVE_GROUP, self._request(group))
        except OSError:
            return  # the link is gone, and the membership with it

    def close(self) -> None:
        """Leave all groups; closing twice is no error."""
        for joined in self._sockets:
            joined.close()
        self._sockets.clear()
        self._socket_by_group.clear()
        self._groups = frozenset()
