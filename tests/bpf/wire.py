"""A client, two nodes and their pods in namespaces of their own, for real connections.

    client --- lan (bridge) --- node0 (uplink, lxc) --- pod0
                            `-- node1 (uplink, lxc) --- pod1

The client sends the frontends' addresses to node0 by a fixed neighbour entry; it has no route to
the pods, so an answer that is not put back into the frontend's name ends the connection.
"""

from __future__ import annotations

import ctypes
import os
import socket
import subprocess
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from onehop.adapters.bpf import syscall
from onehop.adapters.bpf.netlink import EGRESS, INGRESS, Netlink
from onehop.adapters.bpf.syscall import AttachType

CLONE_NEWNET = 0x40000000
NAMES = ("client", "lan", "node0", "node1", "pod0", "pod1")
MACS = {"client": "02:cc:00:00:00:07", "node0": "02:cc:00:00:00:10", "node1": "02:cc:00:00:00:11"}
ADDRESSES = {
    "client": ("192.0.2.7/24", "2001:db8:1::7/64"),
    "node0": ("192.0.2.10/24", "2001:db8:1::10/64"),
    "node1": ("192.0.2.11/24", "2001:db8:1::11/64"),
}
VIPS = {"v4": "192.0.2.241", "v6": "2001:db8:1::241"}
PODS = {
    "pod0": {"v4": "10.244.0.5", "v6": "fd00:10:244::5"},
    "pod1": {"v4": "10.244.1.5", "v6": "fd00:10:244:1::5"},
}
PROGRAMS = {
    "lb_uplink_ingress": (AttachType.TCX_INGRESS, INGRESS),
    "lb_uplink_egress": (AttachType.TCX_EGRESS, EGRESS),
    "lb_pod_ingress": (AttachType.TCX_INGRESS, INGRESS),
}


def _setns(descriptor: int) -> None:
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.setns(descriptor, CLONE_NEWNET):
        raise OSError(ctypes.get_errno(), "setns")


def ip(*arguments: str) -> None:
    subprocess.run(["ip", *arguments], check=True, capture_output=True, text=True)


@dataclass(frozen=True)
class Received:
    """What one end of a connection saw."""

    peer: str
    octets: int


