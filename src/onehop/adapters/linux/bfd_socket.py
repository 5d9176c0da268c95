"""UDP as BFD wants it: the ports, the TTL of both ways, and a source port for each session.

Packets over one hop go to port 3784 from ports 49152 to 65535 with a TTL of 255 (RFC 5881 4, 5),
those over several to port 4784 (RFC 5883 5). What the kernel refuses is a value, never an
exception; a datagram that cannot leave now is only counted, for the next one follows soon.
"""

from __future__ import annotations

import errno
import os
import socket
import sys
from collections.abc import Iterable, Iterator
from ipaddress import IPv4Address, IPv6Address, ip_address

from onehop.model.address import IPAddress
from onehop.model.reason import Reason, Refusal
from onehop.proto.bfd.session import Path
from onehop.proto.bfd.sessions import Arrival

SINGLE_HOP_PORT, MULTIHOP_PORT = 3784, 4784
FIRST_SOURCE_PORT, LAST_SOURCE_PORT = 49152, 65535
_MAX_TTL = 255
_INTERNETWORK_CONTROL = 0xC0
_TRAFFIC_PRIORITY = 6
_IP_PKTINFO, _IP_RECVTTL = 8, 12  # linux/in.h; Python's socket module has no names for them
_DATAGRAM = 512
# How many datagrams are taken from a socket before the others get their turn.
BATCH = 32
_ANCILLARY = socket.CMSG_SPACE(4) + socket.CMSG_SPACE(20)

_ReceiverKey = tuple[int, bool, str]


class BfdSockets:
    """The sockets of all sessions, in the namespace where it was made."""

    def __init__(self) -> None:
        self._receivers: dict[_ReceiverKey, Receiver] = {}
        self._senders: dict[Path, Sender] = {}
        self._next_port = FIRST_SOURCE_PORT
        self.unsent = 0

    def receivers(self) -> Iterable[Receiver]:
        """What to wait on."""
        return self._receivers.values()

    def sync(self, paths: Iterable[Path]) -> dict[Path, Refusal]:
        """Have sockets for exactly these paths; the answer is what could not be opened.

        A refused path is tried anew by the next call.
        """
        wanted, refusals = set(paths), {}
        for path in [path for path in self._senders if path not in wanted]:
            self._senders.pop(path).close()
        needed = {_receiver_key(path) for path in wanted}
        for key in [key for key in self._receivers if key not in needed]:
            self._receivers.pop(key).close()
        for path in sorted(wanted, key=str):
            refusal = self._open(path)
            if refusal is not None:
                refusals[path] = refusal
        return refusals

    def _open(self, path: Path) -> Refusal | None:
        key = _receiver_key(path)
        try:
            if key not in self._receivers:
                self._receivers[key] = Receiver(path)
            if path not in self._senders:
                self._senders[path] = Sender(path, self._next_port)
                used = self._senders[path].port
                self._next_port = FIRST_SOURCE_PORT if used == LAST_SOURCE_PORT else used + 1
        except OSError as error:
            return _refusal(path, error)
        return None

    def send(self, path: Path, octets: bytes) -> bool:
        """Send to the path's peer; False when it could not leave."""
        sender = self._senders.get(path)
        if sender is not None and sender.send(octets):
            return True
        self.unsent += 1
        return False

    def close(self) -> None:
        """Close them all."""
        self.sync(())


class Receiver:
    """Hears one port, of one family, on one link or on all."""

    def __init__(self, path: Path) -> None:
        """Raises OSError when the kernel refuses."""
        self._is_multihop, self._link = path.multihop, path.link
        self._socket = _opened(path)
        try:
            # Only among sockets of ours: one link's own beside the one of all the others.
            self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
            if path.peer.version == 4:
                self._socket.setsockopt(socket.IPPROTO_IP, _IP_RECVTTL, 1)
                self._socket.setsockopt(socket.IPPROTO_IP, _IP_PKTINFO, 1)
            else:
                self._socket.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_RECVHOPLIMIT, 1)
                self._socket.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_RECVPKTINFO, 1)
            self._socket.bind(("", _port(path)))
        except OSError:
            self._socket.close()
            raise

    def fileno(self) -> int:
        """The descriptor that turns readable."""
        return self._socket.fileno()

    def received(self) -> Iterator[tuple[bytes, Arrival]]:
        """What has come, up to a batch."""
        for _ in range(BATCH):
            try:
                octets, ancillary, _, sender = self._socket.recvmsg(_DATAGRAM, _ANCILLARY)
            except OSError:  # nothing more, or an error of the network that a read reports
                return
            ttl, destination = _read(ancillary)
            if destination is None:
                continue
            arrival = Arrival(
                source=ip_address(sender[0].partition("%")[0]),
                destination=destination,
                ttl=ttl,
                link=self._link,
                multihop=self._is_multihop,
            )
            yield octets, arrival

    def close(self) -> None:
        """Hear nothing more."""
        self._socket.close()


