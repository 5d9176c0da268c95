"""bpf(2): maps, pins and links of the running kernel, without a library in between.

Every call takes and returns plain values; the buffers that the kernel reads or fills live for
the length of the call. A refusal of the kernel is raised as `KernelError`.
"""

from __future__ import annotations

import ctypes
import errno
import mmap
import os
import platform
import struct
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from enum import IntEnum
from pathlib import Path

from onehop.adapters.bpf.errors import KernelError

_NUMBERS = {"x86_64": 321, "aarch64": 280}
_ATTR_SIZE = 128


class Command(IntEnum):
    """`enum bpf_cmd` of linux/bpf.h, as far as it is used."""

    MAP_CREATE = 0
    MAP_LOOKUP_ELEM = 1
    MAP_UPDATE_ELEM = 2
    MAP_DELETE_ELEM = 3
    MAP_GET_NEXT_KEY = 4
    OBJ_PIN = 6
    OBJ_GET = 7
    PROG_TEST_RUN = 10
    OBJ_GET_INFO_BY_FD = 15
    PROG_QUERY = 16
    MAP_FREEZE = 22
    MAP_LOOKUP_BATCH = 24
    MAP_UPDATE_BATCH = 26
    MAP_DELETE_BATCH = 27
    LINK_CREATE = 28
    LINK_UPDATE = 29
    LINK_DETACH = 34


class MapType(IntEnum):
    """`enum bpf_map_type`, as far as it is used."""

    HASH = 1
    ARRAY = 2
    PERCPU_HASH = 5
    PERCPU_ARRAY = 6
    LRU_HASH = 9
    LRU_PERCPU_HASH = 10


class AttachType(IntEnum):
    """`enum bpf_attach_type`, as far as it is used."""

    TCX_INGRESS = 46
    TCX_EGRESS = 47


MMAPABLE = 1 << 10  # BPF_F_MMAPABLE
_PERCPU = (MapType.PERCPU_HASH, MapType.PERCPU_ARRAY, MapType.LRU_PERCPU_HASH)
_LINK_TYPE_TCX = 11
_BPF_FS_MAGIC = 0xCAFE4A11
_PAGE = mmap.PAGESIZE

_libc = ctypes.CDLL(None, use_errno=True)
_syscall = _libc.syscall
_syscall.restype = ctypes.c_long
_syscall.argtypes = (ctypes.c_long, ctypes.c_int, ctypes.c_void_p, ctypes.c_uint)


def bpf(command: Command, attr: ctypes.Array[ctypes.c_char], operation: str) -> int:
    """Ask the kernel once; `operation` names the request in an error.

    Raises:
        KernelError: with the kernel's errno.
    """
    number = _NUMBERS.get(platform.machine())
    if number is None:
        raise KernelError(operation, errno.ENOSYS)
    result = int(_syscall(number, command, ctypes.addressof(attr), _ATTR_SIZE))
    if result < 0:
        raise KernelError(operation, ctypes.get_errno())
    return result


def _attr(layout: str, *values: int) -> ctypes.Array[ctypes.c_char]:
    return ctypes.create_string_buffer(struct.pack(layout, *values), _ATTR_SIZE)


def _buffer(data: bytes) -> ctypes.Array[ctypes.c_char]:
    return ctypes.create_string_buffer(data, len(data))


def possible_cpus(text: str | None = None) -> int:
    """How many values a per-CPU map holds: one for every CPU that may ever be there."""
    if text is None:
        text = Path("/sys/devices/system/cpu/possible").read_text(encoding="ascii")
    return max(int(part.split("-")[-1]) for part in text.strip().split(",")) + 1


def pin(fd: int, path: Path) -> None:
    """Give the map or link behind `fd` a name in a BPF file system, so that it outlives us."""
    name = ctypes.create_string_buffer(os.fsencode(path))
    bpf(Command.OBJ_PIN, _attr("=QII", ctypes.addressof(name), fd, 0), f"pin {path}")


def pinned(path: Path) -> int:
    """A new descriptor of what is pinned at `path`."""
    name = ctypes.create_string_buffer(os.fsencode(path))
    return bpf(Command.OBJ_GET, _attr("=QII", ctypes.addressof(name), 0, 0), f"open {path}")


def object_info(fd: int, size: int = 256) -> bytes:
    """`struct bpf_map_info`, `bpf_prog_info` or `bpf_link_info` of `fd`, as raw bytes."""
    info = ctypes.create_string_buffer(size)
    bpf(
        Command.OBJ_GET_INFO_BY_FD,
        _attr("=IIQ", fd, size, ctypes.addressof(info)),
        f"read information of descriptor {fd}",
    )
    return info.raw


@dataclass(frozen=True, slots=True, kw_only=True)
class MapInfo:
    """What the kernel says a map is."""

    type: int
    key_size: int
    value_size: int
    max_entries: int
    flags: int
    name: str


