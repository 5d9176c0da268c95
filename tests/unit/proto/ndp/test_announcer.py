"""The NDP announcer: which solicitations are answered and how, and what counts as a claim."""

from __future__ import annotations

from dataclasses import replace
from ipaddress import IPv4Address, IPv6Address
from itertools import accumulate

import pytest
from hypothesis import given
from hypothesis import strategies as st

from onehop.model.address import Mac
from onehop.proto.machine import AddressConflict, Send
from onehop.proto.ndp.announcer import REPEATS, NdpAnnouncer
from onehop.proto.ndp.message import (
    ALL_NODES,
    UNSPECIFIED,
    Message,
    NeighbourAdvertisement,
    NeighbourSolicitation,
    encode,
    group_mac,
    solicited_node,
)
from onehop.proto.pacing import REBUT, SETTLE

OURS, PEER = Mac.parse("02:00:00:00:01:01"), Mac.parse("02:00:00:00:00:99")
OTHER = Mac.parse("02:00:00:00:00:98")
VIP, VIP2 = IPv6Address("fd00:200::241"), IPv6Address("fd00:200::242")
CLIENT = IPv6Address("fe80::9")
SOLICITATION = NeighbourSolicitation(
    destination=group_mac(solicited_node(VIP)),
    source=PEER,
    source_address=CLIENT,
    destination_address=solicited_node(VIP),
    target=VIP,
    link_layer=PEER,
)
# RFC 4861 7.3.3: straight to the neighbour, and without the option that it knows already
UNREACHABILITY = replace(SOLICITATION, destination=OURS, destination_address=VIP, link_layer=None)
# RFC 4862 5.4.2
DUPLICATE_DETECTION = replace(SOLICITATION, source_address=UNSPECIFIED, link_layer=None)
ANSWER = NeighbourAdvertisement(
    destination=PEER,
    source=OURS,
    source_address=VIP,
    destination_address=CLIENT,
    target=VIP,
    solicited=True,
    override=True,
    link_layer=OURS,
)
UNSOLICITED = replace(
    ANSWER,
    destination=group_mac(ALL_NODES),
    destination_address=ALL_NODES,
    solicited=False,
)
CLAIM = replace(UNSOLICITED, source=PEER, link_layer=PEER)


def holding(*addresses: IPv6Address) -> NdpAnnouncer:
    """An announcer that holds the addresses, with all announcements behind it."""
    announcer = NdpAnnouncer(mac=OURS)
    announcer.set_addresses(frozenset(addresses), 0.0)
    while announcer.deadline is not None:
        announcer.wake(announcer.deadline)
    return announcer


class TestAnswering:
    """RFC 4861 7.2.4: solicited, overriding, with the target link-layer option."""

    @pytest.mark.parametrize(
        ("question", "answer"),
        [
            (SOLICITATION, ANSWER),
            (replace(SOLICITATION, link_layer=None), ANSWER),
            (UNREACHABILITY, ANSWER),
            (replace(UNREACHABILITY, link_layer=PEER), ANSWER),
            (replace(SOLICITATION, link_layer=OTHER), replace(ANSWER, destination=OTHER)),
            (DUPLICATE_DETECTION, UNSOLICITED),
        ],
        ids=[
            "multicast", "multicast without option", "unreachability detection",
            "unicast with option", "the option says where to answer", "duplicate detection",
        ],
    )  # fmt: skip
    def test_a_solicitation_for_a_held_address_is_answered(
        self, question: NeighbourSolicitation, answer: NeighbourAdvertisement
    ) -> None:
        announcer = holding(VIP)
        assert announcer.receive_frame(encode(question), 9.0) == (Send(frame=encode(answer)),)
        counters = announcer.counters()[VIP]
        assert (counters.requests_received, counters.replies_sent) == (1, 1)

    @pytest.mark.parametrize(
        "frame",
        [
            encode(replace(SOLICITATION, target=VIP2)),
            encode(replace(SOLICITATION, destination=OTHER)),
            encode(replace(SOLICITATION, source=OURS)),
            encode(replace(SOLICITATION, link_layer=Mac(b"\xff" * 6))),
            encode(replace(SOLICITATION, link_layer=Mac(bytes(6)))),
            encode(replace(SOLICITATION, link_layer=None, source=group_mac(ALL_NODES))),
            encode(SOLICITATION)[:-1],
            encode(SOLICITATION)[:21] + b"\xfe" + encode(SOLICITATION)[22:],
            encode(replace(SOLICITATION, source_address=UNSPECIFIED)),
            b"",
        ],
        ids=[
            "not held", "to another station", "our own frame", "asker is broadcast",
            "asker is nobody", "asker is a group", "cut short", "from beyond a router",
            "duplicate detection with option", "empty",
        ],
    )  # fmt: skip
    def test_silence(self, frame: bytes) -> None:
        announcer = holding(VIP)
        assert announcer.receive_frame(frame, 9.0) == ()
        assert announcer.deadline is None

    def test_an_address_of_the_other_family_is_our_own_mistake(self) -> None:
        with pytest.raises(AssertionError):
            NdpAnnouncer(mac=OURS).set_addresses(frozenset({IPv4Address("10.0.0.1")}), 0.0)


