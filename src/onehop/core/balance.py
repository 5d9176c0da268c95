"""Which backend a flow goes to: Maglev tables and the hash that picks a turn of them.

Maglev (Eisenbud et al., NSDI 2016, section 3.4): every backend prefers the turns of the table in
an order of its own and they choose by turns, so that all get the same share, and a backend that
comes or goes moves few flows of the others. Nothing enters but the backends' addresses and the
packet: every node, and a node after its restart, decides alike.

The hash is that of `flow_hash()` in bpf/tuple.h, bit for bit.
"""

from __future__ import annotations

import struct
from array import array
from collections.abc import Sequence
from functools import lru_cache
from hashlib import blake2b

from onehop.model.address import IPAddress
from onehop.model.service import Backend, Protocol

_NUMBERS = {Protocol.TCP: 6, Protocol.UDP: 17}
_MASK = (1 << 64) - 1
_MIX_WORD = 0x9E3779B97F4A7C15
_MIX_FINAL = 0x6A09E667F3BCC909

# Distinct backend sets that stay built: a node's services mostly keep theirs.
_REMEMBERED = 4096


def ring(backends: Sequence[Backend], turns: int) -> array[int]:
    """The Maglev table of `backends`: for each turn the index of the backend that gets it.

    `turns` has to be a prime number. The order of `backends` matters only for the indexes.
    """
    return _ring(tuple((backend.address.packed, backend.port) for backend in backends), turns)


@lru_cache(maxsize=_REMEMBERED)
def _ring(names: tuple[tuple[bytes, int], ...], turns: int) -> array[int]:
    table = array("I", bytes(4 * turns))
    if len(names) < 2:
        return table
    # Backends choose in the order of their names, or a reordered list would be another table.
    order = sorted(range(len(names)), key=names.__getitem__)
    preferences = [_preference(*names[index], turns) for index in order]
    _fill(table, order, [start for start, _ in preferences], [step for _, step in preferences])
    return table


def _preference(address: bytes, port: int, turns: int) -> tuple[int, int]:
    """Start and step of the order in which a backend wants the turns."""
    digest = blake2b(address + port.to_bytes(2, "big"), digest_size=16).digest()
    start, step = struct.unpack("<QQ", digest)
    return start % turns, step % (turns - 1) + 1


def _fill(table: array[int], order: list[int], wanted: list[int], steps: list[int]) -> None:
    """Let the backends take one free turn after another; `wanted` is where each looks next."""
    turns = len(table)
    free = bytearray(b"\1" * turns)
    seats = list(enumerate(zip(order, steps, strict=True)))
    left = turns
    while True:
        for seat, (index, step) in seats:
            turn = wanted[seat]
            while not free[turn]:
                turn += step
                if turn >= turns:
                    turn -= turns
            free[turn] = 0
            table[turn] = index
            wanted[seat] = turn
            left -= 1
            if not left:
                return


def flow_hash(
    source: tuple[IPAddress, int], destination: tuple[IPAddress, int], protocol: Protocol
) -> int:
    """The 64-bit number of a flow, from address and port of both its ends."""
    words = struct.unpack(
        "<5Q",
        _mapped(source[0])
        + _mapped(destination[0])
        + struct.pack(">HHBxxx", source[1], destination[1], _NUMBERS[protocol]),
    )
    number = 0
    for word in words:
        number = ((number ^ word) * _MIX_WORD) & _MASK
        number ^= number >> 32
    number = (number * _MIX_FINAL) & _MASK
    return number ^ (number >> 29)


def _mapped(address: IPAddress) -> bytes:
    """The 16 bytes of an address; IPv4 as IPv4-mapped IPv6 (RFC 4291 2.5.5.2)."""
    return address.packed if address.version == 6 else bytes(10) + b"\xff\xff" + address.packed


def turn(number: int, turns: int) -> int:
    """The turn that a flow's number picks: its upper half, scaled to the table."""
    return (number >> 32) * turns >> 32


def selected(
    backends: Sequence[Backend],
    turns: int,
    source: tuple[IPAddress, int],
    destination: tuple[IPAddress, int],
    protocol: Protocol,
) -> Backend | None:
    """The backend that a new flow gets; None when there is none."""
    if not backends:
        return None
    number = flow_hash(source, destination, protocol)
    return backends[ring(backends, turns)[turn(number, turns)]]
