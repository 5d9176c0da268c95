"""A peer's UPDATE: counted, and every fault of RFC 7606 dealt with as it says."""

from __future__ import annotations

import time
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from onehop.model.address import Family
from onehop.proto.bgp.constants import AttributeType as A
from onehop.proto.bgp.constants import UpdateError
from onehop.proto.bgp.error import Action, BgpError, Fault
from onehop.proto.bgp.negotiated import Negotiated
from onehop.proto.bgp.received import Update, decode
from onehop.proto.machine import DecodeError

BOTH = frozenset(Family)
NEW = Negotiated(families=BOTH, four_octet=True)
INSIDE = replace(NEW, internal=True)
OVER_V6 = replace(NEW, extended_next_hop=True)
V4_ALONE = Negotiated(four_octet=True)
DISCARD, WITHDRAW = Action.ATTRIBUTE_DISCARD, Action.TREAT_AS_WITHDRAW

ORIGIN, PATH, HOP = "40010100", "400206 0201 0000fde9", "400304 c0000201"
GOOD = ORIGIN + PATH + HOP
NLRI, TWO = "18 c00002", "18 c00002 20 c6336409"
V6_HOP = "20010db8" + "00" * 11 + "01"
V6_NLRI = "20 20010db8"
REACH = "800e1a 0002 01 10" + V6_HOP + "00" + V6_NLRI
UNREACH = "800f08 0002 01" + V6_NLRI


def update(attributes: str = "", nlri: str = "", withdrawn: str = "") -> bytes:
    gone, parts, ours = (bytes.fromhex(text) for text in (withdrawn, attributes, nlri))
    lengths = (len(part).to_bytes(2, "big") for part in (gone, parts))
    return b"".join((next(lengths), gone, next(lengths), parts, ours))


def reset(body: bytes, agreed: Negotiated = NEW) -> BgpError:
    with pytest.raises(BgpError) as caught:
        decode(body, agreed)
    assert caught.value.code == 3
    return caught.value


COUNTED = {
    "one": (update(GOOD, NLRI), NEW, Update(announced=1)),
    "two": (update(GOOD, TWO), NEW, Update(announced=2)),
    "the default route": (update(GOOD, "00"), NEW, Update(announced=1)),
    "bits behind a prefix": (update(GOOD, "01 ff"), NEW, Update(announced=1)),
    "withdrawn": (update(withdrawn=TWO), NEW, Update(withdrawn=2)),
    "both": (update(GOOD, NLRI, withdrawn=TWO), NEW, Update(announced=1, withdrawn=2)),
    "IPv6": (update(REACH + ORIGIN + PATH), NEW, Update(announced=1)),
    "IPv6 withdrawn": (update(UNREACH), NEW, Update(withdrawn=1)),
    "IPv6 both": (
        update(REACH + ORIGIN + PATH + UNREACH),
        NEW,
        Update(announced=1, withdrawn=1),
    ),
    "both families": (update(REACH + GOOD, TWO), NEW, Update(announced=3)),
    "IPv6 last": (update(ORIGIN + PATH + REACH), NEW, Update(announced=1)),
    "IPv6 with link-local": (
        update("800e2a 0002 01 20" + V6_HOP * 2 + "00" + V6_NLRI + ORIGIN + PATH),
        NEW,
        Update(announced=1),
    ),
    "IPv4 in the multiprotocol attribute": (
        update("800e0d 0001 01 04 c0000201 00" + NLRI + ORIGIN + PATH),
        NEW,
        Update(announced=1),
    ),
    "IPv4 over IPv6": (
        update("800e19 0001 01 10" + V6_HOP + "00" + NLRI + ORIGIN + PATH),
        OVER_V6,
        Update(announced=1),
    ),
    "IPv4 over IPv6 with link-local": (
        update("800e29 0001 01 20" + V6_HOP * 2 + "00" + NLRI + ORIGIN + PATH),
        OVER_V6,
        Update(announced=1),
    ),
    "a reserved octet is ignored": (
        update("800e1a 0002 01 10" + V6_HOP + "ff" + V6_NLRI + ORIGIN + PATH),
        NEW,
        Update(announced=1),
    ),
    "a length of two octets": (
        update("5001000100" + PATH + HOP, NLRI),
        NEW,
        Update(announced=1),
    ),
    "a value of more than 255 octets": (
        update(ORIGIN + "d0080104" + "00000001" * 65 + PATH + HOP, NLRI),
        NEW,
        Update(announced=1),
    ),
    "the partial bit": (update(GOOD + "e00804 00000001", NLRI), NEW, Update(announced=1)),
    "the unused flags": (update("4f010100" + PATH + HOP, NLRI), NEW, Update(announced=1)),
    "unknown and optional": (update(GOOD + "c0fe03 010203", NLRI), NEW, Update(announced=1)),
    "unknown and empty": (update(GOOD + "80fe00", NLRI), NEW, Update(announced=1)),
    "from inside": (
        update(ORIGIN + "400200" + HOP + "400504 00000064 800904 01010101", NLRI),
        INSIDE,
        Update(announced=1),
    ),
    "nothing, IPv4": (update(), NEW, Update(end_of_rib=Family.IPV4)),
    "nothing, IPv6": (update("800f03 0002 01"), NEW, Update(end_of_rib=Family.IPV6)),
    "nothing, IPv4 long": (update("900f0003 0001 01"), NEW, Update(end_of_rib=Family.IPV4)),
    "attributes without routes": (update(ORIGIN), NEW, Update()),
    "an empty list of IPv6 beside IPv4": (
        update("800f03 0002 01" + GOOD, NLRI),
        NEW,
        Update(announced=1),
    ),
    "an empty list of IPv6 and IPv4 gone": (
        update("800f03 0002 01", withdrawn=NLRI),
        NEW,
        Update(withdrawn=1),
    ),
}


