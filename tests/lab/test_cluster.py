"""Another cluster than the article's: the owners that MetalLB's order gives, and survival.

The cluster has other node names, addresses, MACs and placements, and a dual-stack Service. Its
expected owners are computed here by MetalLB's published rule, not by onehop's code.
"""

from __future__ import annotations

import os
import re
import signal
import socket
import time
from collections.abc import Callable, Iterator
from hashlib import sha256
from ipaddress import ip_address
from pathlib import Path

import pytest
import yaml

from onehop.lab.lab import Lab, LabSpec
from onehop.lab.observe import greeting

pytestmark = [pytest.mark.root, pytest.mark.lab]

NODES = {
    "rack-a7": ("10.77.0.21", "02:aa:00:00:00:07", "10.80.1"),
    "rack-b2": ("10.77.0.22", "02:aa:00:00:00:12", "10.80.2"),
    "rack-c5": ("10.77.0.23", "02:aa:00:00:00:25", "10.80.3"),
    "rack-d9": ("10.77.0.24", "02:aa:00:00:00:39", "10.80.4"),
}
PORT = 7000
ADDRESSES = [f"10.77.0.{last}" for last in range(100, 108)]


def eventually(look: Callable[[], object], want: object, seconds: float = 10.0) -> None:
    deadline = time.monotonic() + seconds
    while (seen := look()) != want:
        assert time.monotonic() < deadline, f"want {want}, last seen {seen}"
        time.sleep(0.02)


def documents(*, policy: str) -> list[dict[str, object]]:
    found: list[dict[str, object]] = [
        {
            "apiVersion": "v1",
            "kind": "Node",
            "metadata": {"name": name, "annotations": {"onehop.io/mac": mac}},
            "spec": {"podCIDR": f"{prefix}.0/24"},
            "status": {"addresses": [{"type": "InternalIP", "address": address}]},
        }
        for name, (address, mac, prefix) in NODES.items()
    ]
    for name, (_, _, prefix) in NODES.items():
        found.append(
            {
                "apiVersion": "v1",
                "kind": "Pod",
                "metadata": {"name": f"pod-{name}", "namespace": "shop"},
                "spec": {
                    "nodeName": name,
                    "containers": [{"name": "c", "ports": [{"containerPort": PORT}]}],
                },
                "status": {"podIP": f"{prefix}.5", "podIPs": [{"ip": f"{prefix}.5"}]},
            }
        )
    for number, _ in enumerate(ADDRESSES):
        found += service(number, policy)
    found += [
        {
            "apiVersion": "metallb.io/v1beta1",
            "kind": "IPAddressPool",
            "metadata": {"name": "shop", "namespace": "metallb-system"},
            "spec": {"addresses": ["10.77.0.100-10.77.0.120"]},
        },
        {
            "apiVersion": "metallb.io/v1beta1",
            "kind": "L2Advertisement",
            "metadata": {"name": "shop", "namespace": "metallb-system"},
        },
    ]
    return found


def service(number: int, policy: str) -> list[dict[str, object]]:
    """A Service whose endpoints are the pods of two nodes."""
    names = list(NODES)
    nodes = [names[number % 4], names[(number + 1) % 4]]
    return [
        {
            "apiVersion": "v1",
            "kind": "Service",
            "metadata": {
                "name": f"web-{number}",
                "namespace": "shop",
                "creationTimestamp": f"2026-01-01T00:00:{number:02}Z",
            },
            "spec": {
                "type": "LoadBalancer",
                "clusterIP": f"10.96.0.{number + 1}",
                "externalTrafficPolicy": policy,
                "ports": [{"name": "web", "port": 80, "protocol": "TCP"}],
            },
        },
        slice_of(number, nodes),
    ]


def slice_of(number: int, nodes: list[str]) -> dict[str, object]:
    return {
        "apiVersion": "discovery.k8s.io/v1",
        "kind": "EndpointSlice",
        "metadata": {
            "name": f"web-{number}-x",
            "namespace": "shop",
            "labels": {"kubernetes.io/service-name": f"web-{number}"},
        },
        "addressType": "IPv4",
        "ports": [{"name": "web", "port": PORT, "protocol": "TCP"}],
        "endpoints": [
            {
                "addresses": [f"{NODES[node][2]}.5"],
                "conditions": {"ready": True},
                "nodeName": node,
            }
            for node in nodes
        ],
    }