def map_info(fd: int) -> MapInfo:
    """The shape of the map behind `fd`."""
    kind, _, key, value, entries, flags, name = struct.unpack_from("=6I16s", object_info(fd))
    return MapInfo(
        type=kind,
        key_size=key,
        value_size=value,
        max_entries=entries,
        flags=flags,
        name=name.split(b"\0")[0].decode("ascii", "replace"),
    )


def link_ifindex(fd: int) -> int:
    """The device that the tcx link behind `fd` is attached to, 0 once the device is gone."""
    kind, _, _, _, ifindex, _ = struct.unpack_from("=6I", object_info(fd))
    return int(ifindex) if kind == _LINK_TYPE_TCX else 0


def create_map(info: MapInfo) -> int:
    """A new map of this shape."""
    name = info.name.encode()[:15]
    attr = _attr(
        "=5I",
        info.type,
        info.key_size,
        info.value_size,
        info.max_entries,
        info.flags,
    )
    struct.pack_into("=16s", attr, 28, name)  # after inner_map_fd and numa_node
    return bpf(Command.MAP_CREATE, attr, f"create map {info.name}")


def freeze(fd: int) -> None:
    """Let nobody write a map by system calls any more; programs still may."""
    bpf(Command.MAP_FREEZE, _attr("=I", fd), "freeze a map")


def link_create(program: int, ifindex: int, attach: AttachType) -> int:
    """Attach a program to a device by a tcx link; the link lives as long as `fd` or its pin."""
    attr = _attr("=IIII", program, ifindex, attach, 0)
    return bpf(Command.LINK_CREATE, attr, f"attach to device {ifindex}")


def link_update(link: int, program: int) -> None:
    """Replace the program behind a link, with no packet in between that meets none."""
    bpf(Command.LINK_UPDATE, _attr("=IIII", link, program, 0, 0), "replace the program of a link")


def link_detach(link: int) -> None:
    """Take a program off its device."""
    bpf(Command.LINK_DETACH, _attr("=I", link), "detach a link")


def is_bpffs(fd: int) -> bool:
    """Whether the folder behind `fd` lies in a BPF file system, where alone pins may be."""
    result = ctypes.create_string_buffer(256)  # struct statfs, whose first word is the type
    if _libc.fstatfs(ctypes.c_int(fd), result):
        return False
    return int(struct.unpack_from("@l", result)[0]) & 0xFFFFFFFF == _BPF_FS_MAGIC


def has_tcx(ifindex: int = 1) -> bool:
    """Whether the kernel knows tcx (6.6 and later): asked, nothing is attached."""
    try:
        attr = _attr("=II", ifindex, AttachType.TCX_INGRESS)
        bpf(Command.PROG_QUERY, attr, "ask for tcx")
    except KernelError as error:
        if error.errno == errno.EINVAL:
            return False
        raise
    return True


def run_program(program: int, packet: bytes, repeat: int = 1) -> tuple[int, bytes, int]:
    """Run a program on `packet`: its verdict, the packet it left, nanoseconds for one run."""
    data_in, data_out = _buffer(packet), ctypes.create_string_buffer(len(packet) + 256)
    attr = _attr(
        "=IIIIQQII",
        program,
        0,
        len(packet),
        len(data_out),
        ctypes.addressof(data_in),
        ctypes.addressof(data_out),
        repeat,
        0,
    )
    bpf(Command.PROG_TEST_RUN, attr, "run a program on a packet")
    _, verdict, _, size, _, _, _, duration = struct.unpack_from("=IIIIQQII", attr)
    return verdict, data_out.raw[:size], duration


