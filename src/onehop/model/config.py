"""Configuration: MetalLB's `metallb.io` kinds, as values.

A field keeps MetalLB's meaning and default; `docs/reference` names each.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import Enum

from onehop.model.address import AddressRange
from onehop.model.service import Key, no_labels


class Operator(Enum):
    """Operators of a LabelSelector requirement (meta/v1)."""

    IN = "In"
    NOT_IN = "NotIn"
    EXISTS = "Exists"
    DOES_NOT_EXIST = "DoesNotExist"


@dataclass(frozen=True, slots=True, kw_only=True)
class Requirement:
    """One matchExpressions entry."""

    key: str
    operator: Operator
    values: frozenset[str] = frozenset()

    def matches(self, labels: Mapping[str, str]) -> bool:
        """Whether an object with these labels meets the requirement (meta/v1 semantics)."""
        match self.operator:
            case Operator.IN:
                return self.key in labels and labels[self.key] in self.values
            case Operator.NOT_IN:
                return self.key not in labels or labels[self.key] not in self.values
            case Operator.EXISTS:
                return self.key in labels
            case Operator.DOES_NOT_EXIST:
                return self.key not in labels


@dataclass(frozen=True, slots=True, kw_only=True)
class LabelSelector:
    """A meta/v1 LabelSelector; an empty one matches every object."""

    match_labels: Mapping[str, str] = field(default_factory=no_labels)
    match_expressions: tuple[Requirement, ...] = ()

    def matches(self, labels: Mapping[str, str]) -> bool:
        """Whether an object with these labels is selected."""
        return all(labels.get(key) == value for key, value in self.match_labels.items()) and all(
            requirement.matches(labels) for requirement in self.match_expressions
        )


def any_matches(selectors: tuple[LabelSelector, ...], labels: Mapping[str, str]) -> bool:
    """Whether one of several OR-ed selectors matches; none at all match nothing."""
    return any(selector.matches(labels) for selector in selectors)


@dataclass(frozen=True, slots=True, kw_only=True)
class ServiceAllocation:
    """IPAddressPool.spec.serviceAllocation: who may draw from a pool without asking for it.

    `priority` 0 comes last, otherwise the lower number first.
    """

    priority: int = 0
    namespaces: frozenset[str] = frozenset()
    namespace_selectors: tuple[LabelSelector, ...] = ()
    service_selectors: tuple[LabelSelector, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Pool:
    """An IPAddressPool. `ranges` stand in the order of spec.addresses."""

    key: Key
    ranges: tuple[AddressRange, ...]
    labels: Mapping[str, str] = field(default_factory=no_labels)
    auto_assign: bool = True
    avoid_buggy_ips: bool = False
    allocation: ServiceAllocation | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class PreferredNode:
    """L2Advertisement.spec.preferredNodeSelectors entry: weight 1 to 100."""

    weight: int
    selector: LabelSelector


@dataclass(frozen=True, slots=True, kw_only=True)
class L2Advertisement:
    """An L2Advertisement. Both pool fields empty: all pools. `links` empty: all links."""

    key: Key
    pools: tuple[str, ...] = ()
    pool_selectors: tuple[LabelSelector, ...] = ()
    node_selectors: tuple[LabelSelector, ...] = ()
    links: tuple[str, ...] = ()
    service_selectors: tuple[LabelSelector, ...] = ()
    preferred_nodes: tuple[PreferredNode, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Namespace:
    """A Namespace, read for its labels."""

    name: str
    labels: Mapping[str, str] = field(default_factory=no_labels)