@pytest.mark.parametrize(("body", "agreed", "expected"), COUNTED.values(), ids=COUNTED)
def test_a_good_update_is_counted(body: bytes, agreed: Negotiated, expected: Update) -> None:
    assert decode(body, agreed) == expected


SURVIVED = {
    # RFC 7606 3 c
    "flags of ORIGIN": (update("c0010100" + PATH + HOP, NLRI), NEW, [(A.ORIGIN, WITHDRAW)]),
    "flags of MED": (update(GOOD + "c00404 00000000", NLRI), NEW, [(4, WITHDRAW)]),
    "flags of communities": (update(GOOD + "800804 00000000", NLRI), NEW, [(8, WITHDRAW)]),
    "flags of MP_REACH": (
        update("c0" + REACH[2:] + ORIGIN + PATH),
        NEW,
        [(A.MP_REACH_NLRI, WITHDRAW)],
    ),
    "flags of MP_UNREACH": (update("c0" + UNREACH[2:]), NEW, [(A.MP_UNREACH_NLRI, WITHDRAW)]),
    "flags and value": (
        update("c0010103" + PATH + HOP, NLRI),
        NEW,
        [(A.ORIGIN, WITHDRAW), (A.ORIGIN, WITHDRAW)],
    ),
    # RFC 7606 3 d
    "no ORIGIN": (update(PATH + HOP, NLRI), NEW, [(0, WITHDRAW)]),
    "no AS_PATH": (update(ORIGIN + HOP, NLRI), NEW, [(0, WITHDRAW)]),
    "no NEXT_HOP": (update(ORIGIN + PATH, NLRI), NEW, [(0, WITHDRAW)]),
    "no attributes": (update("", NLRI), NEW, [(0, WITHDRAW)]),
    "IPv6 without AS_PATH": (update(REACH + ORIGIN), NEW, [(0, WITHDRAW)]),
    # RFC 7606 3 e, f: the values of each stand in test_rules
    "a bad ORIGIN": (update("40010103" + PATH + HOP, NLRI), NEW, [(1, WITHDRAW)]),
    "a bad aggregator": (update(GOOD + "c00701 00", NLRI), NEW, [(7, DISCARD)]),
    # RFC 7606 3 g
    "ORIGIN twice": (update(GOOD + "40010103", NLRI), NEW, [(1, DISCARD)]),
    "ORIGIN four times": (update(GOOD + ORIGIN * 3, NLRI), NEW, [(1, DISCARD)]),
    "unknown twice": (update(GOOD + "c0fe00" * 2, NLRI), NEW, [(254, DISCARD)]),
    # RFC 7606 3 h
    "two actions": (
        update(GOOD + "c00701 00 c00803 000000", NLRI),
        NEW,
        [(7, DISCARD), (8, WITHDRAW)],
    ),
    # RFC 7606 4
    "one octet left over": (update(GOOD + "40", NLRI), NEW, [(0, WITHDRAW)]),
    "two octets left over": (update(GOOD + "4006", NLRI), NEW, [(0, WITHDRAW)]),
    "a long head cut short": (update(GOOD + "500600", NLRI), NEW, [(0, WITHDRAW)]),
    "a value too long": (update(GOOD + "c00805 00000000", NLRI), NEW, [(8, WITHDRAW)]),
    "a long value too long": (update(GOOD + "d0080100 00", NLRI), NEW, [(8, WITHDRAW)]),
    # RFC 7606 7.5, 7.9, 7.10
    "LOCAL_PREF from outside": (update(GOOD + "400504 00000064", NLRI), NEW, [(5, DISCARD)]),
    "a bad LOCAL_PREF from outside": (update(GOOD + "c00501 64", NLRI), NEW, [(5, DISCARD)]),
    "ORIGINATOR_ID from outside": (update(GOOD + "800904 01010101", NLRI), NEW, [(9, DISCARD)]),
    "CLUSTER_LIST from outside": (update(GOOD + "800a04 01010101", NLRI), NEW, [(10, DISCARD)]),
    "a bad LOCAL_PREF from inside": (update(GOOD + "400501 64", NLRI), INSIDE, [(5, WITHDRAW)]),
    # RFC 4760 6: a family nobody agreed on
    "IPv6 not agreed on": (update(REACH + ORIGIN + PATH), V4_ALONE, [(14, DISCARD)]),
    "IPv6 withdrawn, not agreed on": (update(UNREACH), V4_ALONE, [(15, DISCARD)]),
    "VPN routes": (update("800e0d 0001 80 04 c0000201 00 01020304"), NEW, [(14, DISCARD)]),
    "a fault beside routes of an unknown family": (
        update("800e0d 0001 80 04 c0000201 00 01020304 40010103"),
        NEW,
        [(14, DISCARD), (1, WITHDRAW)],
    ),
}


