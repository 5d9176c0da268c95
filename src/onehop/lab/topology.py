"""The shape of a lab: which hosts, links, addresses and routes a cluster's objects ask for.

Pure: objects in, a frozen `Topology` out, or a `TopologyError` that names the object and the
field at fault. Nothing here touches the kernel. The choices a cluster file leaves open (a MAC
that is not given, the client's and the router's addresses) are made deterministically, so the
same file builds the same lab everywhere.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from hashlib import sha256
from ipaddress import (
    IPv4Interface,
    IPv6Interface,
    ip_interface,
    ip_network,
    summarize_address_range,
)

from onehop.model.address import Family, IPAddress, IPNetwork, Mac, family_of
from onehop.model.config import L2Advertisement, Pool, any_matches
from onehop.model.node import Node, Pod
from onehop.model.objects import Objects
from onehop.model.service import Key

Interface = IPv4Interface | IPv6Interface

MAC_ANNOTATION = "onehop.io/mac"
UPLINK = "eno1"
CLIENT_LINK = "enp1s0"
POD_LINK = "eth0"
LAN, CLIENT, ROUTER = "lan", "client", "router"

_LAN_PREFIX = {Family.IPV4: 24, Family.IPV6: 64}
_WIDEST_LAN = {Family.IPV4: 8, Family.IPV6: 32}
_CLIENT_OFFSET, _ROUTER_OFFSET = 10, 1


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
class Topology:
    """A whole lab: one LAN, the hosts on it, the pods behind its nodes.

    `pod_routes` lead from the LAN to the pods through their nodes; the client has none of them
    until a direct baseline asks.
    """

    networks: tuple[IPNetwork, ...]
    nodes: tuple[LanHost, ...]
    pods: tuple[PodHost, ...]
    client: LanHost
    router: LanHost
    pod_routes: tuple[Route, ...]

    @property
    def lan_hosts(self) -> tuple[LanHost, ...]:
        """Every host with a link on the LAN, in the order of its ports."""
        return (*self.nodes, self.client, self.router)

    @property
    def hosts(self) -> tuple[str, ...]:
        """The name of every namespace: the LAN's, the nodes', client, router, the pods'."""
        own = (pod.name for pod in self.pods if not pod.shares_node)
        return (LAN, *(host.name for host in self.lan_hosts), *own)

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


def topology(objects: Objects) -> Topology:
    """The lab that a cluster's objects describe.

    Raises:
        TopologyError: naming the first object and field that make it impossible.
    """
    nodes = tuple(objects.nodes[key] for key in sorted(objects.nodes))
    if not nodes:
        raise TopologyError("the cluster", "Node", "it has no Node object")
    _check_names(nodes)
    macs = _macs(nodes)
    networks = _networks(nodes)
    pods = _pods(objects, nodes)
    _check_addresses(nodes, pods)
    pod_routes = tuple(_pod_routes(nodes, pods))
    taken = _taken(objects, nodes, pods)
    router = _edge(ROUTER, UPLINK, _ROUTER_OFFSET, networks, taken)
    taken = taken | {interface.ip for interface in router.addresses}
    client = _edge(CLIENT, CLIENT_LINK, _CLIENT_OFFSET, networks, taken)
    outside = tuple(_pools_off_the_lan(objects, networks))
    return Topology(
        networks=networks,
        nodes=tuple(_node_host(node, macs, networks, pod_routes) for node in nodes),
        pods=pods,
        client=_with_routes(client, outside),
        router=_with_routes(router, outside),
        pod_routes=pod_routes,
    )


def _check_names(nodes: Iterable[Node]) -> None:
    for node in nodes:
        if node.name in (LAN, CLIENT, ROUTER):
            why = f"{node.name!r} is the name of a host of the lab itself"
            raise TopologyError(f"Node {node.name}", "metadata.name", why)


def _macs(nodes: Iterable[Node]) -> dict[str, Mac]:
    macs: dict[str, Mac] = {}
    holder: dict[Mac, str] = {}
    field = f"metadata.annotations[{MAC_ANNOTATION}]"
    for node in nodes:
        mac = _mac_of(node, field)
        if mac in holder:
            why = f"{mac} is already Node {holder[mac]}'s"
            raise TopologyError(f"Node {node.name}", field, why)
        macs[node.name], holder[mac] = mac, node.name
    return macs


def _mac_of(node: Node, field: str) -> Mac:
    text = node.annotations.get(MAC_ANNOTATION)
    if text is None:
        return generated_mac(f"node/{node.name}")
    try:
        mac = Mac.parse(text)
    except ValueError as error:
        raise TopologyError(f"Node {node.name}", field, str(error)) from None
    if mac.octets[0] & 1 or not any(mac.octets):
        raise TopologyError(f"Node {node.name}", field, f"{mac} is not a unicast address")
    return mac


