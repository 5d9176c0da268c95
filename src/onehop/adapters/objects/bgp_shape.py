"""Shapes of MetalLB's BGP kinds and of the Secrets that they name."""

from __future__ import annotations

import msgspec

from onehop.adapters.objects.shape import ObjectShape, SelectorShape, Shape


class SecretReference(Shape):
    """BGPPeer.spec.passwordSecret."""

    name: str | None = None
    namespace: str | None = None


class PeerSpec(Shape):
    """BGPPeer.spec of both versions; v1beta1 lacks some of the fields."""

    my_asn: int = msgspec.field(name="myASN")
    peer_asn: int | None = msgspec.field(name="peerASN", default=None)
    dynamic_asn: str | None = msgspec.field(name="dynamicASN", default=None)
    local_asn: int | None = msgspec.field(name="localASN", default=None)
    peer_address: str | None = None
    interface: str | None = None
    source_address: str | None = None
    peer_port: int | None = None
    hold_time: str | None = None
    keepalive_time: str | None = None
    connect_time: str | None = None
    router_id: str | None = msgspec.field(name="routerID", default=None)
    node_selectors: list[SelectorShape] | None = None
    password: str | None = None
    password_secret: SecretReference | None = None
    bfd_profile: str | None = None
    enable_graceful_restart: bool | None = None
    ebgp_multi_hop: bool | None = None
    vrf: str | None = None
    disable_mp: bool | None = msgspec.field(name="disableMP", default=None)
    dual_stack_address_family: bool | None = None


class PeerShape(ObjectShape):
    """metallb.io BGPPeer."""

    spec: PeerSpec


class BgpAdvertisementSpec(Shape):
    """BGPAdvertisement.spec; an empty one announces every pool to every peer."""

    aggregation_length: int | None = None
    aggregation_length_v6: int | None = msgspec.field(name="aggregationLengthV6", default=None)
    local_pref: int | None = None
    communities: list[str] | None = None
    ip_address_pools: list[str] | None = msgspec.field(name="ipAddressPools", default=None)
    ip_address_pool_selectors: list[SelectorShape] | None = None
    node_selectors: list[SelectorShape] | None = None
    peers: list[str] | None = None
    service_selectors: list[SelectorShape] | None = None


class BgpAdvertisementShape(ObjectShape):
    """metallb.io/v1beta1 BGPAdvertisement."""

    spec: BgpAdvertisementSpec | None = None


class ProfileSpec(Shape):
    """BFDProfile.spec; intervals are milliseconds."""

    receive_interval: int | None = None
    transmit_interval: int | None = None
    detect_multiplier: int | None = None
    echo_interval: int | None = None
    echo_mode: bool | None = None
    passive_mode: bool | None = None
    minimum_ttl: int | None = None


class ProfileShape(ObjectShape):
    """metallb.io/v1beta1 BFDProfile."""

    spec: ProfileSpec | None = None


class AliasShape(Shape):
    """Community.spec.communities entry."""

    name: str | None = None
    value: str | None = None


class CommunitySpec(Shape):
    """Community.spec."""

    communities: list[AliasShape] | None = None


class CommunityShape(ObjectShape):
    """metallb.io/v1beta1 Community."""

    spec: CommunitySpec | None = None


class SecretShape(ObjectShape):
    """core/v1 Secret; `stringData` wins over `data`, as in the API server."""

    type: str | None = None
    # Values of other Secrets are none of our business, so their types are not looked at.
    data: dict[str, object] | None = None
    string_data: dict[str, object] | None = None