@pytest.mark.parametrize(("body", "agreed", "faults"), SURVIVED.values(), ids=SURVIVED)
def test_a_fault_that_leaves_the_routes_clear_does_not_end_the_session(
    body: bytes, agreed: Negotiated, faults: list[tuple[int, Action]]
) -> None:
    found = decode(body, agreed)
    assert [(fault.attribute, fault.action) for fault in found.faults] == faults
    assert all(fault.why for fault in found.faults)
    assert found.end_of_rib is None
    if any(action is WITHDRAW for _, action in faults):
        assert found.announced == 0, "treated as withdrawn"


def test_routes_of_a_faulty_update_count_as_withdrawn() -> None:
    """RFC 7606 2, treat-as-withdraw."""
    body = update(REACH + "40010103" + PATH + HOP, TWO, withdrawn=NLRI)
    (fault,) = decode(body, NEW).faults
    assert decode(body, NEW) == Update(withdrawn=4, faults=(fault,))
    assert fault == Fault(attribute=1, action=WITHDRAW, why="3 is no origin")


def test_routes_of_an_update_with_a_discarded_attribute_count_as_advertised() -> None:
    found = decode(update(GOOD + "c00701 00", TWO), NEW)
    assert (found.announced, found.withdrawn) == (2, 0)


def test_a_missing_attribute_is_named() -> None:
    (fault,) = decode(update("", NLRI), NEW).faults
    assert fault.why == "ORIGIN and AS_PATH and NEXT_HOP missing"


RESET = {
    # RFC 7606 3 b and RFC 4271 6.3
    "no lengths": (b"", 1),
    "one length": (b"\0\0", 1),
    "half a length": (b"\0\0\0", 1),
    "withdrawn too long": (bytes.fromhex("0005 0000"), 1),
    "attributes too long": (bytes.fromhex("0000 0001"), 1),
    "the two do not fit": (bytes.fromhex("0002 0000 0001"), 1),
    "withdrawn up to the end": (bytes.fromhex("0002 0000"), 1),
    # RFC 7606 3 g
    "MP_REACH twice": (update(REACH + REACH + ORIGIN + PATH), 1),
    "MP_UNREACH twice": (update(UNREACH * 2), 1),
    # RFC 7606 3 j, 5.3
    "NLRI of 33 bits": (update(GOOD, "21 c000020100"), 10),
    "NLRI cut short": (update(GOOD, "18 c000"), 10),
    "NLRI, the second cut short": (update(GOOD, NLRI + "20"), 10),
    "withdrawn of 33 bits": (update(withdrawn="21 c000020100"), 10),
    "withdrawn cut short": (update(withdrawn="18 c000"), 10),
    "IPv6 of 129 bits": (update("800e27 0002 01 10" + V6_HOP + "00 81" + "00" * 17), 9),
    "IPv6 cut short": (update("800e19 0002 01 10" + V6_HOP + "00 20 20010d"), 9),
    "IPv6 withdrawn of 129 bits": (update("800f15 0002 01 81" + "00" * 17), 9),
    "IPv6 withdrawn cut short": (update("800f05 0002 01 20 20"), 9),
    "IPv4 of 33 bits": (update("800e0f 0001 01 04 c0000201 00 21 c000020100"), 9),
    # RFC 7606 7.11, 7.12
    "MP_REACH of 0": (update("800e00"), 9),
    "MP_REACH of 4": (update("800e04 0002 01 00"), 9),
    "MP_REACH, next hop cut short": (update("800e0a 0002 01 10 20010db80000"), 9),
    "MP_REACH without the reserved octet": (update("800e14 0002 01 10" + V6_HOP), 9),
    "next hop of 4 for IPv6": (update("800e0d 0002 01 04 c0000201 00 18 200100"), 9),
    "next hop of 0 for IPv6": (update("800e05 0002 01 00 00"), 9),
    "next hop of 24 for IPv6": (update("800e1d 0002 01 18" + "00" * 25), 9),
    "IPv6 next hop, not agreed on": (update("800e15 0001 01 10" + V6_HOP + "00"), 9),
    "MP_UNREACH of 0": (update("800f00"), 9),
    "MP_UNREACH of 2": (update("800f02 0002"), 9),
    # RFC 7606 5.2
    "a fault and no routes": (update("40010103"), 1),
    "a fault and withdrawn routes": (update("40010103", withdrawn=NLRI), 1),
    "a fault and an empty MP_REACH": (
        update("800e15 0002 01 10" + V6_HOP + "00 40010103"),
        1,
    ),
    "a fault beside MP_UNREACH": (update(UNREACH + "40010103"), 1),
    "MP_UNREACH and an octet": (update(UNREACH + "40"), 1),
    "wrong flags of MP_UNREACH and an octet": (update("c0" + UNREACH[2:] + "40"), 1),
    "MP_REACH longer than all": (update(ORIGIN + "800eff 0002 01 10"), 1),
    # RFC 4271 6.3
    "unknown and well-known": (update(GOOD + "40fe00", NLRI), 2),
}


