"""The clocks of the benches: frames that the kernel stamps, the kernel's map, and its rules."""

from __future__ import annotations

import contextlib
import socket
import struct
import time
from collections.abc import Iterator
from ipaddress import IPv4Address
from pathlib import Path

from onehop.adapters.bpf import layout, syscall
from onehop.lab import namespace
from onehop.model.service import Frontend, Protocol

ARP = 0x0806
SO_TIMESTAMPNS = 35
_NETLINK_NETFILTER = 12
_RULE_CHANGES = 1 << 6  # NFNLGRP_NFTABLES, the seventh group


@contextlib.contextmanager
def arp_wire(host: Path, link: str = "eno1") -> Iterator[socket.socket]:
    """A host's link, with the kernel's time on every ARP frame."""
    with namespace.entered(host):
        wire = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, socket.htons(ARP))
        wire.bind((link, ARP))
    wire.setsockopt(socket.SOL_SOCKET, SO_TIMESTAMPNS, 1)
    wire.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1 << 22)
    wire.setblocking(False)
    with wire:
        yield wire


def frames(wire: socket.socket) -> Iterator[tuple[int, bytes]]:
    """Every frame that waits, with the kernel's time of it in nanoseconds."""
    while True:
        try:
            frame, extra, _, _ = wire.recvmsg(256, 64)
        except BlockingIOError:
            return
        seconds, nanoseconds = struct.unpack("=qq", extra[0][2][:16])
        yield seconds * 10**9 + nanoseconds, frame


def sender(mac: str, address: IPv4Address) -> bytes:
    """The sender's fields of a host's ARP frame about an address: `frame[22:32]`."""
    return bytes.fromhex(mac.replace(":", "")) + address.packed


class Words:
    """The service words of a node's pinned map, read as the program reads them."""

    def __init__(self, pins: Path) -> None:
        self._frontends = syscall.Map(syscall.pinned(pins / "frontends"))
        self._words = syscall.Map(syscall.pinned(pins / "services")).memory().cast("Q")

    def place(self, vip: IPv4Address, port: int) -> int:
        """The number of the Service behind a frontend."""
        key = Frontend(address=vip, port=port, protocol=Protocol.TCP)
        number = self._frontends.lookup(layout.pack_frontend(key))
        assert number is not None, f"{vip} is served"
        return int.from_bytes(number, "little")

    def filled(self, number: int) -> bool:
        """Whether the Service has a backend."""
        return layout.Word.unpack(self._words[number]).backends > 0


class Rules:
    """The changes of a node's nftables rules, as the kernel tells of them."""

    def __init__(self, host: Path) -> None:
        with namespace.entered(host):
            self._told = socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, _NETLINK_NETFILTER)
        self._told.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1 << 22)
        self._told.bind((0, _RULE_CHANGES))
        self._told.setblocking(False)

    def changed_at(self) -> int:
        """The time now if rules have changed since this was asked last, else 0."""
        seen = 0
        with contextlib.suppress(BlockingIOError):
            while self._told.recv(1 << 16):
                seen = seen or time.time_ns()
        return seen

    def close(self) -> None:
        """Listen no longer."""
        self._told.close()