class Wire:
    """The namespaces, from set-up to tear-down."""

    def __init__(self) -> None:
        self.prefix = f"bpfw{os.getpid()}-"
        self.made: list[str] = []
        try:
            self._build()
        except BaseException:
            self.close()
            raise

    def close(self) -> None:
        for name in self.made:
            subprocess.run(["ip", "netns", "del", self.prefix + name], check=False)
        self.made.clear()

    def in_(self, name: str, *arguments: str) -> None:
        """`ip` inside a namespace."""
        ip("-n", self.prefix + name, *arguments)

    @contextmanager
    def inside(self, name: str) -> Iterator[None]:
        """This thread inside a namespace; what it opens stays there."""
        home = os.open("/proc/thread-self/ns/net", os.O_RDONLY)
        there = os.open(f"/run/netns/{self.prefix}{name}", os.O_RDONLY)
        try:
            _setns(there)
            yield
        finally:
            _setns(home)
            os.close(there)
            os.close(home)

    def index(self, name: str, device: str) -> int:
        with self.inside(name):
            return socket.if_nametoindex(device)

    def _build(self) -> None:
        for name in NAMES:
            ip("netns", "add", self.prefix + name)
            self.made.append(name)
            self.in_(name, "link", "set", "lo", "up")
        self.in_("lan", "link", "add", "name", "lan0", "type", "bridge")
        self.in_("lan", "link", "set", "lan0", "up")
        self._no_filter_on_bridge()
        for name, mac in MACS.items():
            self._port(name, mac)
        for number in (0, 1):
            self._pod(number)
        for here, there in ((0, 1), (1, 0)):
            self._route(here, there)
        for address in VIPS.values():
            link = ("lladdr", MACS["node0"], "dev", "uplink", "nud", "permanent")
            self.in_("client", "neighbour", "add", address, *link)

    def _no_filter_on_bridge(self) -> None:
        with self.inside("lan"):
            for name in ("iptables", "ip6tables"):
                path = f"/proc/sys/net/bridge/bridge-nf-call-{name}"
                if os.path.exists(path):
                    with open(path, "w", encoding="ascii") as file:
                        file.write("0")

    def _port(self, name: str, mac: str) -> None:
        there = self.prefix + "lan"
        peer = ("peer", "name", f"p-{name}", "netns", there)
        self.in_(name, "link", "add", "uplink", "address", mac, "type", "veth", *peer)
        self.in_("lan", "link", "set", f"p-{name}", "master", "lan0", "up")
        self.in_(name, "link", "set", "uplink", "up")
        for address in ADDRESSES[name]:
            flags = ("nodad",) if ":" in address else ()
            self.in_(name, "address", "add", address, "dev", "uplink", *flags)

    def _pod(self, number: int) -> None:
        node, pod = f"node{number}", f"pod{number}"
        peer = ("peer", "name", "eth0", "netns", self.prefix + pod)
        self.in_(node, "link", "add", "lxc", "type", "veth", *peer)
        self.in_(node, "link", "set", "lxc", "up")
        self.in_(pod, "link", "set", "eth0", "up")
        for address, length in zip(PODS[pod].values(), (24, 64), strict=True):
            flags = ("nodad",) if ":" in address else ()
            gateway = address[:-1] + "1"
            self.in_(node, "address", "add", f"{gateway}/{length}", "dev", "lxc", *flags)
            self.in_(pod, "address", "add", f"{address}/{length}", "dev", "eth0", *flags)
            self.in_(pod, "route", "add", "default", "via", gateway)
        with self.inside(node):
            for path in ("ipv4/conf/all/forwarding", "ipv6/conf/all/forwarding"):
                with open(f"/proc/sys/net/{path}", "w", encoding="ascii") as file:
                    file.write("1")

    def _route(self, here: int, there: int) -> None:
        for family, length in ((0, 24), (1, 64)):
            pod = list(PODS[f"pod{there}"].values())[family]
            via = ADDRESSES[f"node{there}"][family].split("/")[0]
            self.in_(f"node{here}", "route", "add", f"{pod[:-1]}0/{length}", "via", via)

    def offloads(self, name: str, device: str, state: str) -> None:
        """Switch checksum and segmentation offload of a device `on` or `off`."""
        command = ["ip", "netns", "exec", self.prefix + name, "ethtool", "-K", device, "tx", state]
        subprocess.run(command, check=True, capture_output=True)

    @contextmanager
    def attached(self, programs: dict[str, int], hook: str) -> Iterator[None]:
        """The programs on node0's uplink and its pod's device."""
        held: list[int] = []
        with self.inside("node0"):
            netlink = Netlink()
            for name, descriptor in programs.items():
                device = "lxc" if name == "lb_pod_ingress" else "uplink"
                index = socket.if_nametoindex(device)
                tcx, clsact = PROGRAMS[name]
                if hook == "tcx":
                    held.append(syscall.link_create(descriptor, index, tcx))
                else:
                    netlink.add_filter(index, clsact, descriptor, name)
        try:
            yield
        finally:
            for link in held:
                os.close(link)
            if hook != "tcx":
                for name in programs:
                    device = self.index("node0", "lxc" if name == "lb_pod_ingress" else "uplink")
                    netlink.delete_filter(device, PROGRAMS[name][1])
            netlink.close()

    def listener(self, name: str, address: str, port: int, kind: int) -> socket.socket:
        family = socket.AF_INET6 if ":" in address else socket.AF_INET
        with self.inside(name):
            server = socket.socket(family, kind)
        server.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        server.settimeout(10)
        server.bind((address, port))
        if kind == socket.SOCK_STREAM:
            server.listen(8)
        return server

    def client(self, address: str, kind: int) -> socket.socket:
        family = socket.AF_INET6 if ":" in address else socket.AF_INET
        with self.inside("client"):
            client = socket.socket(family, kind)
        client.settimeout(10)
        return client

    def routed(self, name: str) -> int:
        """How many IPv4 and IPv6 packets the namespace's stack has forwarded."""
        with self.inside(name):
            return _total("Ip:", "ForwDatagrams") + _total6("Ip6OutForwDatagrams")

    def checksum_errors(self) -> dict[str, int]:
        """Segments and datagrams with a wrong checksum, where there are any."""
        found = {}
        for name in ("client", "node0", "node1", "pod0", "pod1"):
            with self.inside(name):
                total = _checksum_errors()
            if total:
                found[name] = total
        return found


def _checksum_errors() -> int:
    """TCP counts both families in one number, UDP does not."""
    names = (("Tcp:", "InCsumErrors"), ("Udp:", "InCsumErrors"))
    return sum(_total(*name) for name in names) + _total6("Udp6InCsumErrors")


def _total(group: str, column: str) -> int:
    with open("/proc/thread-self/net/snmp", encoding="ascii") as file:
        names, values = (line.split() for line in file if line.startswith(group))
    return int(dict(zip(names, values, strict=True))[column])


def _total6(column: str) -> int:
    with open("/proc/thread-self/net/snmp6", encoding="ascii") as file:
        return sum(int(value) for name, value in map(str.split, file) if name == column)


def aside(work: Callable[[], None]) -> threading.Thread:
    """`work` in a thread of its own."""
    thread = threading.Thread(target=work, daemon=True)
    thread.start()
    return thread


def receive(connection: socket.socket, octets: int) -> bytes:
    """Exactly so many bytes, or what came before the end."""
    parts = []
    while octets:
        part = connection.recv(min(octets, 1 << 18))
        if not part:
            break
        parts.append(part)
        octets -= len(part)
    return b"".join(parts)
