"""libbpf through ctypes: open an object, set what is settled before load, load it.

Only what has to happen before the kernel has the programs is done here; everything after that is
bpf(2) (`syscall.py`). Functions of libbpf that return a pointer give NULL and errno, those that
return a number give minus errno: both are turned into `DatapathError` in one place.
"""

from __future__ import annotations

import ctypes
import errno
import os
from collections.abc import Mapping
from functools import cache
from pathlib import Path

from onehop.adapters.bpf.btf import Btf
from onehop.adapters.bpf.errors import DatapathError
from onehop.model.reason import Reason

_SONAME = "libbpf.so.1"
_LOG_LINES = 12

# what vsnprintf needs of libbpf's va_list goes through untouched
_PRINT = ctypes.CFUNCTYPE(ctypes.c_int, ctypes.c_int, ctypes.c_char_p, ctypes.c_void_p)
_POINTER, _NAME, _INT = ctypes.c_void_p, ctypes.c_char_p, ctypes.c_int
_FUNCTIONS: Mapping[str, tuple[type | None, tuple[type, ...]]] = {
    "libbpf_set_print": (_POINTER, (_PRINT,)),
    "bpf_object__open_file": (_POINTER, (_NAME, _POINTER)),
    "bpf_object__load": (_INT, (_POINTER,)),
    "bpf_object__close": (None, (_POINTER,)),
    "bpf_object__btf": (_POINTER, (_POINTER,)),
    "bpf_object__next_map": (_POINTER, (_POINTER, _POINTER)),
    "bpf_object__next_program": (_POINTER, (_POINTER, _POINTER)),
    "bpf_map__name": (_NAME, (_POINTER,)),
    "bpf_map__fd": (_INT, (_POINTER,)),
    "bpf_map__type": (_INT, (_POINTER,)),
    "bpf_map__key_size": (ctypes.c_uint32, (_POINTER,)),
    "bpf_map__value_size": (ctypes.c_uint32, (_POINTER,)),
    "bpf_map__max_entries": (ctypes.c_uint32, (_POINTER,)),
    "bpf_map__map_flags": (ctypes.c_uint32, (_POINTER,)),
    "bpf_map__is_internal": (ctypes.c_bool, (_POINTER,)),
    "bpf_map__set_max_entries": (_INT, (_POINTER, ctypes.c_uint32)),
    "bpf_map__reuse_fd": (_INT, (_POINTER, _INT)),
    "bpf_map__initial_value": (_POINTER, (_POINTER, ctypes.POINTER(ctypes.c_size_t))),
    "bpf_program__name": (_NAME, (_POINTER,)),
    "bpf_program__fd": (_INT, (_POINTER,)),
    "bpf_program__set_autoload": (_INT, (_POINTER, ctypes.c_bool)),
    "btf__raw_data": (_POINTER, (_POINTER, ctypes.POINTER(ctypes.c_uint32))),
}


class _Library:
    """The shared library with every function typed, and what it last had to say."""

    def __init__(self, name: str) -> None:
        try:
            self.so = ctypes.CDLL(name, use_errno=True)
        except OSError as error:
            raise DatapathError(
                "load libbpf",
                f"{name} is not installed",
                "install the distribution's package (Debian and Ubuntu: libbpf1), or start with"
                " --datapath=none",
                reason=Reason.KERNEL_LACKS,
            ) from error
        for function, (result, arguments) in _FUNCTIONS.items():
            entry = getattr(self.so, function)
            entry.restype, entry.argtypes = result, arguments
        self.said: list[str] = []
        self._vsnprintf = ctypes.CDLL(None).vsnprintf
        self._vsnprintf.argtypes = (_POINTER, ctypes.c_size_t, _NAME, _POINTER)
        self._print = _PRINT(self._hear)  # kept here: C may call it as long as it is loaded
        self.so.libbpf_set_print(self._print)

    def _hear(self, level: int, text: bytes, values: int) -> int:
        if level <= 1:  # warnings and what went before them; 2 is for libbpf's own makers
            line = ctypes.create_string_buffer(1 << 16)
            self._vsnprintf(line, len(line), text, values)
            self.said.extend(line.value.decode("utf-8", "replace").rstrip().splitlines())
        return 0

    def call(self, operation: str, function: str, *arguments: object) -> int:
        """Call `function`; a NULL or a negative answer is an error."""
        ctypes.set_errno(0)
        self.said.clear()
        answer = getattr(self.so, function)(*arguments)
        if answer is None:
            raise self._error(operation, ctypes.get_errno())
        if _FUNCTIONS[function][0] is _INT and answer < 0:
            raise self._error(operation, -answer)
        return int(answer)

    def _error(self, operation: str, number: int) -> DatapathError:
        last = " / ".join(line.removeprefix("libbpf: ") for line in self.said[-_LOG_LINES:])
        reason = {
            errno.EPERM: Reason.CAPABILITY_MISSING,
            errno.EINVAL: Reason.KERNEL_LACKS,
        }.get(number, Reason.DATAPATH_FAILED)
        return DatapathError(operation, last or os.strerror(number), reason=reason)


