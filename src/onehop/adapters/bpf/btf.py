"""BPF type information: struct layouts and section offsets out of an object's own description.

The format is the kernel's Documentation/bpf/btf.rst: a header, type records, strings. Only what
a comparison of layouts needs is kept.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass
from enum import IntEnum

_MAGIC = 0xEB9F
_HEADER = struct.Struct("=HBBIIIII")
_RECORD = struct.Struct("=III")


class Kind(IntEnum):
    """`BTF_KIND_*`."""

    INT = 1
    PTR = 2
    ARRAY = 3
    STRUCT = 4
    UNION = 5
    ENUM = 6
    FWD = 7
    TYPEDEF = 8
    VOLATILE = 9
    CONST = 10
    RESTRICT = 11
    FUNC = 12
    FUNC_PROTO = 13
    VAR = 14
    DATASEC = 15
    FLOAT = 16
    DECL_TAG = 17
    TYPE_TAG = 18
    ENUM64 = 19


# words that follow a record: fixed, and for each of its `vlen` members
_FIXED = {Kind.INT: 1, Kind.ARRAY: 3, Kind.VAR: 1, Kind.DECL_TAG: 1}
_EACH = {
    Kind.STRUCT: 3,
    Kind.UNION: 3,
    Kind.ENUM: 2,
    Kind.FUNC_PROTO: 2,
    Kind.DATASEC: 3,
    Kind.ENUM64: 3,
}
_SAME_SIZE = (Kind.TYPEDEF, Kind.VOLATILE, Kind.CONST, Kind.RESTRICT, Kind.VAR, Kind.TYPE_TAG)


@dataclass(frozen=True, slots=True)
class _Type:
    kind: Kind
    name: str
    size_or_type: int
    words: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class Place:
    """Where a member of a struct or a variable of a section lies, in bytes."""

    offset: int
    size: int


class Btf:
    """The types of one object."""

    def __init__(self, data: bytes) -> None:
        magic, _, _, length, types, types_length, strings, strings_length = _HEADER.unpack_from(
            data
        )
        if magic != _MAGIC:
            raise ValueError("this is no BPF type information of this machine's byte order")
        start = length + strings
        self._strings = data[start : start + strings_length]
        self._types: list[_Type | None] = [None]
        at, end = length + types, length + types + types_length
        while at < end:
            at = self._read(data, at)

    def _read(self, data: bytes, at: int) -> int:
        name, info, size_or_type = _RECORD.unpack_from(data, at)
        kind, members = Kind(info >> 24 & 0x1F), info & 0xFFFF
        words = _FIXED.get(kind, 0) + members * _EACH.get(kind, 0)
        at += _RECORD.size
        values = struct.unpack_from(f"={words}I", data, at)
        self._types.append(_Type(kind, self._string(name), size_or_type, values))
        return int(at + 4 * words)

    def _string(self, offset: int) -> str:
        end = self._strings.index(b"\0", offset)
        return self._strings[offset:end].decode("utf-8", "replace")

    def _size(self, number: int) -> int:
        found = self._types[number]
        if found is None:
            return 0
        if found.kind in _SAME_SIZE:
            return self._size(found.size_or_type)
        if found.kind is Kind.ARRAY:
            return self._size(found.words[0]) * found.words[2]
        return 8 if found.kind is Kind.PTR else found.size_or_type

    def _named(self, kind: Kind, name: str) -> _Type | None:
        for each in self._types:
            if each is not None and each.kind is kind and each.name == name:
                return each
        return None

    def struct_size(self, name: str) -> int | None:
        """The size of a struct, None when the object does not know it."""
        found = self._named(Kind.STRUCT, name)
        return None if found is None else found.size_or_type

    def members(self, name: str) -> dict[str, Place]:
        """The members of a struct by name; nothing when the object does not know it."""
        found = self._named(Kind.STRUCT, name)
        if found is None:
            return {}
        members = zip(found.words[0::3], found.words[1::3], found.words[2::3], strict=True)
        return {
            self._string(title): Place((bits & 0xFFFFFF) // 8, self._size(kind))
            for title, kind, bits in members
        }

    def variables(self, section: str) -> dict[str, Place]:
        """The variables of a data section (`.rodata`) by name."""
        found = self._named(Kind.DATASEC, section)
        if found is None:
            return {}
        entries = zip(found.words[0::3], found.words[1::3], found.words[2::3], strict=True)
        places: dict[str, Place] = {}
        for number, offset, size in entries:
            variable = self._types[number]
            if variable is not None:
                places[variable.name] = Place(offset, size)
        return places
