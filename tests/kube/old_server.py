"""Definitions of `metallb.io` as clusters of long ago have them: fewer kinds, and no rules.

MetalLB 0.12 had BGPPeer in its first version only and AddressPool; none had the kinds of status.
The schemas let anything in, as those of some distributions did.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import yaml

KINDS = {
    "addresspools": "AddressPool",
    "ipaddresspools": "IPAddressPool",
    "l2advertisements": "L2Advertisement",
    "bgppeers": "BGPPeer",
    "bgpadvertisements": "BGPAdvertisement",
    "bfdprofiles": "BFDProfile",
    "communities": "Community",
}
_ANYTHING = {"type": "object", "x-kubernetes-preserve-unknown-fields": True}


def definition(plural: str, kind: str) -> dict[str, Any]:
    """A CRD that lets anything in, in the first version alone."""
    names = {"plural": plural, "kind": kind, "singular": kind.lower(), "listKind": f"{kind}List"}
    version = {"name": "v1beta1", "served": True, "storage": True,
               "schema": {"openAPIV3Schema": _ANYTHING}}  # fmt: skip
    return {
        "apiVersion": "apiextensions.k8s.io/v1", "kind": "CustomResourceDefinition",
        "metadata": {"name": f"{plural}.metallb.io"},
        "spec": {"group": "metallb.io", "names": names, "scope": "Namespaced",
                 "versions": [version]},
    }  # fmt: skip


def definitions(folder: Path) -> Path:
    """All of them, in a folder of their own."""
    folder.mkdir()
    for plural, kind in KINDS.items():
        (folder / f"{plural}.yaml").write_text(yaml.safe_dump(definition(plural, kind)))
    return folder
