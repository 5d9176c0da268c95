"""Edits: which mapping of `Objects` a kind stands in, and how such a mapping is changed."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import TypeVar

from onehop.model.service import Key

FIELDS = {
    "Node": "nodes",
    "Namespace": "namespaces",
    "Service": "services",
    "EndpointSlice": "slices",
    "Pod": "pods",
    "IPAddressPool": "pools",
    "L2Advertisement": "l2_advertisements",
    "BGPPeer": "bgp_peers",
    "BGPAdvertisement": "bgp_advertisements",
    "BFDProfile": "bfd_profiles",
    "Community": "community_aliases",
    "Secret": "secrets",
}
_V = TypeVar("_V")


def edited(have: Mapping[Key, _V], edits: Mapping[Key, _V | None]) -> Mapping[Key, _V]:
    """`have` with these entries set or, where None, taken away; itself when nothing changes."""
    edits = {key: value for key, value in edits.items() if have.get(key) != value}
    if not edits:
        return have
    # The copy of a dict is one block of memory; through the read-only view it would hash each key.
    new = have.copy() if isinstance(have, MappingProxyType) else dict(have)
    for key, value in edits.items():
        if value is None:
            del new[key]
        else:
            new[key] = value
    return MappingProxyType(new)
