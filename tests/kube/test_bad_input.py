"""The controller as a process, under the manifest's rights, while everything goes wrong.

What worked goes on: addresses stay, nobody else's are touched, and the log holds no traceback.
"""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
import yaml
from tools.deploy import MANIFEST

from tests.kube.between import HOLE, Between, Fate, canned
from tests.kube.cluster import Cluster
from tests.kube.site import Site
from tests.kube.test_lease import wait

pytestmark = pytest.mark.kube
RBAC = "rbac.authorization.k8s.io"


def rules(*without: str) -> list[dict[str, Any]]:
    """What the manifest grants a controller, but for some resources."""
    found = []
    for each in yaml.safe_load_all(MANIFEST.read_text()):
        if (
            each
            and each["kind"] in ("Role", "ClusterRole")
            and "controller" in str(each["metadata"]["name"])
        ):
            for rule in each["rules"]:
                left = [name for name in rule["resources"] if name not in without]
                if left:
                    found.append({**rule, "resources": left})
    return found


class Place:
    """A site, what stands between, and controllers that come in by there."""

    def __init__(self, cluster: Cluster, folder: Path) -> None:
        self.site = Site(cluster)
        self.folder = folder
        self.between = Between(cluster.site)
        self.config = self.between.kubeconfig(self.site.kubeconfig, folder / "config")
        self.children: list[subprocess.Popen[bytes]] = []
        self.grant()

    def grant(self, *without: str) -> None:
        """The manifest's rights and no more."""
        name = f"{self.site.system}-{self.site.account}"
        cluster = self.site.cluster
        subject = {"kind": "ServiceAccount", "name": self.site.account,
                   "namespace": self.site.system}  # fmt: skip
        cluster.client.delete(f"/apis/{RBAC}/v1/clusterrolebindings/{name}")
        cluster.apply([
            {"apiVersion": f"{RBAC}/v1", "kind": "ClusterRole", "metadata": {"name": name},
             "rules": rules(*without)},
            {"apiVersion": f"{RBAC}/v1", "kind": "ClusterRoleBinding", "metadata": {"name": name},
             "roleRef": {"apiGroup": RBAC, "kind": "ClusterRole", "name": name},
             "subjects": [subject]},
        ])  # fmt: skip

    def start(self, pod: str = "a") -> subprocess.Popen[bytes]:
        argv: list[str | Path] = [
            sys.executable, "-m", "onehop.cli.main", "controller", "--kubeconfig", self.config,
            "--namespace", self.site.system, "--lb-class", self.site.lb_class,
        ]  # fmt: skip
        with (self.folder / f"{pod}.log").open("ab") as log:
            child = subprocess.Popen(
                argv, stdout=log, stderr=log, env=os.environ | {"ONEHOP_POD_NAME": pod}
            )
        self.children.append(child)
        return child

    def said(self) -> str:
        return "".join(path.read_text() for path in sorted(self.folder.glob("*.log")))

    def serve(self, name: str, seconds: float = 10.0) -> float:
        """Make a Service; how long its address took."""
        self.site.cluster.apply([self.site.service(name)])
        return wait(lambda: bool(self.site.addresses(name)), seconds)

    def close(self) -> None:
        alive = [child.poll() for child in self.children]
        for child in self.children:
            child.kill()
            child.wait()
        self.between.close()
        name = f"{self.site.system}-{self.site.account}"
        for kind in ("clusterrolebindings", "clusterroles"):
            self.site.cluster.client.delete(f"/apis/{RBAC}/v1/{kind}/{name}")
        assert alive == [None] * len(alive), self.said()
        assert "Traceback" not in self.said()


@pytest.fixture
def place(cluster: Cluster, tmp_path: Path) -> Iterator[Place]:
    made = Place(cluster, tmp_path)
    made.start()
    try:
        made.serve("before", 20.0)
        stood = made.site.addresses("before")
        yield made
        assert made.site.addresses("before") == stood
    finally:
        made.close()


def first(count: int, fate: Fate, is_meant: Callable[[str, str], bool]) -> Any:
    """A rule for so many requests."""
    left = [count]

    def rule(method: str, path: str) -> Fate:
        if left[0] and is_meant(method, path):
            left[0] -= 1
            return fate
        return None

    return rule


def is_status(method: str, path: str) -> bool:
    return method == "PATCH" and "/services/" in path


def test_conflicts_on_every_write_are_written_again(place: Place) -> None:
    place.between.rule = first(4, canned(409, "Conflict"), lambda method, _: method == "PATCH")
    assert place.serve("web") < 8.0
    assert sum(is_status(m, p) for _, m, p in place.between.asked) >= 3


