"""The plant of the Kubernetes benches and of the tests with peers: an API server and three nodes.

    cli .100 -+                    api 172.30.0.1: etcd, kube-apiserver, controllers
    rtr .1   -+- br0 192.168.200/24     |
              +- n0 .11, n1 .12, n2 .13 +- br1 172.30.0/24: management, .11 to .13
                 each with a pod in p0, p1, p2 at 10.1.N.5

All are namespaces of this process, without any route to the machine's own network. What runs is
Kubernetes' and MetalLB's own programs and ours, each with a ServiceAccount of its own, so that the
audit log tells who asked for what.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml

from bench.network import RUN, Network
from onehop.lab import namespace
from onehop.lab.kube_client import KubeClient, Object, RequestError, read_audit
from onehop.lab.kube_server import KubeServer, Site, kubeconfig

API = "172.30.0.1"
NODES = ("node0", "node1", "node2")
CLIENT, ROUTER = "192.168.200.100", "192.168.200.1"
ANY = "192.168.200.240/28"  # a node serves these itself when there is no datapath


def lan_address(at: int) -> str:
    """A node's address on the service LAN."""
    return f"192.168.200.{11 + at}"


def lan_mac(at: int) -> str:
    """The address of a node's link there."""
    return f"02:00:00:00:00:{11 + at:02x}"


@dataclass(slots=True)
class Plant:
    """The namespaces, the API server, and every process that was started on them."""

    net: Network
    server: KubeServer
    client: KubeClient
    programs: Path
    metallb: Path
    nodes: tuple[str, ...] = NODES  # the name of each Node, as it stands on `n0`, `n1` and so on
    running: dict[str, subprocess.Popen[bytes]] = field(default_factory=dict)

    def where(self, name: str) -> Path:
        """The namespace of a host of the plant."""
        return self.net.path(name)

    def log(self, name: str) -> Path:
        """What a process printed."""
        return self.net.root / f"{name}.log"

    def start(
        self,
        name: str,
        host: str,
        command: Sequence[str],
        environ: Mapping[str, str] | None = None,
        *,
        sysfs: bool = False,
    ) -> subprocess.Popen[bytes]:
        """Start a process in a namespace; `sysfs` gives it a /sys that shows its own links."""
        self.stop(name)
        inside = [str(word) for word in command]
        if sysfs:
            inside = ["ip", "netns", "exec", self.net.prefix + host, *inside]
        where = contextlib.nullcontext() if sysfs else namespace.entered(self.where(host))
        env = {"PATH": os.environ["PATH"], "HOME": str(self.net.root), **(environ or {})}
        with self.log(name).open("ab") as log, where:
            child = subprocess.Popen(
                ["setpriv", "--pdeathsig", "KILL", "--", *inside],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
                env=env,
                cwd=self.net.root,
            )
        self.running[name] = child
        return child

    def stop(self, name: str, how: int = signal.SIGKILL) -> None:
        """End a process; one that never ran is no error."""
        child = self.running.pop(name, None)
        if child is None:
            return
        child.send_signal(how)
        with contextlib.suppress(subprocess.TimeoutExpired):
            child.wait(15)
            return
        child.kill()
        child.wait()

    def alive(self) -> None:
        """See that every process still runs.

        Raises:
            RuntimeError: with what it said last, when one has ended.
        """
        for name, child in self.running.items():
            if child.poll() is not None:
                said = self.log(name).read_text(errors="replace").splitlines()[-8:]
                raise RuntimeError(f"{name} ended with {child.returncode}:\n" + "\n".join(said))

    def kubeconfig(self, space: str, account: str) -> Path:
        """A kubeconfig of a ServiceAccount."""
        path = self.net.root / f"{space}.{account}.kubeconfig"
        scratch = path.with_suffix(".new")
        token = self.client.create_token(space, account)
        scratch.write_text(kubeconfig(self.server.site, token, space))
        scratch.replace(path)  # whoever has just been started reads either file whole
        return path

    def apply(self, *objects: Mapping[str, Any]) -> None:
        """Apply objects as the administrator, with their status."""
        self.client.apply(objects)

    def delete(self, *objects: Mapping[str, Any]) -> None:
        """Delete objects; the absent is no error."""
        for each in objects:
            self.client.delete(self.client.path(each))

    def rename(self, *names: str) -> None:
        """Give the nodes other names, fewer than before if fewer are named; no speaker may run."""
        for at, name in enumerate(self.nodes):
            self.delete(node(name, ""), _speaker_pod(at, name))
        self.nodes = names
        for at, name in enumerate(names):
            self.apply(node(name, lan_address(at)), _speaker_pod(at, name))

    def audit(self, *accounts: str) -> list[Object]:
        """What these ServiceAccounts, `namespace:name`, have asked for, oldest first."""
        users = {f"system:serviceaccount:{account}" for account in accounts}
        events = read_audit(self.server.site.audit_log)
        return [event for event in events if event["user"].get("username") in users]

    def until(self, holds: Callable[[], bool], what: str, *, within: float = 30.0) -> float:
        """Wait until something holds; answers with the seconds that it took.

        Raises:
            RuntimeError: when it does not in time, or a process has ended.
        """
        begin = time.monotonic()
        while not holds():
            if time.monotonic() - begin > within:
                self.alive()
                raise RuntimeError(f"not within {within:.0f} s: {what}")
            time.sleep(0.005)
        return time.monotonic() - begin

    def close(self) -> None:
        """End all processes."""
        for name in list(self.running):
            self.stop(name)
        self.client.close()
        self.server.stop()


