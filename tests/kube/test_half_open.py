"""A network that loses packets without a word: connections that only one side knows to be dead."""

from __future__ import annotations

import socket
import subprocess
import time
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest

from onehop.adapters.kube.kubeconfig import load_access
from onehop.adapters.kube.reflector import Timing
from onehop.adapters.kube.store import KubeStore
from onehop.lab import namespace
from onehop.model.reason import Reason
from onehop.model.service import Key
from tests.kube.between import Between
from tests.kube.cluster import Cluster
from tests.kube.site import Site
from tests.unit.adapters.kube.objects import eventually

pytestmark = [pytest.mark.kube, pytest.mark.root]

NAME = "oh-halfopen"
CHAIN = "add chain inet gap input { type filter hook input priority 0; policy accept; }"
# A peer is probed after a second of silence and given up two seconds later, in earnest ten and
# twenty; the silence that ends a watch is far away.
PROBED = Timing(keepalive=(1, 1, 1), connect=1.0)


class Gap:
    """A namespace with nothing but the way to the API server, and a way to lose packets on it."""

    def __init__(self, path: Path, between: Between) -> None:
        self._path = path
        self.between = between

    def lose(self, condition: str) -> None:
        """Drop what comes in and meets the condition."""
        self._run("nft", f"add table inet gap; {CHAIN}; add rule inet gap input {condition} drop")

    def lose_nothing(self) -> None:
        self._run("nft", "delete table inet gap")

    def clients(self) -> str:
        """The ports of all connections that stand, as nftables writes a set."""
        found = self._run("ss", "-Htn", "state", "established", "dport", f"= :{self.port}")
        ports = {row.split()[2].rpartition(":")[2] for row in found.splitlines()}
        assert ports
        return f"{{ {', '.join(sorted(ports))} }}"

    @property
    def port(self) -> str:
        return self.between.server.rpartition(":")[2]

    def _run(self, *command: str) -> str:
        with namespace.entered(self._path):
            return subprocess.run(command, capture_output=True, text=True, check=True).stdout


@pytest.fixture
def gap(cluster: Cluster, tmp_path: Path) -> Iterator[Gap]:
    path = tmp_path / "netns"
    namespace.create(path, NAME)
    try:
        with namespace.entered(path):
            subprocess.run(["ip", "link", "set", "lo", "up"], check=True)
            listener = socket.create_server(("127.0.0.1", 0))
        between = Between(cluster.site, listener)
        try:
            yield Gap(path, between)
        finally:
            between.close()
    finally:
        namespace.remove(path)
        (namespace.NAMES / NAME).unlink()


def test_connections_that_died_in_silence_are_noticed_by_probes(
    cluster: Cluster, gap: Gap, tmp_path: Path
) -> None:
    site = Site(cluster)
    config = gap.between.kubeconfig(site.kubeconfig, tmp_path / "config")
    with namespace.entered(tmp_path / "netns"):  # its thread is born there
        opened = KubeStore(load_access(config), namespace=site.system, timing=PROBED)
    with closing(opened) as store:
        before = eventually(store, lambda o: o.complete and o.pools).pools
        # Somebody on the way forgot the connections: new ones pass.
        gap.lose(f"tcp dport {gap.clients()}")
        lost = time.monotonic()
        cluster.apply([site.service("web")])
        eventually(store, lambda o: Key(site.apps, "web") in o.services)
        assert time.monotonic() - lost < 8.0
        gap.lose_nothing()
        # Nothing passes any more.
        gap.lose(f"tcp dport {gap.port}")
        cut = eventually(store, lambda o: o.problems, seconds=20)
        assert [each.reason for each in cut.problems] == [Reason.API_UNREACHABLE]
        assert cut.pools is before
        assert store.staleness() > 0
        cluster.apply([site.service("meanwhile")])
        gap.lose_nothing()
        back = time.monotonic()
        found = eventually(
            store, lambda o: Key(site.apps, "meanwhile") in o.services and not o.problems
        )
        assert time.monotonic() - back < 5.0
        assert found.pools is before
