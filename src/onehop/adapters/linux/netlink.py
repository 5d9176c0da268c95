"""Just enough of rtnetlink to read tables: requests, dumps and attributes (rtnetlink(7)).

pyroute2's synchronous calls run an event loop of their own and so cannot be used inside ours, and
it takes 0.2 ms to decode one link, where a node with hundreds of pods has hundreds of links. This
takes a twentieth of that. Whatever writes to the kernel's tables uses pyroute2.
"""

from __future__ import annotations

import errno
import os
import socket
import struct
from collections.abc import Iterator

from onehop.model.reason import Reason, Refusal

_HEADER = struct.Struct("=IHHII")  # length, type, flags, sequence, port
_ATTRIBUTE = struct.Struct("=HH")  # length, type
_NLMSG_ERROR, _NLMSG_DONE = 2, 3
_REQUEST, _DUMP = 0x001, 0x300
_DUMP_INTERRUPTED = 0x10
_TYPE_MASK = 0x3FFF  # without the "nested" and "network byte order" flags
_BUFFER = 1 << 18
_ATTEMPTS = 10
_PATIENCE = 2.0  # the kernel answers at once, or has dropped the request without a word


class NetlinkError(Exception):
    """The kernel's tables could not be read; trying again is safe. `refusal` says why."""

    def __init__(self, operation: str, error: OSError) -> None:
        detail = f"{operation}: {error.strerror or error}"
        super().__init__(detail)
        self.refusal = Refusal(reason=Reason.LINK_FAILED, detail=detail)


def table(request: int, body: bytes, operation: str) -> list[bytes]:
    """The body of every message that a dump request gives.

    A dump that the kernel marks as interrupted by a change is taken again.

    Raises:
        NetlinkError: when the kernel refuses or the table never stands still.
    """
    try:
        with socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, socket.NETLINK_ROUTE) as channel:
            channel.settimeout(_PATIENCE)
            channel.bind((0, 0))
            for _ in range(_ATTEMPTS):
                length = _HEADER.size + len(body)
                channel.send(_HEADER.pack(length, request, _REQUEST | _DUMP, 1, 0) + body)
                bodies = list(_dumped(channel))
                if None not in bodies:
                    return [body for body in bodies if body is not None]
    except OSError as error:
        raise NetlinkError(operation, error) from error
    raise NetlinkError(operation, OSError(errno.EAGAIN, os.strerror(errno.EAGAIN)))


def _dumped(channel: socket.socket) -> Iterator[bytes | None]:
    """The bodies of one dump; None stands for an interruption."""
    while True:
        data = channel.recv(_BUFFER)
        offset = 0
        while offset + _HEADER.size <= len(data):
            length, kind, flags, _, _ = _HEADER.unpack_from(data, offset)
            body = data[offset + _HEADER.size : offset + length]
            if flags & _DUMP_INTERRUPTED:
                yield None
            if kind == _NLMSG_DONE:
                return
            if kind == _NLMSG_ERROR:
                code = -struct.unpack_from("=i", body)[0]
                raise OSError(code, os.strerror(code))
            yield body
            offset += (length + 3) & ~3


def attribute(kind: int, value: bytes) -> bytes:
    """One attribute, padded."""
    length = _ATTRIBUTE.size + len(value)
    return _ATTRIBUTE.pack(length, kind) + value + bytes(-length % 4)


def attributes(data: bytes, offset: int = 0) -> dict[int, bytes]:
    """The attributes from `offset` on, by type; what is cut short is left out."""
    found: dict[int, bytes] = {}
    while offset + _ATTRIBUTE.size <= len(data):
        length, kind = _ATTRIBUTE.unpack_from(data, offset)
        if length < _ATTRIBUTE.size or offset + length > len(data):
            break
        found[kind & _TYPE_MASK] = data[offset + _ATTRIBUTE.size : offset + length]
        offset += (length + 3) & ~3
    return found
