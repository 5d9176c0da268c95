"""UPDATE messages that a peer sent: counted, checked, and forgotten.

Nothing learned is used (RFC 8212 2, with no import policy), so an UPDATE becomes two numbers, the
End-of-RIB (RFC 4724 2) and its faults. What is done about a fault is what RFC 7606 says, of
several the strongest (RFC 7606 3 h); `rules.py` holds what it says of each attribute. Only what
leaves unclear which prefixes are meant ends the session.
"""

from __future__ import annotations

from dataclasses import dataclass

from onehop.model.address import Family
from onehop.proto.bgp.attribute import EXTENDED_LENGTH, OPTIONAL, TRANSITIVE
from onehop.proto.bgp.constants import (
    HEADER_LENGTH,
    UNICAST_FAMILIES,
    AttributeType,
    Code,
    UpdateError,
)
from onehop.proto.bgp.error import Action, BgpError, Fault, attribute_name
from onehop.proto.bgp.negotiated import Negotiated
from onehop.proto.bgp.rules import (
    RULES,
)

_BITS = {Family.IPV4: 32, Family.IPV6: 128}
_NEXT_HOP_LENGTHS = {Family.IPV4: (4,), Family.IPV6: (16, 32)}  # RFC 4760 3; RFC 2545 3
_EXTENDED_NEXT_HOP_LENGTHS = (4, 16, 32)  # RFC 8950 3
_BARE = bytes(4)
_NONE = 0  # the type of a fault that is of no one attribute
_FLAGS = OPTIONAL | TRANSITIVE  # RFC 7606 3 c: the two that must be right
_REACH, _UNREACH = int(AttributeType.MP_REACH_NLRI), int(AttributeType.MP_UNREACH_NLRI)
_NEXT_HOP = 1 << AttributeType.NEXT_HOP
_MANDATORY = 1 << AttributeType.ORIGIN | 1 << AttributeType.AS_PATH | _NEXT_HOP
_NOT_AGREED = "of a family that was not agreed on"


@dataclass(frozen=True, slots=True, kw_only=True)
class Update:
    """How many prefixes an UPDATE advertises and withdraws, once its faults are dealt with."""

    announced: int = 0
    withdrawn: int = 0
    end_of_rib: Family | None = None
    faults: tuple[Fault, ...] = ()


def decode(body: bytes, agreed: Negotiated) -> Update:
    """The UPDATE in a frame's body.

    Raises:
        BgpError: when RFC 7606 leaves nothing but a session reset.
    """
    if body == _BARE:
        return Update(end_of_rib=Family.IPV4)
    middle = 2 + int.from_bytes(body[:2], "big")
    start = middle + 2
    end = start + int.from_bytes(body[middle:start], "big")
    if end > len(body):
        why = "the two lengths tell more octets than there are"
        raise _reset(UpdateError.MALFORMED_ATTRIBUTE_LIST, "length", 0, why)
    walk = _Walk(body, agreed)
    walk.withdrawn = _classic(body, 2, middle, "withdrawn routes")
    announced = _classic(body, end, len(body), "NLRI")
    walk.attributes(start, end)
    return walk.result(announced)


def _classic(body: bytes, start: int, end: int, field: str) -> int:
    """RFC 7606 3 j: without a list that can be read, no route can be withdrawn instead."""
    found = _count(body, start, end, 32)
    if found < 0:
        why = "not a list of IPv4 prefixes"
        raise _reset(UpdateError.INVALID_NETWORK_FIELD, field, start, why)
    return found


def _count(octets: bytes, at: int, end: int, bits: int) -> int:
    """How many prefixes lie between two offsets, or -1 when they end elsewhere (RFC 7606 5.3)."""
    found = 0
    while at < end:
        length = octets[at]
        if length > bits:
            return -1
        at += 1 + (length + 7 >> 3)
        found += 1
    return found if at == end else -1


def _reset(subcode: UpdateError, field: str, at: int, why: str, data: bytes = b"") -> BgpError:
    at += HEADER_LENGTH
    return BgpError(Code.UPDATE, subcode, field=field, offset=at, why=why, data=data)


