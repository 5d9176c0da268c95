"""The commands that turn a topology into links, addresses and routes: text for `ip -batch`.

Pure. A pod is wired as Cilium and Calico do it: its address is a host route over a veth, its
default route leads to a next hop that exists on no link (169.254.1.1, fe80::1) and whose
neighbour entry is permanent, so neither side ever asks for the other.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from ipaddress import IPv4Interface, IPv6Interface
from pathlib import Path

from onehop.lab.topology import (
    API,
    API_LINK,
    LAN,
    POD_LINK,
    LanHost,
    Management,
    PodHost,
    Route,
    Topology,
    generated_mac,
)
from onehop.model.address import IPAddress

BRIDGE = "lan"

_POD_GATEWAY = {4: "169.254.1.1", 6: "fe80::1"}
_ALL = {4: "0.0.0.0/0", 6: "::/0"}
_FULL = {4: 32, 6: 128}

_QUIET_IPV6 = {
    f"net/ipv6/conf/{which}/{name}": value
    for which in ("all", "default")
    for name, value in (
        # Addresses must be usable at once, and a LAN without a router needs no solicitations.
        ("accept_dad", "0"),
        ("dad_transmits", "0"),
        ("accept_ra", "0"),
        ("router_solicitations", "0"),
        # A path through the router is meant, and there is no way to keep it from redirecting.
        ("accept_redirects", "0"),
    )
}

_FORWARDING = {
    "net/ipv4/ip_forward": "1",
    "net/ipv4/fib_multipath_hash_policy": "1",
    "net/ipv6/fib_multipath_hash_policy": "1",
    **{
        f"net/ipv4/conf/{which}/{name}": value
        for which in ("all", "default")
        for name, value in (
            ("rp_filter", "0"),
            # Client and nodes share a link: a node that forwards would tell the client to go
            # round it, which no node of a real cluster does behind its NAT.
            ("send_redirects", "0"),
            ("accept_redirects", "0"),
        )
    },
    "net/ipv6/conf/all/forwarding": "1",
    "net/ipv6/conf/default/forwarding": "1",
}

_BRIDGE = {
    # Where br_netfilter is built in it is on in every new namespace, and sends what the bridge
    # forwards through netfilter: that would be measured with everything else.
    "net/bridge/bridge-nf-call-iptables": "0",
    "net/bridge/bridge-nf-call-ip6tables": "0",
    "net/bridge/bridge-nf-call-arptables": "0",
    # The bridge is a switch, not a host.
    "net/ipv6/conf/all/disable_ipv6": "1",
    "net/ipv6/conf/default/disable_ipv6": "1",
}


def sysctls(topology: Topology, host: str) -> dict[str, str]:
    """The kernel parameters of one host, by their path under /proc/sys."""
    if host == LAN:
        return _BRIDGE
    forwards = {lan_host.name for lan_host in topology.lan_hosts if lan_host.forwards}
    return {**_QUIET_IPV6, **(_FORWARDING if host in forwards else {})}


def batches(topology: Topology, namespace: Callable[[str], Path]) -> Iterator[tuple[str, str]]:
    """For each host its batch, in the order in which they must run: LAN, API, LAN hosts, pods."""
    yield LAN, _text(_lan(topology, namespace))
    if topology.management is not None:
        yield API, _text(_api(topology.management, namespace))
    for host in topology.lan_hosts:
        yield host.name, _text(_lan_host(topology, host, namespace))
    for pod in topology.pods:
        if not pod.shares_node:
            yield pod.name, _text(_pod(pod))


def _text(lines: Iterator[str]) -> str:
    return "".join(f"{line}\n" for line in ("link set lo up", *lines))


def _lan(topology: Topology, namespace: Callable[[str], Path]) -> Iterator[str]:
    yield f"link add {BRIDGE} type bridge stp_state 0 forward_delay 0 mcast_snooping 0"
    yield f"link set {BRIDGE} up"
    for number, host in enumerate(topology.lan_hosts):
        yield (
            f"link add port{number} type veth peer name {host.link} address {host.mac} "
            f"netns {namespace(host.name)}"
        )
        yield f"link set port{number} alias {host.name} master {BRIDGE} up"


def _lan_host(
    topology: Topology, host: LanHost, namespace: Callable[[str], Path]
) -> Iterator[str]:
    yield f"link set {host.link} up"
    for interface in host.addresses:
        yield _address(interface, host.link)
    for pod in topology.pods_on(host.name):
        yield (
            f"link add {pod.host_link} address {pod.host_mac} type veth peer name {POD_LINK} "
            f"address {pod.mac} netns {namespace(pod.name)}"
        )
        yield f"link set {pod.host_link} alias {pod.key} up"
        for address in pod.addresses:
            yield f"route add {address}/{_FULL[address.version]} dev {pod.host_link}"
            yield f"neigh add {address} lladdr {pod.mac} dev {pod.host_link} nud permanent"
    for route in host.routes:
        yield f"route add {route_words(route, host.link)}"
    if topology.management is not None and host.name in topology.management.nodes:
        yield f"address add {topology.management.nodes[host.name]} dev {API_LINK}"
        yield f"link set {API_LINK} up"


def _api(management: Management, namespace: Callable[[str], Path]) -> Iterator[str]:
    yield f"link add {BRIDGE} type bridge stp_state 0 forward_delay 0 mcast_snooping 0"
    yield f"address add {management.address} dev {BRIDGE}"
    yield f"link set {BRIDGE} up"
    for number, node in enumerate(management.nodes):
        mac = generated_mac(f"api/{node}")
        yield (
            f"link add port{number} type veth peer name {API_LINK} address {mac} "
            f"netns {namespace(node)}"
        )
        yield f"link set port{number} alias {node} master {BRIDGE} up"


def route_words(route: Route, link: str) -> str:
    """A route as `ip route add` takes it."""
    via = f" via {route.via}" if route.via is not None else ""
    return f"{route.network}{via} dev {link}"


def _pod(pod: PodHost) -> Iterator[str]:
    yield f"link set {POD_LINK} up"
    for address in pod.addresses:
        yield _address(_full(address), POD_LINK)
    for version in sorted({address.version for address in pod.addresses}):
        gateway = _POD_GATEWAY[version]
        yield f"neigh add {gateway} lladdr {pod.host_mac} dev {POD_LINK} nud permanent"
        yield f"route add {_ALL[version]} via {gateway} dev {POD_LINK} onlink"


def _full(address: IPAddress) -> IPv4Interface | IPv6Interface:
    full = _FULL[address.version]
    return IPv4Interface((address, full)) if full == 32 else IPv6Interface((address, full))


def _address(interface: IPv4Interface | IPv6Interface, link: str) -> str:
    tail = " nodad" if interface.version == 6 else ""
    return f"address add {interface} dev {link}{tail}"
