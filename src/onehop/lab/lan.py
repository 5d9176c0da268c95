"""The lab's LAN: its networks, the addresses of the client and the router, and what is on-link."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from ipaddress import ip_interface, ip_network, summarize_address_range

from onehop.lab.topology import (
    CLIENT,
    CLIENT_LINK,
    ROUTER,
    UPLINK,
    LanHost,
    PodHost,
    Route,
    TopologyError,
    generated_mac,
)
from onehop.model.address import Family, IPAddress, IPNetwork, family_of
from onehop.model.config import L2Advertisement, Pool, any_matches
from onehop.model.node import Node
from onehop.model.objects import Objects

_LAN_PREFIX = {Family.IPV4: 24, Family.IPV6: 64}
_WIDEST_LAN = {Family.IPV4: 8, Family.IPV6: 32}
_CLIENT_OFFSET, _ROUTER_OFFSET = 10, 1
_CANDIDATES = 65536


class Taken:
    """Addresses that somebody has, or may be given from a pool."""

    def __init__(self, objects: Objects, nodes: Iterable[Node], pods: Iterable[PodHost]) -> None:
        self.addresses = {address for node in nodes for address in node.addresses}
        self.addresses.update(address for pod in pods for address in pod.addresses)
        for service in objects.services.values():
            self.addresses.update(service.ingress)
        self.ranges = tuple(piece for pool in objects.pools.values() for piece in pool.ranges)

    def __contains__(self, address: IPAddress) -> bool:
        return address in self.addresses or any(address in piece for piece in self.ranges)


def lab_hosts(
    networks: tuple[IPNetwork, ...], taken: Taken, routes: tuple[Route, ...]
) -> Iterator[LanHost]:
    """The client and the router, in this order.

    Raises:
        TopologyError: when the LAN has no address left for them.
    """
    router = _edge(ROUTER, UPLINK, _ROUTER_OFFSET, networks, taken, routes)
    taken.addresses.update(interface.ip for interface in router.addresses)
    yield _edge(CLIENT, CLIENT_LINK, _CLIENT_OFFSET, networks, taken, routes)
    yield router


def lan_networks(nodes: tuple[Node, ...]) -> tuple[IPNetwork, ...]:
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


def _edge(
    name: str,
    link: str,
    offset: int,
    networks: tuple[IPNetwork, ...],
    taken: Taken,
    routes: tuple[Route, ...],
) -> LanHost:
    """A host of the lab's own on the LAN: at `offset` in each network, or the first free."""
    addresses = []
    for network in networks:
        limit = min(network.num_addresses - 1, _CANDIDATES)
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
        routes=routes,
        forwards=name == ROUTER,
    )


def pools_off_the_lan(objects: Objects, networks: tuple[IPNetwork, ...]) -> Iterable[Route]:
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
