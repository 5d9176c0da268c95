"""Valid objects of each kind, to be changed in one place by a test."""

from __future__ import annotations

from typing import Any

Object = dict[str, Any]

PLURALS = {
    "BFDProfile": "bfdprofiles",
    "BGPAdvertisement": "bgpadvertisements",
    "BGPPeer": "bgppeers",
    "Community": "communities",
    "ConfigurationState": "configurationstates",
    "IPAddressPool": "ipaddresspools",
    "L2Advertisement": "l2advertisements",
    "ServiceBGPStatus": "servicebgpstatuses",
    "ServiceL2Status": "servicel2statuses",
}
LEAST: dict[str, Object] = {
    "BFDProfile": {},
    "BGPAdvertisement": {},
    "BGPPeer": {"myASN": 64500, "peerASN": 64501, "peerAddress": "192.0.2.1"},
    "Community": {},
    "IPAddressPool": {"addresses": ["192.0.2.0/24"]},
    "L2Advertisement": {},
}


def version_of(kind: str) -> str:
    """The version that users write."""
    return "metallb.io/v1beta2" if kind == "BGPPeer" else "metallb.io/v1beta1"


def an_object(kind: str, spec: Object, *, name: str = "it", version: str = "") -> Object:
    return {
        "apiVersion": version or version_of(kind),
        "kind": kind,
        "metadata": {"name": name},
        "spec": spec,
    }


def changed(kind: str, **fields: Any) -> Object:
    """The least spec of a kind with fields set, or taken away when None."""
    spec = {**LEAST[kind], **fields}
    return {name: value for name, value in spec.items() if value is not None}
