"""What we ask of a session, and whether an OPEN meets it."""

from __future__ import annotations

from dataclasses import fields, replace
from ipaddress import IPv4Address, IPv6Address

import pytest

from onehop.model.address import Family
from onehop.model.bgp import (
    AuthenticationOption,
    BFDProfile,
    BGPPeer,
    DynamicAsn,
    PeerDesired,
    Role,
)
from onehop.model.config import LabelSelector
from onehop.model.service import Key
from onehop.proto.bgp import capability, notification
from onehop.proto.bgp.capability import Capabilities, LongLived
from onehop.proto.bgp.constants import Cease
from onehop.proto.bgp.error import BgpError
from onehop.proto.bgp.message import Open
from onehop.proto.bgp.negotiated import Negotiated
from onehop.proto.bgp.notification import Notification
from onehop.proto.bgp.terms import (
    Local,
    Restart,
    affects_session,
    agreed,
    families,
    refusal,
    terms_of,
)
from tests.fakes.bgp_wire import desired, router, routes

FOUR, SIX = frozenset({Family.IPV4}), frozenset({Family.IPV6})
THEIRS = terms_of(router()).ours
VSIX = IPv6Address("2001:db8::fe")


def test_the_open_is_made_of_the_bgp_peer() -> None:
    """RFC 4271 4.2."""
    ours = terms_of(desired(hold_time=9.0, keepalive_time=2.5)).ours
    assert (ours.asn, ours.hold_time, ours.identifier) == (64600, 9, IPv4Address("192.0.2.1"))
    assert ours.capabilities == Capabilities(
        families=FOUR,
        asn=64600,
        route_refresh=True,
        enhanced_route_refresh=True,
        extended_message=True,
    )
    assert terms_of(desired(keepalive_time=2.5)).keepalive == 2.5
    assert terms_of(desired()).ours.hold_time == 90
    assert terms_of(desired(hold_time=0.0)).ours.hold_time == 0


def test_a_local_as_takes_the_place_of_our_own() -> None:
    terms = terms_of(desired(local_asn=65000))
    assert (terms.ours.asn, terms.ours.capabilities.asn) == (65000, 65000)
    assert terms.outbound(Negotiated(), Local()).asn == 65000


@pytest.mark.parametrize(
    ("peer", "expected"),
    [
        (desired().peer, FOUR),
        (desired(address=VSIX).peer, SIX),
        (desired(address=VSIX, dual_stack=True).peer, FOUR | SIX),
        (desired(address=None, link="eth1").peer, FOUR | SIX),
    ],
    ids=["IPv4", "IPv6", "dual stack", "unnumbered"],
)
def test_a_session_carries_its_own_family_unless_it_is_told_more(
    peer: BGPPeer, expected: frozenset[Family]
) -> None:
    """RFC 4760 8; both families come with IPv4 over IPv6 next hops (RFC 8950 4)."""
    assert families(peer) == expected
    wanted = PeerDesired(name="r", peer=peer, router_id=IPv4Address("192.0.2.1"))
    assert terms_of(wanted).ours.capabilities.extended_next_hop is (len(expected) == 2)


def test_graceful_restart_is_offered_only_where_it_is_configured() -> None:
    """RFC 4724 3, RFC 9494 3.1."""
    restart = Restart(is_restarting=True, forwarding=FOUR | SIX, restart_time=30)
    assert terms_of(desired(), restart=restart).ours.capabilities.graceful_restart is None
    wanted = desired(graceful_restart=True, stale_time=3600)
    told = terms_of(wanted, restart=restart).ours.capabilities
    assert told.graceful_restart is not None
    assert told.graceful_restart.restart_time == 30
    assert told.graceful_restart.families == told.graceful_restart.forwarding == FOUR
    assert told.long_lived == (LongLived(family=Family.IPV4, stale_time=3600, forwarding=True),)
    plain = terms_of(desired(graceful_restart=True)).ours.capabilities
    assert plain.graceful_restart is not None
    assert not plain.graceful_restart.restarting
    assert plain.graceful_restart.forwarding == frozenset()
    assert plain.long_lived == ()


