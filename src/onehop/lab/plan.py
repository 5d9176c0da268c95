"""From a cluster's objects to the shape of its lab.

Pure: objects in, a `Topology` out, or a `TopologyError` that names the object and the field at
fault. Nothing here touches the kernel. What a cluster file leaves open is chosen
deterministically, so the same file builds the same lab everywhere.
"""

from __future__ import annotations

from collections.abc import Iterable
from hashlib import sha256
from ipaddress import ip_interface, ip_network

from onehop.lab.lan import Taken, lab_hosts, lan_networks, pools_off_the_lan
from onehop.lab.topology import (
    API,
    CLIENT,
    LAN,
    ROUTER,
    UPLINK,
    LanHost,
    PodHost,
    Route,
    Topology,
    TopologyError,
    generated_mac,
)
from onehop.model.address import Family, IPAddress, IPNetwork, Mac, family_of
from onehop.model.node import Node, Pod
from onehop.model.objects import Objects
from onehop.model.service import Key

MAC_ANNOTATION = "onehop.io/mac"


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
    networks = lan_networks(nodes)
    pods = _pods(objects, nodes)
    _check_addresses(nodes, pods)
    pod_routes = tuple(_pod_routes(nodes, pods))
    off_the_lan = tuple(pools_off_the_lan(objects, networks))
    own = tuple(lab_hosts(networks, Taken(objects, nodes, pods), off_the_lan))
    return Topology(
        networks=networks,
        nodes=tuple(_node_host(node, macs, networks, pod_routes) for node in nodes),
        pods=pods,
        client=own[0],
        router=own[1],
        pod_routes=pod_routes,
    )


def _check_names(nodes: Iterable[Node]) -> None:
    for node in nodes:
        if node.name in (LAN, CLIENT, ROUTER, API):
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


def _pods(objects: Objects, nodes: tuple[Node, ...]) -> tuple[PodHost, ...]:
    by_name = {node.name: node for node in nodes}
    pods = [pod for _, pod in sorted(objects.pods.items()) if pod.addresses]
    for pod in pods:
        if pod.node not in by_name:
            why = f"no Node is named {pod.node!r}"
            raise TopologyError(f"Pod {pod.namespace}/{pod.name}", "spec.nodeName", why)
    pods.extend(_podless_endpoints(objects, by_name, pods))
    ports = _endpoint_ports(objects)
    used = {LAN, CLIENT, ROUTER, API, *by_name}
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
