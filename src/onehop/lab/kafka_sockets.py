"""The remote ends of this process's own TCP connections, out of the kernel's tables.

`/proc/net/tcp` lists the connections of a whole network namespace; those whose inode is one of
this process's open files are its own. Addresses are printed there in the machine's byte order.
"""

from __future__ import annotations

import os
import re
import struct
from collections.abc import Iterable
from ipaddress import IPv4Address, IPv6Address
from pathlib import Path

ESTABLISHED = "01"


def established_peers() -> tuple[str, ...]:
    """`address:port` of every established connection of this process, sorted, each once."""
    tables = [Path("/proc/self/net/tcp"), Path("/proc/self/net/tcp6")]
    rows = [row for table in tables if table.exists() for row in table.read_text().splitlines()]
    return tuple(sorted(set(peers(rows, _own_inodes()))))


def peers(rows: Iterable[str], inodes: frozenset[int]) -> Iterable[str]:
    """The remote ends of the established connections in `rows` that `inodes` own."""
    for row in rows:
        fields = row.split()
        if len(fields) > 9 and fields[3] == ESTABLISHED and int(fields[9]) in inodes:
            yield remote_end(fields[2])


def remote_end(text: str) -> str:
    """`address:port` for the kernel's hexadecimal form of it."""
    address, _, port = text.partition(":")
    words = re.findall("." * 8, address)
    octets = b"".join(struct.pack("=I", int(word, 16)) for word in words)
    if len(octets) == 4:
        return f"{IPv4Address(octets)}:{int(port, 16)}"
    wide = IPv6Address(octets)
    return f"{wide.ipv4_mapped or f'[{wide}]'}:{int(port, 16)}"


def _own_inodes() -> frozenset[int]:
    found: set[int] = set()
    for entry in os.listdir("/proc/self/fd"):
        try:
            target = os.readlink(f"/proc/self/fd/{entry}")
        except FileNotFoundError:
            continue  # closed since it was listed
        if match := re.fullmatch(r"socket:\[(\d+)\]", target):
            found.add(int(match.group(1)))
    return frozenset(found)
