"""Nodes and their links."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from ipaddress import IPv4Interface, IPv6Interface

from onehop.model.address import IPAddress, Mac
from onehop.model.service import no_labels

EXCLUDE_LABEL = "node.kubernetes.io/exclude-from-external-load-balancers"


@dataclass(frozen=True, slots=True, kw_only=True)
class Node:
    """A Node as the API gives it.

    `ready` is its Ready condition (true when absent), `network_unavailable` the condition of that
    name. `addresses` are the InternalIPs.
    """

    name: str
    labels: Mapping[str, str] = field(default_factory=no_labels)
    annotations: Mapping[str, str] = field(default_factory=no_labels)
    addresses: tuple[IPAddress, ...] = ()
    pod_cidrs: tuple[str, ...] = ()
    ready: bool = True
    network_unavailable: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Link:
    """A network link of this node, as netlink reports it.

    `up` means: set up, and with carrier. `master` is the index of a bridge or bond it belongs to,
    0 for none. `addresses` carry the prefix length of each address. `carrier_changes` counts how
    often the carrier came or went, so that two looks show a loss between them.
    """

    index: int
    name: str
    mac: Mac
    up: bool
    broadcast: bool = True
    no_arp: bool = False
    master: int = 0
    kind: str = ""
    addresses: tuple[IPv4Interface | IPv6Interface, ...] = ()
    carrier_changes: int = 0

    @property
    def speaks(self) -> bool:
        """Whether addresses can be announced on it once it is up: it is no part of another."""
        return self.master == 0 and not self.no_arp


@dataclass(frozen=True, slots=True, kw_only=True)
class Pod:
    """A Pod, which only the lab reads: the speaker never does."""

    name: str
    namespace: str
    node: str
    addresses: tuple[IPAddress, ...] = ()
    labels: Mapping[str, str] = field(default_factory=no_labels)
    ports: tuple[int, ...] = ()