@pytest.mark.parametrize(("body", "subcode"), RESET.values(), ids=RESET)
def test_what_leaves_the_routes_unclear_ends_the_session(body: bytes, subcode: int) -> None:
    error = reset(body)
    assert error.subcode == subcode
    assert 19 <= error.offset <= 19 + len(body)


def test_the_attribute_at_fault_goes_with_the_notification() -> None:
    """RFC 4271 6.3: type, length and value, with the flags."""
    assert reset(update(GOOD + "40fe02 0102", NLRI)).data == bytes.fromhex("40fe020102")
    error = reset(update(ORIGIN + "800f02 0002"))
    assert (error.data.hex(), error.field) == ("800f020002", "MP_UNREACH_NLRI")
    assert error.offset == 19 + 4 + 4
    assert error.subcode == UpdateError.OPTIONAL_ATTRIBUTE_ERROR


AGREED = st.sampled_from([NEW, INSIDE, OVER_V6, V4_ALONE, Negotiated(), Negotiated(internal=True)])
parts = st.lists(
    st.sampled_from([ORIGIN, PATH, HOP, REACH, UNREACH, "c00804 00000000", "c0fe00"])
    | st.binary(max_size=6).map(bytes.hex),
    max_size=6,
).map("".join)
fields = st.sampled_from(["", NLRI, TWO]) | st.binary(max_size=8).map(bytes.hex)


@given(st.binary(max_size=80), AGREED)
def test_any_body_is_counted_or_refused(body: bytes, agreed: Negotiated) -> None:
    judge(body, agreed)


@given(parts, fields, fields, AGREED)
def test_any_mixture_of_parts_is_counted_or_refused(
    attributes: str, nlri: str, withdrawn: str, agreed: Negotiated
) -> None:
    judge(update(attributes, nlri, withdrawn), agreed)


@given(st.integers(0, 60), st.binary(min_size=1, max_size=3), AGREED)
def test_a_damaged_update_is_counted_or_refused(
    at: int, damage: bytes, agreed: Negotiated
) -> None:
    good = update(REACH + GOOD + "c00808 0000000100000002", TWO, NLRI)
    judge(good[:at] + damage + good[at + len(damage) :], agreed)


def judge(body: bytes, agreed: Negotiated) -> None:
    try:
        found = decode(body, agreed)
    except DecodeError as error:
        found = Update()
        is_reset = isinstance(error, BgpError)
    else:
        is_reset = False
    assert found.announced + found.withdrawn <= len(body)
    grave = [fault for fault in found.faults if fault.action is WITHDRAW]
    assert not (grave and found.announced)
    assert is_reset or decode(body, agreed) == found


@pytest.mark.parametrize(
    ("piece", "faults"),
    [("c0fe00", 1), ("40010100", 1)],
    ids=["unknown", "ORIGIN"],
)
def test_a_message_full_of_one_attribute_is_told_once(piece: str, faults: int) -> None:
    found = decode(update(GOOD + piece * 16000, NLRI), NEW)
    assert len(found.faults) == faults


def test_an_update_is_read_at_once() -> None:
    """The budget is 10 us; the bound here leaves room for a busy machine."""
    body = update(GOOD + "800404 00000003 c00808 0000000100000002", NLRI)
    times = []
    for _ in range(20):
        start = time.perf_counter()
        for _ in range(50):
            decode(body, NEW)
        times.append((time.perf_counter() - start) / 50)
    assert min(times) < 50e-6
