"""The ARP announcer: who gets an answer, what is announced, and what counts as a claim."""

from __future__ import annotations

from dataclasses import replace
from ipaddress import IPv4Address, IPv6Address
from itertools import accumulate

import pytest
from hypothesis import given
from hypothesis import strategies as st

from onehop.model.address import Mac
from onehop.proto.arp.announcer import REPEATS, ArpAnnouncer
from onehop.proto.arp.packet import ArpPacket, Operation, announcement, decode, encode
from onehop.proto.machine import AddressConflict, Effect, Send
from onehop.proto.pacing import DEFEND_INTERVAL, REBUT, SETTLE
from onehop.proto.wire import BROADCAST

OURS = Mac.parse("02:00:00:00:01:01")
PEER = Mac.parse("02:00:00:00:00:99")
OTHER = Mac.parse("02:00:00:00:00:98")
VIP, VIP2 = IPv4Address("192.168.200.241"), IPv4Address("192.168.200.242")
CLIENT = IPv4Address("192.168.200.9")

REQUEST = ArpPacket(
    destination=BROADCAST,
    source=PEER,
    operation=Operation.REQUEST,
    sender=PEER,
    sender_address=CLIENT,
    target=Mac(bytes(6)),
    target_address=VIP,
)
ANSWER = ArpPacket(
    destination=PEER,
    source=OURS,
    operation=Operation.REPLY,
    sender=OURS,
    sender_address=VIP,
    target=PEER,
    target_address=CLIENT,
)
CLAIM = replace(REQUEST, sender_address=VIP, target_address=CLIENT)


def holding(*addresses: IPv4Address, settled: bool = True) -> ArpAnnouncer:
    """An announcer that holds the addresses, by default with all announcements behind it."""
    announcer = ArpAnnouncer(mac=OURS)
    announcer.set_addresses(frozenset(addresses), 0.0)
    while settled and announcer.deadline is not None:
        announcer.wake(announcer.deadline)
    return announcer


def gratuitous(*addresses: IPv4Address) -> tuple[Effect, ...]:
    return tuple(
        Send(frame=announcement(OURS, address, operation))
        for address in addresses
        for operation in (Operation.REQUEST, Operation.REPLY)
    )


class TestAnswering:
    """RFC 826, packet reception; RFC 5227 2.1.1 for probes."""

    @pytest.mark.parametrize(
        ("request_", "answer"),
        [
            (REQUEST, ANSWER),
            (replace(REQUEST, destination=OURS), ANSWER),
            (replace(REQUEST, target=Mac(b"\xff" * 6)), ANSWER),
            (
                replace(REQUEST, sender_address=IPv4Address(0)),
                replace(ANSWER, target_address=IPv4Address(0)),
            ),
            (
                replace(REQUEST, source=OTHER),
                ANSWER,
            ),
        ],
        ids=["broadcast", "unicast", "target of ones", "probe", "through a proxy"],
    )
    def test_a_request_for_a_held_address_is_answered(
        self, request_: ArpPacket, answer: ArpPacket
    ) -> None:
        effects = holding(VIP).receive_frame(encode(request_), 100.0)
        assert effects == (Send(frame=encode(answer)),)

    @pytest.mark.parametrize(
        "packet",
        [
            replace(REQUEST, target_address=VIP2),
            replace(REQUEST, destination=OTHER),
            replace(REQUEST, destination=Mac.parse("01:00:5e:00:00:01")),
            replace(REQUEST, operation=Operation.REPLY),
            replace(REQUEST, sender=BROADCAST),
            replace(REQUEST, sender=Mac.parse("33:33:00:00:00:01")),
            replace(REQUEST, sender=Mac(bytes(6))),
            replace(REQUEST, sender=OURS),
        ],
        ids=[
            "not held", "to another station", "to a group", "a reply", "asker is broadcast",
            "asker is a group", "asker is nobody", "our own frame",
        ],
    )  # fmt: skip
    def test_silence(self, packet: ArpPacket) -> None:
        announcer = holding(VIP)
        assert announcer.receive_frame(encode(packet), 100.0) == ()
        assert announcer.deadline is None
        assert announcer.counters()[VIP].requests_received == 0

    def test_a_withdrawn_address_is_silent(self) -> None:
        announcer = holding(VIP)
        assert announcer.set_addresses(frozenset(), 99.0) == ()
        assert announcer.receive_frame(encode(REQUEST), 100.0) == ()

    def test_answers_are_counted_by_address(self) -> None:
        announcer = holding(VIP, VIP2)
        for _ in range(3):
            announcer.receive_frame(encode(REQUEST), 100.0)
        counters = announcer.counters()
        assert (counters[VIP].requests_received, counters[VIP].replies_sent) == (3, 3)
        assert counters[VIP2].requests_received == 0

    def test_arp_needs_no_multicast_group(self) -> None:
        assert holding(VIP).groups == frozenset()

    def test_an_address_of_the_other_family_is_our_own_mistake(self) -> None:
        with pytest.raises(AssertionError):
            ArpAnnouncer(mac=OURS).set_addresses(frozenset({IPv6Address("fd00::1")}), 0.0)


