"""What two OPENs agree on (RFC 5492 3, RFC 9234 4.2)."""

from __future__ import annotations

from dataclasses import dataclass

from onehop.model.address import Family
from onehop.model.bgp import Role
from onehop.proto.bgp.capability import Capabilities, GracefulRestart, LongLived
from onehop.proto.bgp.constants import (
    MAX_EXTENDED_LENGTH,
    MAX_LENGTH,
    CapabilityCode,
    Code,
    OpenError,
)
from onehop.proto.bgp.error import BgpError
from onehop.proto.bgp.message import Open

_IPV4_ALONE = frozenset({Family.IPV4})
_PARTNER = {
    Role.PROVIDER: Role.CUSTOMER,
    Role.CUSTOMER: Role.PROVIDER,
    Role.ROUTE_SERVER: Role.ROUTE_SERVER_CLIENT,
    Role.ROUTE_SERVER_CLIENT: Role.ROUTE_SERVER,
    Role.PEER: Role.PEER,
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Negotiated:
    """How the two sides speak; the defaults are what two plain RFC 4271 speakers do.

    `hold_time` is in seconds, 0 for none. `graceful_restart` and `long_lived` are what the peer
    told, None and empty when either side has not offered it; `hard_reset` says whether the
    peer would keep routes over a NOTIFICATION (RFC 8538 2).
    """

    internal: bool = False
    hold_time: int = 0
    families: frozenset[Family] = _IPV4_ALONE
    four_octet: bool = False
    max_length: int = MAX_LENGTH
    extended_next_hop: bool = False
    route_refresh: bool = False
    enhanced_route_refresh: bool = False
    graceful_restart: GracefulRestart | None = None
    long_lived: tuple[LongLived, ...] = ()
    hard_reset: bool = False


def negotiated(ours: Open, theirs: Open) -> Negotiated:
    """What may be used on the session.

    Raises:
        BgpError: when the two roles do not go together (RFC 9234 4.2).
    """
    we, they = ours.capabilities, theirs.capabilities
    _check_roles(we, they)
    restart = they.graceful_restart if we.graceful_restart is not None else None
    is_long = we.extended_message and they.extended_message
    return Negotiated(
        internal=ours.asn == theirs.asn,
        hold_time=min(ours.hold_time, theirs.hold_time),
        families=_families(ours) & _families(theirs),
        four_octet=we.asn is not None and they.asn is not None,
        max_length=MAX_EXTENDED_LENGTH if is_long else MAX_LENGTH,
        extended_next_hop=we.extended_next_hop and they.extended_next_hop,
        route_refresh=we.route_refresh and they.route_refresh,
        enhanced_route_refresh=we.enhanced_route_refresh and they.enhanced_route_refresh,
        graceful_restart=restart,
        long_lived=they.long_lived if we.long_lived and restart is not None else (),
        hard_reset=_is_notification_kept(we.graceful_restart, restart),
    )


def _families(message: Open) -> frozenset[Family]:
    families = message.capabilities.families
    return _IPV4_ALONE if families is None else families


def _is_notification_kept(ours: GracefulRestart | None, theirs: GracefulRestart | None) -> bool:
    return bool(ours and theirs and ours.notification and theirs.notification)


def _check_roles(ours: Capabilities, theirs: Capabilities) -> None:
    if ours.role is None:
        return
    if CapabilityCode.ROLE in theirs.unknown:
        told = "one that nobody assigned"
    elif theirs.role is None or _PARTNER[ours.role] is theirs.role:
        return
    else:
        told = theirs.role.name.lower()
    raise BgpError(
        Code.OPEN,
        OpenError.ROLE_MISMATCH,
        field="capability ROLE",
        offset=0,
        why=f"ours is {ours.role.name.lower()}, the peer's {told}",
    )