class _Walk:
    """One pass over the attributes; `seen` and `again` have a bit for each type."""

    __slots__ = (
        "again", "agreed", "announced", "body", "end_of_rib", "faults", "reaches", "seen",
        "withdrawn",
    )  # fmt: skip

    def __init__(self, body: bytes, agreed: Negotiated) -> None:
        self.body = body
        self.agreed = agreed
        self.announced = 0
        self.reaches = False
        self.withdrawn = 0
        self.end_of_rib: Family | None = None
        self.faults: list[Fault] = []
        self.seen = 0
        self.again = 0

    def attributes(self, at: int, end: int) -> None:
        """Read each attribute; a length that does not fit ends the walk (RFC 7606 4)."""
        body = self.body
        while at < end:
            head = 4 if body[at] & EXTENDED_LENGTH else 3
            value = at + head
            if value > end:
                self._fault(_NONE, Action.TREAT_AS_WITHDRAW, "the last is cut short")
                return
            after = value + (body[at + 2] if head == 3 else body[at + 2] << 8 | body[at + 3])
            kind = body[at + 1]
            if after > end:
                why = "longer than the octets left"
                self._fault(kind, Action.TREAT_AS_WITHDRAW, why)
                return
            if self.seen >> kind & 1:
                self._again(kind, at)
            else:
                self.seen |= 1 << kind
                self._attribute(at, kind, value, after)
            at = after

    def _fault(self, kind: int, action: Action, why: str) -> None:
        self.faults.append(Fault(attribute=kind, action=action, why=why))

    def _again(self, kind: int, at: int) -> None:
        """RFC 7606 3 g: of several, the first counts; told once, however many there are."""
        if kind in (_REACH, _UNREACH):
            why = "there twice"
            raise _reset(UpdateError.MALFORMED_ATTRIBUTE_LIST, attribute_name(kind), at, why)
        if not self.again >> kind & 1:
            self.again |= 1 << kind
            self._fault(kind, Action.ATTRIBUTE_DISCARD, "there twice")

    def _attribute(self, at: int, kind: int, value: int, after: int) -> None:
        body = self.body
        flags = body[at]
        rule = RULES.get(kind)
        if rule is None:
            self._other(at, kind, value, after)
            return
        if rule.inside_only and not self.agreed.internal:
            self._fault(kind, Action.ATTRIBUTE_DISCARD, "from outside the AS")
            return
        if (flags ^ rule.flags) & _FLAGS:
            self._wrong_flags(kind, flags)
        if why := rule.fault(body[value:after], self.agreed):
            self._fault(kind, rule.action, why)

    def _wrong_flags(self, kind: int, flags: int) -> None:
        """RFC 7606 3 c."""
        self._fault(kind, Action.TREAT_AS_WITHDRAW, f"its flags are {flags:#04x}")

    def _other(self, at: int, kind: int, value: int, after: int) -> None:
        """A multiprotocol attribute, or one that nobody here knows (RFC 4271 6.3)."""
        flags = self.body[at]
        if kind in (_REACH, _UNREACH):
            if (flags ^ OPTIONAL) & _FLAGS:
                self._wrong_flags(kind, flags)
            (self._reach if kind == _REACH else self._unreach)(at, value, after)
        elif not flags & OPTIONAL:
            subcode = UpdateError.UNRECOGNIZED_WELL_KNOWN_ATTRIBUTE
            data = self.body[at:after]
            raise _reset(subcode, attribute_name(kind), at, "well-known, yet not known", data)

    def _reach(self, at: int, value: int, after: int) -> None:
        """MP_REACH_NLRI (RFC 7606 7.11)."""
        body = self.body
        nlri = value + 5 + body[value + 3] if after - value >= 5 else after + 1
        if nlri > after:
            raise self._unreadable(at, after, "too short")
        family = self._family(value)
        if family is None:
            self._fault(_REACH, Action.ATTRIBUTE_DISCARD, _NOT_AGREED)
            self.reaches = True
            return
        is_extended = family is Family.IPV4 and self.agreed.extended_next_hop
        lengths = _EXTENDED_NEXT_HOP_LENGTHS if is_extended else _NEXT_HOP_LENGTHS[family]
        if body[value + 3] not in lengths:
            why = f"a next hop of {body[value + 3]} octets"
            raise self._unreadable(at, after, why)
        self.announced = self._prefixes(at, nlri, after, family)
        self.reaches = self.announced > 0

    def _unreach(self, at: int, value: int, after: int) -> None:
        """MP_UNREACH_NLRI (RFC 7606 7.12)."""
        if after - value < 3:
            raise self._unreadable(at, after, "too short")
        family = self._family(value)
        if family is None:
            self._fault(_UNREACH, Action.ATTRIBUTE_DISCARD, _NOT_AGREED)
            return
        found = self._prefixes(at, value + 3, after, family)
        self.withdrawn += found
        if not found:
            self.end_of_rib = family

    def _family(self, value: int) -> Family | None:
        body = self.body
        family = UNICAST_FAMILIES.get((body[value] << 8 | body[value + 1], body[value + 2]))
        return family if family in self.agreed.families else None

    def _prefixes(self, at: int, start: int, after: int, family: Family) -> int:
        found = _count(self.body, start, after, _BITS[family])
        if found < 0:
            raise self._unreadable(at, after, f"not a list of {family.value} prefixes")
        return found

    def _unreadable(self, at: int, after: int, why: str) -> BgpError:
        """RFC 7606 3 j: which routes are meant is not known."""
        field = attribute_name(self.body[at + 1])
        data = self.body[at:after]
        return _reset(UpdateError.OPTIONAL_ATTRIBUTE_ERROR, field, at, why, data)

    def result(self, announced: int) -> Update:
        """The outcome, given how many prefixes the NLRI field holds."""
        wanted = _MANDATORY if announced else _MANDATORY & ~_NEXT_HOP if self.announced else 0
        if wanted & ~self.seen:
            self._missing(wanted & ~self.seen)
        advertised = announced + self.announced
        withdrawn = self.withdrawn
        grave = [f for f in self.faults if f.action is Action.TREAT_AS_WITHDRAW]
        if grave:
            self._check_reachable(announced, grave)
            advertised, withdrawn = 0, withdrawn + advertised
        is_bare = self.seen == 1 << _UNREACH and not advertised + withdrawn
        return Update(
            announced=advertised,
            withdrawn=withdrawn,
            end_of_rib=self.end_of_rib if is_bare else None,
            faults=tuple(self.faults),
        )

    def _missing(self, bits: int) -> None:
        """RFC 7606 3 d; NEXT_HOP goes with the NLRI field alone (RFC 4760 3)."""
        names = [kind.name for kind in AttributeType if bits >> kind & 1]
        why = f"{' and '.join(names)} missing"
        self._fault(_NONE, Action.TREAT_AS_WITHDRAW, why)

    def _check_reachable(self, announced: int, grave: list[Fault]) -> None:
        """RFC 7606 5.2: no route to withdraw instead may mean that one was not recognised."""
        withdraws_only = self.seen == 1 << _UNREACH and {f.attribute for f in grave} == {_UNREACH}
        if announced or self.reaches or withdraws_only:
            return
        field = attribute_name(grave[0].attribute)
        why = f"{grave[0].why}, and no prefix is advertised"
        raise _reset(UpdateError.MALFORMED_ATTRIBUTE_LIST, field, 0, why)
