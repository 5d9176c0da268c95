"""The two sides of the Kubernetes benches: MetalLB's programs and ours on the same plant.

Both read a configuration of their own, in `metallb-system` and in `onehop-system`, and each serves
a loadBalancerClass of its own, so that they work beside each other without meeting.
"""

from __future__ import annotations

import signal
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from bench.kube_plant import Plant, lan_address
from bench.row import ROOT

ONEHOP = str(ROOT / ".venv" / "bin" / "onehop")
THEIRS, OURS = "peers.test/metallb", "peers.test/onehop"
_CONNTRACK = (
    "--conntrack-max-per-core=0",
    "--conntrack-min=0",
    "--conntrack-tcp-timeout-established=0s",
    "--conntrack-tcp-timeout-close-wait=0s",
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Side:
    """One of the two: what it is called, where it reads, what it serves and who it is."""

    name: str
    space: str
    lb_class: str
    controller: str
    speaker: str

    @property
    def accounts(self) -> tuple[str, str]:
        """Its ServiceAccounts, as the audit log knows them."""
        return f"{self.space}:{self.controller}", f"{self.space}:{self.speaker}"


METALLB = Side(
    name="MetalLB",
    space="metallb-system",
    lb_class=THEIRS,
    controller="controller",
    speaker="speaker",
)
US = Side(
    name="onehop",
    space="onehop-system",
    lb_class=OURS,
    controller="onehop-controller",
    speaker="onehop-speaker",
)
SIDES = (METALLB, US)


def start_controller(plant: Plant, side: Side) -> int:
    """Start a side's controller; its process id."""
    config = plant.kubeconfig(side.space, side.controller)
    if side is METALLB:
        command = [
            str(plant.metallb / "controller"),
            "--port=9120",
            "--log-level=info",
            "--webhook-mode=disabled",
            "--disable-cert-rotation",
            f"--lb-class={side.lb_class}",
        ]
        environ = {
            "KUBECONFIG": str(config),
            "METALLB_POD_NAME": "controller-0",
            "METALLB_NAMESPACE": side.space,
            "METALLB_BGP_TYPE": "native",
        }
    else:
        command = [ONEHOP, "controller", "--kubeconfig", str(config), "--namespace", side.space]
        command += ["--lb-class", side.lb_class]
        environ = {"ONEHOP_POD_NAME": "controller-0"}
    return plant.start(f"{side.name}-controller", "api", command, environ).pid


def stop_controller(plant: Plant, side: Side, how: int = signal.SIGKILL) -> None:
    """End a side's controller."""
    plant.stop(f"{side.name}-controller", how)


def start_speaker(
    plant: Plant, side: Side, at: int, *, datapath: bool = False, wrap: Sequence[str] = ()
) -> int:
    """Start a side's speaker of a node, by the command `wrap` if given; its process id."""
    config = plant.kubeconfig(side.space, side.speaker)
    if side is METALLB:
        command, environ = _their_speaker(plant, at, config)
    else:
        command, environ = _our_speaker(plant, at, config, datapath=datapath), {}
    name = speaker_name(side, at)
    return plant.start(name, f"n{at}", [*wrap, *command], environ, sysfs=side is METALLB).pid


def speaker_name(side: Side, at: int) -> str:
    """What a speaker's process and log are called."""
    return f"{side.name}-speaker{at}"


def stop_speaker(plant: Plant, side: Side, at: int, how: int = signal.SIGKILL) -> None:
    """End a side's speaker of a node."""
    plant.stop(speaker_name(side, at), how)


def _their_speaker(plant: Plant, at: int, config: Path) -> tuple[list[str], dict[str, str]]:
    keys = plant.net.root / "memberlist"
    keys.mkdir(exist_ok=True)
    (keys / "secretkey").write_text("0123456789abcdef0123456789abcdef")
    command = [
        str(plant.metallb / "speaker"),
        "--port=9120",
        "--log-level=info",
        f"--lb-class={THEIRS}",
    ]
    return command, {
        "KUBECONFIG": str(config),
        "METALLB_NODE_NAME": plant.nodes[at],
        "METALLB_POD_NAME": f"speaker-{plant.nodes[at]}",
        "METALLB_NAMESPACE": METALLB.space,
        "METALLB_HOST": lan_address(at),
        "METALLB_ML_BIND_ADDR": lan_address(at),
        "METALLB_ML_LABELS": "app=metallb,component=speaker",
        "METALLB_ML_SECRET_KEY_PATH": str(keys),
        "METALLB_BGP_TYPE": "native",
    }


def _our_speaker(plant: Plant, at: int, config: Path, *, datapath: bool) -> list[str]:
    state = plant.net.root / "state"
    state.mkdir(exist_ok=True)
    command = [ONEHOP, "speaker", "--node-name", plant.nodes[at], "--kubeconfig", str(config)]
    command += ["--namespace", US.space, "--lb-class", OURS, "--state", str(state)]
    if datapath:
        return [*command, "--bpf-dir", str(pins(plant, at)), "--uplink", "eno1"]
    return [*command, "--datapath", "none"]


def pins(plant: Plant, at: int) -> Path:
    """Where our speaker of a node pins its maps; a bpffs has to be mounted at its parent."""
    return plant.net.root / f"bpf-{at}" / "onehop"


def start_proxy(plant: Plant, at: int) -> int:
    """Start kube-proxy in nftables mode on a node; its process id."""
    config = plant.kubeconfig("kube-system", "kube-proxy")
    plant.apply(PROXY_RIGHTS)
    command = proxy_command(plant.programs, plant.nodes[at], config)
    return plant.start(f"kube-proxy{at}", f"n{at}", command, sysfs=True).pid


def proxy_command(programs: Path, node: str, config: Path) -> list[str]:
    """kube-proxy in nftables mode for a node whose namespace shows its own links in /sys."""
    return [
        str(programs / "kube-proxy"),
        "--proxy-mode=nftables",
        f"--hostname-override={node}",
        f"--kubeconfig={config}",
        "--cluster-cidr=10.0.0.0/15",  # the pods of every bench
        "--detect-local-mode=ClusterCIDR",
        *_CONNTRACK,
        "--healthz-bind-address=127.0.0.1:10256",
        "--metrics-bind-address=127.0.0.1:10249",
    ]


PROXY_RIGHTS: Mapping[str, Any] = {
    "apiVersion": "rbac.authorization.k8s.io/v1",
    "kind": "ClusterRoleBinding",
    "metadata": {"name": "kube-proxy"},
    "roleRef": {
        "apiGroup": "rbac.authorization.k8s.io",
        "kind": "ClusterRole",
        "name": "system:node-proxier",
    },
    "subjects": [
        {"kind": "ServiceAccount", "name": "kube-proxy", "namespace": "kube-system"},
    ],
}


def metallb_kind(side: Side, kind: str, name: str, spec: Mapping[str, Any]) -> dict[str, Any]:
    """An object of metallb.io in the configuration of one side."""
    version = "v1beta2" if kind == "BGPPeer" else "v1beta1"
    return {
        "apiVersion": f"metallb.io/{version}",
        "kind": kind,
        "metadata": {"name": name, "namespace": side.space},
        "spec": dict(spec),
    }


def both(kind: str, name: str, spec: Mapping[str, Any]) -> Iterable[dict[str, Any]]:
    """The same object in both configurations."""
    return [metallb_kind(side, kind, name, spec) for side in SIDES]


def service(name: str, space: str, side: Side, **more: Any) -> dict[str, Any]:
    """A Service of a side's class; `annotations` and `labels` apart, `more` goes into the spec."""
    metadata = {"name": name, "namespace": space}
    for part in ("annotations", "labels"):
        if more.get(part):
            metadata[part] = more[part]
        more.pop(part, None)
    spec = {
        "type": "LoadBalancer",
        "loadBalancerClass": side.lb_class,
        "allocateLoadBalancerNodePorts": False,
        "ports": [{"name": "a", "port": 80, "protocol": "TCP"}],
        **more,
    }
    return {"apiVersion": "v1", "kind": "Service", "metadata": metadata, "spec": spec}


def resident(pid: int) -> float:
    """Resident memory of a process, in MB of 2^20 bytes."""
    status = Path(f"/proc/{pid}/status").read_text()
    line = next(line for line in status.splitlines() if line.startswith("VmRSS"))
    return int(line.split()[1]) / 1024
