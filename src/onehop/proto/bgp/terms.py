"""What we ask of a session, from what is configured; and whether a peer's OPEN meets it.

RFC 4271 6.2, RFC 5492 3, RFC 6286 2.2. Two configurations that make different terms need two
sessions; `affects_session` tells which edits those are.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from ipaddress import IPv4Address, IPv6Address

from onehop.model.address import Family, family_of
from onehop.model.bgp import BGPPeer, DynamicAsn, PeerDesired, Role
from onehop.proto.bgp import capability
from onehop.proto.bgp.attribute import Outbound
from onehop.proto.bgp.capability import Capabilities, GracefulRestart, LongLived
from onehop.proto.bgp.constants import AS_TRANS, HEADER_LENGTH, CapabilityCode, Code, OpenError
from onehop.proto.bgp.error import BgpError
from onehop.proto.bgp.message import Open
from onehop.proto.bgp.negotiated import Negotiated, negotiated
from onehop.proto.bgp.notification import Notification

DEFAULT_HOLD_TIME = 90  # RFC 4271 10
RESTART_TIME = 120  # seconds, as FRR and BIRD have it
_BOTH = frozenset(Family)


@dataclass(frozen=True, slots=True, kw_only=True)
class Restart:
    """What graceful restart (RFC 4724 3) may say of us now.

    `is_restarting`: this process took over from one that held the session. `forwarding`: the
    families whose datapath is known to work as the routes last advertised say.
    """

    is_restarting: bool = False
    forwarding: frozenset[Family] = frozenset()
    restart_time: int = RESTART_TIME


@dataclass(frozen=True, slots=True, kw_only=True)
class Local:
    """Our own addresses on a connection, None where there is none: the next hops of our routes.

    `link_local` only when the peer is on the same link (RFC 2545 3).
    """

    ipv4: IPv4Address | None = None
    ipv6: IPv6Address | None = None
    link_local: IPv6Address | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Terms:
    """Our OPEN, and the AS that we expect; `keepalive` in seconds, None for a third of hold."""

    ours: Open
    peer_asn: int | None = None
    dynamic: DynamicAsn | None = None
    keepalive: float | None = None

    def outbound(self, agreed: Negotiated, local: Local) -> Outbound:
        """What all our UPDATEs have in common."""
        gives = (Role.PROVIDER, Role.PEER, Role.ROUTE_SERVER)  # RFC 9234 5
        return Outbound(
            asn=self.ours.asn,
            negotiated=agreed,
            next_hop_ipv4=local.ipv4,
            next_hop_ipv6=local.ipv6,
            link_local=local.link_local,
            only_to_customer=self.ours.capabilities.role in gives and not agreed.internal,
        )


def terms_of(desired: PeerDesired, *, restart: Restart | None = None) -> Terms:
    """The terms of one peer's sessions."""
    peer = desired.peer
    offered = families(peer)
    hold_time = DEFAULT_HOLD_TIME if peer.hold_time is None else int(peer.hold_time)
    asn = peer.local_asn or peer.my_asn
    restart = restart or Restart()
    capabilities = Capabilities(
        families=offered,
        asn=asn,
        route_refresh=True,
        enhanced_route_refresh=True,
        extended_message=True,
        extended_next_hop=offered == _BOTH,
        role=peer.role,
    )
    if peer.graceful_restart:
        capabilities = _restartable(capabilities, offered, restart, peer.stale_time)
    return Terms(
        ours=Open(
            asn=asn,
            hold_time=hold_time,
            identifier=desired.router_id,
            capabilities=capabilities,
        ),
        peer_asn=peer.peer_asn,
        dynamic=peer.dynamic_asn,
        keepalive=peer.keepalive_time,
    )


def _restartable(
    capabilities: Capabilities, offered: frozenset[Family], restart: Restart, stale_time: int
) -> Capabilities:
    """RFC 4724 3, RFC 8538 2, RFC 9494 3.1."""
    kept = offered & restart.forwarding
    long_lived = tuple(
        LongLived(family=family, stale_time=stale_time, forwarding=family in kept)
        for family in Family
        if family in offered and stale_time
    )
    graceful = GracefulRestart(
        restart_time=restart.restart_time,
        restarting=restart.is_restarting,
        notification=True,
        families=offered,
        forwarding=kept,
    )
    return replace(capabilities, graceful_restart=graceful, long_lived=long_lived)


def families(peer: BGPPeer) -> frozenset[Family]:
    """What a session carries: its own family, or both when it is told to or has no numbers."""
    if peer.dual_stack or peer.address is None:
        return _BOTH
    return frozenset({family_of(peer.address)})


