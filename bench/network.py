"""The bench's own cluster: one LAN, a client, nodes with a pod each, all in fresh namespaces.

Nothing here has a route or a link to the machine's own network. Offloads keep their defaults;
the bridge does not call netfilter, which br_netfilter would make it do in a new namespace.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from onehop.lab import namespace

RUN = Path("/run/onehop")
CPUS = sorted(os.sched_getaffinity(0))
LOAD = Path(__file__).with_name("load.py")


@dataclass(frozen=True, slots=True, kw_only=True)
class Host:
    """A namespace of the bench; `mac` is its LAN link's, `index` its place on the LAN."""

    name: str
    index: int

    @property
    def address(self) -> str:
        """The host's own address on the LAN."""
        return f"192.168.200.{self.index}"

    @property
    def mac(self) -> str:
        """The address of its LAN link."""
        return f"02:00:00:00:00:{self.index:02x}"

    @property
    def pod(self) -> str:
        """The address of its pod."""
        return f"10.0.{self.index}.2"


@dataclass(slots=True)
class Network:
    """The namespaces and processes of one bench, all gone after `with network(...)`."""

    root: Path
    prefix: str
    nodes: dict[str, Host] = field(default_factory=dict)
    children: list[subprocess.Popen[str]] = field(default_factory=list)

    def path(self, name: str) -> Path:
        """Where the namespace of this name is pinned."""
        return self.root / name

    def add(self, name: str) -> None:
        """A new namespace with its loopback up."""
        namespace.create(self.path(name), self.prefix + name)
        self.ip(name, "link set lo up")

    def ip(self, name: str, *commands: str) -> None:
        """Run `ip` commands inside one namespace, in one batch."""
        done = subprocess.run(
            ["ip", "-n", self.prefix + name, "-batch", "-"],
            input="\n".join(commands) + "\n",
            text=True,
            capture_output=True,
            check=False,
        )
        if done.returncode != 0:
            raise RuntimeError(f"ip in {name}: {done.stderr.strip()}")

    def start(
        self, name: str, command: Sequence[str], *, cpu: int, nice: int = -10
    ) -> subprocess.Popen[str]:
        """A process born inside a namespace, pinned to one CPU."""
        pinned = ["taskset", "-c", str(cpu), "nice", "-n", str(nice), *command]
        with namespace.entered(self.path(name)):
            child = subprocess.Popen(
                pinned, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
            )
        self.children.append(child)
        return child

    def run(self, name: str, command: Sequence[str], *, cpu: int, nice: int = -10) -> str:
        """A process inside a namespace, to its end: what it printed."""
        child = self.start(name, command, cpu=cpu, nice=nice)
        out, err = child.communicate(timeout=60)
        self.children.remove(child)
        if child.returncode != 0:
            raise RuntimeError(f"{' '.join(command)} in {name}: {err.strip() or out.strip()}")
        return out

    def end(self, child: subprocess.Popen[str]) -> None:
        """End a process that was started here."""
        child.kill()
        child.communicate()
        self.children.remove(child)

    def load(self, name: str, *words: str, cpu: int) -> str:
        """One run of bench/load.py as a client."""
        return self.run(name, [sys.executable, "-IS", str(LOAD), *words], cpu=cpu)

    def serve(self, name: str, *words: str, cpu: int) -> subprocess.Popen[str]:
        """One run of bench/load.py as a server, which has printed that it is ready."""
        child = self.start(name, [sys.executable, "-IS", str(LOAD), *words], cpu=cpu)
        assert child.stdout is not None
        if child.stdout.readline().strip() != "ready":
            raise RuntimeError(f"load.py {' '.join(words)} in {name} did not start")
        return child

    def close(self) -> None:
        """End every child and remove every namespace."""
        for child in self.children:
            child.kill()
        for child in self.children:
            child.wait()
        for pinned in sorted(self.root.iterdir()):
            if pinned.is_file():
                namespace.remove(pinned)
        namespace.remove_names(self.root)
        shutil.rmtree(self.root, ignore_errors=True)


@contextlib.contextmanager
def network(*nodes: str, clients: Sequence[str] = ("client",)) -> Iterator[Network]:
    """A LAN with these clients, and these nodes with one pod each."""
    root = RUN / f"bench-{os.getpid()}"
    root.mkdir(parents=True)
    net = Network(root=root, prefix=f"ohb{os.getpid()}-")
    old = signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    try:
        _lan(net)
        for at, name in enumerate(clients):
            join(net, Host(name=name, index=10 + at))
        for at, name in enumerate(nodes):
            net.nodes[name] = Host(name=name, index=100 + at)
            _node(net, net.nodes[name])
        for client in clients:
            routes = [f"route add 10.0.{n.index}.0/24 via {n.address}" for n in net.nodes.values()]
            net.ip(client, *routes)
        yield net
    finally:
        net.close()
        signal.signal(signal.SIGTERM, old)


def _lan(net: Network) -> None:
    net.add("lan")
    net.ip("lan", "link add br0 type bridge", "link set br0 up")
    namespace.write_sysctls(
        net.path("lan"),
        {
            f"net/bridge/bridge-nf-call-{table}": "0"
            for table in ("iptables", "ip6tables", "arptables")
        },
    )


def join(net: Network, host: Host) -> None:
    """Give a host a namespace and a link on the LAN."""
    net.add(host.name)
    net.ip(
        "lan",
        f"link add p{host.index} type veth peer name eno1 netns {net.prefix}{host.name}",
        f"link set p{host.index} master br0 up",
    )
    net.ip(
        host.name,
        f"link set eno1 address {host.mac}",
        f"address add {host.address}/24 dev eno1",
        "link set eno1 up",
    )
    namespace.write_sysctls(
        net.path(host.name),
        {
            "net/ipv4/ip_local_port_range": "1024 65535",
            "net/ipv4/tcp_tw_reuse": "1",
            "net/ipv4/conf/all/rp_filter": "0",
            "net/ipv4/conf/default/rp_filter": "0",
        },
    )


def _node(net: Network, host: Host) -> None:
    join(net, host)
    pod = f"pod-{host.name}"
    net.add(pod)
    namespace.write_sysctls(net.path(host.name), {"net/ipv4/ip_forward": "1"})
    net.ip(
        host.name,
        f"link add lxc0 type veth peer name eth0 netns {net.prefix}{pod}",
        f"address add 10.0.{host.index}.1/32 dev lxc0",
        "link set lxc0 up",
        f"route add {host.pod}/32 dev lxc0",
    )
    net.ip(
        pod,
        f"address add {host.pod}/32 dev eth0",
        "link set eth0 up",
        f"route add 10.0.{host.index}.1 dev eth0",
        f"route add default via 10.0.{host.index}.1",
    )
