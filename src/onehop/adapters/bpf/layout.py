"""The layout that bpf/maps.h and this package share, and the check that they do.

Python's half is written here once; at start it is compared with the types that the object
carries (BTF), so that a datapath of another version is refused instead of misread.
"""

from __future__ import annotations

import struct
from collections.abc import Mapping
from dataclasses import dataclass
from ipaddress import IPv6Address, ip_address
from typing import NamedTuple

from onehop.adapters.bpf.btf import Btf, Place
from onehop.adapters.bpf.errors import DatapathError
from onehop.model.address import IPAddress
from onehop.model.reason import Reason
from onehop.model.service import BackendState, Frontend, FrontendKind, Protocol, TrafficPolicy

VERSION = 1  # LAYOUT of bpf/maps.h
TURNS = (251, 1021, 4093)  # of enum table_class, in order
TABLES = ("tables_small", "tables_medium", "tables_large")

_MAPPED = bytes(10) + b"\xff\xff"
_FRONTEND = struct.Struct("!16sHBB")
_SERVICE = struct.Struct("=IHBB")
_WORD = struct.Struct("=Q")
_ADDRESS_PORT = struct.Struct("!16sH")
BACKEND = struct.Struct("=18sBBIQ")  # address and port in network order, state, flags, link, pad
_STATE_OFFSET, _LINK_OFFSET = 18, 20
STATISTICS = struct.Struct("=4Q")
_CONFIG = struct.Struct("=16s16sHHBBH")

PROTOCOLS = {Protocol.TCP: 6, Protocol.UDP: 17}
_PROTOCOL_OF = {number: protocol for protocol, number in PROTOCOLS.items()}
SERVICE_LOCAL = 1
BACKEND_LOCAL = 1
STATES = {BackendState.ACTIVE: 1, BackendState.TERMINATING: 2}
STATE_OF = {number: state for state, number in STATES.items()}
STATE_OFFSET, LINK_OFFSET = _STATE_OFFSET, _LINK_OFFSET

_STRUCTS: Mapping[str, tuple[int, Mapping[str, Place]]] = {
    "frontend": (
        _FRONTEND.size,
        {"address": Place(0, 16), "port": Place(16, 2), "protocol": Place(18, 1)},
    ),
    "backend": (
        BACKEND.size,
        {
            "address": Place(0, 16),
            "port": Place(16, 2),
            "state": Place(_STATE_OFFSET, 1),
            "flags": Place(19, 1),
            "link": Place(_LINK_OFFSET, 4),
        },
    ),
    "service_stats": (
        STATISTICS.size,
        {
            "packets": Place(0, 8),
            "bytes": Place(8, 8),
            "flows": Place(16, 8),
            "drops": Place(24, 8),
        },
    ),
    "config": (
        _CONFIG.size,
        {
            "node_v4": Place(0, 16),
            "node_v6": Place(16, 16),
            "first_port": Place(32, 2),
            "last_port": Place(34, 2),
            "delivery": Place(36, 1),
            "many_uplinks": Place(37, 1),
            "layout": Place(38, 2),
        },
    ),
}
# key and value sizes of every map that is read or written from here
SIZES: Mapping[str, tuple[int, int]] = {
    "frontends": (_FRONTEND.size, 4),
    "services": (4, _SERVICE.size),
    "backends": (4, BACKEND.size),
    "node_addresses": (16, 4),
    "service_stats": (4, STATISTICS.size),
    "predecessors": (4, 4),
    **{name: (4, 4 * turns) for name, turns in zip(TABLES, TURNS, strict=True)},
}


def compare(btf: Btf, sizes: Mapping[str, tuple[int, int]]) -> None:
    """Refuse an object whose structs or maps are laid out differently from what is written here.

    Raises:
        DatapathError: naming the first thing that differs.
    """
    for name, (size, members) in _STRUCTS.items():
        theirs, ours = btf.members(name), dict(members)
        if btf.struct_size(name) != size:
            raise _differs(f"struct {name}", f"{btf.struct_size(name)} bytes", f"{size}")
        for member, place in ours.items():
            if theirs.get(member) != place:
                raise _differs(f"struct {name}.{member}", str(theirs.get(member)), str(place))
    for name, wanted in SIZES.items():
        if sizes.get(name) != wanted:
            raise _differs(f"map {name}", f"sizes {sizes.get(name)}", f"{wanted}")


