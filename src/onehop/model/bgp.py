"""BGP: MetalLB's BGP kinds, and what is wanted of each peer.

A field keeps MetalLB's meaning and default. Times are seconds, BFD intervals milliseconds as
their names say. A password is never printed: it is left out of `repr`.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import Enum
from ipaddress import IPv4Address
from types import MappingProxyType

from onehop.model.address import IPAddress, IPNetwork
from onehop.model.config import LabelSelector
from onehop.model.service import Key


class DynamicAsn(Enum):
    """BGPPeer.spec.dynamicASN: the peer's AS is learned, of our own AS or of another."""

    INTERNAL = "internal"
    EXTERNAL = "external"


class Role(Enum):
    """A BGP role (RFC 9234 4.1)."""

    PROVIDER = 0
    ROUTE_SERVER = 1
    ROUTE_SERVER_CLIENT = 2
    CUSTOMER = 3
    PEER = 4


@dataclass(frozen=True, slots=True, kw_only=True)
class BFDProfile:
    """A BFDProfile; unset fields take the defaults of the profile's user."""

    key: Key
    receive_interval_ms: int = 300
    transmit_interval_ms: int = 300
    detect_multiplier: int = 3
    echo_interval_ms: int = 50
    echo_mode: bool = False
    passive_mode: bool = False
    minimum_ttl: int = 254


@dataclass(frozen=True, slots=True, kw_only=True)
class AuthenticationOption:
    """TCP-AO (RFC 5925 3.1): the Secret with the master key, and by which numbers it is known."""

    secret: Key
    send_id: int
    receive_id: int


@dataclass(frozen=True, slots=True, kw_only=True)
class BGPPeer:
    """A BGPPeer of either version.

    Exactly one of `peer_asn` and `dynamic_asn`, and one of `address` and `link`, is set.
    `hold_time` None means the default of 90 s; 0 switches the timers off. `ttl_security` is how
    many hops away the peer may be (RFC 5082), None for no check. `role` is ours
    (RFC 9234), None for none. A `passive` peer connects to us, we never to it. With
    `authentication` the password is TCP-AO's master key, without it TCP-MD5's. For
    `stale_time` seconds after the restart time routes may be kept for want of others (RFC 9494).
    """

    key: Key
    my_asn: int
    peer_asn: int | None = None
    dynamic_asn: DynamicAsn | None = None
    local_asn: int | None = None
    address: IPAddress | None = None
    link: str = ""
    source: IPAddress | None = None
    port: int = 179
    hold_time: float | None = None
    keepalive_time: float | None = None
    connect_time: float | None = None
    router_id: IPv4Address | None = None
    node_selectors: tuple[LabelSelector, ...] = ()
    password: str = field(default="", repr=False)
    password_secret: Key | None = None
    bfd_profile: str = ""
    graceful_restart: bool = False
    ebgp_multihop: bool = False
    vrf: str = ""
    dual_stack: bool = False
    ttl_security: int | None = None
    role: Role | None = None
    passive: bool = False
    authentication: AuthenticationOption | None = None
    stale_time: int = 0

    @property
    def secret(self) -> Key | None:
        """The Secret that holds the password or the master key, None for none."""
        return self.password_secret if self.authentication is None else self.authentication.secret


@dataclass(frozen=True, slots=True, kw_only=True)
class BGPAdvertisement:
    """A BGPAdvertisement. Both pool fields empty: all pools. `peers` empty: all peers.

    `local_pref` 0 is unset. `communities` are as written: values or names of aliases. `weighted`:
    under externalTrafficPolicy Local a route tells how many endpoints serve behind it.
    """

    key: Key
    aggregation_length: int = 32
    aggregation_length_v6: int = 128
    local_pref: int = 0
    communities: tuple[str, ...] = ()
    pools: tuple[str, ...] = ()
    pool_selectors: tuple[LabelSelector, ...] = ()
    node_selectors: tuple[LabelSelector, ...] = ()
    peers: tuple[str, ...] = ()
    service_selectors: tuple[LabelSelector, ...] = ()
    weighted: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class CommunityAliases:
    """A Community object: names for community values, as written."""

    key: Key
    aliases: Mapping[str, str]


BASIC_AUTH = "kubernetes.io/basic-auth"


@dataclass(frozen=True, slots=True, kw_only=True)
class Secret:
    """A Secret that a BGPPeer may name; only one of type basic-auth shows its password."""

    key: Key
    type: str
    password: str | None = field(default=None, repr=False)


@dataclass(frozen=True, slots=True, order=True)
class LargeCommunity:
    """A large community (RFC 8092 3)."""

    administrator: int
    data1: int
    data2: int

    def __str__(self) -> str:
        return f"large:{self.administrator}:{self.data1}:{self.data2}"


@dataclass(frozen=True, slots=True, kw_only=True)
class RouteAttributes:
    """What a route carries beside its prefix; equal values share one UPDATE.

    `communities` are 32-bit values (RFC 1997), `extended` 8 octets each (RFC 4360), all sorted.
    `next_hop` None is the session's own address; `local_pref` None is unset (100 inside an AS).
    """

    local_pref: int | None = None
    med: int | None = None
    communities: tuple[int, ...] = ()
    large_communities: tuple[LargeCommunity, ...] = ()
    extended: tuple[bytes, ...] = ()
    next_hop: IPAddress | None = None


Routes = Mapping[IPNetwork, RouteAttributes]


def no_routes() -> Routes:
    """The one empty set of routes."""
    return _NO_ROUTES


_NO_ROUTES: Routes = MappingProxyType({})


@dataclass(frozen=True, slots=True, kw_only=True)
class PeerDesired:
    """One session this node ought to hold, and all that it ought to advertise there.

    `bfd` is the profile in force, None for no BFD. `name` is the BGPPeer's. A peer whose routes
    alone differ keeps its session.
    """

    name: str
    peer: BGPPeer
    router_id: IPv4Address
    bfd: BFDProfile | None = None
    routes: Routes = field(default_factory=no_routes)