class Sender:
    """Sends to one peer from a source port of its own (RFC 5881 4)."""

    def __init__(self, path: Path, first_port: int) -> None:
        """Raises OSError when the kernel refuses."""
        self._socket = _opened(path)
        try:
            _mark(self._socket, path.peer.version)
            scope: tuple[int, ...] = ()
            if path.peer.version == 6:
                scope = (0, socket.if_nametoindex(path.link) if path.link else 0)
            self._peer = (str(path.peer), _port(path), *scope)
            self.port: int = self._bind(str(path.local) if path.local else "", scope, first_port)
        except OSError:
            self._socket.close()
            raise

    def _bind(self, local: str, scope: tuple[int, ...], first: int) -> int:
        ports: list[int] = [*range(first, LAST_SOURCE_PORT + 1), *range(FIRST_SOURCE_PORT, first)]
        for port in ports:
            try:
                self._socket.bind((local, port, *scope))
            except OSError as error:
                if error.errno != errno.EADDRINUSE:
                    raise
            else:
                return port
        raise OSError(errno.EADDRINUSE, "no source port of RFC 5881 4 is free")

    def send(self, octets: bytes) -> bool:
        """Send; False when the kernel would not take it."""
        try:
            self._socket.sendto(octets, self._peer)
        except OSError:
            return False
        return True

    def close(self) -> None:
        """Send nothing more."""
        self._socket.close()


def _opened(path: Path) -> socket.socket:
    family = socket.AF_INET if path.peer.version == 4 else socket.AF_INET6
    sock = socket.socket(family, socket.SOCK_DGRAM)
    try:
        sock.setblocking(False)
        if path.peer.version == 6:
            sock.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
        if path.link:
            link = path.link.encode() + b"\0"
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_BINDTODEVICE, link)
    except OSError:
        sock.close()
        raise
    return sock


def _mark(sock: socket.socket, version: int) -> None:
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_PRIORITY, _TRAFFIC_PRIORITY)
    if version == 4:
        sock.setsockopt(socket.IPPROTO_IP, socket.IP_TTL, _MAX_TTL)
        sock.setsockopt(socket.IPPROTO_IP, socket.IP_TOS, _INTERNETWORK_CONTROL)
    else:
        sock.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_UNICAST_HOPS, _MAX_TTL)
        sock.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_TCLASS, _INTERNETWORK_CONTROL)


def _read(ancillary: list[tuple[int, int, bytes]]) -> tuple[int, IPAddress | None]:
    """The TTL, and the address that the datagram was sent to."""
    ttl = 0
    destination: IPAddress | None = None
    for level, kind, data in ancillary:
        if (level, kind) in _TTLS:
            ttl = int.from_bytes(data[:4], sys.byteorder)
        elif (level, kind) == (socket.IPPROTO_IP, _IP_PKTINFO):
            destination = IPv4Address(data[8:12])
        elif (level, kind) == (socket.IPPROTO_IPV6, socket.IPV6_PKTINFO):
            destination = IPv6Address(data[:16])
    return ttl, destination


_TTLS = (
    (socket.IPPROTO_IP, socket.IP_TTL),
    (socket.IPPROTO_IPV6, socket.IPV6_HOPLIMIT),
)


def _receiver_key(path: Path) -> _ReceiverKey:
    return path.peer.version, path.multihop, path.link


def _port(path: Path) -> int:
    return MULTIHOP_PORT if path.multihop else SINGLE_HOP_PORT


def _refusal(path: Path, error: OSError) -> Refusal:
    number = error.errno or 0
    if number == errno.EADDRNOTAVAIL:
        why = f"the source address {path.local} is not this node's"
    elif number == errno.ENODEV or (path.link and not number):
        why = f"there is no link {path.link}"
    elif number == errno.EADDRINUSE:
        why = f"another program holds UDP port {_port(path)}"
    else:
        why = os.strerror(number).lower()
    denied = number in (errno.EPERM, errno.EACCES)
    reason = Reason.CAPABILITY_MISSING if denied else Reason.BFD_DOWN
    return Refusal(reason=reason, detail=f"BFD to {path}: {why}")
