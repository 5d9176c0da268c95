"""inotify(7) through the C library: one descriptor, watches by directory, events as values.

Only what a folder of manifests needs. Python's standard library has no binding, and a dependency
for four functions would be a poor bargain.
"""

from __future__ import annotations

import ctypes
import os
import select
import struct
from dataclasses import dataclass


class Mask:
    """Event bits of inotify(7): plain numbers, since each event is asked for several of them."""

    ATTRIB = 0x4
    CLOSE_WRITE = 0x8
    MOVED_FROM = 0x40
    MOVED_TO = 0x80
    CREATE = 0x100
    DELETE = 0x200
    DELETE_SELF = 0x400
    MOVE_SELF = 0x800
    OVERFLOW = 0x4000
    IGNORED = 0x8000
    ISDIR = 0x40000000


# MODIFY is left out on purpose: a file is read when its writer has closed it, never half-way.
_WATCHED = (
    Mask.ATTRIB
    | Mask.CLOSE_WRITE
    | Mask.MOVED_FROM
    | Mask.MOVED_TO
    | Mask.CREATE
    | Mask.DELETE
    | Mask.DELETE_SELF
    | Mask.MOVE_SELF
)
_ONLYDIR = 0x01000000
_HEADER = struct.Struct("iIII")
# A hundred events; to come by a buffer that is larger takes longer than to read once more.
_BUFFER_BYTES = 1 << 12
_LARGEST_EVENT = _HEADER.size + 256  # a name has 255 octets at most, and one that ends it


@dataclass(frozen=True, slots=True)
class Event:
    """What happened to `name` in the directory watched as `watch`; `mask` holds `Mask` bits."""

    watch: int
    mask: int
    name: str


class Inotify:
    """One inotify descriptor, not blocking."""

    def __init__(self) -> None:
        self._libc = ctypes.CDLL(None, use_errno=True)
        self._fd: int = self._libc.inotify_init1(os.O_CLOEXEC | os.O_NONBLOCK)
        if self._fd < 0:
            raise self._error("inotify (see the limit fs.inotify.max_user_instances)")

    def fileno(self) -> int:
        """The descriptor, readable when an event waits."""
        return self._fd

    def watch(self, directory: str) -> int:
        """The number under which events of `directory` come; the same one when asked again.

        Raises:
            OSError: when the directory is gone or the user's watches are used up.
        """
        flags = _WATCHED | _ONLYDIR
        number: int = self._libc.inotify_add_watch(self._fd, os.fsencode(directory), flags)
        if number < 0:
            raise self._error(directory)
        return number

    def forget(self, watch: int) -> None:
        """No more events of `watch`; one that is gone already is no error."""
        self._libc.inotify_rm_watch(self._fd, watch)

    def events(self, *, timeout: float = 0.0) -> list[Event]:
        """All events that wait, in order; for the first one `timeout` seconds are given."""
        found: list[Event] = []
        if timeout > 0.0:
            # Not poll(2): that counts in milliseconds. The descriptor is of the process's first.
            select.select([self._fd], [], [], timeout)
        while True:
            try:
                data = os.read(self._fd, _BUFFER_BYTES)
            except BlockingIOError:
                return found
            offset = 0
            while offset < len(data):
                watch, mask, _cookie, length = _HEADER.unpack_from(data, offset)
                offset += _HEADER.size
                name = os.fsdecode(data[offset : offset + length].rstrip(b"\0"))
                found.append(Event(watch, mask, name))
                offset += length
            if len(data) < _BUFFER_BYTES - _LARGEST_EVENT:
                return found  # another one would have had room

    def close(self) -> None:
        """Give the descriptor back; twice is fine."""
        if self._fd >= 0:
            os.close(self._fd)
            self._fd = -1

    def _error(self, subject: str) -> OSError:
        number = ctypes.get_errno()
        return OSError(number, os.strerror(number), subject)
