"""What is really there: kernel tables, counters, frames on a link, and who answers a connection.

Nothing here asks onehop. A scene that compares what was expected with what was seen takes the
second from these functions alone.
"""

from __future__ import annotations

import ctypes
import json
import socket
import struct
import subprocess
import threading
from collections.abc import Sequence
from dataclasses import dataclass
from ipaddress import ip_address
from types import TracebackType

from onehop.lab.lab import Lab
from onehop.lab.state import LabError
from onehop.model.address import IPAddress, Mac

_ETH_P_ALL = 0x0003
_SO_ATTACH_FILTER = 26
_PACKET_STATISTICS = 6
_PACKET_OUTGOING = 4
_KEPT_FRAMES = 4096
_KEPT_BYTES = 256


@dataclass(frozen=True, slots=True, kw_only=True)
class Greeting:
    """What a responder said: which pod answers, and the address under which it sees the client."""

    pod: str
    source: IPAddress
    port: int


def greeting(
    lab: Lab, host: str, address: IPAddress, port: int, *, timeout: float = 5.0
) -> Greeting:
    """Connect by TCP from `host`, and return what the responder says.

    Raises:
        OSError: when nobody answers.
    """
    family = socket.AF_INET if address.version == 4 else socket.AF_INET6
    with lab.inside(host):
        client = socket.socket(family, socket.SOCK_STREAM)
    with client:
        client.settimeout(timeout)
        client.connect((str(address), port))
        with client.makefile("r") as lines:
            return _greeting(lines.readline())


def datagram_greeting(
    lab: Lab, host: str, address: IPAddress, port: int, *, timeout: float = 5.0
) -> Greeting:
    """Send a UDP datagram from `host`, and return what the responder says.

    Raises:
        OSError: when nobody answers.
    """
    family = socket.AF_INET if address.version == 4 else socket.AF_INET6
    with lab.inside(host):
        client = socket.socket(family, socket.SOCK_DGRAM)
    with client:
        client.settimeout(timeout)
        client.connect((str(address), port))
        client.send(b"")
        return _greeting(client.recv(2048).decode())


def _greeting(line: str) -> Greeting:
    words = line.split()
    if len(words) < 3:
        raise ConnectionResetError(f"the connection ended with {line!r}")
    return Greeting(pod=words[0], source=ip_address(words[1]), port=int(words[2]))


@dataclass(frozen=True, slots=True, kw_only=True)
class Neighbour:
    """An entry of a host's neighbour table."""

    address: IPAddress
    mac: Mac | None
    state: str
    link: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Counters:
    """What a link has received and sent since it was made."""

    received_bytes: int
    received_packets: int
    sent_bytes: int
    sent_packets: int

    def __sub__(self, other: Counters) -> Counters:
        return Counters(
            received_bytes=self.received_bytes - other.received_bytes,
            received_packets=self.received_packets - other.received_packets,
            sent_bytes=self.sent_bytes - other.sent_bytes,
            sent_packets=self.sent_packets - other.sent_packets,
        )


def said(lab: Lab, host: str, argv: Sequence[str]) -> str:
    """The output of a command that a person would type on `host`.

    Raises:
        LabError: when it fails, with what it said.
    """
    try:
        done = lab.run(host, argv)
    except FileNotFoundError:
        raise LabError(f"{argv[0]} is not installed") from None
    if done.returncode != 0:
        raise LabError(f"{host}: {' '.join(argv)}: {done.stderr.strip()}")
    return done.stdout


def arp(lab: Lab, host: str) -> str:
    """`arp -an` on `host`: as `arp -a` prints it, without asking for names."""
    return said(lab, host, ("arp", "-an"))


def arp_line(lab: Lab, host: str, address: IPAddress) -> str:
    """The line of `arp -a` that speaks of `address`; empty when there is none."""
    lines = arp(lab, host).splitlines()
    return next((line for line in lines if f"({address})" in line), "")


def neighbours(lab: Lab, host: str) -> dict[IPAddress, Neighbour]:
    """The neighbour table of `host`, both families."""
    entries = json.loads(said(lab, host, ("ip", "-json", "neigh")) or "[]")
    found = (
        Neighbour(
            address=ip_address(entry["dst"]),
            mac=Mac.parse(entry["lladdr"]) if "lladdr" in entry else None,
            state=" ".join(entry.get("state", ())),
            link=entry["dev"],
        )
        for entry in entries
    )
    return {entry.address: entry for entry in found}


