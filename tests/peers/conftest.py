"""Where both sides work: namespaces on the API server of all tests, or hosts of their own."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from bench.kube_plant import Plant, plant

from tests.kube.cluster import Cluster
from tests.peers import metallb
from tests.peers.controllers import Place

HOSTS = 5


@pytest.fixture(scope="module")
def wired(kube_programs: Path, metallb_programs: Path) -> Iterator[Plant]:
    """An API server of its own, hosts that nothing runs on, and what both sides need to start."""
    with plant(kube_programs, metallb_programs, tuple(f"host{at}" for at in range(HOSTS))) as made:
        yield made


@pytest.fixture
def place(cluster: Cluster, metallb_programs: Path, tmp_path: Path) -> Iterator[Place]:
    system, *spaces = (cluster.namespace() for _ in range(5))
    for index, space in enumerate(spaces):
        meta: dict[str, Any] = {"name": space, "labels": {"space": str(index)}}
        cluster.apply([{"apiVersion": "v1", "kind": "Namespace", "metadata": meta}])
    made = metallb.prepare(cluster, metallb_programs, system)
    try:
        yield Place(cluster, system, spaces, f"example.org/{system}", tmp_path)
    finally:
        for path in made:
            cluster.client.delete(path)
