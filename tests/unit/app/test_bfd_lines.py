"""What one end of the line between speaker and BFD process writes, the other reads."""

from __future__ import annotations

from ipaddress import ip_address

import pytest

from onehop.app.bfd_lines import (
    Line,
    Ready,
    Refused,
    SessionStatistics,
    Statistics,
    decode,
    decode_wanted,
    encode,
    encode_wanted,
)
from onehop.proto.bfd.packet import Diagnostic
from onehop.proto.bfd.session import Path, PathDown, PathUp, Terms

PLAIN = Path(peer=ip_address("192.0.2.1"))
FULL = Path(peer=ip_address("fe80::1"), local=ip_address("fe80::2"), link="net0", multihop=True)
SESSION = SessionStatistics(
    path=FULL, state="UP", remote_state="INIT", transmit_interval=0.1, detection_time=0.3,
    sent=5, received=6,
)  # fmt: skip


def test_what_is_wanted() -> None:
    terms = Terms(transmit=0.05, receive=0.1, multiplier=5, is_passive=True, minimum_ttl=9)
    wanted = {PLAIN: Terms(), FULL: terms}
    line = encode_wanted(wanted)
    assert line.count(b"\n") == 1
    assert line.endswith(b"\n")
    assert decode_wanted(line) == wanted
    assert decode_wanted(encode_wanted({})) == {}


@pytest.mark.parametrize(
    "line",
    [
        Ready(real_time=True),
        Ready(real_time=False, detail="not permitted"),
        PathUp(path=FULL),
        PathDown(path=PLAIN, diagnostic=Diagnostic.DETECTION_TIME_EXPIRED),
        PathDown(path=FULL, diagnostic=Diagnostic.NONE, is_administrative=True),
        Refused(path=PLAIN),
        Refused(path=FULL, code="BFDDown", detail="why\nand where"),
        Statistics(sessions=(SESSION, SESSION), discarded={"ttl": 3}, unsent=1, lateness=0.01),
        Statistics(sessions=(), discarded={}, unsent=0, lateness=0.0),
    ],
    ids=lambda line: type(line).__name__,
)
def test_what_is_told(line: Line) -> None:
    octets = encode(line)
    assert octets.index(b"\n") == len(octets) - 1
    assert decode(octets) == line