def _differs(what: str, theirs: str, ours: str) -> DatapathError:
    return DatapathError(
        "compare the datapath's layout",
        f"{what} is {theirs} in the object, and {ours} is expected",
        "build the datapath of this version with `make bpf`",
        reason=Reason.DATAPATH_FAILED,
    )


def pack_address(address: IPAddress) -> bytes:
    """An address as 16 bytes, IPv4 as ::ffff:a.b.c.d."""
    return address.packed if isinstance(address, IPv6Address) else _MAPPED + address.packed


def unpack_address(data: bytes) -> IPAddress:
    """The address that 16 bytes stand for."""
    return ip_address(data[12:] if data.startswith(_MAPPED) else data)


def pack_frontend(frontend: Frontend) -> bytes:
    """The key of a frontend."""
    return _FRONTEND.pack(
        pack_address(frontend.address), frontend.port, PROTOCOLS[frontend.protocol], 0
    )


def unpack_frontend(key: bytes) -> Frontend:
    """The frontend of a key; only a NodePort has the unspecified address."""
    packed, port, protocol, _ = _FRONTEND.unpack(key)
    address = unpack_address(packed)
    return Frontend(
        address=address,
        port=port,
        protocol=_PROTOCOL_OF[protocol],
        kind=FrontendKind.NODE_PORT if address.is_unspecified else FrontendKind.LOAD_BALANCER,
    )


class Word(NamedTuple):
    """A service as the one word that the datapath loads: see `union service` in bpf/maps.h."""

    slot: int = 0
    backends: int = 0
    table: int = 0
    flags: int = 0

    def pack(self) -> int:
        """The number to store."""
        (word,) = _WORD.unpack(_SERVICE.pack(*self))
        return int(word)

    @classmethod
    def unpack(cls, word: int) -> Word:
        """The service that a stored number means."""
        return cls(*_SERVICE.unpack(_WORD.pack(word)))


def pack_place(address: IPAddress, port: int) -> bytes:
    """Address and port of a backend, as the first 18 bytes of its record."""
    return _ADDRESS_PORT.pack(pack_address(address), port)


def unpack_place(data: bytes) -> tuple[IPAddress, int]:
    """Address and port out of the first 18 bytes of a backend's record."""
    packed, port = _ADDRESS_PORT.unpack(data)
    return unpack_address(packed), port


def pack_config(
    sources: tuple[IPAddress, ...],
    ports: tuple[int, int],
    *,
    stack: bool,
    many_uplinks: bool,
) -> bytes:
    """Struct config: what is settled before the programs are loaded."""
    v4 = next((pack_address(each) for each in sources if each.version == 4), bytes(16))
    v6 = next((pack_address(each) for each in sources if each.version == 6), bytes(16))
    return _CONFIG.pack(v4, v6, *ports, stack, many_uplinks, VERSION)


@dataclass(frozen=True, slots=True, kw_only=True)
class Title:
    """What the packets' path need not know of a frontend, kept beside it for people and restarts.

    A record of the map `titles`, which the object does not hold: only user space reads it.
    """

    namespace: str
    name: str
    policy: TrafficPolicy
    total: int

    def pack(self) -> bytes:
        """The record; names are at most 63 bytes long in Kubernetes, and cut to that here."""
        local = self.policy is TrafficPolicy.LOCAL
        return _TITLE.pack(
            self.namespace.encode()[:63], self.name.encode()[:63], self.total, local
        )

    @classmethod
    def unpack(cls, data: bytes) -> Title:
        """The title of a record."""
        namespace, name, total, local = _TITLE.unpack(data)
        return cls(
            namespace=namespace.rstrip(b"\0").decode("utf-8", "replace"),
            name=name.rstrip(b"\0").decode("utf-8", "replace"),
            policy=TrafficPolicy.LOCAL if local else TrafficPolicy.CLUSTER,
            total=total,
        )


_TITLE = struct.Struct("=64s64sI?3x")
TITLE_SIZE = _TITLE.size