def forget_neighbours(lab: Lab, host: str) -> None:
    """Empty the neighbour table of `host`, so that it must ask again."""
    for family in ("-4", "-6"):
        said(lab, host, ("ip", family, "neigh", "flush", "all"))


def routes(lab: Lab, host: str, family: int = 4) -> str:
    """`ip route` on `host`."""
    return said(lab, host, ("ip", f"-{family}", "route"))


def counters(lab: Lab, host: str, link: str) -> Counters:
    """The counters of one link of `host`."""
    command = ("ip", "-json", "-statistics", "link", "show", "dev", link)
    (entry,) = json.loads(said(lab, host, command))
    received, sent = entry["stats64"]["rx"], entry["stats64"]["tx"]
    return Counters(
        received_bytes=received["bytes"],
        received_packets=received["packets"],
        sent_bytes=sent["bytes"],
        sent_packets=sent["packets"],
    )


def uplink_counters(lab: Lab) -> dict[str, Counters]:
    """The counters of every node's uplink."""
    return {node.name: counters(lab, node.name, node.link) for node in lab.topology.nodes}


@dataclass(frozen=True, slots=True, kw_only=True)
class Frame:
    """A captured frame, its beginning; `outgoing` as seen from the host that captured it."""

    data: bytes
    size: int
    outgoing: bool


@dataclass(slots=True)
class Captured:
    """What a capture saw. `lost` frames passed the filter and were never counted."""

    received: int = 0
    received_bytes: int = 0
    sent: int = 0
    sent_bytes: int = 0
    lost: int = 0

    @property
    def total(self) -> int:
        """All frames, both ways."""
        return self.received + self.sent


class Capture:
    """Counts the frames on one link that match a tcpdump expression, while its block runs.

    The socket is bound and its filter set before the block begins and read until it is empty
    afterwards, so no frame of the block is missed unless `lost` says so.
    """

    def __init__(self, lab: Lab, host: str, link: str, expression: str = "") -> None:
        self.captured = Captured()
        self.frames: list[Frame] = []
        with lab.inside(host):
            self._socket = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, 0)
        try:
            self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 8 << 20)
            if expression:
                _attach(self._socket, expression)
            self._socket.bind((link, _ETH_P_ALL))
        except BaseException:
            self._socket.close()
            raise
        self._stop = threading.Event()
        self._reader = threading.Thread(target=self._read, name=f"capture {host} {link}")

    def __enter__(self) -> Capture:
        self._socket.settimeout(0.05)
        self._reader.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._stop.set()
        self._reader.join()
        statistics = self._socket.getsockopt(263, _PACKET_STATISTICS, 8)
        self.captured.lost = struct.unpack("II", statistics)[1]
        self._socket.close()

    def _read(self) -> None:
        buffer = bytearray(_KEPT_BYTES)
        while True:
            try:
                size, _, _, source = self._socket.recvmsg_into([buffer], 0, socket.MSG_TRUNC)
            except TimeoutError:
                if self._stop.is_set():
                    return
                continue
            self._count(bytes(buffer[: min(size, _KEPT_BYTES)]), size, source[2])

    def _count(self, data: bytes, size: int, kind: int) -> None:
        outgoing = kind == _PACKET_OUTGOING
        if outgoing:
            self.captured.sent += 1
            self.captured.sent_bytes += size
        else:
            self.captured.received += 1
            self.captured.received_bytes += size
        if len(self.frames) < _KEPT_FRAMES:
            self.frames.append(Frame(data=data, size=size, outgoing=outgoing))


def _attach(packets: socket.socket, expression: str) -> None:
    """Set the kernel filter that tcpdump compiles from `expression`."""
    command = ("tcpdump", "-ddd", "-y", "EN10MB", "--", *expression.split())
    try:
        done = subprocess.run(command, capture_output=True, text=True, check=False)
    except FileNotFoundError:
        raise LabError("tcpdump is not installed") from None
    if done.returncode != 0:
        raise LabError(f"tcpdump refuses {expression!r}: {done.stderr.strip()}")
    count, *lines = done.stdout.splitlines()
    program = b"".join(struct.pack("HBBI", *map(int, line.split())) for line in lines)
    assert len(lines) == int(count), "tcpdump says first how many instructions follow"
    held = ctypes.create_string_buffer(program)
    filter_ = struct.pack("HL", len(lines), ctypes.addressof(held))
    packets.setsockopt(socket.SOL_SOCKET, _SO_ATTACH_FILTER, filter_)