def affects_session(old: PeerDesired, new: PeerDesired) -> bool:
    """Whether a session made for `old` cannot serve `new`."""
    if old.peer is new.peer and old.router_id == new.router_id:
        return False
    return _essence(old) != _essence(new)


def _essence(desired: PeerDesired) -> tuple[BGPPeer, IPv4Address]:
    """All but what a session is not about: timers that are our own, BFD, selectors.

    The router ID is the one in force, wherever it comes from.
    """
    peer = replace(
        desired.peer,
        router_id=None,
        keepalive_time=None,
        connect_time=None,
        bfd_profile="",
        node_selectors=(),
    )
    return peer, desired.router_id


def agreed(terms: Terms, theirs: Open) -> Negotiated:
    """What a session with this peer is like.

    Raises:
        BgpError: when the peer's OPEN is not what we asked for.
    """
    _check_asn(terms, theirs)
    ours = terms.ours
    if ours.asn == theirs.asn and ours.identifier == theirs.identifier:
        why = f"{theirs.identifier} is ours, and both are in AS {ours.asn}"
        raise _refused(OpenError.BAD_BGP_IDENTIFIER, "BGP identifier", 5, why)
    outcome = negotiated(ours, theirs)
    if not outcome.families:
        raise _no_common_family(ours, theirs)
    return outcome


def _check_asn(terms: Terms, theirs: Open) -> None:
    ours = terms.ours.asn
    if terms.dynamic is DynamicAsn.INTERNAL:
        wanted, is_right = f"our own, {ours}", theirs.asn == ours
    elif terms.dynamic is DynamicAsn.EXTERNAL:
        wanted, is_right = f"another than our own, {ours}", theirs.asn != ours
    else:
        wanted, is_right = f"{terms.peer_asn}", theirs.asn == terms.peer_asn
    if not is_right:
        why = f"the peer says {theirs.asn}, its BGPPeer wants {wanted}"
        data = (theirs.asn if theirs.asn <= 0xFFFF else AS_TRANS).to_bytes(2, "big")
        raise _refused(OpenError.BAD_PEER_AS, "my AS", 1, why, data)


def _no_common_family(ours: Open, theirs: Open) -> BgpError:
    told = theirs.capabilities.families
    we = _names(ours.capabilities.families or frozenset())
    they = "IPv4" if told is None else _names(told)
    why = f"we offer {we}, the peer {they}"
    data = capability.encode(Capabilities(families=ours.capabilities.families))
    return _refused(OpenError.UNSUPPORTED_CAPABILITY, "capability MULTIPROTOCOL", 10, why, data)


def _names(families: frozenset[Family]) -> str:
    return " and ".join(family.value for family in Family if family in families) or "none of both"


def _refused(subcode: OpenError, field: str, at: int, why: str, data: bytes = b"") -> BgpError:
    return BgpError(Code.OPEN, subcode, field=field, offset=HEADER_LENGTH + at, why=why, data=data)


def refusal(told: Notification, ours: Open) -> str:
    """Why a peer has ended the session, with what we had said where that is the cause."""
    cause = told.cause
    said = ""
    if cause.code == Code.OPEN:
        said = _what_we_said(cause, ours)
    return f"the peer ended it: {told}{said and f' ({said})'}"


def _what_we_said(cause: Notification, ours: Open) -> str:
    role = ours.capabilities.role
    told = {
        OpenError.UNSUPPORTED_VERSION: "we speak version 4",
        OpenError.BAD_PEER_AS: f"our AS is {ours.asn}, it wants another",
        OpenError.BAD_BGP_IDENTIFIER: f"our router ID is {ours.identifier}",
        OpenError.UNACCEPTABLE_HOLD_TIME: f"our hold time is {ours.hold_time} s",
        OpenError.UNSUPPORTED_CAPABILITY: f"it wants {_capabilities(cause.data)}",
        OpenError.ROLE_MISMATCH: f"our role is {role.name.lower() if role else 'none'}",
    }
    return told.get(OpenError(cause.subcode), "") if cause.subcode in _SUBCODES else ""


def _capabilities(data: bytes) -> str:
    """RFC 5492 5: the data are the capabilities that the peer misses."""
    names = []
    at = 0
    while at + 1 < len(data):
        known = data[at] in _CAPABILITIES
        names.append(CapabilityCode(data[at]).name if known else str(data[at]))
        at += 2 + data[at + 1]
    return ", ".join(names) or "capabilities that it does not name"


_SUBCODES = frozenset(map(int, OpenError))
_CAPABILITIES = frozenset(map(int, CapabilityCode))
