"""What a node says of the Services it carries: MetalLB's ServiceL2Status and ServiceBGPStatus.

Both state what the node's speaker was asked to do, as MetalLB's do: whether a session stands is
the session's own report. A status that followed sessions would be written ten thousand times over
whenever a router restarts.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from types import MappingProxyType

from onehop.model.reason import Refusal
from onehop.model.service import Key


@dataclass(frozen=True, slots=True, kw_only=True)
class ServiceL2Status:
    """A Service that the node answers for at layer 2; no `links` means that no list applies."""

    node: str
    service: Key
    links: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class ServiceBGPStatus:
    """A Service that the node advertises, with the names of the BGPPeers that are told, sorted."""

    node: str
    service: Key
    peers: tuple[str, ...]


def _no_l2() -> Mapping[Key, ServiceL2Status]:
    return MappingProxyType({})


def _no_bgp() -> Mapping[Key, ServiceBGPStatus]:
    return MappingProxyType({})


def _none_unlinked() -> Mapping[Key, Refusal]:
    return MappingProxyType({})


@dataclass(frozen=True, slots=True, kw_only=True)
class NodeStatuses:
    """All statuses of one node, by Service; one that did not change is the identical object.

    `taken_over` are those of `l2` that are new, and that another node announced before. `unlinked`
    are Services that the node owns and has no link for, with the refusal that names the links.
    """

    l2: Mapping[Key, ServiceL2Status] = field(default_factory=_no_l2)
    bgp: Mapping[Key, ServiceBGPStatus] = field(default_factory=_no_bgp)
    taken_over: frozenset[Key] = frozenset()
    unlinked: Mapping[Key, Refusal] = field(default_factory=_none_unlinked)
