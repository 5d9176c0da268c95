"""A speaker as a process on a node of its own, with a network that fails before the API server.

    oh-l2-PID-client  net0 ==== net0  oh-l2-PID-node: speaker -- listener : Between -- API server

The node's namespace has no route to the server. A listening socket of its loopback is held by
`Between`, which lives where the server is.
"""

from __future__ import annotations

import os
import socket
import subprocess
import sys
import time
from functools import partial
from ipaddress import IPv4Address
from pathlib import Path

import yaml

from onehop.lab import namespace
from onehop.model.address import Mac
from onehop.proto.arp import packet as arp
from onehop.proto.wire import BROADCAST
from tests.kube.between import Between
from tests.kube.cluster import Cluster
from tests.kube.place import grant, revoke
from tests.kube.site import Plain, Site
from tests.kube.test_lease import wait
from tests.lab.wire import CLIENT_MAC, NODE_MAC, Wire, received

CLIENT, OURS = Mac.parse(CLIENT_MAC), Mac.parse(NODE_MAC)
_ARP = 0x0806


class Node:
    """The node, its speaker, and a client on its wire who asks for addresses."""

    def __init__(self, cluster: Cluster, lan: Wire, folder: Path) -> None:
        self.site = Site(cluster)
        self.name = f"node-{self.site.system}"
        self.folder = folder
        self._lan = lan
        with namespace.entered(lan.root / "node"):
            listener = socket.create_server(("127.0.0.1", 0))
        self.between = Between(cluster.site, listener)
        self.token = folder / "token"
        self._config = self._kubeconfig()
        grant(self.site, part="speaker")
        self._sniffer = lan.capture(_ARP)
        self._child: subprocess.Popen[bytes] | None = None
        self._served = 0

    def _kubeconfig(self) -> Path:
        path = self.between.kubeconfig(self.site.kubeconfig, self.folder / "config")
        config = yaml.safe_load(path.read_text())
        self.token.write_text(config["users"][0]["user"]["token"])
        config["users"][0]["user"] = {"tokenFile": str(self.token)}
        path.write_text(yaml.safe_dump(config))
        return path

    def start(self) -> None:
        """The Node, what makes it announce, and the speaker."""
        selected = {"matchLabels": {"kubernetes.io/hostname": self.name}}
        meta = {"name": "all", "namespace": self.site.system}
        self.site.cluster.apply([
            {"apiVersion": "v1", "kind": "Node",
             "metadata": {"name": self.name, "labels": {"kubernetes.io/hostname": self.name}},
             "status": {"addresses": [{"type": "InternalIP", "address": "192.0.2.1"}],
                        "conditions": [{"type": "Ready", "status": "True"}]}},
            {"apiVersion": "metallb.io/v1beta1", "kind": "L2Advertisement", "metadata": meta,
             "spec": {"nodeSelectors": [selected]}},
        ])  # fmt: skip
        argv: list[str | Path] = [
            sys.executable, "-m", "onehop.cli.main", "speaker", "--kubeconfig", self._config,
            "--namespace", self.site.system, "--lb-class", self.site.lb_class, "--datapath=none",
            "--node-name", self.name, "--state", self.folder / "state",
        ]  # fmt: skip
        with namespace.entered(self._lan.root / "node"), self._log.open("wb") as log:
            self._child = subprocess.Popen(argv, stdout=log, stderr=log, env=dict(os.environ))

    @property
    def _log(self) -> Path:
        return self.folder / "speaker.log"

    def said(self) -> str:
        return self._log.read_text()

    def service(self, name: str, address: str) -> list[Plain]:
        """A Service with its address and an endpoint here."""
        status = {"loadBalancer": {"ingress": [{"ip": address, "ipMode": "VIP"}]}}
        labels = {"kubernetes.io/service-name": name}
        return [
            {**self.site.service(name), "status": status},
            {"apiVersion": "discovery.k8s.io/v1", "kind": "EndpointSlice", "addressType": "IPv4",
             "metadata": {"name": name, "namespace": self.site.apps, "labels": labels},
             "ports": [{"port": 9094, "protocol": "TCP"}],
             "endpoints": [{"addresses": ["10.0.0.9"], "nodeName": self.name}]},
        ]  # fmt: skip

    def add(self) -> str:
        """Another Service; the address that it has now."""
        self._served += 1
        address = f"10.99.0.{self._served}"
        self.site.cluster.apply(self.service(f"web-{self._served}", address))
        return address

    def follows(self, seconds: float = 10.0) -> float:
        """Make a Service and wait until its address is answered for; how long that took."""
        address = self.add()
        return wait(lambda: self.answers(address), seconds)

    def answers(self, address: str) -> bool:
        """Whether a client that asks who has an address hears of this node."""
        received(self._sniffer)
        question = arp.ArpPacket(
            destination=BROADCAST, source=CLIENT, operation=arp.Operation.REQUEST, sender=CLIENT,
            sender_address=IPv4Address("192.0.2.9"), target=Mac(bytes(6)),
            target_address=IPv4Address(address),
        )  # fmt: skip
        self._sniffer.send(arp.encode(question))
        until = time.monotonic() + 0.1
        while time.monotonic() < until:
            for frame in received(self._sniffer):
                if frame[6:12] == OURS.octets and frame[28:32] == IPv4Address(address).packed:
                    return True
            time.sleep(0.002)
        return False

    def stands(self, *, but: str = "") -> None:
        """The same process answers for all that it was given, and never took any of it back."""
        assert self._child is not None
        assert self._child.poll() is None, self.said()
        assert "withdrawn" not in self.said()
        assert "Traceback" not in self.said()
        for number in range(1, self._served + 1):
            address = f"10.99.0.{number}"
            if address != but:
                wait(partial(self.answers, address), 1.0)

    def close(self) -> None:
        if self._child is not None:
            self._child.kill()
            self._child.wait()
        self.between.close()
        revoke(self.site)
        self.site.cluster.client.delete(f"/api/v1/nodes/{self.name}")