class TestAnnouncing:
    """RFC 5227 2.3, with our own repeats."""

    def test_a_new_address_is_announced_at_once_in_both_forms(self) -> None:
        announcer = ArpAnnouncer(mac=OURS)
        assert announcer.set_addresses(frozenset({VIP}), 7.0) == gratuitous(VIP)

    def test_and_again_after_each_span(self) -> None:
        announcer = holding(VIP, settled=False)
        seen = []
        while announcer.deadline is not None:
            now = announcer.deadline
            seen.append((now, announcer.wake(now)))
        instants = [pytest.approx(instant) for instant in accumulate(REPEATS)]
        assert seen == [(instant, gratuitous(VIP)) for instant in instants]
        assert announcer.counters()[VIP].gratuitous_sent == 2 * (1 + len(REPEATS))

    def test_only_what_is_new_is_announced(self) -> None:
        announcer = holding(VIP)
        assert announcer.set_addresses(frozenset({VIP}), 50.0) == ()
        assert announcer.set_addresses(frozenset({VIP, VIP2}), 51.0) == gratuitous(VIP2)

    def test_addresses_are_announced_in_their_order(self) -> None:
        announcer = ArpAnnouncer(mac=OURS)
        assert announcer.set_addresses(frozenset({VIP2, VIP}), 0.0) == gratuitous(VIP, VIP2)

    def test_an_address_moved_back_is_announced_at_once(self) -> None:
        announcer = holding(VIP, settled=False)
        announcer.set_addresses(frozenset(), 0.3)
        assert announcer.set_addresses(frozenset({VIP}), 0.6) == gratuitous(VIP)


