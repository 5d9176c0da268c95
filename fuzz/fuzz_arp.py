"""Throw frames at the ARP machine: random octets, and good frames with damage.

`python -m fuzz.fuzz_arp [FRAMES] [SEED]`. Nothing may raise, and an answer may only be a
well-formed reply for a held address to the station that asked. A find belongs into
tests/conformance/arp.
"""

from __future__ import annotations

import random
import sys
from contextlib import suppress
from ipaddress import IPv4Address

from onehop.model.address import Mac
from onehop.proto.arp.announcer import ArpAnnouncer
from onehop.proto.arp.packet import ArpPacket, Operation, announcement, decode, encode
from onehop.proto.machine import DecodeError, Send
from onehop.proto.wire import BROADCAST

OURS, PEER = Mac.parse("02:00:00:00:01:01"), Mac.parse("02:00:00:00:00:99")
HELD = [IPv4Address("192.0.2.10"), IPv4Address("192.0.2.11")]
SEEDS = [
    announcement(PEER, HELD[0], Operation.REPLY),
    *(
        encode(
            ArpPacket(
                destination=destination,
                source=PEER,
                operation=Operation.REQUEST,
                sender=PEER,
                sender_address=IPv4Address(sender),
                target=Mac(bytes(6)),
                target_address=HELD[1],
            )
        )
        for destination in (BROADCAST, OURS)
        for sender in ("192.0.2.9", "0.0.0.0")
    ),
]


def damaged(dice: random.Random, seeds: list[bytes]) -> bytes:
    """A frame: nonsense, or a seed with some octets changed, cut or added."""
    if dice.random() < 0.1:
        return dice.randbytes(dice.randrange(120))
    frame = bytearray(dice.choice(seeds))
    for _ in range(dice.randrange(4)):
        frame[dice.randrange(len(frame))] = dice.randrange(256)
    if dice.random() < 0.1:
        del frame[dice.randrange(len(frame)) :]
    return bytes(frame) + dice.randbytes(dice.choice((0, 0, 18)))


def run(frames: int, seed: int) -> int:
    """How many of the frames were answered."""
    dice, machine, now, answered = random.Random(seed), ArpAnnouncer(mac=OURS), 0.0, 0
    machine.set_addresses(frozenset(HELD), now)
    for _ in range(frames):
        now += dice.random()
        frame = damaged(dice, SEEDS)
        for effect in machine.receive_frame(frame, now):
            assert isinstance(effect, Send), frame.hex()
            asked, answer = decode(frame), decode(effect.frame)
            assert answer.operation is Operation.REPLY, frame.hex()
            assert (answer.sender, answer.source) == (OURS, OURS), frame.hex()
            assert answer.sender_address == asked.target_address, frame.hex()
            assert answer.sender_address in HELD, frame.hex()
            assert answer.destination == answer.target == asked.sender, frame.hex()
            answered += 1
        with suppress(DecodeError):
            decode(frame)
        if machine.deadline is not None and machine.deadline <= now:
            machine.wake(now)
            assert machine.deadline is None or machine.deadline > now, frame.hex()
    return answered


if __name__ == "__main__":
    count = int(sys.argv[1]) if len(sys.argv) > 1 else 1_000_000
    chosen = int(sys.argv[2]) if len(sys.argv) > 2 else random.randrange(1 << 32)
    print(f"seed {chosen}: {run(count, chosen)} of {count} frames answered, none raised")
