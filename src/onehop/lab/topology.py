"""The shape of a lab, as values: one LAN, the hosts on it, and the pods behind its nodes."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from hashlib import sha256
from ipaddress import IPv4Interface, IPv6Interface

from onehop.model.address import IPAddress, IPNetwork, Mac
from onehop.model.service import Key

Interface = IPv4Interface | IPv6Interface

UPLINK = "eno1"
CLIENT_LINK = "enp1s0"
POD_LINK = "eth0"
LAN, CLIENT, ROUTER, API = "lan", "client", "router", "api"
API_LINK = "vethapi"  # speakers leave links of this kind of name alone, as MetalLB's do


class TopologyError(Exception):
    """The cluster's objects do not make a lab: which object, which field, and why."""

    def __init__(self, subject: str, field: str, why: str) -> None:
        super().__init__(f"{subject}: {field}: {why}")
        self.subject = subject
        self.field = field
        self.why = why


@dataclass(frozen=True, slots=True, kw_only=True)
class Route:
    """A route: to `network` through `via`, or on the link itself when `via` is None."""

    network: IPNetwork
    via: IPAddress | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class LanHost:
    """A host with one link on the LAN: a node, the client or the router."""

    name: str
    link: str
    mac: Mac
    addresses: tuple[Interface, ...]
    routes: tuple[Route, ...] = ()
    forwards: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class PodHost:
    """A pod; on the host network (`shares_node`) it has no namespace and no link of its own.

    `host_link` is the name of its device on the node, `host_mac` that device's address: the next
    hop of everything the pod sends. `ports` are what answers in it, TCP and UDP alike.
    """

    name: str
    key: Key
    node: str
    addresses: tuple[IPAddress, ...]
    ports: tuple[int, ...]
    host_link: str
    host_mac: Mac
    mac: Mac
    shares_node: bool = False

    @property
    def host(self) -> str:
        """The name of the namespace in which the pod's processes run."""
        return self.node if self.shares_node else self.name


@dataclass(frozen=True, slots=True, kw_only=True)
class Management:
    """The network between the API server and the nodes, on a bridge of the API server's host."""

    address: IPv4Interface
    nodes: Mapping[str, IPv4Interface]


@dataclass(frozen=True, slots=True, kw_only=True)
class Topology:
    """A whole lab: one LAN, the hosts on it, the pods behind its nodes.

    `pod_routes` lead from the LAN to the pods through their nodes; the client has none of them
    until a direct baseline asks. `management` is there when the lab has an API server.
    """

    networks: tuple[IPNetwork, ...]
    nodes: tuple[LanHost, ...]
    pods: tuple[PodHost, ...]
    client: LanHost
    router: LanHost
    pod_routes: tuple[Route, ...]
    management: Management | None = None

    @property
    def lan_hosts(self) -> tuple[LanHost, ...]:
        """Every host with a link on the LAN, in the order of its ports."""
        return (*self.nodes, self.client, self.router)

    @property
    def hosts(self) -> tuple[str, ...]:
        """The name of every namespace: LAN, nodes, client, router, API server, pods."""
        own = (pod.name for pod in self.pods if not pod.shares_node)
        api = () if self.management is None else (API,)
        return (LAN, *(host.name for host in self.lan_hosts), *api, *own)

    def pods_on(self, node: str) -> tuple[PodHost, ...]:
        """The pods of one node that have a link of their own."""
        return tuple(pod for pod in self.pods if pod.node == node and not pod.shares_node)

    def pod(self, name: str) -> PodHost:
        """The pod of this host name, or of this `namespace/name`.

        Raises:
            KeyError: when there is none.
        """
        for pod in self.pods:
            if name in (pod.name, str(pod.key)):
                return pod
        raise KeyError(name)

    def lan_host(self, name: str) -> LanHost:
        """The node, client or router of this name.

        Raises:
            KeyError: when there is none.
        """
        for host in self.lan_hosts:
            if host.name == name:
                return host
        raise KeyError(name)


def generated_mac(seed: str) -> Mac:
    """A locally administered unicast MAC that follows from `seed` alone."""
    return Mac(b"\x02" + sha256(seed.encode()).digest()[:5])
