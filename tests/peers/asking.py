"""A client on the plant's LAN that asks by ARP and by NDP who has an address."""

from __future__ import annotations

import socket
import struct
import time
from collections.abc import Collection, Iterator, Mapping
from contextlib import contextmanager
from functools import partial
from ipaddress import IPv4Address, IPv6Address, ip_address
from pathlib import Path

from scapy.layers.inet6 import ICMPv6ND_NS, ICMPv6NDOptSrcLLAddr, IPv6
from scapy.layers.l2 import ARP, Ether

from onehop.lab import namespace
from tests.peers.settled import settled

LINK, CLIENT = "eno1", "192.168.200.100"
WAIT = 0.08  # for the answers to one question
STABLE = 1.5  # for so long nothing may change
Answers = Mapping[str, frozenset[str]]


class Asker:
    """Asks for many addresses at once; an answer is the MAC that it names."""

    def __init__(self, packets: socket.socket) -> None:
        self._packets = packets
        self._mac = packets.getsockname()[4]
        text = self._mac.hex(":")
        first = bytes([self._mac[0] ^ 2])  # EUI-64, RFC 4291 appendix A
        local = b"\xfe\x80" + bytes(6) + first + self._mac[1:3] + b"\xff\xfe" + self._mac[3:]
        self._local = str(IPv6Address(local))
        self._text = text

    def ask(self, addresses: Collection[str]) -> Answers:
        """Who answers for each address right now."""
        found: dict[str, set[str]] = {each: set() for each in addresses}
        while self._read(0.0):
            pass  # what came to earlier questions
        for each in addresses:
            self._packets.send(self._question(each))
        end = time.monotonic() + WAIT
        while (left := end - time.monotonic()) > 0:
            frame = self._read(left)
            target, mac = _answer(frame) if frame[:6] == self._mac else ("", "")
            if target in found:
                found[target].add(mac)
        return {each: frozenset(macs) for each, macs in found.items()}

    def settled(self, addresses: Collection[str], stable: float = STABLE) -> Answers:
        """The answers, once they have been the same for a while."""
        return settled(partial(self.ask, addresses), stable, within=20.0)

    def _question(self, address: str) -> bytes:
        target = ip_address(address)
        if isinstance(target, IPv4Address):
            question = ARP(op=1, hwsrc=self._text, psrc=CLIENT, pdst=address)
            return bytes(Ether(src=self._text, dst="ff:ff:ff:ff:ff:ff") / question)
        tail = target.packed[-3:]  # RFC 4291 2.7.1: the solicited-node multicast address
        group = IPv6Address(b"\xff\x02" + bytes(9) + b"\x01\xff" + tail)
        frame = Ether(src=self._text, dst="33:33:ff:" + tail.hex(":"))
        head = IPv6(src=self._local, dst=str(group), hlim=255)
        return bytes(
            frame / head / ICMPv6ND_NS(tgt=address) / ICMPv6NDOptSrcLLAddr(lladdr=self._text)
        )

    def _read(self, wait: float) -> bytes:
        self._packets.settimeout(wait)
        try:
            return self._packets.recv(2048)
        except (TimeoutError, BlockingIOError):
            return b""


def _answer(frame: bytes) -> tuple[str, str]:
    """The address and the MAC of an ARP reply or a Neighbor Advertisement."""
    (kind,) = struct.unpack_from("!H", frame, 12)
    if kind == 0x0806 and frame[20:22] == b"\0\2":
        return str(IPv4Address(frame[28:32])), frame[22:28].hex(":")
    if kind == 0x86DD and frame[20] == 58 and frame[54] == 136:
        return str(IPv6Address(frame[62:78])), frame[80:86].hex(":")
    return "", ""


@contextmanager
def asking(where: Path) -> Iterator[Asker]:
    """An asker in the client's namespace."""
    with namespace.entered(where):
        packets = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, socket.htons(3))
    with packets:
        packets.bind((LINK, 3))
        packets.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4 << 20)
        yield Asker(packets)