def _networks(nodes: tuple[Node, ...]) -> tuple[IPNetwork, ...]:
    """The LAN's network of each family that the first node has: as narrow as the nodes allow."""
    for node in nodes:
        if not node.addresses:
            why = "the node has no InternalIP address"
            raise TopologyError(f"Node {node.name}", "status.addresses", why)
    return tuple(_network(nodes, family) for family in Family if _holders(nodes, family))


def _holders(nodes: Iterable[Node], family: Family) -> list[tuple[Node, IPAddress]]:
    return [
        (node, address)
        for node in nodes
        for address in node.addresses
        if family_of(address) is family
    ]


def _network(nodes: Iterable[Node], family: Family) -> IPNetwork:
    holders = _holders(nodes, family)
    network = ip_network((holders[0][1], _LAN_PREFIX[family]), strict=False)
    for node, address in holders:
        while address not in network and network.prefixlen > _WIDEST_LAN[family]:
            network = network.supernet()
        if address not in network:
            why = f"{address} shares no LAN with {holders[0][1]} of Node {holders[0][0].name}"
            raise TopologyError(f"Node {node.name}", "status.addresses", why)
    return network


def _pods(objects: Objects, nodes: tuple[Node, ...]) -> tuple[PodHost, ...]:
    by_name = {node.name: node for node in nodes}
    pods = [pod for _, pod in sorted(objects.pods.items()) if pod.addresses]
    for pod in pods:
        if pod.node not in by_name:
            why = f"no Node is named {pod.node!r}"
            raise TopologyError(f"Pod {pod.namespace}/{pod.name}", "spec.nodeName", why)
    pods.extend(_podless_endpoints(objects, by_name, pods))
    ports = _endpoint_ports(objects)
    used = {LAN, CLIENT, ROUTER, *by_name}
    result = []
    for pod in pods:
        name = pod.name if pod.name not in used else f"{pod.namespace}.{pod.name}"
        used.add(name)
        result.append(_pod_host(pod, name, by_name[pod.node], ports))
    return tuple(result)


def _podless_endpoints(
    objects: Objects, nodes: dict[str, Node], pods: Iterable[Pod]
) -> Iterable[Pod]:
    """A pod for each endpoint that names a node but that no Pod object stands behind."""
    known = {address for pod in pods for address in pod.addresses}
    for key, piece in sorted(objects.slices.items()):
        for position, endpoint in enumerate(piece.endpoints):
            if not endpoint.node or known.intersection(endpoint.addresses):
                continue
            if endpoint.node not in nodes:
                why = f"no Node is named {endpoint.node!r}"
                field = f"endpoints[{position}].nodeName"
                raise TopologyError(f"EndpointSlice {key}", field, why)
            known.update(endpoint.addresses)
            name = "ep-" + str(endpoint.addresses[0]).replace(".", "-").replace(":", "-")
            yield Pod(
                name=name,
                namespace=key.namespace,
                node=endpoint.node,
                addresses=endpoint.addresses,
            )


def _endpoint_ports(objects: Objects) -> dict[IPAddress, set[int]]:
    ports: dict[IPAddress, set[int]] = {}
    for piece in objects.slices.values():
        for endpoint in piece.endpoints:
            for address in endpoint.addresses:
                ports.setdefault(address, set()).update(port.port for port in piece.ports)
    return ports


def _pod_host(pod: Pod, name: str, node: Node, ports: dict[IPAddress, set[int]]) -> PodHost:
    seed = f"{pod.namespace}/{pod.name}"
    wanted = set(pod.ports).union(*(ports.get(address, set()) for address in pod.addresses))
    return PodHost(
        name=name,
        key=Key(pod.namespace, pod.name),
        node=pod.node,
        addresses=pod.addresses,
        ports=tuple(sorted(wanted)),
        host_link="lxc" + sha256(seed.encode()).hexdigest()[:10],
        host_mac=generated_mac(f"lxc/{seed}"),
        mac=generated_mac(f"pod/{seed}"),
        shares_node=set(pod.addresses) <= set(node.addresses),
    )


def _check_addresses(nodes: Iterable[Node], pods: Iterable[PodHost]) -> None:
    holder: dict[IPAddress, str] = {}
    claims = [(f"Node {node.name}", "status.addresses", node.addresses) for node in nodes]
    claims += [
        (f"Pod {pod.key}", "status.podIPs", pod.addresses) for pod in pods if not pod.shares_node
    ]
    for subject, field, addresses in claims:
        for address in addresses:
            if address in holder:
                raise TopologyError(subject, field, f"{address} is already {holder[address]}'s")
            holder[address] = subject


