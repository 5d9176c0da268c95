"""Sources: what is listed and watched, where the API server has it, and how much depends on it."""

from __future__ import annotations

from dataclasses import dataclass
from urllib.parse import quote

from onehop.model.service import Key

_JSON = "application/json"
_NAMES_ONLY = "application/json;as=PartialObjectMetadata{};g=meta.k8s.io;v=v1"
_PLURALS = {
    "Service": "services",
    "EndpointSlice": "endpointslices",
    "Node": "nodes",
    "Namespace": "namespaces",
    "Secret": "secrets",
    "IPAddressPool": "ipaddresspools",
    "L2Advertisement": "l2advertisements",
    "BGPPeer": "bgppeers",
    "BGPAdvertisement": "bgpadvertisements",
    "BFDProfile": "bfdprofiles",
    "Community": "communities",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Source:
    """One kind, or one object of it.

    `versions` are tried in order: the first one that the server has is read. Without an
    `essential` kind nothing can be decided, so while it is refused the store is not complete.
    """

    kind: str
    versions: tuple[str, ...]
    namespace: str = ""
    name: str = ""
    essential: bool = False
    metadata_only: bool = False

    @property
    def about(self) -> str:
        """The source in a problem; it begins with the kind, as an object's own problems do."""
        where = f"in {self.namespace}" if self.namespace else "in the cluster"
        return f"{self.kind} {self.namespace}/{self.name}" if self.name else f"{self.kind} {where}"

    def path(self, version: str) -> str:
        """Where the list is; its query is begun, so that each parameter follows an ampersand."""
        group = f"/apis/{version}" if "/" in version else f"/api/{version}"
        place = f"/namespaces/{quote(self.namespace)}" if self.namespace else ""
        which = f"&fieldSelector=metadata.name%3D{quote(self.name)}" if self.name else ""
        return f"{group}{place}/{_PLURALS[self.kind]}?{which}"

    def accept(self, *, listing: bool) -> str:
        """The media type to ask for."""
        return _NAMES_ONLY.format("List" if listing else "") if self.metadata_only else _JSON


def sources(namespace: str, *, slices: bool = True) -> tuple[Source, ...]:
    """All kinds, those of `metallb.io` in one namespace, those that matter most first."""
    metallb = (
        ("IPAddressPool", ("metallb.io/v1beta1",)),
        ("L2Advertisement", ("metallb.io/v1beta1",)),
        ("BGPPeer", ("metallb.io/v1beta2", "metallb.io/v1beta1")),
        ("BGPAdvertisement", ("metallb.io/v1beta1",)),
        ("BFDProfile", ("metallb.io/v1beta1",)),
        ("Community", ("metallb.io/v1beta1",)),
    )
    endpoints = Source(kind="EndpointSlice", versions=("discovery.k8s.io/v1",), essential=True)
    return (
        Source(kind="Service", versions=("v1",), essential=True),
        *((endpoints,) if slices else ()),
        Source(kind="Node", versions=("v1",), essential=True),
        Source(kind="Namespace", versions=("v1",), metadata_only=True),
        *(Source(kind=k, versions=versions, namespace=namespace) for k, versions in metallb),
    )


def secret_source(key: Key) -> Source:
    """One Secret, by its name alone."""
    return Source(kind="Secret", versions=("v1",), namespace=key.namespace, name=key.name)
