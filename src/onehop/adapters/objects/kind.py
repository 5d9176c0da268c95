"""A kind: how one sort of object is read, and in which mapping of `Objects` it stands."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from onehop.adapters.objects.fault import Value, is_subdomain
from onehop.adapters.objects.reading import Reading
from onehop.adapters.objects.shape import ObjectShape
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


@dataclass(frozen=True, slots=True)
class Kind:
    """How to read one kind: its shape, its decoder, where its objects and names live."""

    shape: type[ObjectShape]
    decode: Callable[[Reading, Key, ObjectShape], Value | None]
    namespaced: bool = True
    name_is_valid: Callable[[str], bool] = is_subdomain
