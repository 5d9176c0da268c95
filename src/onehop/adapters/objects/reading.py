"""Reading: the checks that several kinds share, each noting a fault and going on.

A decoder asks for what it needs and builds its value; the value counts only when no fault was
noted, so all faults of an object are reported at once.
"""

from __future__ import annotations

from collections.abc import Iterable
from enum import Enum
from ipaddress import IPv4Address, IPv6Address, ip_network
from socket import AF_INET, AF_INET6, inet_pton
from typing import TypeVar

from onehop.adapters.objects.fault import Fault, Path, frozen
from onehop.adapters.objects.shape import RequirementShape, SelectorShape
from onehop.model.address import IPAddress, IPNetwork
from onehop.model.config import LabelSelector, Operator, Requirement
from onehop.model.reason import Reason

_E = TypeVar("_E", bound=Enum)
_ANY: IPAddress = IPv4Address(0)


def _parsed(text: str) -> IPAddress:
    # The C library reads an address three times as fast as the class does, and has no zones,
    # which an address of a cluster cannot have either.
    if ":" in text:
        return IPv6Address(inet_pton(AF_INET6, text))
    return IPv4Address(inet_pton(AF_INET, text))


class Reading:
    """The faults of one object, noted while it is read."""

    def __init__(self) -> None:
        self.faults: list[Fault] = []

    def note(self, path: Path, detail: str, *, reason: Reason = Reason.FIELD_INVALID) -> None:
        """A fault in the field at `path`."""
        self.faults.append(Fault(path=path, detail=detail, reason=reason))

    def address(self, text: str, *path: str | int) -> IPAddress:
        """The address that `text` is; a stand-in when it is none."""
        try:
            return _parsed(text)
        except (OSError, ValueError):
            self.note(path, f"{text!r} is not an IP address")
            return _ANY

    def addresses(self, texts: list[str], *path: str | int) -> tuple[IPAddress, ...]:
        """The addresses in the list at `path`."""
        try:
            return tuple(map(_parsed, texts))
        except (OSError, ValueError):
            return tuple(self.address(text, *path, index) for index, text in enumerate(texts))

    def network(self, text: str, *path: str | int) -> IPNetwork | None:
        """The CIDR that `text` is; None when it is none."""
        try:
            return ip_network(text.strip(), strict=False)
        except ValueError:
            self.note(path, f"{text!r} is not a CIDR")
            return None

    def choice(self, kind: type[_E], text: str | None, default: _E, *path: str | int) -> _E:
        """The member of an enum that `text` names; the default when there is no text."""
        if not text:
            return default
        try:
            return kind(text)
        except ValueError:
            allowed = ", ".join(str(member.value) for member in kind)
            self.note(path, f"{text!r} is not one of {allowed}")
            return default

    def number(self, value: int, first: int, last: int, *path: str | int) -> int:
        """`value`, which has to lie between the two."""
        if not first <= value <= last:
            self.note(path, f"{value} is not between {first} and {last}")
        return value

    def selectors(
        self, shapes: list[SelectorShape] | None, *path: str | int
    ) -> tuple[LabelSelector, ...]:
        """A list of label selectors."""
        return tuple(
            self.selector(shape, *path, index) for index, shape in enumerate(shapes or ())
        )

    def selector(self, shape: SelectorShape, *path: str | int) -> LabelSelector:
        """One label selector."""
        return LabelSelector(
            match_labels=frozen(shape.match_labels),
            match_expressions=tuple(
                self._requirement(each, *path, "matchExpressions", index)
                for index, each in enumerate(shape.match_expressions or ())
            ),
        )

    def _requirement(self, shape: RequirementShape, *path: str | int) -> Requirement:
        operator = self.choice(Operator, shape.operator, Operator.EXISTS, *path, "operator")
        values = frozenset(shape.values or ())
        if not shape.operator:
            self.note((*path, "operator"), "is empty")
        elif operator in (Operator.IN, Operator.NOT_IN) and not values:
            self.note((*path, "values"), f"operator {operator.value} needs at least one value")
        elif shape.operator in (Operator.EXISTS.value, Operator.DOES_NOT_EXIST.value) and values:
            self.note((*path, "values"), f"operator {operator.value} takes no values")
        if not shape.key:
            self.note((*path, "key"), "is empty")
        return Requirement(key=shape.key, operator=operator, values=values)

    def distinct(self, items: Iterable[object], *path: str | int) -> None:
        """No item of a list may stand in it twice."""
        seen: list[object] = []
        for index, item in enumerate(items):
            if item in seen:
                self.note((*path, index), f"{item!r} stands in the list twice")
            seen.append(item)
