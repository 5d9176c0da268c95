"""Which networks a lab's API server takes: one to reach it by, one for ClusterIPs.

Pure. Both keep out of the way of what the cluster's objects name: nothing that a node forwards to
may lie on the network between it and the API server.
"""

from __future__ import annotations

from collections.abc import Iterator
from ipaddress import IPv4Interface, IPv4Network, ip_network, summarize_address_range

from onehop.lab.topology import Management, Topology, TopologyError
from onehop.model.address import Family, IPAddress, IPNetwork, family_of
from onehop.model.objects import Objects

# Of the blocks that are private (RFC 1918) or for such tests (RFC 2544), in order of preference.
_CANDIDATES = tuple(
    IPv4Network(text)
    for text in ("172.30.0.0/22", "172.31.252.0/22", "198.18.0.0/22", "10.255.252.0/22")
)
_DEFAULT_SERVICES = {Family.IPV4: "10.96.0.0/16", Family.IPV6: "fd00:10:96::/112"}
_USUAL = {Family.IPV4: 16, Family.IPV6: 112}
_WIDEST = {Family.IPV4: 12, Family.IPV6: 108}  # the API server takes none that is wider


def management(objects: Objects, shape: Topology) -> Management:
    """The network between the API server and the nodes.

    Raises:
        TopologyError: when the cluster leaves none free, or has too many nodes.
    """
    taken = tuple(_taken(objects, shape))
    for network in _CANDIDATES:
        if not any(network.version == own.version and network.overlaps(own) for own in taken):
            break
    else:
        tried = ", ".join(map(str, _CANDIDATES))
        raise TopologyError("the cluster", "its addresses", f"it leaves none of {tried} free")
    if len(shape.nodes) > network.num_addresses - 12:
        raise TopologyError("the cluster", "Node", f"{network} is too small for its nodes")
    return Management(
        address=IPv4Interface((network[1], network.prefixlen)),
        nodes={
            node.name: IPv4Interface((network[10 + number], network.prefixlen))
            for number, node in enumerate(shape.nodes)
        },
    )


def _taken(objects: Objects, shape: Topology) -> Iterator[IPNetwork]:
    yield from shape.networks
    yield from (route.network for route in shape.pod_routes)
    for node in objects.nodes.values():
        yield from (ip_network(text, strict=False) for text in node.pod_cidrs)
    for pod in shape.pods:
        yield from map(ip_network, pod.addresses)
    for service in objects.services.values():
        yield from map(ip_network, (*service.cluster_ips, *service.ingress))
    for pool in objects.pools.values():
        for piece in pool.ranges:
            yield from summarize_address_range(piece.first, piece.last)


def service_networks(objects: Objects) -> tuple[IPNetwork, ...]:
    """The ClusterIP networks: those of the cluster's Services.

    Raises:
        TopologyError: when ClusterIPs of a family share no network that the API server takes.
    """
    return tuple(_services(objects, family) for family in Family)


def reserved(networks: tuple[IPNetwork, ...]) -> frozenset[str]:
    """The ClusterIPs that the API server takes for itself."""
    return frozenset(str(network[1]) for network in networks)


def _services(objects: Objects, family: Family) -> IPNetwork:
    network: IPNetwork | None = None
    for key, service in sorted(objects.services.items()):
        for address in service.cluster_ips:
            if family_of(address) is not family:
                continue
            network = _widened(network, address, _USUAL[family])
            if network.prefixlen < _WIDEST[family]:
                why = f"{address} lies too far from other Services' addresses for one network"
                raise TopologyError(f"Service {key}", "spec.clusterIPs", why)
    return network or ip_network(_DEFAULT_SERVICES[family])


def _widened(network: IPNetwork | None, address: IPAddress, usual: int) -> IPNetwork:
    if network is None:
        return ip_network((address, usual), strict=False)
    while address not in network:
        network = network.supernet()
    return network
