"""Throw octets at the BGP codec: nonsense, and good messages with damage and mended lengths.

`python -m fuzz.fuzz_bgp [MESSAGES] [SEED]`. Nothing may raise but an error with its NOTIFICATION,
which must be one that the standards know; what is read must hold no more than was sent. A find
belongs into tests/conformance/bgp.
"""

from __future__ import annotations

import random
import sys
from ipaddress import IPv4Address, IPv6Address, ip_network

from onehop.model.address import Family
from onehop.model.bgp import LargeCommunity, Role, RouteAttributes
from onehop.proto.bgp import notification
from onehop.proto.bgp.attribute import Outbound
from onehop.proto.bgp.capability import Capabilities, GracefulRestart, LongLived
from onehop.proto.bgp.constants import MAX_EXTENDED_LENGTH, MAX_LENGTH, Cease, MessageType
from onehop.proto.bgp.error import Action, BgpError, words
from onehop.proto.bgp.framing import KEEPALIVE, Frame, Splitter
from onehop.proto.bgp.message import (
    Open,
    RouteRefresh,
    decode_open,
    decode_route_refresh,
    encode_open,
    encode_route_refresh,
)
from onehop.proto.bgp.negotiated import Negotiated
from onehop.proto.bgp.received import decode
from onehop.proto.bgp.update import end_of_rib, updates

BOTH = frozenset(Family)
SESSIONS = [
    Negotiated(
        families=BOTH,
        four_octet=four,
        internal=internal,
        extended_next_hop=over,
        max_length=longest,
    )
    for four in (False, True)
    for internal in (False, True)
    for over in (False, True)
    for longest in (MAX_LENGTH, MAX_EXTENDED_LENGTH)
]
OPEN = Open(
    asn=4_200_000_001,
    hold_time=90,
    identifier=IPv4Address("192.0.2.1"),
    capabilities=Capabilities(
        families=BOTH,
        asn=4_200_000_001,
        route_refresh=True,
        enhanced_route_refresh=True,
        extended_message=True,
        extended_next_hop=True,
        role=Role.CUSTOMER,
        graceful_restart=GracefulRestart(restart_time=120, families=BOTH, forwarding=BOTH),
        long_lived=(LongLived(family=Family.IPV6, stale_time=3600),),
    ),
)
ROUTES = {
    ip_network(prefix): RouteAttributes(
        med=med,
        communities=(1, 2),
        large_communities=(LargeCommunity(1, 2, 3),),
        extended=(bytes(8),),
    )
    for med in (1, 2)
    for prefix in (f"203.0.113.{med}/32", f"10.{med}.0.0/17", f"2001:db8:{med}::/48")
}


def seeds() -> list[bytes]:
    """Good messages of every type."""
    found = [KEEPALIVE, *[encode_open(OPEN)] * 8, *map(end_of_rib, Family)]
    found += [encode_route_refresh(RouteRefresh(family=family)) for family in Family]
    shutdown = notification.cease(Cease.ADMINISTRATIVE_SHUTDOWN, "bye")
    found += [
        notification.encode(told, MAX_LENGTH)
        for told in (shutdown, notification.hard_reset(shutdown))
    ]
    for agreed in SESSIONS:
        outbound = Outbound(
            asn=OPEN.asn,
            negotiated=agreed,
            next_hop_ipv4=None if agreed.extended_next_hop else IPv4Address("192.0.2.1"),
            next_hop_ipv6=IPv6Address("2001:db8::1"),
            only_to_customer=not agreed.internal,
        )
        found += updates(ROUTES, ROUTES, outbound)
    return found


SEEDS = seeds()


def damaged(dice: random.Random) -> bytes:
    """A message: nonsense, or a good one with octets changed, cut out, doubled or put in."""
    if dice.random() < 0.05:
        return dice.randbytes(dice.randrange(120))
    good = dice.choice(SEEDS)
    message = bytearray(good)
    for _ in range(dice.randrange(5)):
        at = dice.randrange(19, max(20, len(message)))
        choice = dice.randrange(4)
        if choice == 0 and at < len(message):
            message[at] = dice.choice((0, 1, 0xFF, dice.randrange(256), message[at] ^ 1))
        elif choice == 1:
            del message[at : at + dice.randrange(8)]
        elif choice == 2:
            message[at:at] = message[at : at + dice.randrange(40)]
        else:
            message[at:at] = dice.randbytes(dice.randrange(6))
    if dice.random() < 0.02:
        message[dice.randrange(19)] = dice.randrange(256)
    if dice.random() < 0.9:
        message = mended(message, good)
    return bytes(message)


def mended(message: bytearray, good: bytes) -> bytearray:
    """The message with its lengths made right, so that damage gets further in.

    The prefixes at both ends keep the lengths they had; attributes take what is between.
    """
    message[16:18] = len(message).to_bytes(2, "big")
    if message[18:19] != b"\2" or good[18] != MessageType.UPDATE:
        return message
    gone = int.from_bytes(good[19:21], "big")
    told = int.from_bytes(good[21 + gone : 23 + gone], "big")
    left = told + len(message) - len(good)
    if left >= 0 and len(message) >= 23 + gone:
        message[19:21] = gone.to_bytes(2, "big")
        message[21 + gone : 23 + gone] = left.to_bytes(2, "big")
    return message


def judge(frame: Frame, agreed: Negotiated) -> None:
    """Read one message; an error leaves as BgpError."""
    if frame.kind is MessageType.UPDATE:
        found = decode(frame.body, agreed)
        assert found.announced + found.withdrawn <= len(frame.body), frame
        assert found.end_of_rib is None or found.announced + found.withdrawn == 0, frame
        assert len(found.faults) <= 600, frame
        grave = any(fault.action is Action.TREAT_AS_WITHDRAW for fault in found.faults)
        assert not (grave and found.announced), frame
    elif frame.kind is MessageType.OPEN:
        opened = decode_open(frame.body)
        assert opened.asn, frame
        assert decode_open(encode_open(opened)[19:]).asn == opened.asn, frame
    elif frame.kind is MessageType.NOTIFICATION:
        told = notification.decode(frame.body)
        assert str(told).isprintable(), frame
    elif frame.kind is MessageType.ROUTE_REFRESH:
        decode_route_refresh(frame.body)


def run(messages: int, seed: int) -> int:
    """How many of the messages were read to their end without an error."""
    dice, read = random.Random(seed), 0
    for _ in range(messages):
        agreed, octets = dice.choice(SESSIONS), damaged(dice)
        splitter = Splitter()
        splitter.max_length = agreed.max_length
        cut = dice.randrange(len(octets) + 1)
        try:
            for part in (octets[:cut], octets[cut:]):
                splitter.feed(part)
                while (frame := splitter.next()) is not None:
                    judge(frame, agreed)
        except BgpError as error:
            sentence = words(error.code, error.subcode)
            assert "subcode" not in sentence, octets.hex()
            assert not sentence.startswith("Error"), octets.hex()
            whole = notification.encode(notification.of(error), agreed.max_length)
            assert len(whole) <= agreed.max_length, octets.hex()
        else:
            read += 1
    return read


if __name__ == "__main__":
    count = int(sys.argv[1]) if len(sys.argv) > 1 else 1_000_000
    chosen = int(sys.argv[2]) if len(sys.argv) > 2 else random.randrange(1 << 32)
    print(f"seed {chosen}: {run(count, chosen)} of {count} messages read, the others refused")
