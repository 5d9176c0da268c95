"""Validation of the BGP configuration as a whole: what no single object shows.

An object that cannot stand beside the others is left out and said so; the others stay in force.
Of two that exclude each other the one whose name comes first stays, so that every node leaves out
the same one. Selectors count: on a node that only one of the two selects, both are right.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Protocol, TypeVar

from onehop.core.eligible import Selective, covers_pool, selects
from onehop.model.bgp import (
    BASIC_AUTH,
    BFDProfile,
    BGPAdvertisement,
    BGPPeer,
    CommunityAliases,
    Secret,
)
from onehop.model.community import parse_community
from onehop.model.config import Pool
from onehop.model.node import Node
from onehop.model.objects import Objects
from onehop.model.reason import Problem, Reason, Refusal
from onehop.model.service import Key

DRAIN_ANNOTATION = "onehop.io/drain"


class _Named(Protocol):
    @property
    def key(self) -> Key: ...


_N = TypeVar("_N", bound=_Named)


@dataclass(frozen=True, slots=True, kw_only=True)
class BgpJudgement:
    """The BGP objects in force, by name, and what is wrong with the others.

    Peers have their passwords. `refused_peers` maps the name of a BGPPeer that is not in force to
    why; a problem need not refuse its object.
    """

    peers: tuple[BGPPeer, ...] = ()
    advertisements: tuple[BGPAdvertisement, ...] = ()
    profiles: Mapping[str, BFDProfile]
    aliases: Mapping[str, str]
    refused_peers: Mapping[str, Refusal]
    refused_advertisements: Mapping[str, Refusal]
    problems: tuple[Problem, ...] = ()


def judged_bgp(objects: Objects, pools: Sequence[Pool], nodes: Sequence[Node]) -> BgpJudgement:
    """The BGP configuration as these nodes see it; `pools` are those in force."""
    court = _Court(pools, nodes)
    profiles = {profile.key.name: profile for profile in court.named(objects.bfd_profiles)}
    aliases = court.aliases(objects.community_aliases)
    peers = court.peers(objects, profiles)
    advertisements = court.advertisements(objects, aliases)
    court.drains()
    return BgpJudgement(
        peers=peers,
        advertisements=advertisements,
        profiles=profiles,
        aliases=aliases,
        refused_peers=court.refused["BGPPeer"],
        refused_advertisements=court.refused["BGPAdvertisement"],
        problems=tuple(court.problems),
    )


class BgpValidator:
    """Answers what is wrong again and again, and looks only when something is another object."""

    def __init__(self) -> None:
        self._seen: tuple[object, ...] = ()
        self._problems: tuple[Problem, ...] = ()

    def problems(self, objects: Objects, pools: tuple[Pool, ...]) -> tuple[Problem, ...]:
        """Everything wrong with the BGP objects together, in a fixed order."""
        now = (
            objects.bgp_peers,
            objects.bgp_advertisements,
            objects.bfd_profiles,
            objects.community_aliases,
            objects.secrets,
            objects.nodes,
            pools,
        )
        if len(self._seen) != len(now) or any(
            a is not b for a, b in zip(self._seen, now, strict=True)
        ):
            nodes = tuple(objects.nodes.values())
            self._problems = judged_bgp(objects, pools, nodes).problems
            self._seen = now
        return self._problems


class _Court:
    """One judgement in the making."""

    def __init__(self, pools: Sequence[Pool], nodes: Sequence[Node]) -> None:
        self._pools = pools
        self._nodes = nodes
        self.problems: list[Problem] = []
        self.refused: dict[str, dict[str, Refusal]] = {"BGPPeer": {}, "BGPAdvertisement": {}}

    def named(self, objects: Mapping[Key, _N]) -> list[_N]:
        """The objects in the order of their names, each name once."""
        found: dict[str, _N] = {}
        for each in sorted(objects.values(), key=lambda each: (each.key.name, each.key)):
            first = found.setdefault(each.key.name, each)
            if first is not each:
                detail = f"{first.key} has the same name and stays in force"
                self._tell(each, "metadata.name", Reason.DUPLICATE_OBJECT, detail)
        return list(found.values())

    def aliases(self, communities: Mapping[Key, CommunityAliases]) -> dict[str, str]:
        """Every name for a community; of two equal names that of the first object."""
        holders: dict[str, CommunityAliases] = {}
        for each in sorted(communities.values(), key=lambda each: (each.key.name, each.key)):
            for index, name in enumerate(each.aliases):
                first = holders.setdefault(name, each)
                if first is not each:
                    detail = f"Community {first.key} names {name!r} as well and stays in force"
                    field = f"spec.communities[{index}].name"
                    self._tell(each, field, Reason.COMMUNITY_DUPLICATE, detail)
        return {name: each.aliases[name] for name, each in holders.items()}

    def peers(self, objects: Objects, profiles: Mapping[str, BFDProfile]) -> tuple[BGPPeer, ...]:
        """The peers in force, with their passwords."""
        usable: list[BGPPeer] = []
        for peer in self.named(objects.bgp_peers):
            fault = _profile_fault(peer, profiles) or _secret_fault(peer, objects.secrets)
            fault = fault or self._session_fault(peer, usable)
            if fault is not None:
                self._refuse(peer, *fault)
                continue
            secret = objects.secrets[peer.secret] if peer.secret else None
            password = secret.password if secret is not None else None
            usable.append(replace(peer, password=password) if password else peer)
        return tuple(usable)

    def _session_fault(self, peer: BGPPeer, others: Iterable[BGPPeer]) -> _Fault | None:
        for other in others:
            if (
                peer.address == other.address
                and (peer.port, peer.link) == (other.port, other.link)
                and self._meet(peer, other)
            ):
                detail = f"BGPPeer {other.key} has the same address and stays in force"
                return "spec.peerAddress", Reason.PEER_DUPLICATE, detail
        return None

    def advertisements(
        self, objects: Objects, aliases: Mapping[str, str]
    ) -> tuple[BGPAdvertisement, ...]:
        """The advertisements in force."""
        usable: list[BGPAdvertisement] = []
        pools = {pool.key.name for pool in self._pools}
        peers = {peer.key.name for peer in objects.bgp_peers.values()}
        for adv in self.named(objects.bgp_advertisements):
            self._unknown(adv, "ipAddressPools", adv.pools, pools, Reason.UNKNOWN_POOL)
            self._unknown(adv, "peers", adv.peers, peers, Reason.UNKNOWN_PEER)
            fault = _alias_fault(adv, aliases) or self._width_fault(adv)
            fault = fault or self._preference_fault(adv, usable)
            if fault is not None:
                self._refuse(adv, *fault)
            else:
                usable.append(adv)
        return tuple(usable)

    def drains(self) -> None:
        """The annotation that drains a node says true or false; other words do nothing."""
        for node in self._nodes:
            text = node.annotations.get(DRAIN_ANNOTATION, "false")
            if text not in ("true", "false"):
                self.problems.append(
                    Problem(
                        source="",
                        line=0,
                        object=f"Node {node.name}",
                        field=f"metadata.annotations[{DRAIN_ANNOTATION}]",
                        reason=Reason.FIELD_INVALID,
                        detail=f"{text!r} is not one of true, false",
                    )
                )

    def _unknown(
        self,
        adv: BGPAdvertisement,
        field: str,
        names: tuple[str, ...],
        known: set[str],
        reason: Reason,
    ) -> None:
        kind = {Reason.UNKNOWN_POOL: "pool in force", Reason.UNKNOWN_PEER: "BGPPeer"}[reason]
        for index, name in enumerate(names):
            if name not in known:
                detail = f"there is no {kind} {name}"
                self._tell(adv, f"spec.{field}[{index}]", reason, detail)

    def _width_fault(self, adv: BGPAdvertisement) -> _Fault | None:
        """An aggregate wider than the widest block of a range would attract foreign traffic."""
        for pool in self._pools:
            if not covers_pool(adv, pool):
                continue
            for range_ in pool.ranges:
                version, bits = range_.first.version, range_.first.max_prefixlen
                length = aggregation_length(adv, version)
                if length < bits - _widest_block(int(range_.first), int(range_.last)):
                    field = "aggregationLength" if version == 4 else "aggregationLengthV6"
                    detail = f"/{length} is wider than {range_.text} of pool {pool.key.name}"
                    return f"spec.{field}", Reason.AGGREGATE_TOO_WIDE, detail
        return None

    def _preference_fault(
        self, adv: BGPAdvertisement, others: Iterable[BGPAdvertisement]
    ) -> _Fault | None:
        for other in others:
            if adv.local_pref == other.local_pref or not _share_a_peer(adv, other):
                continue
            if adv.service_selectors or other.service_selectors:
                continue  # whether a Service meets both shows at the Service
            pool = next((pool for pool in self._pools if _same_prefix(adv, other, pool)), None)
            if pool is not None and self._meet(adv, other):
                detail = (
                    f"BGPAdvertisement {other.key} gives {other.local_pref} to the same prefixes "
                    f"of pool {pool.key.name} and stays in force"
                )
                return "spec.localPref", Reason.LOCAL_PREF_CONFLICT, detail
        return None

    def _meet(self, one: Selective, other: Selective) -> bool:
        """Whether a node is selected by both."""
        if not one.node_selectors and not other.node_selectors:
            return True
        return any(selects(one, node) and selects(other, node) for node in self._nodes)

    def _refuse(
        self, each: BGPPeer | BGPAdvertisement, field: str, reason: Reason, detail: str
    ) -> None:
        kind = _KINDS[type(each)]
        self.refused[kind][each.key.name] = Refusal(reason=reason, detail=detail)
        self._tell(each, field, reason, detail)

    def _tell(self, each: _Named, field: str, reason: Reason, detail: str) -> None:
        self.problems.append(
            Problem(
                source="",
                line=0,
                object=f"{_KINDS[type(each)]} {each.key}",
                field=field,
                reason=reason,
                detail=detail,
            )
        )


_Fault = tuple[str, Reason, str]
_KINDS: Mapping[type, str] = {
    BGPPeer: "BGPPeer",
    BGPAdvertisement: "BGPAdvertisement",
    BFDProfile: "BFDProfile",
    CommunityAliases: "Community",
}


def aggregation_length(adv: BGPAdvertisement, version: int) -> int:
    """The prefix length that an advertisement gives to addresses of one IP version."""
    return adv.aggregation_length if version == 4 else adv.aggregation_length_v6


def _widest_block(first: int, last: int) -> int:
    """Host bits of the largest CIDR block that lies in a range of addresses."""
    bits = 0
    while True:
        size = 1 << (bits + 1)
        start = -(-first // size) * size
        if start + size - 1 > last:
            return bits
        bits += 1


def _profile_fault(peer: BGPPeer, profiles: Mapping[str, BFDProfile]) -> _Fault | None:
    if not peer.bfd_profile or peer.bfd_profile in profiles:
        return None
    detail = f"there is no BFDProfile {peer.bfd_profile}"
    return "spec.bfdProfile", Reason.BFD_PROFILE_UNKNOWN, detail


def _secret_fault(peer: BGPPeer, secrets: Mapping[Key, Secret]) -> _Fault | None:
    """Why the Secret gives no password. A session never comes up without the one it asks for."""
    named = peer.secret
    if named is None:
        return None
    secret = secrets.get(named)
    if secret is None:
        detail = f"there is no Secret {named}"
    elif secret.type != BASIC_AUTH:
        detail = f"Secret {named} is of type {secret.type}, not {BASIC_AUTH}"
    elif not secret.password:
        detail = f"Secret {named} has no password under the key password"
    else:
        return None
    field = "spec.passwordSecret" if peer.password_secret else "metadata.annotations"
    return field, Reason.SECRET_UNUSABLE, detail


def _alias_fault(adv: BGPAdvertisement, aliases: Mapping[str, str]) -> _Fault | None:
    for index, text in enumerate(adv.communities):
        if parse_community(aliases.get(text, text)) is None:
            detail = f"no Community object names {text!r}"
            return f"spec.communities[{index}]", Reason.COMMUNITY_UNKNOWN, detail
    return None


def _share_a_peer(one: BGPAdvertisement, other: BGPAdvertisement) -> bool:
    return not one.peers or not other.peers or not set(one.peers).isdisjoint(other.peers)


def _same_prefix(one: BGPAdvertisement, other: BGPAdvertisement, pool: Pool) -> bool:
    """Whether both make the same prefix of an address of the pool."""
    return (
        covers_pool(one, pool)
        and covers_pool(other, pool)
        and any(
            aggregation_length(one, version) == aggregation_length(other, version)
            for version in {range_.first.version for range_ in pool.ranges}
        )
    )
