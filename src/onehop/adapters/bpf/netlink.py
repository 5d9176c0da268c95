"""The little of rtnetlink that the datapath needs, as bytes on one socket.

One route look-up stands in the path of a change, so it is a pack, a send and a receive (20 us)
rather than a library call of a millisecond. Numbers are linux/rtnetlink.h's and its friends'.
"""

from __future__ import annotations

import errno
import socket
import struct
from collections.abc import Iterator
from dataclasses import dataclass
from enum import IntEnum

from onehop.adapters.bpf.errors import KernelError
from onehop.model.address import IPAddress

_HEADER = struct.Struct("=IHHII")
_ATTRIBUTE = struct.Struct("=HH")
_LINK = struct.Struct("=BxHiII")
_ROUTE = struct.Struct("=BBBBBBBBI")
_NEIGHBOUR = struct.Struct("=BxxxiHBB")
_TRAFFIC = struct.Struct("=BxxxiIII")
_REQUEST, _ACK, _DUMP, _CREATE = 0x1, 0x4, 0x300, 0x400
_ERROR, _DONE = 2, 3
_NESTED_MASK = 0x3FFF
_RECEIVE = 1 << 16

_UNICAST, _LOCAL = 1, 2
_CLSACT, _CLSACT_HANDLE = 0xFFFFFFF1, 0xFFFF0000
INGRESS, EGRESS = 0xFFFFFFF2, 0xFFFFFFF3
# ours among other filters of a device: early, and never the handle 1 that others take
_PRIORITY, _HANDLE = 17, 0x6F68
_ALL_PROTOCOLS = socket.htons(0x0003)
_GROUPS = 0x1 | 0x40 | 0x400  # links, IPv4 and IPv6 routes


class Message(IntEnum):
    """`RTM_*`."""

    GET_LINK = 18
    GET_ROUTE = 26
    GET_NEIGHBOUR = 30
    NEW_QDISC = 36
    DEL_QDISC = 37
    GET_QDISC = 38
    NEW_FILTER = 44
    DEL_FILTER = 45
    GET_FILTER = 46


@dataclass(frozen=True, slots=True, kw_only=True)
class Device:
    """A link as far as delivery to it is concerned."""

    index: int
    kind: str
    master: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Route:
    """Where packets to an address go: `device` 0 when nowhere."""

    device: int = 0
    on_link: bool = False
    to_host: bool = False


def _attribute(kind: int, data: bytes) -> bytes:
    padding = -len(data) % 4
    return _ATTRIBUTE.pack(_ATTRIBUTE.size + len(data), kind) + data + bytes(padding)


def _attributes(data: bytes) -> dict[int, bytes]:
    found: dict[int, bytes] = {}
    at = 0
    while at + _ATTRIBUTE.size <= len(data):
        length, kind = _ATTRIBUTE.unpack_from(data, at)
        if length < _ATTRIBUTE.size:
            break
        found[kind & _NESTED_MASK] = data[at + _ATTRIBUTE.size : at + length]
        at += (length + 3) & ~3
    return found


def _number(data: bytes | None) -> int:
    return int.from_bytes((data or b"")[:4], "little" if struct.pack("=H", 1)[0] else "big")