class TestConflicts:
    """RFC 5227 2.4 (c): defended at most once in DEFEND_INTERVAL, and never given up."""

    @pytest.mark.parametrize(
        "claim",
        [
            CLAIM,
            replace(CLAIM, operation=Operation.REPLY),
            replace(CLAIM, destination=OTHER),
            replace(CLAIM, target_address=VIP),
        ],
        ids=["request", "reply", "to somebody else", "announcement"],
    )
    def test_a_claim_is_reported_and_answered_once(self, claim: ArpPacket) -> None:
        announcer = holding(VIP)
        assert announcer.receive_frame(encode(claim), 100.0) == ()
        assert announcer.deadline == 100.0 + REBUT
        assert announcer.wake(100.0 + REBUT) == gratuitous(VIP)
        assert announcer.wake(100.0 + SETTLE) == (AddressConflict(address=VIP, claimant=PEER),)
        assert announcer.deadline is None

    def test_a_hand_over_is_no_conflict(self) -> None:
        """The new owner's announcement comes before our own decision to withdraw."""
        announcer = holding(VIP)
        announcer.receive_frame(encode(CLAIM), 100.0)
        announcer.set_addresses(frozenset(), 100.003)
        assert announcer.deadline is None
        assert announcer.wake(101.0) == ()

    def test_two_announcers_that_both_hold_an_address_fall_silent(self) -> None:
        """Each defends once; neither goes on."""
        ours = holding(VIP)
        theirs = ArpAnnouncer(mac=PEER)
        now, frames = 100.0, list(theirs.set_addresses(frozenset({VIP}), 100.0))
        sent = 0
        while now < 100.0 + DEFEND_INTERVAL:
            for effect in frames:
                if isinstance(effect, Send):
                    sent += 1
                    ours.receive_frame(effect.frame, now)
                    theirs.receive_frame(effect.frame, now)
            instants = [m.deadline for m in (ours, theirs) if m.deadline is not None]
            if not instants:
                break
            now = min(instants)
            frames = [*ours.wake(now), *theirs.wake(now)]
        assert now < 106.0
        assert sent == 2 * (1 + len(REPEATS)) + 2 * 2

    def test_a_flood_of_claims_is_one_report(self) -> None:
        announcer = holding(VIP)
        for number in range(1000):
            announcer.receive_frame(encode(CLAIM), 100.0 + number / 1000)
        assert len(announcer.wake(101.0)) == 1 + 2
        assert announcer.counters()[VIP].conflicts == 1000
        for number in range(1000):
            announcer.receive_frame(encode(CLAIM), 101.0 + number / 1000)
        assert announcer.deadline is None

    def test_who_claims_one_address_and_asks_for_another_is_answered(self) -> None:
        announcer = holding(VIP, VIP2)
        effects = announcer.receive_frame(encode(replace(CLAIM, target_address=VIP2)), 100.0)
        answer = replace(ANSWER, sender_address=VIP2, target_address=VIP)
        assert effects == (Send(frame=encode(answer)),)
        assert announcer.counters()[VIP].conflicts == 1

    def test_a_claim_from_a_group_is_nonsense(self) -> None:
        announcer = holding(VIP)
        announcer.receive_frame(encode(replace(CLAIM, sender=BROADCAST)), 100.0)
        assert announcer.counters()[VIP].conflicts == 0


macs = st.sampled_from([OURS, PEER, OTHER, BROADCAST, Mac(bytes(6))])
near_addresses = st.sampled_from([VIP, VIP2, CLIENT, IPv4Address(0)])
near_packets = st.builds(
    ArpPacket,
    destination=macs,
    source=macs,
    operation=st.sampled_from(Operation),
    sender=macs,
    sender_address=near_addresses,
    target=macs,
    target_address=near_addresses,
)


@given(near_packets)
def test_the_short_way_of_reading_agrees_with_the_codec(packet: ArpPacket) -> None:
    """What is answered and what is a claim, said with the codec's fields."""
    announcer = holding(VIP)
    effects = announcer.receive_frame(encode(packet), 100.0)
    sane = packet.sender not in (OURS, BROADCAST, Mac(bytes(6)))
    claim = sane and packet.sender_address == VIP
    asked = (
        sane
        and not (claim and packet.target_address == VIP)
        and packet.operation is Operation.REQUEST
        and packet.destination in (OURS, BROADCAST)
        and packet.target_address == VIP
    )
    assert announcer.counters()[VIP].conflicts == int(claim)
    assert bool(effects) is asked
    for effect in effects:
        assert isinstance(effect, Send)
        assert decode(effect.frame) == replace(
            ANSWER,
            destination=packet.sender,
            target=packet.sender,
            target_address=packet.sender_address,
        )


@given(st.lists(st.binary(max_size=64) | near_packets.map(encode), max_size=20))
def test_no_frame_raises_and_equal_inputs_give_equal_outputs(frames: list[bytes]) -> None:
    first, second = holding(VIP, VIP2), holding(VIP2, VIP)
    for number, frame in enumerate(frames):
        assert first.receive_frame(frame, 100.0 + number) == second.receive_frame(
            frame, 100.0 + number
        )
        assert first.deadline == second.deadline


@given(st.binary(max_size=14), st.binary(max_size=50))
def test_only_arp_for_ipv4_over_ethernet_is_answered(head: bytes, tail: bytes) -> None:
    """Any damage to the first half of a request leaves it unanswered."""
    frame = encode(REQUEST)[:12] + head + tail
    if frame[12:22] != encode(REQUEST)[12:22]:
        assert holding(VIP).receive_frame(frame, 100.0) == ()
