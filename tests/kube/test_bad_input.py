"""The controller as a process, under the manifest's rights, while everything goes wrong.

What worked goes on: addresses stay, nobody else's are touched, and the log holds no traceback.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.kube.between import HOLE, Fate, canned
from tests.kube.cluster import Cluster
from tests.kube.place import Place
from tests.kube.test_lease import wait

pytestmark = pytest.mark.kube


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


def error_event() -> bytes:
    """A watch that begins well and then says that its version is gone."""
    text = b'{"type":"ERROR","object":{"kind":"Status","code":410,"reason":"Expired"}}\n'
    head = "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length:"
    return f"{head} {len(text)}\r\n\r\n".encode() + text


@pytest.mark.parametrize(
    ("fate", "times"), [(canned(410, "Expired"), 6), (error_event(), 6), (canned(401, "No"), 4)],
    ids=["410", "410-inside", "401"],
)  # fmt: skip
def test_watches_that_are_refused_a_while(place: Place, fate: bytes, times: int) -> None:
    place.between.rule = first(times, fate, lambda method, path: "watch=" in path)
    place.between.cutting = True
    place.site.cluster.apply([place.site.service("lost")])
    time.sleep(0.5)
    place.between.cutting = False
    assert wait(lambda: bool(place.site.addresses("lost")), 15.0) < 12.0
    assert place.serve("web") < 8.0
    asked = [path for _, method, path in place.between.asked if method == "GET"]
    assert len(asked) < 150, "no storm"


def test_lists_that_are_throttled_at_the_start(cluster: Cluster, tmp_path: Path) -> None:
    made = Place(cluster, tmp_path)
    fate = canned(429, "TooManyRequests", "Retry-After: 1")
    made.between.rule = first(10, fate, lambda method, path: method == "GET")
    try:
        made.start()
        assert 0.5 < made.serve("web", 20.0) < 15.0
    finally:
        made.close()


def test_a_token_that_ended_is_read_again_for_reads_and_writes(
    cluster: Cluster, tmp_path: Path
) -> None:
    made = Place(cluster, tmp_path)
    site = made.site
    token = tmp_path / "token"
    config = yaml.safe_load(made.config.read_text())
    token.write_text(config["users"][0]["user"]["token"])
    config["users"][0]["user"] = {"tokenFile": str(token)}
    made.config.write_text(yaml.safe_dump(config))
    try:
        made.start()
        made.serve("before", 20.0)
        stood = site.addresses("before")
        cluster.client.delete(f"/api/v1/namespaces/{site.system}/serviceaccounts/{site.account}")
        cluster.restart_apiserver()  # it believes a token for ten seconds otherwise
        site.cluster.apply([site.service("web")])
        wait(lambda: "401" in made.said() or "Unauthorized" in made.said())
        token.write_text(cluster.token(site.system, site.account))
        assert wait(lambda: bool(site.addresses("web")), 60.0) < 40.0
        assert site.addresses("before") == stood
    finally:
        made.close()


def test_a_right_to_write_that_is_missing_has_its_reason_and_comes_back(place: Place) -> None:
    place.grant("services/status")
    place.site.cluster.apply([place.site.service("web")])
    wait(lambda: f"{place.site.apps}/web" in place.said() and "forbidden" in place.said())
    assert place.site.addresses("web") == ()
    place.grant()
    assert wait(lambda: bool(place.site.addresses("web")), 40.0) < 35.0


def test_a_lease_that_may_not_be_taken_is_said_and_taken_when_it_may(
    cluster: Cluster, tmp_path: Path
) -> None:
    made = Place(cluster, tmp_path)
    made.grant("leases")
    try:
        made.start()
        wait(lambda: "standing-by" in made.said() and "HTTP 403" in made.said())
        made.grant()
        made.serve("web", 20.0)
    finally:
        made.close()


def test_a_forbidden_kind_is_named_and_the_rest_works(place: Place) -> None:
    place.grant("bgppeers")
    place.site.cluster.restart_apiserver()  # a watch that stands is not asked for its rights again
    assert place.serve("web", 20.0) < 20.0
    wait(lambda: "BGPPeer in" in place.said(), 20.0)
    assert place.site.addresses("web")


@pytest.mark.parametrize("year", [1999, 2099])
def test_a_lease_of_another_time_is_measured_by_our_own_clock(
    cluster: Cluster, tmp_path: Path, year: int
) -> None:
    """One that looks expired is waited for as long as one that looks fresh for ever."""
    made = Place(cluster, tmp_path)
    meta = {"name": "onehop-controller", "namespace": made.site.system}
    spec = {"holderIdentity": "gone", "leaseDurationSeconds": 3, "leaseTransitions": 0,
            "acquireTime": f"{year}-01-01T00:00:00.000000Z",
            "renewTime": f"{year}-01-01T00:00:00.000000Z"}  # fmt: skip
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