class Netlink:
    """Questions and orders to the kernel's network configuration of this namespace."""

    def __init__(self) -> None:
        self._socket = socket.socket(
            socket.AF_NETLINK, socket.SOCK_RAW | socket.SOCK_CLOEXEC, socket.NETLINK_ROUTE
        )
        self._socket.bind((0, 0))
        self._sequence = 0

    def close(self) -> None:
        """Give the socket back."""
        self._socket.close()

    def _ask(self, operation: str, kind: Message, flags: int, body: bytes) -> list[bytes]:
        self._sequence += 1
        head = _HEADER.pack(_HEADER.size + len(body), kind, _REQUEST | flags, self._sequence, 0)
        self._socket.send(head + body)
        answers: list[bytes] = []
        while True:
            for number, answer in self._messages(self._socket.recv(_RECEIVE)):
                if number == _DONE:
                    return answers
                if number == _ERROR:
                    (code,) = struct.unpack_from("=i", answer)
                    if code:
                        raise KernelError(operation, -code)
                    return answers
                answers.append(answer)
                if not flags & (_DUMP | _ACK):
                    return answers

    def _messages(self, data: bytes) -> Iterator[tuple[int, bytes]]:
        at = 0
        while at + _HEADER.size <= len(data):
            length, kind, _, sequence, _ = _HEADER.unpack_from(data, at)
            if sequence == self._sequence:  # else the rest of an answer given up before
                yield kind, data[at + _HEADER.size : at + length]
            at += (length + 3) & ~3

    def device(self, index: int) -> Device | None:
        """The link with this index, None when it is gone."""
        try:
            answers = self._ask(
                f"look up link {index}", Message.GET_LINK, 0, _LINK.pack(0, 0, index, 0, 0)
            )
        except KernelError as error:
            if error.errno == errno.ENODEV:
                return None
            raise
        attributes = _attributes(answers[0][_LINK.size :])
        information = _attributes(attributes.get(18, b""))  # IFLA_LINKINFO
        kind = information.get(1, b"").rstrip(b"\0").decode("ascii", "replace")
        return Device(index=index, kind=kind, master=_number(attributes.get(10)))

    def route(self, address: IPAddress) -> Route:
        """The route that a packet from this host to `address` takes."""
        family = socket.AF_INET if address.version == 4 else socket.AF_INET6
        body = _ROUTE.pack(family, address.max_prefixlen, 0, 0, 0, 0, 0, 0, 0)
        body += _attribute(1, address.packed)
        try:
            answers = self._ask(f"look up the route to {address}", Message.GET_ROUTE, 0, body)
        except KernelError:
            return Route()  # unreachable, prohibited or blackholed: nowhere to send to
        attributes = _attributes(answers[0][_ROUTE.size :])
        kind = _ROUTE.unpack_from(answers[0])[7]
        return Route(
            device=_number(attributes.get(4)) if kind in (_UNICAST, _LOCAL) else 0,
            on_link=kind == _UNICAST and not attributes.keys() & {5, 9, 18},
            to_host=kind == _LOCAL,
        )

    def bridge_port(self, bridge: int, address: IPAddress) -> int:
        """The port of a bridge behind which `address` was last seen, 0 when that is unknown."""
        family = socket.AF_INET if address.version == 4 else socket.AF_INET6
        mac = self._neighbours(family, bridge).get(address.packed)
        if mac is None:
            return 0
        body = _NEIGHBOUR.pack(socket.AF_BRIDGE, 0, 0, 0, 0)
        for answer in self._ask("read the bridges' tables", Message.GET_NEIGHBOUR, _DUMP, body):
            port = _NEIGHBOUR.unpack_from(answer)[1]
            attributes = _attributes(answer[_NEIGHBOUR.size :])
            if attributes.get(2) == mac and _number(attributes.get(9)) == bridge:
                return int(port)
        return 0

    def _neighbours(self, family: int, device: int) -> dict[bytes, bytes]:
        body = _NEIGHBOUR.pack(family, 0, 0, 0, 0)
        found: dict[bytes, bytes] = {}
        for answer in self._ask("read neighbours", Message.GET_NEIGHBOUR, _DUMP, body):
            attributes = _attributes(answer[_NEIGHBOUR.size :])
            if _NEIGHBOUR.unpack_from(answer)[1] == device and {1, 2} <= attributes.keys():
                found[attributes[1]] = attributes[2]
        return found

    def add_filter(self, index: int, hook: int, program: int, name: str) -> None:
        """Put a program on a device's clsact hook, in place of ours if it is there."""
        qdisc = _TRAFFIC.pack(0, index, _CLSACT_HANDLE, _CLSACT, 0) + _attribute(1, b"clsact\0")
        self._ask(f"prepare device {index}", Message.NEW_QDISC, _CREATE | _ACK, qdisc)
        options = (
            _attribute(6, struct.pack("=I", program))
            + _attribute(7, name.encode() + b"\0")
            + _attribute(8, struct.pack("=I", 1))  # the program's answer is the action
        )
        body = self._filter(index, hook) + _attribute(1, b"bpf\0") + _attribute(2, options)
        self._ask(f"attach {name} to device {index}", Message.NEW_FILTER, _CREATE | _ACK, body)

    def delete_filter(self, index: int, hook: int) -> None:
        """Take our filter off a device, and the hook itself once nothing is left on it."""
        body = self._filter(index, hook) + _attribute(1, b"bpf\0")
        try:
            self._ask(f"detach from device {index}", Message.DEL_FILTER, _ACK, body)
            if not self._filters(index, INGRESS) and not self._filters(index, EGRESS):
                qdisc = _TRAFFIC.pack(0, index, _CLSACT_HANDLE, _CLSACT, 0)
                self._ask(f"clean device {index}", Message.DEL_QDISC, _ACK, qdisc)
        except KernelError as error:
            if error.errno not in (errno.ENOENT, errno.ENODEV, errno.EINVAL):
                raise

    def our_filters(self) -> list[tuple[int, int]]:
        """Device and hook of every filter of ours in this namespace."""
        body = _TRAFFIC.pack(0, 0, 0, 0, 0)
        found: list[tuple[int, int]] = []
        for answer in self._ask("read queueing", Message.GET_QDISC, _DUMP, body):
            _, index, _, parent, _ = _TRAFFIC.unpack_from(answer)
            if parent == _CLSACT:
                found += [
                    (index, hook)
                    for hook in (INGRESS, EGRESS)
                    if _HANDLE in self._filters(index, hook)
                ]
        return found

    def _filters(self, index: int, hook: int) -> list[int]:
        body = _TRAFFIC.pack(0, index, 0, hook, 0)
        answers = self._ask("read filters", Message.GET_FILTER, _DUMP, body)
        return [handle for each in answers if (handle := _TRAFFIC.unpack_from(each)[2])]

    @staticmethod
    def _filter(index: int, hook: int) -> bytes:
        return _TRAFFIC.pack(0, index, _HANDLE, hook, _PRIORITY << 16 | _ALL_PROTOCOLS)


class Changes:
    """Tells whether links or routes changed since it was last asked."""

    def __init__(self) -> None:
        kind = socket.SOCK_RAW | socket.SOCK_CLOEXEC | socket.SOCK_NONBLOCK
        self._socket = socket.socket(socket.AF_NETLINK, kind, socket.NETLINK_ROUTE)
        self._socket.bind((0, _GROUPS))

    def fileno(self) -> int:
        """Readable when something changed."""
        return self._socket.fileno()

    def any(self) -> bool:
        """Whether something changed; what it was is looked up again by whoever cares."""
        changed = False
        while True:
            try:
                self._socket.recv(_RECEIVE)
            except BlockingIOError:
                return changed
            except OSError as error:
                if error.errno != errno.ENOBUFS:  # overrun: changes were lost, so there were some
                    raise KernelError("watch links and routes", error.errno or 0) from error
            changed = True

    def close(self) -> None:
        """Give the socket back."""
        self._socket.close()


def device_index(name: str) -> int:
    """The index of the link with this name in this namespace, 0 when there is none."""
    try:
        return socket.if_nametoindex(name)
    except OSError:
        return 0


def device_name(index: int) -> str:
    """The name of a link, or its number once it is gone."""
    try:
        return socket.if_indextoname(index)
    except OSError:
        return f"link {index}"
