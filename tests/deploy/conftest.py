"""An API server of their own for the tests of installing: the policies count for all of it."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from tools.deploy import MANIFEST

from tests.kube.cluster import Cluster


@pytest.fixture(scope="session")
def installed(kube_programs: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    """A cluster after `kubectl apply -f deploy/onehop.yaml`."""
    made = Cluster(tmp_path_factory.mktemp("installed"), kube_programs)
    try:
        made.start()
        made.kubectl("apply", "--filename", str(MANIFEST))
        yield made
    finally:
        made.stop()
