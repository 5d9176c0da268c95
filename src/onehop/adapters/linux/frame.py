"""Ethernet frames of one protocol on one link: an AF_PACKET socket behind a kernel filter.

The filter is attached before the socket is bound, so no other frame can slip in; it keeps all
other traffic, frames of VLANs that nobody configured and frames for other stations out of Python.
See packet(7) and Documentation/networking/filter.rst of the kernel.
"""

from __future__ import annotations

import ctypes
import errno
import socket
import struct
from collections.abc import Iterator
from enum import Enum

from onehop.model.node import Link
from onehop.model.reason import Reason, Refusal

_SO_ATTACH_FILTER = 26
_SO_RCVBUFFORCE = 33
_SOL_PACKET = 263
_PACKET_ADD_MEMBERSHIP = 1
_PACKET_MR_ALLMULTI = 2
_RECEIVE_BUFFER = 4 << 20
_LONGEST_FRAME = 2048
BURST = 64

_Instruction = tuple[int, int, int, int]

_LOAD_BYTE, _LOAD_HALF, _LOAD_WORD = 0x30, 0x28, 0x20
_JUMP_EQUAL, _RETURN = 0x15, 0x06
_ALL_OF_IT = 0xFFFF
_PACKET_OTHERHOST = 3
# Offsets below SKF_AD_OFF read the packet's metadata instead of its bytes (linux/filter.h).
_AD_PACKET_TYPE = 0xFFFFF000 + 4
_AD_VLAN_TAG_PRESENT = 0xFFFFF000 + 48


def _all_of(*tests: tuple[int, int, tuple[int, ...]]) -> tuple[_Instruction, ...]:
    """A program that accepts a frame when each (load, offset, allowed values) test holds."""
    # Not for us by metadata: dropped before the bytes are looked at.
    lengths = [1 + len(values) for _, _, values in tests]
    left = sum(lengths) + 1  # instructions until the refusing return, counted from the tests
    program: list[_Instruction] = [
        (_LOAD_WORD, 0, 0, _AD_VLAN_TAG_PRESENT),
        (_JUMP_EQUAL, 0, left + 2, 0),
        (_LOAD_WORD, 0, 0, _AD_PACKET_TYPE),
        (_JUMP_EQUAL, left, 0, _PACKET_OTHERHOST),
    ]
    for load, offset, values in tests:
        program.append((load, 0, 0, offset))
        left -= 1
        for position, value in enumerate(values):
            left -= 1
            last = position == len(values) - 1
            program.append((_JUMP_EQUAL, len(values) - 1 - position, left if last else 0, value))
    return (*program, (_RETURN, 0, 0, _ALL_OF_IT), (_RETURN, 0, 0, 0))


class FrameProtocol(Enum):
    """What a frame socket hears: (ethertype, filter, whether it needs all multicast frames)."""

    ARP = (
        0x0806,
        _all_of((_LOAD_HALF, 12, (0x0806,)), (_LOAD_HALF, 20, (1, 2))),
        False,
    )
    NDP = (
        0x86DD,
        # next header ICMPv6, type neighbour solicitation or advertisement
        _all_of(
            (_LOAD_HALF, 12, (0x86DD,)), (_LOAD_BYTE, 20, (58,)), (_LOAD_BYTE, 54, (135, 136))
        ),
        True,
    )

    def __init__(
        self, ethertype: int, program: tuple[_Instruction, ...], all_multicast: bool
    ) -> None:
        self.ethertype = ethertype
        self.program = program
        self.all_multicast = all_multicast


class FrameError(Exception):
    """The frame socket could not be opened or used; `refusal` says why in the user's words."""

    def __init__(self, refusal: Refusal) -> None:
        super().__init__(str(refusal))
        self.refusal = refusal


class FrameSocket:
    """All frames of `protocol` on `link`; non-blocking.

    Raises:
        FrameError: when the kernel refuses: no CAP_NET_RAW, or no such link.
    """

    def __init__(self, link: Link, protocol: FrameProtocol) -> None:
        subject = f"{protocol.name} on link {link.name}"
        try:
            # Protocol 0: nothing arrives until the filter is in place and the socket bound.
            self._socket = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, 0)
        except PermissionError:
            detail = f"CAP_NET_RAW, needed for {subject}"
            raise FrameError(Refusal(reason=Reason.CAPABILITY_MISSING, detail=detail)) from None
        except OSError as error:
            raise _failed(subject, error) from error
        try:
            self._prepare(link, protocol)
        except OSError as error:
            self._socket.close()
            raise _failed(subject, error) from error
        self.unsent = 0

    def _prepare(self, link: Link, protocol: FrameProtocol) -> None:
        self._socket.setblocking(False)
        code = b"".join(struct.pack("=HBBI", *line) for line in protocol.program)
        buffer = ctypes.create_string_buffer(code)
        self._socket.setsockopt(
            socket.SOL_SOCKET,
            _SO_ATTACH_FILTER,
            struct.pack("=HxxxxxxQ", len(protocol.program), ctypes.addressof(buffer)),
        )
        try:
            self._socket.setsockopt(socket.SOL_SOCKET, _SO_RCVBUFFORCE, _RECEIVE_BUFFER)
        except PermissionError:
            # CAP_NET_ADMIN is not ours to ask for: as much as net.core.rmem_max allows then.
            self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, _RECEIVE_BUFFER)
        self._socket.bind((link.name, protocol.ethertype))
        if protocol.all_multicast:
            # Solicited-node groups of addresses that no host has configured: the link's own
            # multicast filter, and the kernel's, would drop them.
            membership = struct.pack("=iHH8s", link.index, _PACKET_MR_ALLMULTI, 0, b"")
            self._socket.setsockopt(_SOL_PACKET, _PACKET_ADD_MEMBERSHIP, membership)

    def fileno(self) -> int:
        """The descriptor to wait on for frames."""
        return self._socket.fileno()

    def frames(self) -> Iterator[bytes]:
        """The frames that wait, `BURST` at most, so that nobody else of the loop starves.

        Each is given before the next is read: an answer does not wait for the end of the queue.
        """
        receive = self._socket.recv
        try:
            for _ in range(BURST):
                yield receive(_LONGEST_FRAME)
        except BlockingIOError:
            return
        except OSError as error:
            # The link went down (said once) or away; the link's own events tell what is next.
            if error.errno not in (errno.ENETDOWN, errno.ENODEV, errno.ENXIO):
                raise

    def send(self, frame: bytes) -> None:
        """Put a frame on the link, or drop it when the link cannot take it now.

        A peer that got no answer asks again, and announcements are repeated.
        """
        try:
            self._socket.send(frame)
        except OSError:
            self.unsent += 1

    def close(self) -> None:
        """Leave the link; closing twice is no error."""
        self._socket.close()


def _failed(subject: str, error: OSError) -> FrameError:
    detail = f"{subject}: {error.strerror}"
    return FrameError(Refusal(reason=Reason.LINK_FAILED, detail=detail))
