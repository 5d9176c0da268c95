"""Capabilities of an OPEN, both ways: what a speaker can do, as one value.

RFC 5492 and each capability's own document, named in `constants.py`. A capability that is not
understood is remembered by its number only; one that is understood and has an impossible length
is an error, since guessing would leave the two sides with different agreements. Address families
other than IPv4 and IPv6 unicast are left out.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace

from onehop.model.address import Family
from onehop.model.bgp import Role
from onehop.proto.bgp.constants import (
    AFI_BY_FAMILY,
    SAFI_UNICAST,
    UNICAST_FAMILIES,
    CapabilityCode,
    Code,
    OpenError,
)
from onehop.proto.bgp.error import BgpError

MAX_RESTART_TIME = 0xFFF  # RFC 4724 3
MAX_STALE_TIME = 0xFFFFFF  # RFC 9494 3.1
_RESTARTING, _NOTIFICATION = 0x8000, 0x4000  # RFC 4724 3; RFC 8538 2
_FORWARDING = 0x80  # RFC 4724 3; RFC 9494 3.1
_FAMILIES = tuple(AFI_BY_FAMILY)


@dataclass(frozen=True, slots=True, kw_only=True)
class GracefulRestart:
    """RFC 4724 3: `restart_time` in seconds, `forwarding` the families kept while restarting.

    `restarting` is the R bit, `notification` the N bit of RFC 8538 2.
    """

    restart_time: int
    restarting: bool = False
    notification: bool = False
    families: frozenset[Family] = frozenset()
    forwarding: frozenset[Family] = frozenset()


@dataclass(frozen=True, slots=True, kw_only=True)
class LongLived:
    """One family of RFC 9494 3.1: how many seconds its stale routes may be kept."""

    family: Family
    stale_time: int
    forwarding: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Capabilities:
    """All that an OPEN says about its sender.

    `families` None: no multiprotocol capability at all, which means IPv4 unicast (RFC 4760 8).
    `extended_next_hop`: IPv4 prefixes with an IPv6 next hop (RFC 8950 4). `add_path` holds the
    families with several paths a prefix; it is read and never written. `unknown` are the numbers
    of capabilities that are not understood; a role that is none of the five is among them.
    """

    families: frozenset[Family] | None = None
    asn: int | None = None
    route_refresh: bool = False
    enhanced_route_refresh: bool = False
    extended_message: bool = False
    extended_next_hop: bool = False
    role: Role | None = None
    graceful_restart: GracefulRestart | None = None
    long_lived: tuple[LongLived, ...] = ()
    add_path: frozenset[Family] = frozenset()
    unknown: tuple[int, ...] = ()


def encode(capabilities: Capabilities) -> bytes:
    """The capabilities one behind the other, as they stand in an optional parameter."""
    return b"".join(bytes((code, len(value))) + value for code, value in _values(capabilities))


def _values(ours: Capabilities) -> Iterator[tuple[CapabilityCode, bytes]]:
    for family in _ordered(ours.families or frozenset()):
        afi = AFI_BY_FAMILY[family].to_bytes(2, "big")
        yield CapabilityCode.MULTIPROTOCOL, afi + bytes((0, SAFI_UNICAST))
    if ours.route_refresh:
        yield CapabilityCode.ROUTE_REFRESH, b""
    if ours.extended_next_hop:
        yield CapabilityCode.EXTENDED_NEXT_HOP, _IPV4_OVER_IPV6
    if ours.extended_message:
        yield CapabilityCode.EXTENDED_MESSAGE, b""
    if ours.role is not None:
        yield CapabilityCode.ROLE, bytes((ours.role.value,))
    yield from _restart_values(ours)
    if ours.asn is not None:
        yield CapabilityCode.FOUR_OCTET_AS, ours.asn.to_bytes(4, "big")
    if ours.enhanced_route_refresh:
        yield CapabilityCode.ENHANCED_ROUTE_REFRESH, b""


def _restart_values(ours: Capabilities) -> Iterator[tuple[CapabilityCode, bytes]]:
    restart = ours.graceful_restart
    if restart is not None:
        flags = _RESTARTING * restart.restarting | _NOTIFICATION * restart.notification
        value = (flags | restart.restart_time).to_bytes(2, "big")
        for family in _ordered(restart.families):
            value += _family(family) + bytes((_FORWARDING * (family in restart.forwarding),))
        yield CapabilityCode.GRACEFUL_RESTART, value
    if ours.long_lived:
        yield (
            CapabilityCode.LONG_LIVED_GRACEFUL_RESTART,
            b"".join(
                _family(entry.family)
                + bytes((_FORWARDING * entry.forwarding,))
                + entry.stale_time.to_bytes(3, "big")
                for entry in ours.long_lived
            ),
        )


def _ordered(families: frozenset[Family]) -> Iterator[Family]:
    return (family for family in _FAMILIES if family in families)


def _family(family: Family) -> bytes:
    return AFI_BY_FAMILY[family].to_bytes(2, "big") + bytes((SAFI_UNICAST,))


_IPV4_OVER_IPV6 = b"\0\1\0\1\0\2"  # RFC 8950 4: AFI 1, SAFI 1 (two octets here), next hop AFI 2


def decode(octets: bytes, offset: int, found: Capabilities) -> Capabilities:
    """`found` and what the capabilities of one optional parameter add to it.

    Args:
        octets: the value of the parameter.
        offset: where it stands in the message, for errors.
        found: what earlier parameters of the same OPEN said.

    Raises:
        BgpError: when one is cut short or has a length that it cannot have.
    """
    at = 0
    while at < len(octets):
        head = octets[at : at + 2]
        end = at + 2 + head[-1]
        if len(head) < 2 or end > len(octets):
            raise _malformed("capability", offset + at, "cut short", octets[at:])
        read = _READERS.get(head[0])
        if read is None:
            found = replace(found, unknown=(*found.unknown, head[0]))
        else:
            try:
                found = read(octets[at + 2 : end], found)
            except ValueError as error:
                name = f"capability {CapabilityCode(head[0]).name}"
                raise _malformed(name, offset + at, str(error), octets[at:end]) from None
        at = end
    return found


def _malformed(field: str, offset: int, why: str, data: bytes) -> BgpError:
    return BgpError(
        Code.OPEN, OpenError.UNSPECIFIC, field=field, offset=offset, why=why, data=data
    )


def _need(is_possible: bool, value: bytes) -> None:
    if not is_possible:
        raise ValueError(f"its length is {len(value)}")


def _unicast(triple: bytes) -> Family | None:
    return UNICAST_FAMILIES.get((int.from_bytes(triple[:2], "big"), triple[2]))


def _multiprotocol(value: bytes, found: Capabilities) -> Capabilities:
    _need(len(value) == 4, value)
    family = _unicast(value[:2] + value[3:])
    families = found.families or frozenset()
    return replace(found, families=families if family is None else families | {family})


def _route_refresh(value: bytes, found: Capabilities) -> Capabilities:
    _need(not value, value)
    return replace(found, route_refresh=True)


def _enhanced_route_refresh(value: bytes, found: Capabilities) -> Capabilities:
    _need(not value, value)
    return replace(found, enhanced_route_refresh=True)


def _extended_message(value: bytes, found: Capabilities) -> Capabilities:
    _need(not value, value)
    return replace(found, extended_message=True)


def _extended_next_hop(value: bytes, found: Capabilities) -> Capabilities:
    _need(len(value) % 6 == 0, value)
    triples = {value[at : at + 6] for at in range(0, len(value), 6)}
    return replace(found, extended_next_hop=found.extended_next_hop or _IPV4_OVER_IPV6 in triples)


def _role(value: bytes, found: Capabilities) -> Capabilities:
    """RFC 9234 4.2: two different roles in one OPEN are a mismatch by themselves."""
    _need(len(value) == 1, value)
    if value[0] not in _ROLES:
        return replace(found, unknown=(*found.unknown, CapabilityCode.ROLE))
    role = _ROLES[value[0]]
    if found.role not in (None, role):
        raise BgpError(
            Code.OPEN,
            OpenError.ROLE_MISMATCH,
            field="capability ROLE",
            offset=0,
            why="two different roles in one OPEN",
        )
    return replace(found, role=role)


def _graceful_restart(value: bytes, found: Capabilities) -> Capabilities:
    """RFC 4724 3: of several, the last one counts."""
    _need(len(value) % 4 == 2, value)
    head = int.from_bytes(value[:2], "big")
    entries = [
        (family, value[at + 3])
        for at in range(2, len(value), 4)
        if (family := _unicast(value[at : at + 3])) is not None
    ]
    restart = GracefulRestart(
        restart_time=head & MAX_RESTART_TIME,
        restarting=bool(head & _RESTARTING),
        notification=bool(head & _NOTIFICATION),
        families=frozenset(family for family, _ in entries),
        forwarding=frozenset(family for family, flags in entries if flags & _FORWARDING),
    )
    return replace(found, graceful_restart=restart)


def _four_octet_as(value: bytes, found: Capabilities) -> Capabilities:
    _need(len(value) == 4, value)
    return replace(found, asn=int.from_bytes(value, "big"))


def _add_path(value: bytes, found: Capabilities) -> Capabilities:
    _need(len(value) % 4 == 0, value)
    triples = (value[at : at + 3] for at in range(0, len(value), 4))
    families = frozenset(family for triple in triples if (family := _unicast(triple)) is not None)
    return replace(found, add_path=found.add_path | families)


def _long_lived(value: bytes, found: Capabilities) -> Capabilities:
    _need(len(value) % 7 == 0, value)
    entries = tuple(
        LongLived(
            family=family,
            stale_time=int.from_bytes(value[at + 4 : at + 7], "big"),
            forwarding=bool(value[at + 3] & _FORWARDING),
        )
        for at in range(0, len(value), 7)
        if (family := _unicast(value[at : at + 3])) is not None
    )
    return replace(found, long_lived=entries)


_ROLES = {role.value: role for role in Role}
_READERS: dict[int, Callable[[bytes, Capabilities], Capabilities]] = {
    CapabilityCode.MULTIPROTOCOL: _multiprotocol,
    CapabilityCode.ROUTE_REFRESH: _route_refresh,
    CapabilityCode.EXTENDED_NEXT_HOP: _extended_next_hop,
    CapabilityCode.EXTENDED_MESSAGE: _extended_message,
    CapabilityCode.ROLE: _role,
    CapabilityCode.GRACEFUL_RESTART: _graceful_restart,
    CapabilityCode.FOUR_OCTET_AS: _four_octet_as,
    CapabilityCode.ADD_PATH: _add_path,
    CapabilityCode.ENHANCED_ROUTE_REFRESH: _enhanced_route_refresh,
    CapabilityCode.LONG_LIVED_GRACEFUL_RESTART: _long_lived,
}
