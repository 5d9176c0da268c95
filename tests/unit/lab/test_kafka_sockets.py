"""The kernel's table of TCP connections, read for one process."""

from __future__ import annotations

import pytest

from onehop.lab.kafka_sockets import peers, remote_end

ROWS = """\
  sl  local_address rem_address   st tx_queue rx_queue tr tm->when retrnsmt   uid  timeout inode
   0: 0AC8A8C0:A23F F1C8A8C0:2388 01 00000000:00000000 00:00000000 00000000     0        0 1001 1
   1: 0AC8A8C0:A240 F2C8A8C0:2388 01 00000000:00000000 00:00000000 00000000     0        0 1002 1
   2: 0AC8A8C0:A241 F3C8A8C0:2388 06 00000000:00000000 00:00000000 00000000     0        0 1003 1
"""


def test_peers() -> None:
    """Only established connections count, and only those of the process."""
    assert list(peers(ROWS.splitlines(), frozenset({1001, 1003}))) == ["192.168.200.241:9096"]


@pytest.mark.parametrize(
    ("text", "end"),
    [
        ("F1C8A8C0:2388", "192.168.200.241:9096"),
        ("B80D0120000000000000000001000000:0050", "[2001:db8::1]:80"),
        ("0000000000000000FFFF0000F1C8A8C0:2388", "192.168.200.241:9096"),
    ],
)
def test_remote_end(text: str, end: str) -> None:
    """Addresses are words in the machine's byte order; a mapped one is shown as IPv4."""
    assert remote_end(text) == end
