"""Throw datagrams at the table of BFD sessions: nonsense, and good packets with damage.

`python -m fuzz.fuzz_bfd [PACKETS] [SEED]`. Nothing may raise, no deadline may lie in the past, an
answer goes to a wanted path and is a packet that we would take ourselves, and ups and downs of a
path alternate. A find belongs into tests/conformance/bfd.
"""

from __future__ import annotations

import random
import sys
from dataclasses import replace
from ipaddress import ip_address

from onehop.proto.bfd.packet import ControlPacket, State, decode, encode
from onehop.proto.bfd.session import Effect, Path, PathUp, SendPacket, Terms
from onehop.proto.bfd.sessions import Arrival, Sessions

OURS, PEERS = ip_address("192.0.2.1"), [ip_address("192.0.2.2"), ip_address("192.0.2.3")]
WANTED = {
    Path(peer=PEERS[0]): Terms(transmit=0.1, receive=0.1),
    Path(peer=PEERS[0], multihop=True): Terms(multiplier=1),
    Path(peer=PEERS[1]): Terms(is_passive=True),
}
SEED = ControlPacket(
    state=State.DOWN, my_discriminator=9, desired_min_tx_us=100_000, required_min_rx_us=100_000
)


class Watcher:
    """Looks at every effect."""

    def __init__(self) -> None:
        self.up: set[Path] = set()

    def take(self, effects: tuple[Effect, ...], octets: bytes) -> int:
        """How many packets were sent."""
        for effect in effects:
            assert effect.path in WANTED, octets.hex()
            if isinstance(effect, SendPacket):
                assert decode(effect.octets).required_min_echo_rx_us == 0, octets.hex()
                continue
            is_up = isinstance(effect, PathUp)
            assert (effect.path in self.up) is not is_up, octets.hex()
            (self.up.add if is_up else self.up.discard)(effect.path)
        return sum(isinstance(effect, SendPacket) for effect in effects)


def datagram(dice: random.Random, discriminators: list[int]) -> bytes:
    """Nonsense, or a packet of a peer, one in three of them with damage."""
    if dice.random() < 0.1:
        return dice.randbytes(dice.randrange(60))
    state = dice.choice(list(State))
    packet = replace(
        SEED,
        state=state,
        your_discriminator=dice.choice([0, *discriminators]),
        poll=dice.random() < 0.2,
        final=dice.random() < 0.2,
        demand=dice.random() < 0.1,
        multiplier=dice.randrange(1, 5),
        required_min_rx_us=dice.choice([0, 1, 100_000, 0xFFFFFFFF]),
        desired_min_tx_us=dice.choice([0, 1, 100_000, 0xFFFFFFFF]),
    )
    octets = bytearray(encode(packet))
    if dice.random() < 0.3:
        octets[dice.randrange(len(octets))] = dice.randrange(256)
    return bytes(octets) + dice.randbytes(dice.choice((0, 0, 0, 9)))


def run(packets: int, seed: int) -> int:
    """How many of the packets were answered at once."""
    dice, watcher, now, answered = random.Random(seed), Watcher(), 0.0, 0
    table = Sessions(jitter=dice.random)
    table.set_sessions(WANTED, now)
    discriminators = [session.discriminator for session in table.sessions()]
    for _ in range(packets):
        now += dice.random() * 0.2
        octets = datagram(dice, discriminators)
        arrival = Arrival(
            source=dice.choice(PEERS),
            destination=OURS,
            ttl=dice.choice((255, 255, 255, 254, 1)),
            multihop=dice.random() < 0.3,
        )
        answered += watcher.take(table.receive_packet(octets, arrival, now), octets) > 0
        if table.deadline is not None and table.deadline <= now:
            watcher.take(table.wake(now), octets)
            assert table.deadline is None or table.deadline > now, octets.hex()
    return answered


if __name__ == "__main__":
    count = int(sys.argv[1]) if len(sys.argv) > 1 else 1_000_000
    chosen = int(sys.argv[2]) if len(sys.argv) > 2 else random.randrange(1 << 32)
    print(f"seed {chosen}: {run(count, chosen)} of {count} packets answered, none raised")
