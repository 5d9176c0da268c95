"""MetalLB's own controller on the API server of the bench."""

from __future__ import annotations

import contextlib
import os
import subprocess
from collections.abc import Iterator, Mapping
from pathlib import Path

from onehop.lab.kube_build import METALLB, prepare
from onehop.lab.kube_client import KubeClient
from onehop.lab.kube_server import Site

OURS, THEIRS = "onehop", "metallb"
SYSTEM = "onehop-system"  # one pool for both: Services of different classes share the addresses
POD = "controller-0"


def lb_class(side: str) -> str:
    """The loadBalancerClass that a side serves."""
    return f"bench.example/{side}"


def prepare_metallb(client: KubeClient) -> None:
    """Make the Pod that the controller asks for, as the owner of what it makes."""
    prepare(METALLB, print)
    client.create_token(SYSTEM, "controller")
    spec = {
        "serviceAccountName": "controller",
        "automountServiceAccountToken": False,
        "containers": [{"name": "controller", "image": "controller"}],
    }
    labels = {"app": "metallb", "component": "controller"}
    metadata = {"name": POD, "namespace": SYSTEM, "labels": labels}
    client.apply([{"apiVersion": "v1", "kind": "Pod", "metadata": metadata, "spec": spec}])


@contextlib.contextmanager
def metallb(site: Site) -> Iterator[int]:
    """Its controller without webhooks; its process id."""
    command = [str(prepare(METALLB) / "controller"), "--port=19120", "--health-probe-port=19121"]
    command += ["--webhook-mode=disabled", "--disable-cert-rotation", "--log-level=info"]
    command += [f"--lb-class={lb_class(THEIRS)}"]
    environ = {
        "PATH": os.environ["PATH"],
        "KUBECONFIG": str(site.kubeconfig),
        "METALLB_POD_NAME": POD,
        "METALLB_NAMESPACE": SYSTEM,
        "METALLB_BGP_TYPE": "native",
    }
    with running(command, site.directory / "metallb.log", environ) as child:
        yield child


@contextlib.contextmanager
def running(command: list[str], log: Path, environ: Mapping[str, str]) -> Iterator[int]:
    """A process, ended at the end; its id. What it said last is shown when something fails."""
    with log.open("ab") as output:
        child = subprocess.Popen(command, stdout=output, stderr=output, env=environ)
    try:
        yield child.pid
    except BaseException:
        print(log.read_text(errors="replace")[-2000:])
        raise
    finally:
        child.terminate()
        child.wait(30)