class TestAnnouncing:
    """RFC 4861 7.2.6."""

    def test_a_new_address_is_announced_three_times_in_all(self) -> None:
        announcer = NdpAnnouncer(mac=OURS)
        expected = (Send(frame=encode(UNSOLICITED)),)
        assert announcer.set_addresses(frozenset({VIP}), 0.0) == expected
        seen = []
        while announcer.deadline is not None:
            now = announcer.deadline
            assert announcer.wake(now) == expected
            seen.append(now)
        assert seen == pytest.approx(list(accumulate(REPEATS)))
        assert len(seen) == 2
        assert announcer.counters()[VIP].gratuitous_sent == 3

    def test_groups_follow_the_addresses(self) -> None:
        announcer = holding(VIP, VIP2, IPv6Address("fd00:201::241"))
        assert announcer.groups == {solicited_node(VIP), solicited_node(VIP2)}
        announcer.set_addresses(frozenset({VIP2}), 9.0)
        assert announcer.groups == {solicited_node(VIP2)}


class TestConflicts:
    """RFC 4862 5.4: somebody else says, or asks whether, the address is its own."""

    @pytest.mark.parametrize(
        ("message", "claimant"),
        [
            (CLAIM, PEER),
            (replace(CLAIM, link_layer=None), PEER),
            (replace(CLAIM, link_layer=OTHER), OTHER),
            (replace(CLAIM, destination=OURS, destination_address=CLIENT, solicited=True), PEER),
            (DUPLICATE_DETECTION, PEER),
        ],
    )
    def test_a_claim_is_reported_and_defended_once(self, message: Message, claimant: Mac) -> None:
        announcer = holding(VIP)
        announcer.receive_frame(encode(message), 9.0)
        assert announcer.deadline == 9.0 + REBUT
        assert announcer.wake(9.0 + REBUT) == (Send(frame=encode(UNSOLICITED)),)
        assert announcer.wake(9.0 + SETTLE) == (AddressConflict(address=VIP, claimant=claimant),)
        announcer.receive_frame(encode(message), 10.0)
        assert announcer.deadline is None
        assert announcer.counters()[VIP].conflicts == 2

    @pytest.mark.parametrize(
        "message",
        [
            replace(CLAIM, source=OURS),
            replace(CLAIM, link_layer=OURS),
            replace(CLAIM, target=VIP2),
        ],
        ids=["our own frame", "our own MAC, told by another", "not held"],
    )
    def test_no_claim(self, message: Message) -> None:
        announcer = holding(VIP)
        announcer.receive_frame(encode(message), 9.0)
        assert announcer.deadline is None


@given(
    st.lists(
        st.binary(max_size=100)
        | st.tuples(
            st.sampled_from([SOLICITATION, UNREACHABILITY, DUPLICATE_DETECTION, CLAIM]),
            st.integers(0, 85),
            st.integers(0, 255),
        ).map(lambda case: damaged(*case)),
        max_size=20,
    )
)
def test_no_frame_raises_and_equal_inputs_give_equal_outputs(frames: list[bytes]) -> None:
    first, second = holding(VIP), holding(VIP)
    for number, frame in enumerate(frames):
        now = 9.0 + number
        assert first.receive_frame(frame, now) == second.receive_frame(frame, now)
        assert first.deadline == second.deadline


def damaged(message: Message, offset: int, flip: int) -> bytes:
    frame = bytearray(encode(message))
    frame[offset % len(frame)] ^= flip
    return bytes(frame)
