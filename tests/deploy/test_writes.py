"""What a new Service costs the API server in writes, under the manifest's accounts."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.deploy.sealed import Sealed, sealed
from tests.deploy.test_rbac import SYSTEM, a_service, a_slice, furnish, has_address

pytestmark = [pytest.mark.kube, pytest.mark.root]

ACCOUNTS = ("onehop-controller", "onehop-speaker")
# What is written for a Service; others are for a pool, for the configuration or for a Lease.
ABOUT_SERVICES = ("services", "events", "servicel2statuses", "servicebgpstatuses")


@pytest.fixture
def cluster(tmp_path: Path, kube_programs: Path) -> Iterator[Sealed]:
    with sealed(tmp_path, kube_programs, "onehop-writes") as made:
        furnish(made)
        made.client.delete(f"{SYSTEM}/bgpadvertisements/all")
        yield made


def writes(cluster: Sealed) -> Counter[tuple[str, str]]:
    """Verb and resource of all that both have written about Services."""
    return Counter(
        (event["verb"], event["objectRef"]["resource"])
        for account in ACCOUNTS
        for event in cluster.audit(account)
        if event["verb"] not in ("get", "list", "watch")
        and event["objectRef"]["resource"] in ABOUT_SERVICES
    )


def announced(cluster: Sealed) -> set[str]:
    items = cluster.client.get(f"{SYSTEM}/servicel2statuses")["items"]
    return {each["status"]["serviceName"] for each in items}


def test_a_new_service_takes_three_writes(cluster: Sealed, tmp_path: Path) -> None:
    words = ("speaker", "--datapath=none", f"--state={tmp_path / 'state'}")
    cluster.run("onehop-controller", "controller", pod="controller-1")
    speaker = cluster.run("onehop-speaker", *words, pod="speaker-node1")
    cluster.until(lambda: announced(cluster) == {"web"})
    before = writes(cluster)
    cluster.client.apply([a_service("new"), a_slice("new")])
    cluster.until(lambda: has_address(cluster, "new") and announced(cluster) == {"web", "new"})
    cluster.until(lambda: writes(cluster) - before == Counter({
        ("patch", "services"): 1, ("create", "events"): 1, ("create", "servicel2statuses"): 1,
    }))  # fmt: skip
    before = writes(cluster)
    cluster.end(speaker)  # takes its words back
    cluster.run("onehop-speaker", *words, pod="speaker-node1")
    cluster.until(lambda: announced(cluster) == {"web", "new"})
    assert writes(cluster) - before == Counter(
        {("delete", "servicel2statuses"): 2, ("create", "servicel2statuses"): 2}
    )
