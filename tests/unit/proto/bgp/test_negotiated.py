"""What two OPENs agree on."""

from __future__ import annotations

from dataclasses import replace
from ipaddress import IPv4Address

import pytest
from hypothesis import given

from onehop.model.address import Family
from onehop.model.bgp import Role
from onehop.proto.bgp.capability import Capabilities, GracefulRestart, LongLived
from onehop.proto.bgp.error import BgpError
from onehop.proto.bgp.message import Open
from onehop.proto.bgp.negotiated import Negotiated, negotiated
from tests.unit.proto.bgp.test_capability import capabilities

OURS = Open(asn=64512, hold_time=90, identifier=IPv4Address("192.0.2.1"))
THEIRS = Open(asn=64513, hold_time=180, identifier=IPv4Address("192.0.2.2"))
V4, V6 = Family.IPV4, Family.IPV6
RESTART = GracefulRestart(restart_time=120)
NOTIFYING = GracefulRestart(restart_time=60, notification=True)
LONG = (LongLived(family=V4, stale_time=60),)
PAIRS = {
    (Role.PROVIDER, Role.CUSTOMER),
    (Role.CUSTOMER, Role.PROVIDER),
    (Role.ROUTE_SERVER, Role.ROUTE_SERVER_CLIENT),
    (Role.ROUTE_SERVER_CLIENT, Role.ROUTE_SERVER),
    (Role.PEER, Role.PEER),
}


def agreed(we: Capabilities, they: Capabilities) -> Negotiated:
    return negotiated(replace(OURS, capabilities=we), replace(THEIRS, capabilities=they))


def test_two_plain_speakers_agree_on_what_rfc_4271_has() -> None:
    assert negotiated(OURS, THEIRS) == Negotiated(hold_time=90)


@pytest.mark.parametrize(
    ("ours", "theirs", "smaller"), [(90, 180, 90), (9, 3, 3), (0, 90, 0), (90, 0, 0)]
)
def test_the_smaller_hold_time_holds(ours: int, theirs: int, smaller: int) -> None:
    one, other = replace(OURS, hold_time=ours), replace(THEIRS, hold_time=theirs)
    assert negotiated(one, other).hold_time == smaller


def test_a_peer_of_our_own_as_is_internal() -> None:
    assert negotiated(OURS, replace(THEIRS, asn=64512)).internal
    assert not negotiated(OURS, THEIRS).internal


@pytest.mark.parametrize(
    ("ours", "theirs", "both"),
    [
        (None, None, {V4}),
        ({V4, V6}, None, {V4}),
        (None, {V6}, set()),
        ({V4, V6}, {V6}, {V6}),
        ({V4, V6}, {V4, V6}, {V4, V6}),
        ({V4}, set(), set()),
    ],
)
def test_families_are_those_of_both(
    ours: set[Family] | None, theirs: set[Family] | None, both: set[Family]
) -> None:
    """Without a multiprotocol capability a speaker has IPv4 (RFC 4760 8)."""
    we, they = (
        Capabilities(families=None if told is None else frozenset(told)) for told in (ours, theirs)
    )
    assert agreed(we, they).families == both


@pytest.mark.parametrize(
    "name",
    ["extended_next_hop", "route_refresh", "enhanced_route_refresh"],
)
def test_a_thing_is_used_when_both_can(name: str) -> None:
    can, cannot = replace(Capabilities(), **{name: True}), Capabilities()
    assert getattr(agreed(can, can), name)
    assert not getattr(agreed(can, cannot), name)
    assert not getattr(agreed(cannot, can), name)


def test_as_numbers_take_four_octets_when_both_can() -> None:
    can, cannot = Capabilities(asn=64512), Capabilities()
    assert agreed(can, can).four_octet
    assert not agreed(can, cannot).four_octet
    assert not agreed(cannot, can).four_octet


def test_messages_grow_when_both_can() -> None:
    can, cannot = Capabilities(extended_message=True), Capabilities()
    assert agreed(can, can).max_length == 65535
    assert agreed(can, cannot).max_length == agreed(cannot, can).max_length == 4096


def test_the_peer_s_restart_counts_when_we_offer_it_too() -> None:
    ours, theirs = Capabilities(graceful_restart=RESTART), Capabilities(graceful_restart=NOTIFYING)
    assert agreed(ours, theirs).graceful_restart == NOTIFYING
    assert agreed(Capabilities(), theirs).graceful_restart is None
    assert agreed(ours, Capabilities()).graceful_restart is None


def test_a_hard_reset_has_a_meaning_when_both_keep_routes_over_a_notification() -> None:
    """RFC 8538 2."""
    plain, noting = (Capabilities(graceful_restart=told) for told in (RESTART, NOTIFYING))
    assert agreed(noting, noting).hard_reset
    assert not agreed(plain, noting).hard_reset
    assert not agreed(noting, plain).hard_reset
    assert not agreed(noting, Capabilities()).hard_reset
    assert not agreed(Capabilities(), noting).hard_reset


def test_long_lived_stale_routes_need_graceful_restart() -> None:
    """RFC 9494 3.1: without the other capability this one is ignored."""
    both = Capabilities(graceful_restart=RESTART, long_lived=LONG)
    assert agreed(both, both).long_lived == LONG
    assert agreed(both, Capabilities(long_lived=LONG)).long_lived == ()
    assert agreed(Capabilities(graceful_restart=RESTART), both).long_lived == ()


@pytest.mark.parametrize("ours", Role)
@pytest.mark.parametrize("theirs", Role)
def test_roles_must_go_together(ours: Role, theirs: Role) -> None:
    """RFC 9234 4.2, its table."""
    we, they = Capabilities(role=ours), Capabilities(role=theirs)
    if (ours, theirs) in PAIRS:
        assert agreed(we, they)
        return
    with pytest.raises(BgpError) as caught:
        agreed(we, they)
    assert (caught.value.code, caught.value.subcode) == (2, 11)
    assert ours.name.lower() in str(caught.value)
    assert theirs.name.lower() in str(caught.value)


def test_a_role_nobody_assigned_goes_with_none() -> None:
    strange = Capabilities(unknown=(9,))
    with pytest.raises(BgpError, match="nobody assigned"):
        agreed(Capabilities(role=Role.PEER), strange)
    assert agreed(Capabilities(), strange)


@pytest.mark.parametrize("role", Role)
def test_one_role_alone_is_no_mismatch(role: Role) -> None:
    assert agreed(Capabilities(role=role), Capabilities(unknown=(73,)))
    assert agreed(Capabilities(), Capabilities(role=role))


@given(capabilities, capabilities)
def test_both_sides_agree_on_the_same(one: Capabilities, other: Capabilities) -> None:
    try:
        here, there = agreed(one, other), agreed(other, one)
    except BgpError:
        with pytest.raises(BgpError):
            agreed(other, one)
        return
    told = {"graceful_restart": None, "long_lived": ()}
    assert replace(here, **told) == replace(there, **told)