def first(address: str, names: list[str]) -> str:
    """MetalLB's rule: the smallest SHA-256 over node name, `#` and the address."""
    return min(names, key=lambda name: sha256(f"{name}#{address}".encode()).digest())


def answering(lab: Lab, address: str) -> set[str]:
    argv = ("arping", "-r", "-b", "-c", "2", "-W", "0.1", "-w", "0.5", "-I", "enp1s0", address)
    macs = re.findall(r"(?:[0-9a-f]{2}:){5}[0-9a-f]{2}", lab.run("client", argv).stdout)
    names = {mac: name for name, (_, mac, _) in NODES.items()}
    return {names.get(mac, mac) for mac in macs}


@pytest.fixture(scope="module")
def lab(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Lab]:
    file = tmp_path_factory.mktemp("cluster") / "shop.yaml"
    file.write_text(yaml.safe_dump_all(documents(policy="Cluster")))
    with Lab.up(LabSpec(name=f"shop-{os.getpid()}", cluster=file)) as made:
        yield made


def folder(lab: Lab) -> Path:
    return lab.layout.manifests


def test_addresses_are_given_in_the_order_of_creation(lab: Lab) -> None:
    objects = lab.refresh()
    given = [str(s.ingress[0]) for s in sorted(objects.services.values(), key=lambda s: s.key)]
    assert given == ADDRESSES


@pytest.mark.parametrize("number", range(len(ADDRESSES)))
def test_cluster_is_owned_as_metallb_orders_all_nodes(lab: Lab, number: int) -> None:
    lab.set_policy("Cluster")
    want = {first(ADDRESSES[number], list(NODES))}
    eventually(lambda: answering(lab, ADDRESSES[number]), want)


@pytest.mark.parametrize("number", range(0, len(ADDRESSES), 2))
def test_local_is_owned_by_the_first_of_the_nodes_with_an_endpoint(lab: Lab, number: int) -> None:
    lab.set_policy("Local")
    names = list(NODES)
    able = [names[number % 4], names[(number + 1) % 4]]
    eventually(lambda: answering(lab, ADDRESSES[number]), {first(ADDRESSES[number], able)})
    seen = greeting(lab, "client", ip_address(ADDRESSES[number]), 80)
    assert seen.pod == f"pod-{first(ADDRESSES[number], able)}"
    assert str(seen.source) == str(lab.topology.client.addresses[0].ip)


def test_traffic_goes_on_while_speakers_are_killed(lab: Lab) -> None:
    """By kill -9: what is pinned forwards; a connection and a new one both live."""
    lab.set_policy("Local")
    names = list(NODES)
    owner = first(ADDRESSES[0], names[:2])
    eventually(lambda: answering(lab, ADDRESSES[0]), {owner})
    with lab.inside("client"):
        old = socket.create_connection((ADDRESSES[0], 80), timeout=5)
    with old:
        while old.recv(1) != b"\n":
            pass
        lab.supervisor.send(f"speaker-{owner}", signal.SIGKILL)
        eventually(
            lambda: [r.name for r in lab.supervisor.records() if not r.is_alive()],
            [f"speaker-{owner}"],
        )
        old.sendall(b"still here")
        assert old.recv(64) == b"still here"
        assert greeting(lab, "client", ip_address(ADDRESSES[0]), 80).pod == f"pod-{owner}"
    lab.supervisor.stop(f"speaker-{owner}")
    lab.start_speaker(owner)
    eventually(lambda: answering(lab, ADDRESSES[0]), {owner})


def test_controller_that_was_killed_keeps_what_it_gave(lab: Lab) -> None:
    before = {key: service.ingress for key, service in lab.refresh().services.items()}
    lab.supervisor.send("controller", signal.SIGKILL)
    assert {key: service.ingress for key, service in lab.refresh().services.items()} == before
    lab.supervisor.stop("controller")
    lab.start_controller()
    assert {key: service.ingress for key, service in lab.refresh().services.items()} == before
