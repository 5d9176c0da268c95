"""Desired: what is wanted of the outside world, complete, and what came of it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from types import MappingProxyType

from onehop.model.address import IPAddress
from onehop.model.bgp import PeerDesired
from onehop.model.reason import Problem, Refusal
from onehop.model.service import Backend, Condition, Frontend, Key, TrafficPolicy


def _no_frontends() -> Mapping[Key, tuple[FrontendDesired, ...]]:
    return MappingProxyType({})


@dataclass(frozen=True, slots=True, kw_only=True)
class FrontendDesired:
    """One frontend with its backends.

    `backends` are those this node may send to, already cut to the local ones under Local, in a
    stable order (address, port). `total` counts the usable backends of the whole cluster.
    `elsewhere` is the one of these that Local leaves to another node, if there is one and no more.
    """

    frontend: Frontend
    service: Key
    policy: TrafficPolicy
    backends: tuple[Backend, ...]
    total: int
    elsewhere: Backend | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class DatapathDesired:
    """All that the node's datapath holds; `node_addresses` answer NodePort frontends.

    Frontends stand by Service, and a Service that did not change keeps the identical tuple: a
    diff of ten thousand costs ten thousand pointer comparisons.
    """

    frontends: Mapping[Key, tuple[FrontendDesired, ...]] = field(default_factory=_no_frontends)
    node_addresses: tuple[IPAddress, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Announcement:
    """An address this node answers for at layer 2; `links` None means every usable link."""

    address: IPAddress
    links: frozenset[str] | None = None


def _nothing_withheld() -> Mapping[Key, Refusal]:
    return MappingProxyType({})


def _no_peer_refused() -> Mapping[str, Refusal]:
    return MappingProxyType({})


def _none_announced() -> Mapping[Key, tuple[Announcement, ...]]:
    return MappingProxyType({})


def _none_advertised() -> Mapping[Key, tuple[str, ...]]:
    return MappingProxyType({})


@dataclass(frozen=True, slots=True, kw_only=True)
class NodeDesired:
    """All that is wanted of one node.

    `withheld` tells for each Service with an address why this node does not announce it: all
    addresses of a Service stand or fall together, since its first one decides the election.
    `peers` are the BGP sessions with their routes, `peers_refused` tells why other BGPPeers have
    none here, and `bgp_withheld` why no peer gets a route of a Service (empty without peers).
    `announced` are the announcements by Service, `advertised` the names of the peers that get a
    route of a Service, sorted; a Service that did not change keeps the identical tuple.
    """

    datapath: DatapathDesired
    announcements: tuple[Announcement, ...] = ()
    withheld: Mapping[Key, Refusal] = field(default_factory=_nothing_withheld)
    peers: tuple[PeerDesired, ...] = ()
    peers_refused: Mapping[str, Refusal] = field(default_factory=_no_peer_refused)
    bgp_withheld: Mapping[Key, Refusal] = field(default_factory=_nothing_withheld)
    announced: Mapping[Key, tuple[Announcement, ...]] = field(default_factory=_none_announced)
    advertised: Mapping[Key, tuple[str, ...]] = field(default_factory=_none_advertised)


@dataclass(frozen=True, slots=True, kw_only=True)
class ServiceStatus:
    """What a Service's status ought to say: addresses (v4 before v6) and conditions.

    `pool` is the owner of the addresses, empty when there are none. `refusal` is why not.
    """

    key: Key
    addresses: tuple[IPAddress, ...] = ()
    pool: str = ""
    refusal: Refusal | None = None
    conditions: tuple[Condition, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class ClusterDesired:
    """All that the controller wants written: one status for every Service it is in charge of.

    `released` are addresses that deleted Services held and that nobody else has got since.
    `problems` are all that is wrong with the objects, to be told where they can be seen.
    """

    statuses: Mapping[Key, ServiceStatus]
    released: Mapping[Key, tuple[IPAddress, ...]] = field(
        default_factory=lambda: MappingProxyType({})
    )
    problems: tuple[Problem, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Failure:
    """One thing an effector could not do, and when to try again (monotonic seconds).

    `address` is the Service's address that is not carried for it, None when it is about no one.
    """

    subject: str
    refusal: Refusal
    retry_at: float | None = None
    address: IPAddress | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Report:
    """What a `sync` changed and what failed; `is_unclear`: it broke off, nobody knows where.

    `again_at` (monotonic seconds): something is put off until then, and wants another `sync`.
    """

    changed: int = 0
    failures: tuple[Failure, ...] = ()
    is_unclear: bool = False
    again_at: float | None = None
