"""The life of held addresses, whichever protocol speaks for them."""

from __future__ import annotations

from ipaddress import IPv4Address, ip_address

import pytest
from hypothesis import given
from hypothesis import strategies as st

from onehop.model.address import IPAddress, Mac
from onehop.proto.announcing import AddressCounters, Announcer
from onehop.proto.arp.announcer import ArpAnnouncer
from onehop.proto.arp.packet import Operation, announcement
from onehop.proto.machine import AddressConflict, Effect, Send
from onehop.proto.ndp.announcer import NdpAnnouncer
from onehop.proto.pacing import BATCH, PACE, REBUT, SETTLE

OURS, PEER = Mac.parse("02:00:00:00:01:01"), Mac.parse("02:00:00:00:00:99")
NETWORKS = {ArpAnnouncer: "10.0.0.0", NdpAnnouncer: "fd00::"}
both = pytest.mark.parametrize("kind", NETWORKS)


def addresses(kind: type[Announcer], *numbers: int) -> frozenset[IPAddress]:
    first = ip_address(NETWORKS[kind])
    return frozenset(first + number for number in numbers)


def claim(kind: type[Announcer], number: int) -> tuple[bytes, ...]:
    """What another station says when it takes the address."""
    effects = kind(mac=PEER).set_addresses(addresses(kind, number), 0.0)
    return tuple(effect.frame for effect in effects if isinstance(effect, Send))


@both
def test_ten_thousand_addresses_are_announced_within_a_second(kind: type[Announcer]) -> None:
    announcer = kind(mac=OURS)
    wanted = addresses(kind, *range(10_000))
    sent = len(announcer.set_addresses(wanted, 0.0))
    each = sent // BATCH
    assert sent == BATCH * each, "the first round leaves at once"
    now = 0.0
    while sent < each * len(wanted):
        assert announcer.deadline is not None
        now = announcer.deadline
        sent += len(announcer.wake(now))
    assert now <= 10_000 / BATCH * PACE + PACE
    assert {c.gratuitous_sent for c in announcer.counters().values()} == {each}


@both
def test_one_more_address_is_not_held_up_by_ten_thousand(kind: type[Announcer]) -> None:
    announcer = kind(mac=OURS)
    many = addresses(kind, *range(10_000))
    announcer.set_addresses(many, 0.0)
    now = 0.0
    while now < 1.2:
        assert announcer.deadline is not None
        now = announcer.deadline
        announcer.wake(now)
    effects = announcer.set_addresses(many | addresses(kind, 20_000), now + PACE / 2)
    assert effects, "repeats are under way, and the new address overtakes them"
    assert announcer.counters()[ip_address(NETWORKS[kind]) + 20_000].gratuitous_sent > 0


@both
def test_a_withdrawn_address_leaves_nothing_behind(kind: type[Announcer]) -> None:
    announcer = kind(mac=OURS)
    announcer.set_addresses(addresses(kind, 1, 2), 0.0)
    announcer.receive_frame(claim(kind, 1)[0], 0.1)
    announcer.set_addresses(addresses(kind, 2), 0.2)
    assert list(announcer.counters()) == list(addresses(kind, 2))
    facts = []
    while announcer.deadline is not None:
        facts += [e for e in announcer.wake(announcer.deadline) if not isinstance(e, Send)]
    assert facts == []


@both
def test_the_deadline_is_the_earlier_of_repeat_and_conflict(kind: type[Announcer]) -> None:
    announcer = kind(mac=OURS)
    announcer.set_addresses(addresses(kind, 1), 0.0)
    repeat_at = announcer.deadline
    assert repeat_at is not None
    announcer.receive_frame(claim(kind, 1)[0], 0.1)
    assert announcer.deadline == pytest.approx(0.1 + REBUT)
    announcer.wake(0.1 + REBUT)
    assert announcer.deadline == pytest.approx(0.1 + SETTLE)
    announcer.wake(0.1 + SETTLE)
    assert announcer.deadline == repeat_at


@both
def test_a_conflict_names_address_and_claimant(kind: type[Announcer]) -> None:
    announcer = kind(mac=OURS)
    announcer.set_addresses(addresses(kind, 1), 0.0)
    for frame in claim(kind, 1):
        announcer.receive_frame(frame, 0.1)
    answer = announcer.wake(0.1 + REBUT)
    assert answer, "it is defended"
    assert all(isinstance(effect, Send) for effect in answer)
    (address,) = addresses(kind, 1)
    assert announcer.wake(0.1 + SETTLE) == (AddressConflict(address=address, claimant=PEER),)


@both
def test_another_link_of_the_node_on_the_same_wire_claims_nothing(kind: type[Announcer]) -> None:
    announcer = kind(mac=OURS)
    announcer.set_siblings(frozenset({OURS, PEER}))
    announcer.set_addresses(addresses(kind, 1), 0.0)
    for frame in claim(kind, 1):
        assert announcer.receive_frame(frame, 0.1) == ()
    assert [counters.conflicts for counters in announcer.counters().values()] == [0]
    announcer.set_siblings(frozenset({OURS}))
    announcer.receive_frame(claim(kind, 1)[0], 0.2)
    assert [counters.conflicts for counters in announcer.counters().values()] == [1]


def test_counters_add_up() -> None:
    one = AddressCounters(requests_received=1, replies_sent=2, gratuitous_sent=3, conflicts=4)
    assert one + one == AddressCounters(
        requests_received=2, replies_sent=4, gratuitous_sent=6, conflicts=8
    )


steps = st.lists(
    st.tuples(
        st.sampled_from(["want", "claim", "wake"]),
        st.frozensets(st.integers(0, 5), max_size=6),
        st.floats(0, 3, allow_nan=False),
    ),
    max_size=40,
)


@both
@given(script=steps)
def test_whatever_happens_the_deadline_is_not_past_after_wake(
    kind: type[Announcer], script: list[tuple[str, frozenset[int], float]]
) -> None:
    announcer, now = kind(mac=OURS), 0.0
    for step, numbers, span in script:
        now += span
        if step == "want":
            announcer.set_addresses(addresses(kind, *numbers), now)
            assert set(announcer.counters()) == addresses(kind, *numbers)
        elif step == "claim":
            for number in numbers:
                for frame in claim(kind, number):
                    announcer.receive_frame(frame, now)
        else:
            announcer.wake(now)
            assert announcer.deadline is None or announcer.deadline > now


def _frames(effects: tuple[Effect, ...]) -> list[bytes]:
    return [effect.frame for effect in effects if isinstance(effect, Send)]


def test_the_first_frame_is_the_announcement_itself() -> None:
    address = IPv4Address("10.0.0.7")
    effects = ArpAnnouncer(mac=OURS).set_addresses(frozenset({address}), 0.0)
    assert _frames(effects)[0] == announcement(OURS, address, Operation.REQUEST)