class Map:
    """One map of the kernel; keys and values are bytes of the map's own sizes."""

    def __init__(self, fd: int, name: str = "", *, writable: bool = True) -> None:
        self.fd = fd
        self._access = mmap.ACCESS_WRITE if writable else mmap.ACCESS_READ
        self._memory: memoryview | None = None
        self.info = map_info(fd)
        self.name = name or self.info.name
        self._copies = possible_cpus() if self.info.type in _PERCPU else 1
        stride = (self.info.value_size + 7) & ~7
        self._value_size = stride * self._copies if self._copies > 1 else self.info.value_size
        self._key = ctypes.create_string_buffer(self.info.key_size)
        self._value = ctypes.create_string_buffer(self._value_size)
        self._key_at = ctypes.addressof(self._key)
        self._value_at = ctypes.addressof(self._value)

    @property
    def zero(self) -> bytes:
        """A value of zeros, with all copies of a per-CPU map."""
        return bytes(self._value_size)

    def close(self) -> None:
        """Give the descriptor back."""
        if self.fd >= 0:
            os.close(self.fd)
            self.fd = -1

    def lookup(self, key: bytes) -> bytes | None:
        """The value under `key`; a per-CPU map answers with all copies in a row."""
        self._key.raw = key
        try:
            self._call(Command.MAP_LOOKUP_ELEM, "look up")
        except KernelError as error:
            if error.errno == errno.ENOENT:
                return None
            raise
        return self._value.raw

    def update(self, key: bytes, value: bytes) -> None:
        """Put `value` under `key`."""
        self._key.raw = key
        self._value.raw = value
        self._call(Command.MAP_UPDATE_ELEM, "write")

    def delete(self, key: bytes) -> bool:
        """Remove `key`; False when it was absent, which is no failure."""
        self._key.raw = key
        attr = _attr("=IIQQQ", self.fd, 0, self._key_at, 0, 0)
        try:
            bpf(Command.MAP_DELETE_ELEM, attr, f"delete from map {self.name}")
        except KernelError as error:
            if error.errno == errno.ENOENT:
                return False
            raise
        return True

    def _call(self, command: Command, verb: str) -> None:
        attr = _attr("=IIQQQ", self.fd, 0, self._key_at, self._value_at, 0)
        bpf(command, attr, f"{verb} map {self.name}")

    def keys(self) -> Iterator[bytes]:
        """All keys, one call each: for maps that are small or only looked at by a person."""
        found = ctypes.create_string_buffer(self.info.key_size)
        attr = _attr("=IIQQQ", self.fd, 0, 0, ctypes.addressof(found), 0)
        while True:
            try:
                bpf(Command.MAP_GET_NEXT_KEY, attr, f"walk map {self.name}")
            except KernelError as error:
                if error.errno == errno.ENOENT:
                    return
                raise
            yield found.raw
            self._key.raw = found.raw
            struct.pack_into("=Q", attr, 8, self._key_at)

    def items(self) -> dict[bytes, bytes]:
        """Everything in the map, read in batches."""
        size = self.info.max_entries
        keys = ctypes.create_string_buffer(size * self.info.key_size)
        values = ctypes.create_string_buffer(size * self._value_size)
        token = ctypes.create_string_buffer(max(self.info.key_size, 8))
        attr = _attr(
            "=QQQQIIQQ",
            0,
            ctypes.addressof(token),
            ctypes.addressof(keys),
            ctypes.addressof(values),
            size,
            self.fd,
            0,
            0,
        )
        try:
            bpf(Command.MAP_LOOKUP_BATCH, attr, f"read map {self.name}")
        except KernelError as error:
            if error.errno != errno.ENOENT:  # ENOENT is how the end of the map is told
                raise
        (count,) = struct.unpack_from("=I", attr, 32)
        return dict(
            zip(
                _slices(keys.raw, self.info.key_size, count),
                _slices(values.raw, self._value_size, count),
                strict=True,
            )
        )

    def update_batch(self, items: Iterable[tuple[bytes, bytes]]) -> int:
        """Write many entries at once; how many were written before the map was full."""
        pairs = list(items)
        if not pairs:
            return 0
        keys = _buffer(b"".join(key for key, _ in pairs))
        values = _buffer(b"".join(value for _, value in pairs))
        return self._batch(Command.MAP_UPDATE_BATCH, keys, values, len(pairs))

    def delete_batch(self, keys: Iterable[bytes]) -> int:
        """Remove many keys; absent ones are no failure."""
        gone = list(keys)
        done = 0
        while done < len(gone):
            rest = _buffer(b"".join(gone[done:]))
            # the batch stops at the first absent key: step over it
            done += self._batch(Command.MAP_DELETE_BATCH, rest, None, len(gone) - done) + 1
        return len(gone)

    def _batch(
        self,
        command: Command,
        keys: ctypes.Array[ctypes.c_char],
        values: ctypes.Array[ctypes.c_char] | None,
        count: int,
    ) -> int:
        attr = _attr(
            "=QQQQIIQQ",
            0,
            0,
            ctypes.addressof(keys),
            0 if values is None else ctypes.addressof(values),
            count,
            self.fd,
            0,
            0,
        )
        try:
            bpf(command, attr, f"write {count} entries of map {self.name}")
        except KernelError as error:
            if error.errno not in (errno.E2BIG, errno.ENOENT, errno.ENOMEM):
                raise
        return int(struct.unpack_from("=I", attr, 32)[0])

    def memory(self) -> memoryview:
        """The values of a mmapable array as memory: a store is an update, with no call at all.

        One mapping serves all who ask, since the kernel counts each as memory of the process.
        """
        if self._memory is None:
            stride = (self.info.value_size + 7) & ~7
            length = -(-stride * self.info.max_entries // _PAGE) * _PAGE
            try:
                self._memory = memoryview(mmap.mmap(self.fd, length, access=self._access))
            except OSError as error:
                raise KernelError(f"map {self.name} into memory", error.errno or 0) from error
        return self._memory


def _slices(data: bytes, size: int, count: int) -> Iterator[bytes]:
    return (data[at : at + size] for at in range(0, count * size, size))