@pytest.mark.parametrize(
    ("role", "internal", "expected"),
    [
        (Role.PROVIDER, False, True),
        (Role.PEER, False, True),
        (Role.ROUTE_SERVER, False, True),
        (Role.CUSTOMER, False, False),
        (Role.ROUTE_SERVER_CLIENT, False, False),
        (None, False, False),
        (Role.PEER, True, False),
    ],
)
def test_only_to_customer_goes_with_the_roles_that_ask_for_it(
    role: Role | None, internal: bool, expected: bool
) -> None:
    """RFC 9234 5."""
    local = Local(ipv4=IPv4Address("192.0.2.1"), ipv6=VSIX, link_local=IPv6Address("fe80::1"))
    outbound = terms_of(desired(role=role)).outbound(Negotiated(internal=internal), local)
    assert outbound.only_to_customer is expected
    assert (outbound.next_hop_ipv4, outbound.next_hop_ipv6) == (local.ipv4, local.ipv6)
    assert outbound.link_local == local.link_local


KEYS = AuthenticationOption(secret=Key("metallb-system", "ao"), send_id=1, receive_id=1)

# Each field of a BGPPeer with another value, and whether a session has to start anew for it.
EDITS: dict[str, tuple[object, bool]] = {
    "key": (Key("metallb-system", "other"), True),
    "my_asn": (64601, True),
    "peer_asn": (64513, True),
    "dynamic_asn": (DynamicAsn.EXTERNAL, True),
    "local_asn": (65000, True),
    "address": (IPv4Address("192.0.2.253"), True),
    "link": ("eth1", True),
    "source": (IPv4Address("192.0.2.7"), True),
    "port": (1179, True),
    "hold_time": (9.0, True),
    "keepalive_time": (3.0, False),
    "connect_time": (5.0, False),
    "router_id": (IPv4Address("192.0.2.9"), False),
    "node_selectors": ((LabelSelector(),), False),
    "password": ("secret", True),
    "password_secret": (Key("metallb-system", "bgp"), True),
    "bfd_profile": ("fast", False),
    "graceful_restart": (True, True),
    "ebgp_multihop": (True, True),
    "ttl_security": (True, True),
    "vrf": ("red", True),
    "dual_stack": (True, True),
    "role": (Role.CUSTOMER, True),
    "passive": (True, True),
    "authentication": (KEYS, True),
    "stale_time": (60, True),
}


@pytest.mark.parametrize("name", EDITS)
def test_an_edit_ends_a_session_only_when_the_session_is_about_it(name: str) -> None:
    value, expected = EDITS[name]
    old = desired(routes=routes(3))
    new = replace(old, peer=replace(old.peer, **{name: value}))  # type: ignore[arg-type]
    assert affects_session(old, new) is expected
    assert affects_session(new, new) is False


def test_every_field_of_a_bgp_peer_is_judged() -> None:
    assert set(EDITS) == {field.name for field in fields(BGPPeer)}


def test_the_router_id_in_force_is_what_counts() -> None:
    old = desired()
    assert affects_session(old, replace(old, router_id=IPv4Address("192.0.2.9")))


def test_routes_and_bfd_never_end_a_session() -> None:
    old = desired(routes=routes(3))
    profile = BFDProfile(key=Key("metallb-system", "fast"))
    assert not affects_session(old, replace(old, routes=routes(5), bfd=profile))
    assert not affects_session(old, replace(old, peer=replace(old.peer)))


def _theirs(asn: int) -> Open:
    return replace(THEIRS, asn=asn, capabilities=replace(THEIRS.capabilities, asn=asn))


@pytest.mark.parametrize(
    ("wanted", "asn", "why"),
    [
        ({}, 64512, ""),
        ({}, 64513, "the peer says 64513, its BGPPeer wants 64512"),
        ({"peer_asn": None, "dynamic_asn": DynamicAsn.INTERNAL}, 64600, ""),
        (
            {"peer_asn": None, "dynamic_asn": DynamicAsn.INTERNAL},
            64512,
            "the peer says 64512, its BGPPeer wants our own, 64600",
        ),
        ({"peer_asn": None, "dynamic_asn": DynamicAsn.EXTERNAL}, 64999, ""),
        (
            {"peer_asn": None, "dynamic_asn": DynamicAsn.EXTERNAL},
            64600,
            "the peer says 64600, its BGPPeer wants another than our own, 64600",
        ),
    ],
)
def test_the_peers_as_is_the_one_that_is_configured(
    wanted: dict[str, object], asn: int, why: str
) -> None:
    """RFC 4271 6.2 Bad Peer AS."""
    terms = terms_of(desired(**wanted))  # type: ignore[arg-type]
    if not why:
        assert agreed(terms, _theirs(asn)).internal is (asn == 64600)
        return
    with pytest.raises(BgpError, match=why) as caught:
        agreed(terms, _theirs(asn))
    assert (caught.value.code, caught.value.subcode) == (2, 2)
    assert caught.value.data == asn.to_bytes(2, "big")


