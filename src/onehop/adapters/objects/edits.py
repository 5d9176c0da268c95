"""Which mapping of `Objects` a kind stands in."""

from __future__ import annotations

from onehop.model.diff import edited as edited

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