def _pod_routes(nodes: Iterable[Node], pods: tuple[PodHost, ...]) -> Iterable[Route]:
    """Each node's podCIDRs through the node, and host routes for its pods outside of them."""
    for node in nodes:
        cidrs = tuple(_pod_cidrs(node))
        strays = (
            ip_network(address)
            for pod in pods
            if pod.node == node.name and not pod.shares_node
            for address in pod.addresses
            if not any(address in cidr for cidr in cidrs)
        )
        for network in (*cidrs, *strays):
            via = _address_of(node, family_of(network.network_address))
            if via is not None:
                yield Route(network=network, via=via)


def _pod_cidrs(node: Node) -> Iterable[IPNetwork]:
    for position, text in enumerate(node.pod_cidrs):
        try:
            yield ip_network(text, strict=False)
        except ValueError:
            why = f"{text!r} is not a CIDR"
            field = f"spec.podCIDRs[{position}]"
            raise TopologyError(f"Node {node.name}", field, why) from None


def _address_of(node: Node, family: Family) -> IPAddress | None:
    return next((a for a in node.addresses if family_of(a) is family), None)


def _taken(
    objects: Objects, nodes: Iterable[Node], pods: Iterable[PodHost]
) -> frozenset[IPAddress]:
    taken = {address for node in nodes for address in node.addresses}
    taken |= {address for pod in pods for address in pod.addresses}
    taken |= {a for service in objects.services.values() for a in service.ingress}
    pools = [r for pool in objects.pools.values() for r in pool.ranges if r.size <= 65536]
    # ranges are listed out only as far as a LAN's first addresses can reach into them
    taken |= {type(r.first)(int(r.first) + i) for r in pools for i in range(min(r.size, 4096))}
    return frozenset(taken)


def _edge(
    name: str,
    link: str,
    offset: int,
    networks: tuple[IPNetwork, ...],
    taken: frozenset[IPAddress],
) -> LanHost:
    """A host of the lab's own on the LAN: at `offset` in each network, or the first free."""
    addresses = []
    for network in networks:
        limit = min(network.num_addresses - 1, 65536)
        for candidate in (offset, *range(1, limit)):
            address = network.network_address + candidate
            if address in network and address not in taken:
                addresses.append(ip_interface((address, network.prefixlen)))
                break
        else:
            raise TopologyError("the LAN", str(network), f"no address is free for the {name}")
    return LanHost(
        name=name,
        link=link,
        mac=generated_mac(f"lab/{name}"),
        addresses=tuple(addresses),
        forwards=name == ROUTER,
    )


def _with_routes(host: LanHost, routes: tuple[Route, ...]) -> LanHost:
    return LanHost(
        name=host.name,
        link=host.link,
        mac=host.mac,
        addresses=host.addresses,
        routes=routes,
        forwards=host.forwards,
    )


def _pools_off_the_lan(objects: Objects, networks: tuple[IPNetwork, ...]) -> Iterable[Route]:
    """On-link routes to layer-2 pools outside the LAN's network, so that clients ask for them."""
    families = {network.version for network in networks}
    adverts = tuple(objects.l2_advertisements.values())
    for _, pool in sorted(objects.pools.items()):
        if not any(_covers(advert, pool) for advert in adverts):
            continue
        for piece in pool.ranges:
            if piece.first.version not in families:
                continue
            for network in summarize_address_range(piece.first, piece.last):
                if not any(_inside(network, lan) for lan in networks):
                    yield Route(network=network)


def _covers(advert: L2Advertisement, pool: Pool) -> bool:
    if not advert.pools and not advert.pool_selectors:
        return True
    return pool.key.name in advert.pools or any_matches(advert.pool_selectors, pool.labels)


def _inside(network: IPNetwork, lan: IPNetwork) -> bool:
    return network.network_address in lan and network.broadcast_address in lan


def _node_host(
    node: Node,
    macs: dict[str, Mac],
    networks: tuple[IPNetwork, ...],
    pod_routes: tuple[Route, ...],
) -> LanHost:
    return LanHost(
        name=node.name,
        link=UPLINK,
        mac=macs[node.name],
        addresses=tuple(
            ip_interface((address, network.prefixlen))
            for address in node.addresses
            for network in networks
            if network.version == address.version
        ),
        routes=tuple(route for route in pod_routes if route.via not in node.addresses),
        forwards=True,
    )
