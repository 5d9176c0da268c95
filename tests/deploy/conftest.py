"""What is installed for the tests of rights and of installing: the plain manifest, once."""

from __future__ import annotations

import pytest
from tools.deploy import MANIFEST, NAMESPACE

from tests.kube.cluster import Cluster


@pytest.fixture(scope="session")
def installed(cluster: Cluster) -> str:
    """The namespace that `kubectl apply -f deploy/onehop.yaml` has filled."""
    cluster.kubectl("apply", "--filename", str(MANIFEST))
    return NAMESPACE
