"""Two controllers at a real API server: one writes, whatever becomes of the other."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from onehop.adapters.kube.connection import Connection
from onehop.adapters.kube.kubeconfig import load_access
from onehop.adapters.kube.statuses import status_write
from onehop.adapters.kube.structs import Live
from onehop.lab.kube_client import RequestError
from onehop.model.desired import ServiceStatus
from onehop.model.service import Key
from tests.kube.cluster import Cluster
from tests.kube.site import Site

pytestmark = pytest.mark.kube

SCRIPT = Path(__file__).with_name("run_controller.py")
Start = Callable[..., "subprocess.Popen[bytes]"]


@pytest.fixture
def site(cluster: Cluster) -> Site:
    return Site(cluster)


@pytest.fixture
def start(site: Site, tmp_path: Path) -> Iterator[Start]:
    children: list[subprocess.Popen[bytes]] = []

    def started(pod: str, speed: str = "quick") -> subprocess.Popen[bytes]:
        argv = [sys.executable, SCRIPT, site.kubeconfig, site.system, pod]
        with (tmp_path / f"{pod}-{len(children)}.log").open("wb") as log:
            child = subprocess.Popen(
                [*argv, *([speed] if speed else [])], stdout=log, stderr=log,
                env={"PYTHONPATH": ":".join(sys.path)},
            )  # fmt: skip
        children.append(child)
        return child

    yield started
    for child in children:
        child.kill()
        child.wait()


def wait(claim: Callable[[], bool], seconds: float = 20.0) -> float:
    begin = time.monotonic()
    while not claim():
        assert time.monotonic() - begin < seconds
        time.sleep(0.005)
    return time.monotonic() - begin


def spec(site: Site) -> Any:
    path = f"/apis/coordination.k8s.io/v1/namespaces/{site.system}/leases/onehop-controller"
    try:
        return site.cluster.get(path)["spec"]
    except RequestError:
        return {}


def holds(site: Site, pod: str) -> Callable[[], bool]:
    return lambda: spec(site).get("holderIdentity") == pod


def is_served(site: Site, name: str) -> Callable[[], bool]:
    return lambda: bool(site.addresses(name))


def test_a_controller_that_ends_hands_over_at_once(site: Site, start: Start) -> None:
    first = start("a")
    wait(holds(site, "a"))
    start("b")
    site.cluster.apply([site.service("one")])
    wait(is_served(site, "one"))
    time.sleep(1.0)
    assert holds(site, "a")()
    first.send_signal(signal.SIGTERM)
    took = wait(holds(site, "b"))
    assert first.wait(5) == 0
    assert took < 1.0  # a process's end and a watch event; the Lease itself lasts 2 s
    site.cluster.apply([site.service("two")])
    wait(is_served(site, "two"))
    assert spec(site)["leaseTransitions"] == 1
    assert sorted(site.status_writes()) == ["one", "two"]


def test_one_that_is_ended_while_it_starts_leaves_no_lease_behind(
    site: Site, start: Start
) -> None:
    for _ in range(3):
        child = start("a")
        wait(holds(site, "a"))  # the first list is under way: no round was made yet
        child.send_signal(signal.SIGTERM)
        assert child.wait(10) == 0
        assert not spec(site)["holderIdentity"]


def test_one_that_dies_is_followed_when_its_time_is_up(site: Site, start: Start) -> None:
    first = start("a")
    wait(holds(site, "a"))
    start("b")
    time.sleep(1.0)
    first.kill()
    assert 0.8 < wait(holds(site, "b")) < 5.0


def test_a_pod_that_starts_again_takes_its_own_lease_back(site: Site, start: Start) -> None:
    first = start("a", "")
    wait(holds(site, "a"))
    first.kill()
    start("a", "")
    site.cluster.apply([site.service("one")])
    wait(is_served(site, "one"), 5.0)  # the Lease lasts 15 s


def test_a_controller_that_was_stopped_writes_nothing_any_more(site: Site, start: Start) -> None:
    """It is stopped with a Service unwritten, and wakes up when another one has written it."""
    first = start("a")
    site.cluster.apply([site.service("before")])
    wait(is_served(site, "before"))
    first.send_signal(signal.SIGSTOP)
    os.waitpid(first.pid, os.WUNTRACED)
    site.cluster.apply([site.service("web")])
    start("b")
    wait(holds(site, "b"))
    wait(is_served(site, "web"))
    site.cluster.kubectl("delete", "service", "before", "-n", site.apps)
    site.cluster.apply([site.service("after")])
    wait(is_served(site, "after"))
    before, addresses = site.status_writes(), site.addresses("web")
    first.send_signal(signal.SIGCONT)
    time.sleep(2.5)
    assert holds(site, "b")()
    assert first.poll() is None
    assert site.status_writes() == before
    assert site.addresses("web") == addresses


def test_a_stale_write_that_is_under_way_is_refused_by_the_server(site: Site) -> None:
    """What a controller sent the instant before it was stopped, arriving after the next one's."""
    site.cluster.apply([site.service("web")])
    meta = site.get("web")["metadata"]
    live = Live(name="web", namespace=site.apps, uid=meta["uid"],
                resource_version=meta["resourceVersion"])  # fmt: skip
    key = Key(site.apps, "web")
    stale = status_write(key, live, ServiceStatus(key=key), "2026-01-01T00:00:00Z")
    connection = Connection(load_access(site.kubeconfig))
    site.cluster.apply([
        {**site.service("web"), "status": {"loadBalancer": {"ingress": [{"ip": "10.99.0.7"}]}}}
    ])  # fmt: skip
    assert connection.exchange(stale).status == 409
    connection.close()
    assert site.addresses("web") == ("10.99.0.7",)


def test_at_rest_there_is_nothing_but_the_lease(site: Site, start: Start) -> None:
    site.cluster.apply([site.service("web")])
    start("a", "")
    wait(is_served(site, "web"))
    start("b", "")
    state = f"/apis/metallb.io/v1beta1/namespaces/{site.system}/configurationstates/controller"

    def is_settled() -> bool:
        try:
            return "result" in site.cluster.get(state).get("status", {})
        except RequestError:
            return False

    wait(is_settled)
    time.sleep(2.5)  # the pool's count is written a second after the last change
    before = len(site.cluster.audit(site.system, site.account))
    time.sleep(11.0)
    events = site.cluster.audit(site.system, site.account)[before:]
    asked = [(each["verb"], each["objectRef"]["resource"]) for each in events]
    assert set(asked) <= {("patch", "leases")}
    assert 2 <= len(asked) <= 4
