"""A Service written to a real API server, until its status holds an address.

One API server with its etcd serves the whole run, on the machine's loopback. The controller runs
as a process of its own, as the administrator; MetalLB's takes turns with it, never both at once.
The clock starts before the create is sent, and stops when a watch on a connection of its own has
read the address.
"""

from __future__ import annotations

import contextlib
import http.client
import json
import os
import ssl
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import yaml

from bench.kube_metallb import OURS, SYSTEM, THEIRS, lb_class, metallb, prepare_metallb, running
from bench.row import ROOT, Measure, percentile
from onehop.lab.kube_build import SERVER, prepare
from onehop.lab.kube_client import KubeClient
from onehop.lab.kube_server import KubeServer, Site, loopback

ONEHOP = str(ROOT / ".venv" / "bin" / "onehop")
CRDS = ROOT / "deploy" / "chart" / "crds"
SERVICES = "/api/v1/namespaces/default/services"
PAUSE = 0.05
LONGEST = 30.0
UNMEASURED = 5


def run(rounds: int) -> list[Measure]:
    """Each side creates `rounds` Services in two turns, one once the one before is served."""
    found: dict[str, list[float]] = {side: [] for side in SIDES}
    turn = -(-rounds // 2)
    with cluster() as (site, client):
        prepare_metallb(client)
        for at in range(2):
            for side, start in SIDES.items():
                with start(site):
                    names = [f"{side}-{at}-{n:05}" for n in range(turn + UNMEASURED)]
                    found[side] += one_by_one(site, client, names, lb_class(side))[UNMEASURED:]
    return [_row(side, percent, found[side]) for side in SIDES for percent in (50, 99)]


def _row(side: str, percent: int, values: list[float]) -> Measure:
    return Measure(
        what=f"Service created to the address in its status, p{percent}",
        value=round(percentile(values, percent), 2),
        unit="ms",
        versus="" if side == OURS else "(MetalLB 0.16.1 itself)",
        note=f"{len(values)} Services, worst {max(values):.2f}",
    )


@contextlib.contextmanager
def cluster() -> Iterator[tuple[Site, KubeClient]]:
    """An API server that knows our CRDs and holds one pool."""
    with tempfile.TemporaryDirectory(prefix="onehop-bench-") as folder:
        site = loopback(Path(folder))
        server = KubeServer(site, prepare(SERVER, print))
        server.start()
        try:
            with KubeClient(site, server.admin_token) as client:
                for path in sorted(CRDS.glob("*.yaml")):
                    client.apply(item for item in yaml.safe_load_all(path.read_text()) if item)
                client.apply(_seed())
                yield site, client
        finally:
            server.stop()


@contextlib.contextmanager
def controller(site: Site) -> Iterator[int]:
    """Our controller; its process id."""
    command = [ONEHOP, "controller", "--namespace", SYSTEM, "--kubeconfig", str(site.kubeconfig)]
    command += ["--lb-class", lb_class(OURS)]
    with running(command, site.directory / "controller.log", os.environ) as child:
        yield child


SIDES = {OURS: controller, THEIRS: metallb}


def one_by_one(site: Site, client: KubeClient, names: list[str], chosen: str) -> list[float]:
    """Milliseconds from each create to its address."""
    values = []
    with watch(site, client) as lines:
        for name in names:
            start = time.monotonic()
            client.request("POST", SERVICES, service(name, chosen))
            while served(next(lines)) != name:
                if time.monotonic() - start > LONGEST:
                    raise RuntimeError(f"{name} got no address within {LONGEST:g} s")
            values.append((time.monotonic() - start) * 1000)
            time.sleep(PAUSE)
    return values


@contextlib.contextmanager
def watch(site: Site, client: KubeClient) -> Iterator[Iterator[bytes]]:
    """The lines of a watch on the Services, from now on; silence that is too long is an error."""
    version = client.get(SERVICES)["metadata"]["resourceVersion"]
    token = json.loads(site.kubeconfig.read_text())["users"][0]["user"]["token"]
    connection = http.client.HTTPSConnection(
        site.address,
        site.port,
        timeout=LONGEST,
        context=ssl.create_default_context(cafile=str(site.ca)),
    )
    path = f"{SERVICES}?watch=1&resourceVersion={version}"
    connection.request("GET", path, headers={"Authorization": f"Bearer {token}"})
    with contextlib.closing(connection), connection.getresponse() as response:
        yield iter(response.readline, b"")


def served(line: bytes) -> str:
    """The name of the Service of a watch's line, if it has an address."""
    item = json.loads(line)["object"]
    has = item.get("status", {}).get("loadBalancer", {}).get("ingress")
    return str(item["metadata"]["name"]) if has else ""


def service(name: str, chosen: str) -> dict[str, object]:
    """A Service of type LoadBalancer."""
    spec = {
        "type": "LoadBalancer",
        "loadBalancerClass": chosen,
        "allocateLoadBalancerNodePorts": False,
        "ports": [{"port": 80}],
    }
    return {"metadata": {"name": name}, "spec": spec}


def _seed() -> list[dict[str, object]]:
    pool = {"addresses": ["10.200.0.0/16"]}
    return [
        {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": SYSTEM}},
        {
            "apiVersion": "metallb.io/v1beta1",
            "kind": "IPAddressPool",
            "metadata": {"name": "all", "namespace": SYSTEM},
            "spec": pool,
        },
    ]