@contextlib.contextmanager
def plant(programs: Path, metallb: Path, nodes: tuple[str, ...] = NODES) -> Iterator[Plant]:
    """The plant, with the API server up, MetalLB's CRDs in it, and the Nodes; nothing else."""
    root = RUN / f"plant-{os.getpid()}"
    root.mkdir(parents=True)
    net = Network(root=root, prefix=f"ohp{os.getpid()}-")
    old = signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    made: Plant | None = None
    try:
        _wire(net, len(nodes))
        site = Site(directory=root / "kube", address=API, bind="0.0.0.0", netns=net.path("api"))
        server = KubeServer(site, programs)
        client = KubeClient(site, server.admin_token)
        made = Plant(
            net=net,
            server=server,
            client=client,
            programs=programs,
            metallb=metallb,
            nodes=nodes,
        )
        server.start()
        _populate(made)
        yield made
    finally:
        if made is not None:
            made.close()
        net.close()
        shutil.rmtree(root, ignore_errors=True)
        signal.signal(signal.SIGTERM, old)


def _wire(net: Network, nodes: int) -> None:
    net.add("sw")
    for bridge in ("br0", "br1"):
        net.ip(
            "sw",
            f"link add {bridge} type bridge stp_state 0 forward_delay 0 mcast_snooping 0",
            f"link set {bridge} up",
        )
    tables = ("iptables", "ip6tables", "arptables")
    namespace.write_sysctls(
        net.path("sw"), {f"net/bridge/bridge-nf-call-{table}": "0" for table in tables}
    )
    for name, address in (("cli", CLIENT), ("rtr", ROUTER)):
        net.add(name)
        _plug(net, name, "eno1", "br0", f"{address}/24")
    net.add("api")
    _plug(net, "api", "eth0", "br1", f"{API}/24")
    for at in range(nodes):
        _node(net, at, nodes)


def _plug(net: Network, host: str, link: str, bridge: str, address: str, mac: str = "") -> None:
    port = f"{link}-{host}"
    net.ip(
        "sw",
        f"link add {port} type veth peer name {link} netns {net.prefix}{host}",
        f"link set {port} master {bridge} up",
    )
    lines = [f"link set {link} address {mac}"] if mac else []
    net.ip(host, *lines, f"address add {address} dev {link}", f"link set {link} up")


