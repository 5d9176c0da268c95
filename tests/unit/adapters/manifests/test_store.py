"""The store: a folder of manifests in, statuses out."""

from __future__ import annotations

from collections.abc import Iterator
from ipaddress import ip_address
from pathlib import Path

import pytest

from onehop.adapters.manifests import Manifests
from onehop.model.desired import ClusterDesired, ServiceStatus
from onehop.model.service import Key

KEY = Key("kafka", "kafka-0")
SERVICE = """\
apiVersion: v1
kind: Service
metadata: {name: kafka-0, namespace: kafka}
spec:
  type: LoadBalancer
  clusterIP: 172.16.13.97
  externalTrafficPolicy: Local
  ports:
  - {name: tcp-external, protocol: TCP, port: 9096, nodePort: 30793}
"""
POOL = """\
apiVersion: metallb.io/v1beta1
kind: IPAddressPool
metadata: {name: kafka, namespace: metallb-system}
spec:
  addresses: [192.168.200.240-192.168.200.250]
"""
GIVEN = ip_address("192.168.200.241")


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Manifests]:
    manifests = Manifests(tmp_path)
    yield manifests
    manifests.close()


def wanted(*keys: Key) -> ClusterDesired:
    return ClusterDesired(
        statuses={key: ServiceStatus(key=key, addresses=(GIVEN,), pool="kafka") for key in keys}
    )


def test_first_refresh_lists_the_folder(tmp_path: Path, store: Manifests) -> None:
    """Nothing is known before the first refresh, everything after it."""
    (tmp_path / "all.yaml").write_text(f"{SERVICE}---\n{POOL}")
    assert not store.objects().complete
    assert store.refresh()
    assert store.objects().complete
    assert list(store.objects().services) == [KEY]
    assert not store.refresh()


def test_status_comes_back_through_the_disk(tmp_path: Path, store: Manifests) -> None:
    """A synced address is in the Service after the next refresh, here and in another process."""
    (tmp_path / "all.yaml").write_text(SERVICE)
    store.refresh()
    assert store.sync(wanted(KEY)).changed == 1
    assert store.sync(wanted(KEY)).changed == 0
    assert store.refresh()
    assert store.objects().services[KEY].ingress == (GIVEN,)
    other = Manifests(tmp_path)
    other.refresh()
    assert other.objects() == store.objects()
    other.close()