def test_a_bad_as_of_four_octets_is_told_as_the_open_told_it() -> None:
    """RFC 6793 4.2.2."""
    with pytest.raises(BgpError) as caught:
        agreed(terms_of(desired()), _theirs(4_200_000_000))
    assert caught.value.data == (23456).to_bytes(2, "big")


def test_the_same_identifier_inside_an_as_is_refused() -> None:
    """RFC 6286 2.2; outside it is allowed."""
    inside = terms_of(desired(peer_asn=64600))
    with pytest.raises(
        BgpError, match=r"192\.0\.2\.1 is ours, and both are in AS 64600"
    ) as caught:
        agreed(inside, inside.ours)
    assert (caught.value.code, caught.value.subcode) == (2, 3)
    outside = replace(THEIRS, identifier=inside.ours.identifier)
    assert not agreed(terms_of(desired()), outside).internal


@pytest.mark.parametrize(
    ("theirs", "words"),
    [
        (SIX, "we offer IPv4, the peer IPv6"),
        (frozenset(), "we offer IPv4, the peer none of both"),
    ],
)
def test_no_family_in_common_is_told_with_ours(theirs: frozenset[Family], words: str) -> None:
    """RFC 5492 3: the data are the capabilities that we miss."""
    told = replace(THEIRS, capabilities=replace(THEIRS.capabilities, families=theirs))
    with pytest.raises(BgpError, match=words) as caught:
        agreed(terms_of(desired()), told)
    assert (caught.value.code, caught.value.subcode) == (2, 7)
    assert caught.value.data == capability.encode(Capabilities(families=FOUR))


def test_a_peer_without_the_multiprotocol_capability_speaks_ipv4() -> None:
    """RFC 4760 8."""
    plain = replace(THEIRS, capabilities=Capabilities(asn=64512))
    assert agreed(terms_of(desired()), plain).families == FOUR
    with pytest.raises(BgpError, match="we offer IPv6, the peer IPv4"):
        agreed(terms_of(desired(address=VSIX)), plain)


OURS = terms_of(desired(role=Role.CUSTOMER)).ours


@pytest.mark.parametrize(
    ("told", "words"),
    [
        (Notification(code=2, subcode=1), "Unsupported Version Number (we speak version 4)"),
        (Notification(code=2, subcode=2), "Bad Peer AS (our AS is 64600, it wants another)"),
        (Notification(code=2, subcode=3), "Bad BGP Identifier (our router ID is 192.0.2.1)"),
        (Notification(code=2, subcode=6), "Unacceptable Hold Time (our hold time is 90 s)"),
        (
            Notification(code=2, subcode=7, data=b"\1\4\0\2\0\1\x45\0\xc8"),
            "Unsupported Capability (it wants MULTIPROTOCOL, ADD_PATH)",
        ),
        (Notification(code=2, subcode=7, data=b"\xc8\0"), "Capability (it wants 200)"),
        (Notification(code=2, subcode=7), "(it wants capabilities that it does not name)"),
        (Notification(code=2, subcode=11), "Role Mismatch (our role is customer)"),
        (Notification(code=2, subcode=5), "OPEN Message Error: Authentication Failure"),
        (Notification(code=2, subcode=0), "the peer ended it: OPEN Message Error"),
        (
            notification.cease(Cease.ADMINISTRATIVE_SHUTDOWN, "ticket 42"),
            'Cease: Administrative Shutdown, "ticket 42"',
        ),
    ],
)
def test_a_refusal_says_which_side_wanted_what(told: Notification, words: str) -> None:
    assert refusal(told, OURS).endswith(words)


def test_a_mismatch_of_roles_without_one_of_ours_says_so() -> None:
    """RFC 9234 4.2."""
    told = Notification(code=2, subcode=11)
    assert refusal(told, THEIRS).endswith("(our role is none)")
