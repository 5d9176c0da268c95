"""The API server inside a network namespace, as a lab has it: reachable there and nowhere else."""

from __future__ import annotations

import socket
import subprocess
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from onehop.lab import namespace
from onehop.lab.kube_client import KubeClient
from onehop.lab.kube_server import APISERVER, ETCD, KubeServer, loopback

pytestmark = [pytest.mark.kube, pytest.mark.root]

NAME = "onehop-kube-test"
ADDRESS = "172.30.0.1"
LINKS = f"link set lo up\naddress add {ADDRESS}/32 dev lo\n"


@pytest.fixture(scope="module")
def netns(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A namespace with the loopback alone, which has one more address; no route out."""
    path = tmp_path_factory.mktemp("sealed") / "netns"
    namespace.create(path, NAME)
    try:
        with namespace.entered(path):
            subprocess.run(["ip", "-batch", "-"], input=LINKS, text=True, check=True)
        yield path
    finally:
        namespace.remove(path)
        (namespace.NAMES / NAME).unlink()


@pytest.fixture(scope="module")
def server(netns: Path, kube_programs: Path) -> Iterator[KubeServer]:
    free = loopback(netns.with_name("kube"))  # ports that nobody has outside either
    site = replace(free, address=ADDRESS, bind="0.0.0.0", netns=netns)
    made = KubeServer(site, kube_programs)
    try:
        made.start()
        yield made
    finally:
        made.stop()


def _can_connect(port: int) -> bool:
    try:
        socket.create_connection(("127.0.0.1", port), timeout=1).close()
    except OSError:
        return False
    return True


def test_it_serves_inside_and_is_not_there_outside(
    server: KubeServer, netns: Path, kube_programs: Path
) -> None:
    site = server.site
    with KubeClient(site, server.admin_token) as client:
        client.apply([{"apiVersion": "v1", "kind": "Node", "metadata": {"name": "node1"}}])
        assert client.get("/api/v1/nodes/node1")["metadata"]["name"] == "node1"

    # A program of the lab, born in the namespace, with nothing but a kubeconfig.
    argv = [kube_programs / "kubectl", f"--kubeconfig={site.kubeconfig}"]
    home = {"HOME": str(site.directory)}
    with namespace.entered(netns):
        done = subprocess.run(
            [*argv, "get", "node", "node1", "-o=name"],
            capture_output=True,
            text=True,
            check=True,
            env=home,
        )
        assert _can_connect(site.port)
        assert _can_connect(site.etcd_port)
    assert done.stdout == "node/node1\n"
    assert not _can_connect(site.port)
    assert not _can_connect(site.etcd_port)


def test_data_outlives_etcd(server: KubeServer) -> None:
    with KubeClient(server.site, server.admin_token) as client:
        client.apply([{"apiVersion": "v1", "kind": "Node", "metadata": {"name": "kept"}}])
        for name in (APISERVER, ETCD):
            assert server.is_alive(name)
        server.stop_apiserver()
        server.stop_etcd()
        assert not server.is_alive(ETCD)
        server.start_etcd()
        server.start_apiserver()
        assert client.get("/api/v1/nodes/kept")["kind"] == "Node"
