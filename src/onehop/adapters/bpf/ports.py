"""Source ports towards other nodes' backends, kept from the host's own sockets.

A connection of the host itself from one of these ports to such a backend would look like one of
the datapath's flows. The kernel gives reserved ports to nobody who does not ask for one by name.
"""

from __future__ import annotations

from pathlib import Path

RESERVED = Path("/proc/sys/net/ipv4/ip_local_reserved_ports")


def reserved(text: str) -> list[tuple[int, int]]:
    """The ranges that a list like `8080,49152-65535` names."""
    parts = [part.split("-") for part in text.strip().split(",") if part]
    return [(int(part[0]), int(part[-1])) for part in parts]


def reserve(first: int, last: int, *, path: Path = RESERVED) -> bool:
    """Reserve a range in this network namespace; whether it was not so before.

    Raises:
        OSError: when this process may not change it.
    """
    text = path.read_text(encoding="ascii").strip()
    if any(low <= first and last <= high for low, high in reserved(text)):
        return False
    path.write_text(",".join(filter(None, (text, f"{first}-{last}"))), encoding="ascii")
    return True