@cache
def _library(name: str = _SONAME) -> _Library:
    return _Library(name)


class ObjectMap:
    """A map of an object, before or after it is loaded."""

    def __init__(self, library: _Library, pointer: int) -> None:
        self._library = library
        self._pointer = pointer
        so = library.so
        self.name: str = so.bpf_map__name(pointer).decode()
        self.internal: bool = so.bpf_map__is_internal(pointer)

    @property
    def shape(self) -> tuple[int, int, int, int, int]:
        """Type, key size, value size, capacity and flags."""
        so, pointer = self._library.so, self._pointer
        return (
            so.bpf_map__type(pointer),
            so.bpf_map__key_size(pointer),
            so.bpf_map__value_size(pointer),
            so.bpf_map__max_entries(pointer),
            so.bpf_map__map_flags(pointer),
        )

    @property
    def fd(self) -> int:
        """The descriptor, owned by the object: valid from load until the object is closed."""
        return self._library.call(f"open map {self.name}", "bpf_map__fd", self._pointer)

    def set_capacity(self, entries: int) -> None:
        """Set max_entries, before load."""
        self._library.call(
            f"size map {self.name}", "bpf_map__set_max_entries", self._pointer, entries
        )

    def reuse(self, fd: int) -> None:
        """Take the kernel's map behind `fd` for this one, before load."""
        self._library.call(f"adopt map {self.name}", "bpf_map__reuse_fd", self._pointer, fd)

    def set_bytes(self, offset: int, value: bytes) -> None:
        """Write into the initial value of a section (`.rodata`), before load."""
        size = ctypes.c_size_t()
        at = self._library.call(
            f"fill {self.name}", "bpf_map__initial_value", self._pointer, ctypes.byref(size)
        )
        if offset + len(value) > size.value:
            raise ValueError(f"{self.name} holds {size.value} bytes, not {offset + len(value)}")
        ctypes.memmove(at + offset, value, len(value))


class Object:
    """A BPF object file: its maps, its programs and its type information."""

    def __init__(self, path: Path) -> None:
        self._library = _library()
        self._pointer: int | None = None
        if not path.exists():
            raise DatapathError(
                f"open {path}",
                "the compiled datapath is not there",
                "build it with `make bpf`, or start with --datapath=none",
                reason=Reason.DATAPATH_FAILED,
            )
        self._pointer = self._library.call(
            f"open {path}", "bpf_object__open_file", os.fsencode(path), None
        )
        self.path = path
        self.maps = {each.name: each for each in self._maps()}
        self.programs = self._programs()

    def _maps(self) -> list[ObjectMap]:
        found: list[ObjectMap] = []
        pointer = None
        while pointer := self._library.so.bpf_object__next_map(self._pointer, pointer):
            found.append(ObjectMap(self._library, pointer))
        return found

    def _programs(self) -> dict[str, int]:
        found: dict[str, int] = {}
        pointer = None
        while pointer := self._library.so.bpf_object__next_program(self._pointer, pointer):
            found[self._library.so.bpf_program__name(pointer).decode()] = pointer
        return found

    def btf(self) -> Btf:
        """The object's own type information, with the offsets of its sections settled."""
        size = ctypes.c_uint32()
        btf = self._library.call(f"read types of {self.path}", "bpf_object__btf", self._pointer)
        data = self._library.call(
            f"read types of {self.path}", "btf__raw_data", btf, ctypes.byref(size)
        )
        return Btf(ctypes.string_at(data, size.value))

    def load(self) -> None:
        """Give maps and programs to the kernel; what it says of a refusal is in the error."""
        self._library.call("load the datapath", "bpf_object__load", self._pointer)

    def program_fd(self, name: str) -> int:
        """The descriptor of a loaded program, owned by the object."""
        if name not in self.programs:
            raise DatapathError(
                f"find program {name}",
                f"{self.path.name} does not hold it",
                "build the datapath of this version with `make bpf`",
                reason=Reason.DATAPATH_FAILED,
            )
        return self._library.call(f"open program {name}", "bpf_program__fd", self.programs[name])

    def close(self) -> None:
        """Give back everything that is not pinned or attached."""
        if self._pointer is not None:
            self._library.so.bpf_object__close(self._pointer)
            self._pointer = None
