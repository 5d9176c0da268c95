"""Throw frames at the NDP machine: random octets, and good frames with damage, some mended.

`python -m fuzz.fuzz_ndp [FRAMES] [SEED]`. Nothing may raise, and an answer may only be a
well-formed advertisement of a held address, to the asker or to all nodes. A find belongs into
tests/conformance/ndp.
"""

from __future__ import annotations

import random
import sys
from ipaddress import IPv6Address

from fuzz.fuzz_arp import damaged
from onehop.model.address import Mac
from onehop.proto.machine import Send
from onehop.proto.ndp.announcer import NdpAnnouncer
from onehop.proto.ndp.message import (
    ALL_NODES,
    UNSPECIFIED,
    NeighbourAdvertisement,
    NeighbourSolicitation,
    decode,
    encode,
    group_mac,
    solicited_node,
)
from onehop.proto.wire import internet_checksum

OURS, PEER = Mac.parse("02:00:00:00:01:01"), Mac.parse("02:00:00:00:00:99")
HELD = [IPv6Address("fd00::10"), IPv6Address("fd00::11")]
CLIENT = IPv6Address("fe80::9")


def _question(source: IPv6Address, option: Mac | None, *, alone: bool = False) -> bytes:
    group = solicited_node(HELD[0])
    return encode(
        NeighbourSolicitation(
            destination=OURS if alone else group_mac(group),
            source=PEER,
            source_address=source,
            destination_address=HELD[0] if alone else group,
            target=HELD[0],
            link_layer=option,
        )
    )


SEEDS = [
    _question(CLIENT, PEER),
    _question(CLIENT, None, alone=True),
    _question(UNSPECIFIED, None),
    encode(
        NeighbourAdvertisement(
            destination=group_mac(ALL_NODES),
            source=PEER,
            source_address=HELD[1],
            destination_address=ALL_NODES,
            target=HELD[1],
            override=True,
            link_layer=PEER,
        )
    ),
]


def mended(frame: bytes) -> bytes:
    """The frame with payload length and checksum made right, so that damage gets further in."""
    if len(frame) < 58:
        return frame
    payload = frame[54:56] + b"\0\0" + frame[58:]
    pseudo = frame[22:54] + len(payload).to_bytes(4, "big") + b"\0\0\0\x3a"
    checksum = internet_checksum(pseudo + payload).to_bytes(2, "big")
    return frame[:18] + len(payload).to_bytes(2, "big") + frame[20:56] + checksum + frame[58:]


def run(frames: int, seed: int) -> int:
    """How many of the frames were answered."""
    dice, machine, now, answered = random.Random(seed), NdpAnnouncer(mac=OURS), 0.0, 0
    machine.set_addresses(frozenset(HELD), now)
    for _ in range(frames):
        now += dice.random()
        frame = damaged(dice, SEEDS)
        if dice.random() < 0.7:
            frame = mended(frame)
        for effect in machine.receive_frame(frame, now):
            assert isinstance(effect, Send), frame.hex()
            asked, answer = decode(frame), decode(effect.frame)
            assert isinstance(answer, NeighbourAdvertisement), frame.hex()
            assert answer.target == asked.target, frame.hex()
            assert answer.target in HELD, frame.hex()
            assert answer.link_layer == OURS, frame.hex()
            assert answer.solicited is (asked.source_address != UNSPECIFIED), frame.hex()
            expected = asked.source_address if answer.solicited else ALL_NODES
            assert answer.destination_address == expected, frame.hex()
            answered += 1
        if machine.deadline is not None and machine.deadline <= now:
            machine.wake(now)
            assert machine.deadline is None or machine.deadline > now, frame.hex()
    return answered


if __name__ == "__main__":
    count = int(sys.argv[1]) if len(sys.argv) > 1 else 1_000_000
    chosen = int(sys.argv[2]) if len(sys.argv) > 2 else random.randrange(1 << 32)
    print(f"seed {chosen}: {run(count, chosen)} of {count} frames answered, none raised")
