"""The rules of kube-proxy itself on the bench's nodes.

An API server joins the LAN, each node gets a kube-proxy in nftables mode, and once its rules stand
all of them are ended: the kernel keeps the rules, and nothing that runs is measured with them.
"""

from __future__ import annotations

import subprocess
import time
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from bench.kube_sides import PROXY_RIGHTS, proxy_command
from bench.network import CPUS, Host, Network, join
from onehop.lab.kube_build import SERVER, prepare
from onehop.lab.kube_client import KubeClient
from onehop.lab.kube_server import KubeServer, Site, kubeconfig

API = Host(name="api", index=2)
PROTOCOLS = (("TCP", "rr"), ("UDP", "udp"), ("TCP", "bulk"))
LONGEST = 30.0
Object = dict[str, Any]


def write_rules(net: Network, nodes: Sequence[str], objects: Sequence[Object]) -> None:
    """Have kube-proxy write the rules for these objects on these nodes.

    Raises:
        RuntimeError: when the rules do not name every address of the objects in time.
    """
    programs = prepare(SERVER, print)
    join(net, API)
    folder = net.root / "kube"
    site = Site(directory=folder, address=API.address, bind="0.0.0.0", netns=net.path(API.name))
    server = KubeServer(site, programs)
    server.start()
    try:
        with KubeClient(site, server.admin_token) as client:
            client.apply([*_nodes(net), *objects, PROXY_RIGHTS])
            config = folder / "proxy.kubeconfig"
            token = client.create_token("kube-system", "kube-proxy")
            config.write_text(kubeconfig(site, token))
        for node in nodes:
            _sync(net, node, proxy_command(programs, node, config), list(_addresses(objects)))
    finally:
        server.stop()


def _sync(net: Network, node: str, command: Sequence[str], addresses: Sequence[str]) -> None:
    """Run kube-proxy on a node until its rules name these addresses."""
    inside = ["ip", "netns", "exec", net.prefix + node]  # it reads /sys of the node
    proxy = net.start(node, [*inside, *command], cpu=CPUS[0])
    begin = time.monotonic()
    rules = [*inside, "nft", "list", "table", "ip", "kube-proxy"]
    try:
        while True:
            said = subprocess.run(rules, capture_output=True, text=True, check=False).stdout
            if all(address in said for address in addresses):
                return
            if proxy.poll() is not None or time.monotonic() - begin > LONGEST:
                proxy.kill()
                raise RuntimeError(f"kube-proxy on {node}: {proxy.communicate()[1][-2000:]}")
            time.sleep(0.2)
    finally:
        net.end(proxy)


def _nodes(net: Network) -> Iterator[Object]:
    for host in net.nodes.values():
        yield {
            "apiVersion": "v1",
            "kind": "Node",
            "metadata": {"name": host.name},
            "status": {"addresses": [{"type": "InternalIP", "address": host.address}]},
        }


def _addresses(objects: Sequence[Object]) -> Iterator[str]:
    for each in objects:
        for endpoint in each.get("endpoints", ()):
            yield from endpoint["addresses"]
        for given in each.get("status", {}).get("loadBalancer", {}).get("ingress", ()):
            yield given["ip"]


def served(host: Host, ports: Mapping[str, tuple[int, int]], vip: str = "") -> list[Object]:
    """A Service with the pod of `host` behind it: of policy Local at `vip`, or a NodePort.

    `ports` has port and NodePort of each of PROTOCOLS' names.
    """
    name = host.name
    spec: Object = {
        "type": "LoadBalancer" if vip else "NodePort",
        "externalTrafficPolicy": "Local" if vip else "Cluster",
        "ports": [
            {"name": kind, "protocol": protocol, "port": ports[kind][0]}
            | ({} if vip else {"nodePort": ports[kind][1]})
            for protocol, kind in PROTOCOLS
        ],
    }
    service: Object = {"apiVersion": "v1", "kind": "Service", "spec": spec}
    service["metadata"] = {"name": name, "namespace": "default"}
    if vip:
        service["status"] = {"loadBalancer": {"ingress": [{"ip": vip, "ipMode": "VIP"}]}}
    labels = {"kubernetes.io/service-name": name}
    piece = {
        "apiVersion": "discovery.k8s.io/v1",
        "kind": "EndpointSlice",
        "metadata": {"name": name, "namespace": "default", "labels": labels},
        "addressType": "IPv4",
        "ports": [
            {"name": kind, "protocol": protocol, "port": ports[kind][0]}
            for protocol, kind in PROTOCOLS
        ],
        "endpoints": [
            {
                "addresses": [host.pod],
                "nodeName": name,
                "conditions": {"ready": True, "serving": True, "terminating": False},
            }
        ],
    }
    return [service, piece]