def test_a_service_that_is_edited_while_it_is_written(place: Place) -> None:
    """The server itself refuses the write that was decided on the older one."""
    site = place.site
    edits: list[str] = []

    def rule(method: str, path: str) -> Fate:
        if is_status(method, path) and "/web/" in path and not edits:
            edits.append(path)
            site.cluster.apply([site.service("web", metadata={"labels": {"edited": "yes"}})])
        return None

    place.between.rule = rule
    assert place.serve("web") < 5.0
    assert edits
    assert site.get("web")["metadata"]["labels"] == {"edited": "yes"}
    codes = [
        each["responseStatus"]["code"]
        for each in site.cluster.audit(site.system, site.account)
        if each["verb"] == "patch" and each["objectRef"].get("name") == "web"
    ]
    assert codes == [409, 200]


def test_a_throttled_controller_waits_as_long_as_it_is_told(place: Place) -> None:
    place.between.rule = first(2, canned(429, "TooManyRequests", "Retry-After: 1"), is_status)
    assert 1.8 < place.serve("web") < 8.0
    times = [at for at, m, p in place.between.asked if is_status(m, p) and "/web/" in p]
    assert len(times) == 3
    assert all(b - a >= 0.95 for a, b in pairwise(times))


def test_a_write_that_vanishes_is_made_again(place: Place) -> None:
    """A half-open connection: the write times out after four seconds and takes another one."""
    place.between.rule = first(1, HOLE, is_status)
    assert 3.0 < place.serve("web", 20.0) < 10.0


def test_watches_that_end_in_the_middle_of_an_object(place: Place) -> None:
    place.between.cutting = True
    place.site.cluster.apply([place.site.service("lost")])
    time.sleep(1.0)
    place.between.cutting = False
    assert wait(lambda: bool(place.site.addresses("lost"))) < 6.0
    assert place.serve("web") < 6.0


def test_a_right_to_write_that_is_missing_has_its_reason_and_comes_back(place: Place) -> None:
    place.grant("services/status")
    place.site.cluster.apply([place.site.service("web")])
    wait(lambda: f"{place.site.apps}/web" in place.said() and "forbidden" in place.said())
    assert place.site.addresses("web") == ()
    place.grant()
    assert wait(lambda: bool(place.site.addresses("web")), 40.0) < 35.0


def test_a_forbidden_kind_is_named_and_the_rest_works(place: Place) -> None:
    place.grant("bgppeers")
    place.site.cluster.restart_apiserver()  # a watch that stands is not asked for its rights again
    assert place.serve("web", 20.0) < 20.0
    wait(lambda: "BGPPeer in" in place.said(), 20.0)
    assert place.site.addresses("web")


def test_a_lease_of_another_time_is_measured_by_our_own_clock(
    cluster: Cluster, tmp_path: Path
) -> None:
    made = Place(cluster, tmp_path)
    meta = {"name": "onehop-controller", "namespace": made.site.system}
    spec = {"holderIdentity": "gone", "leaseDurationSeconds": 3, "leaseTransitions": 0,
            "acquireTime": "2099-01-01T00:00:00.000000Z",
            "renewTime": "2099-01-01T00:00:00.000000Z"}  # fmt: skip
    cluster.apply([{"apiVersion": "coordination.k8s.io/v1", "kind": "Lease", "metadata": meta,
                    "spec": spec}])  # fmt: skip
    try:
        made.start()
        assert 2.5 < made.serve("web", 30.0) < 25.0
    finally:
        made.close()


def test_two_installations_of_one_class_do_not_write_in_turns(
    cluster: Cluster, tmp_path: Path
) -> None:
    """Each has a pool of its own: they cannot agree, but they need not storm the server."""
    one = Place(cluster, tmp_path)
    folder = tmp_path / "other"
    folder.mkdir()
    other = Place(cluster, folder)
    other.site.lb_class = one.site.lb_class
    cluster.apply([other.site.pool("10.98.0.0/24")])
    try:
        one.start()
        other.start()
        one.serve("web", 20.0)
        wait(lambda: "StatusContested" in one.said() + other.said())
        writes = len(one.site.status_writes()) + len(other.site.status_writes())
        time.sleep(4.0)
        after = len(one.site.status_writes()) + len(other.site.status_writes())
        assert after - writes <= 3, f"{writes}, then {after - writes} more: they take turns"
    finally:
        one.close()
        other.close()