def _node(net: Network, at: int, nodes: int) -> None:
    name, pod = f"n{at}", f"p{at}"
    net.add(name)
    net.add(pod)
    namespace.write_sysctls(
        net.path(name),
        {
            "net/ipv4/ip_forward": "1",
            "net/ipv4/conf/all/arp_ignore": "1",
            "net/ipv4/conf/all/arp_announce": "2",
            "net/ipv4/conf/all/rp_filter": "0",
            "net/ipv4/conf/default/rp_filter": "0",
        },
    )
    _plug(net, name, "eno1", "br0", f"{lan_address(at)}/24", lan_mac(at))
    _plug(net, name, "mgmt0", "br1", f"172.30.0.{11 + at}/24")
    net.ip(
        name,
        f"link add vethp0 type veth peer name eth0 netns {net.prefix}{pod}",
        f"address add 10.1.{at}.1/24 dev vethp0",
        "link set vethp0 up",
        f"route add default via {ROUTER}",
        *(
            f"route add 10.1.{other}.0/24 via {lan_address(other)}"
            for other in range(nodes)
            if other != at
        ),
    )
    net.ip(
        pod,
        f"address add 10.1.{at}.5/24 dev eth0",
        "link set eth0 up",
        f"route add default via 10.1.{at}.1",
    )


def _populate(made: Plant) -> None:
    for path in sorted((made.metallb / "config" / "crd" / "bases").glob("*.yaml")):
        made.apply(*(each for each in yaml.safe_load_all(path.read_text()) if each))
    for each in [*metallb_objects(made.metallb), *onehop_objects()]:
        made.apply(each)
    for at, name in enumerate(made.nodes):
        made.apply(node(name, lan_address(at)), _speaker_pod(at, name))


def node(name: str, address: str) -> Object:
    """A Node that is ready."""
    return {
        "apiVersion": "v1",
        "kind": "Node",
        "metadata": {"name": name, "labels": {"kubernetes.io/hostname": name}},
        "status": {
            "addresses": [{"type": "InternalIP", "address": address}],
            "conditions": [{"type": "Ready", "status": "True"}],
        },
    }


def metallb_objects(programs: Path) -> Iterable[Object]:
    """MetalLB's namespace, accounts, rights and the pod that its controller looks for."""
    space = "metallb-system"
    yield {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": space}}
    for account in ("controller", "speaker"):
        yield _in(space, {"apiVersion": "v1", "kind": "ServiceAccount"}, account)
    text = (programs / "config" / "rbac" / "role.yaml").read_text()
    for each in yaml.safe_load_all(text):
        if not each:
            continue
        if each["kind"] in ("Role", "RoleBinding"):
            each["metadata"]["namespace"] = space
        for subject in each.get("subjects", ()):
            subject["namespace"] = space
        yield each
    yield _pod(space, "controller-0", "controller", "", API)


def _speaker_pod(at: int, name: str) -> Object:
    """What a speaker of MetalLB looks for, its own and those of the others."""
    return _pod("metallb-system", f"speaker-{name}", "speaker", name, lan_address(at))


def onehop_objects() -> Iterable[Object]:
    """Our namespace, accounts and rights, from the manifest that users apply."""
    manifest = Path(__file__).resolve().parents[1] / "deploy" / "onehop.yaml"
    wanted = {"Namespace", "ServiceAccount", "Role", "RoleBinding"}
    wanted |= {"ClusterRole", "ClusterRoleBinding"}
    for each in yaml.safe_load_all(manifest.read_text()):
        if each and each["kind"] in wanted:
            yield each


def _in(space: str, body: Object, name: str, **labels: str) -> Object:
    return {**body, "metadata": {"name": name, "namespace": space, "labels": labels}}


def _pod(space: str, name: str, component: str, where: str, address: str) -> Object:
    pod = _in(space, {"apiVersion": "v1", "kind": "Pod"}, name, app="metallb", component=component)
    pod["spec"] = {
        "serviceAccountName": component,
        "automountServiceAccountToken": False,
        "containers": [{"name": component, "image": "none"}],
    }
    if where:
        pod["spec"]["nodeName"] = where
    pod["status"] = {"phase": "Running", "podIP": address, "podIPs": [{"ip": address}]}
    return pod


__all__ = ["Plant", "RequestError", "plant"]
