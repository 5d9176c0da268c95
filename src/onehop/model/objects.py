"""Objects: everything the store holds at one instant, whichever store it is.

The manifests adapter and the Kubernetes adapter both produce this; nothing above them may know
which did. A value whose content did not change stays the identical object, because decisions
are memoised by identity.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import TypeVar

from onehop.model.address import IPAddress
from onehop.model.bgp import BFDProfile, BGPAdvertisement, BGPPeer, CommunityAliases, Secret
from onehop.model.config import L2Advertisement, Namespace, Pool
from onehop.model.node import Node, Pod
from onehop.model.reason import Problem
from onehop.model.service import EndpointSlice, Key, Service

_V = TypeVar("_V")


def _nothing() -> Mapping[Key, _V]:
    return MappingProxyType({})


@dataclass(frozen=True, slots=True, kw_only=True)
class Objects:
    """All objects by key, cluster-scoped ones under an empty namespace.

    `complete` is true once every kind was listed. `released` are addresses that a deleted Service
    of that key held, so that it can get them again. `problems` are objects or files that could
    not be read; what they held before stays in the mappings.
    """

    complete: bool = False
    nodes: Mapping[Key, Node] = field(default_factory=_nothing)
    namespaces: Mapping[Key, Namespace] = field(default_factory=_nothing)
    services: Mapping[Key, Service] = field(default_factory=_nothing)
    slices: Mapping[Key, EndpointSlice] = field(default_factory=_nothing)
    pools: Mapping[Key, Pool] = field(default_factory=_nothing)
    l2_advertisements: Mapping[Key, L2Advertisement] = field(default_factory=_nothing)
    bgp_peers: Mapping[Key, BGPPeer] = field(default_factory=_nothing)
    bgp_advertisements: Mapping[Key, BGPAdvertisement] = field(default_factory=_nothing)
    bfd_profiles: Mapping[Key, BFDProfile] = field(default_factory=_nothing)
    community_aliases: Mapping[Key, CommunityAliases] = field(default_factory=_nothing)
    secrets: Mapping[Key, Secret] = field(default_factory=_nothing, repr=False)
    pods: Mapping[Key, Pod] = field(default_factory=_nothing)
    released: Mapping[Key, tuple[IPAddress, ...]] = field(default_factory=_nothing)
    problems: tuple[Problem, ...] = ()
