"""The table of BFD sessions: whose a packet is, and how sessions come and go."""

from __future__ import annotations

import random
from dataclasses import replace
from ipaddress import ip_address

import pytest
from hypothesis import given
from hypothesis import strategies as st

from onehop.proto.bfd.packet import ControlPacket, State, encode
from onehop.proto.bfd.session import Path, Terms
from onehop.proto.bfd.sessions import Arrival, Sessions
from tests.unit.proto.bfd.wire import A, B, facts, half, sent

C = ip_address("192.0.2.3")
DIRECT, FAR = Path(peer=B), Path(peer=B, local=A, multihop=True)
BOUND = Path(peer=C, local=A, link="net0")
FROM_B = Arrival(source=B, destination=A, ttl=255)
DOWN = ControlPacket(state=State.DOWN, my_discriminator=9)


def table(*paths: Path) -> Sessions:
    """Sessions that have spoken once."""
    made = Sessions(jitter=half)
    made.set_sessions(dict.fromkeys(paths, Terms()), 0.0)
    made.wake(0.0)
    return made


def states(made: Sessions) -> dict[Path, State]:
    return {one.path: one.state for one in made.sessions()}


def test_a_first_packet_goes_by_addresses_port_and_link() -> None:
    made = table(DIRECT, FAR, BOUND)
    arrivals = (
        FROM_B,
        replace(FROM_B, multihop=True, ttl=254),
        Arrival(source=C, destination=A, ttl=255, link="net0"),
    )
    for number, (path, arrival) in enumerate(zip((DIRECT, FAR, BOUND), arrivals, strict=True), 1):
        made.receive_packet(encode(DOWN), arrival, 0.1)
        assert list(states(made).values()).count(State.INIT) == number
        assert states(made)[path] is State.INIT


STRANGERS = {
    "another source": replace(FROM_B, source=C),
    "another destination": Arrival(source=C, destination=B, ttl=255, link="net0"),
    "another link": Arrival(source=C, destination=A, ttl=255, link="net1"),
    "another port": replace(FROM_B, multihop=True),
}


@pytest.mark.parametrize("arrival", STRANGERS.values(), ids=STRANGERS)
def test_a_packet_from_elsewhere_is_nobodys(arrival: Arrival) -> None:
    made = table(DIRECT, BOUND)
    by_path = {one.path: one.discriminator for one in made.sessions()}
    for yours in (0, *by_path.values()):
        packet = replace(DOWN, your_discriminator=yours)
        assert made.receive_packet(encode(packet), arrival, 0.1) == ()
    assert made.discarded == {"no session": 3}


def test_a_later_packet_goes_by_our_discriminator() -> None:
    made = table(DIRECT, FAR)
    (number,) = (one.discriminator for one in made.sessions() if one.path == FAR)
    packet = replace(DOWN, state=State.INIT, your_discriminator=number)
    arrival = replace(FROM_B, multihop=True)
    assert facts(made.receive_packet(encode(packet), arrival, 0.1))
    assert states(made) == {DIRECT: State.DOWN, FAR: State.UP}
    unknown = replace(packet, your_discriminator=number + 5)
    assert made.receive_packet(encode(unknown), arrival, 0.1) == ()


@pytest.mark.parametrize(
    ("path", "ttl", "is_heard"),
    [(DIRECT, 255, True), (DIRECT, 254, False), (FAR, 250, True), (FAR, 249, False)],
)
def test_a_packet_has_to_come_from_near_enough(path: Path, ttl: int, is_heard: bool) -> None:
    made = Sessions(jitter=half)
    made.set_sessions({path: Terms(minimum_ttl=250)}, 0.0)
    arrival = replace(FROM_B, ttl=ttl, multihop=path.multihop)
    assert bool(made.receive_packet(encode(DOWN), arrival, 0.1)) is is_heard
    assert made.discarded == ({} if is_heard else {"ttl": 1})


def test_a_malformed_packet_is_counted_by_its_field() -> None:
    made = table(DIRECT)
    made.receive_packet(encode(DOWN)[:20], FROM_B, 0.1)
    assert made.discarded == {"packet": 1}


def test_an_empty_table_never_wakes() -> None:
    assert Sessions(jitter=half).deadline is None


def test_discriminators_are_unique_and_not_zero() -> None:
    made = Sessions(jitter=lambda: 1 - 2**-32)
    made.set_sessions({Path(peer=A + n): Terms() for n in range(3)}, 0.0)
    assert [one.discriminator for one in made.sessions()] == [0xFFFFFFFF, 1, 2]


def test_new_terms_reach_a_session_that_goes_on() -> None:
    made = table(DIRECT)
    (packet,) = sent(made.set_sessions({DIRECT: Terms(multiplier=7)}, 0.1))
    assert packet.multiplier == 7
    assert made.set_sessions({DIRECT: Terms(multiplier=7)}, 0.2) == ()


def test_what_is_no_longer_wanted_says_its_farewell_three_times() -> None:
    made = table(DIRECT)
    packets = sent(made.set_sessions({}, 1.0))
    assert not list(made.sessions())
    assert list(made.paths()) == [DIRECT]
    assert made.set_sessions({}, 1.0) == ()
    while made.deadline is not None:
        packets += sent(made.wake(made.deadline))
    assert [packet.state for packet in packets] == [State.ADMIN_DOWN] * len(packets)
    assert 3 <= len(packets) <= 5
    assert not list(made.paths())
    assert made.receive_packet(encode(DOWN), FROM_B, 9.0) == ()


def test_what_is_wanted_again_before_its_end_goes_on() -> None:
    made = table(DIRECT)
    made.set_sessions({}, 1.0)
    (packet,) = sent(made.set_sessions({DIRECT: Terms()}, 1.5))
    assert packet.state is State.DOWN
    while (at := made.deadline) is not None and at < 10.0:
        made.wake(at)
    assert states(made) == {DIRECT: State.DOWN}


def test_only_sessions_that_are_due_are_woken() -> None:
    made = table(DIRECT)
    made.set_sessions({DIRECT: Terms(), FAR: Terms(is_passive=True), BOUND: Terms()}, 0.5)
    assert len(sent(made.wake(0.5))) == 1


@given(st.lists(st.tuples(st.binary(max_size=40), st.integers(0, 255)), max_size=20))
def test_no_datagram_raises(datagrams: list[tuple[bytes, int]]) -> None:
    made = Sessions(jitter=random.Random(1).random)
    made.set_sessions({DIRECT: Terms()}, 0.0)
    for octets, ttl in datagrams:
        made.receive_packet(octets, replace(FROM_B, ttl=ttl), 1.0)
    assert made.deadline is not None
