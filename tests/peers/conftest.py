"""The plant that the tests of speakers share: five hosts, a client and a router."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from bench.kube_plant import Plant, plant

HOSTS = 5


@pytest.fixture(scope="module")
def wired(kube_programs: Path, metallb_programs: Path) -> Iterator[Plant]:
    """An API server of its own, hosts that nothing runs on, and what both sides need to start."""
    with plant(kube_programs, metallb_programs, tuple(f"host{at}" for at in range(HOSTS))) as made:
        yield made
