"""What makes each path attribute of a peer malformed, and what to do about it.

The table of RFC 7606 7, and for attributes that came later or are left out there: RFC 6793 6,
RFC 8092 6 and RFC 9234 5. MP_REACH_NLRI and MP_UNREACH_NLRI hold prefixes, and `received.py` reads
them.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Literal, NamedTuple

from onehop.proto.bgp.attribute import OPTIONAL, TRANSITIVE
from onehop.proto.bgp.constants import AttributeType
from onehop.proto.bgp.error import Action
from onehop.proto.bgp.negotiated import Negotiated

_BOTH = OPTIONAL | TRANSITIVE
_SEGMENTS = (1, 2)  # AS_SET and AS_SEQUENCE (RFC 4271 4.3); we are in no confederation
_CAST: dict[int, Literal["H", "I"]] = {2: "H", 4: "I"}  # zero is zero in either byte order
_ORIGINS = 3  # RFC 4271 4.3
_MULTICAST = 224  # the first octet from which no host has an address

Verdict = Callable[[bytes, Negotiated], str]


class Rule(NamedTuple):
    """`fault` says what is wrong with a value, or nothing; `action` is what follows from it.

    `inside_only`: an external peer has no business to send it, and it is discarded unread.
    """

    flags: int
    action: Action
    fault: Verdict
    inside_only: bool = False


def _origin(value: bytes, _: Negotiated) -> str:
    if len(value) != 1:
        return _length(value)
    return "" if value[0] < _ORIGINS else f"{value[0]} is no origin"


def _length(value: bytes) -> str:
    return f"its length is {len(value)}"


def _as_path(value: bytes, agreed: Negotiated) -> str:
    return _path(value, 4 if agreed.four_octet else 2)


def _path(value: bytes, size: int) -> str:
    """RFC 7606 7.2; an AS 0 by RFC 7607 2."""
    at, length = 0, len(value)
    while at < length:
        if value[at] not in _SEGMENTS:
            return f"{value[at]} is no type of segment"
        start = at + 2
        at = start + size * value[at + 1] if start <= length else start
        if at > length:
            return "a segment is cut short"
        if at == start:
            return "a segment without an AS"
        if 0 in memoryview(value)[start:at].cast(_CAST[size]):
            return "AS 0"
    return ""


def _next_hop(value: bytes, _: Negotiated) -> str:
    if len(value) != 4:
        return _length(value)
    return "" if any(value) and value[0] < _MULTICAST else "not the address of a host"


def _exactly(length: int) -> Verdict:
    def verdict(value: bytes, _: Negotiated) -> str:
        return "" if len(value) == length else _length(value)

    return verdict


def _some_of(size: int) -> Verdict:
    """One or more entries of a size."""

    def verdict(value: bytes, _: Negotiated) -> str:
        return "" if value and len(value) % size == 0 else _length(value)

    return verdict


def _aggregator(value: bytes, agreed: Negotiated) -> str:
    return "" if len(value) == (8 if agreed.four_octet else 6) else _length(value)


def _as4_path(value: bytes, agreed: Negotiated) -> str:
    if agreed.four_octet:
        return _NEEDLESS
    return _path(value, 4) if value else _length(value)


def _as4_aggregator(value: bytes, agreed: Negotiated) -> str:
    if agreed.four_octet:
        return _NEEDLESS
    return "" if len(value) == 8 else _length(value)


_NEEDLESS = "from a speaker of four-octet AS numbers"  # RFC 6793 6
_WITHDRAW, _DISCARD = Action.TREAT_AS_WITHDRAW, Action.ATTRIBUTE_DISCARD
RULES: dict[int, Rule] = {
    AttributeType.ORIGIN: Rule(TRANSITIVE, _WITHDRAW, _origin),
    AttributeType.AS_PATH: Rule(TRANSITIVE, _WITHDRAW, _as_path),
    AttributeType.NEXT_HOP: Rule(TRANSITIVE, _WITHDRAW, _next_hop),
    AttributeType.MULTI_EXIT_DISC: Rule(OPTIONAL, _WITHDRAW, _exactly(4)),
    AttributeType.LOCAL_PREF: Rule(TRANSITIVE, _WITHDRAW, _exactly(4), True),
    AttributeType.ATOMIC_AGGREGATE: Rule(TRANSITIVE, _DISCARD, _exactly(0)),
    AttributeType.AGGREGATOR: Rule(_BOTH, _DISCARD, _aggregator),
    AttributeType.COMMUNITIES: Rule(_BOTH, _WITHDRAW, _some_of(4)),
    AttributeType.ORIGINATOR_ID: Rule(OPTIONAL, _WITHDRAW, _exactly(4), True),
    AttributeType.CLUSTER_LIST: Rule(OPTIONAL, _WITHDRAW, _some_of(4), True),
    AttributeType.EXTENDED_COMMUNITIES: Rule(_BOTH, _WITHDRAW, _some_of(8)),
    AttributeType.AS4_PATH: Rule(_BOTH, _DISCARD, _as4_path),
    AttributeType.AS4_AGGREGATOR: Rule(_BOTH, _DISCARD, _as4_aggregator),
    AttributeType.IPV6_EXTENDED_COMMUNITIES: Rule(_BOTH, _WITHDRAW, _some_of(20)),
    AttributeType.LARGE_COMMUNITIES: Rule(_BOTH, _WITHDRAW, _some_of(12)),
    AttributeType.ONLY_TO_CUSTOMER: Rule(_BOTH, _WITHDRAW, _exactly(4)),
}
