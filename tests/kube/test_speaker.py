"""One speaker as a process, under the manifest's rights, while everything goes wrong in turn.

What it announces it goes on to announce, and it follows the next change when the fault is over.
"""

from __future__ import annotations

import time
from collections.abc import Iterator

import pytest

from tests.kube.between import Fate, canned
from tests.kube.cluster import Cluster
from tests.kube.node import Node
from tests.kube.test_bad_input import error_event
from tests.kube.test_lease import wait
from tests.lab.wire import Wire, wire

pytestmark = [pytest.mark.kube, pytest.mark.root]


@pytest.fixture(scope="module")
def lan(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Wire]:
    with wire(tmp_path_factory.mktemp("node")) as both:
        yield both


@pytest.fixture(scope="module")
def started(
    cluster: Cluster, lan: Wire, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Node]:
    made = Node(cluster, lan, tmp_path_factory.mktemp("speaker"))
    try:
        made.start()
        made.follows(20.0)
        yield made
    finally:
        made.close()


@pytest.fixture
def node(started: Node) -> Iterator[Node]:
    started.stands()
    yield started
    started.between.rule = lambda method, path: None
    started.between.cutting = False
    started.stands()


def test_watches_that_end_in_the_middle_of_an_object(node: Node) -> None:
    node.between.cutting = True
    address = node.add()
    time.sleep(0.8)
    node.stands(but=address)
    node.between.cutting = False
    assert wait(lambda: node.answers(address)) < 6.0
    assert node.follows() < 6.0


@pytest.mark.parametrize(
    ("fate", "watching"),
    [
        (canned(410, "Expired"), True),
        (error_event(), True),
        (canned(429, "TooManyRequests", "Retry-After: 1"), False),
        (canned(504, "Timeout"), False),
        (canned(401, "Unauthorized"), False),
    ],
    ids=["410", "410-inside", "429", "504", "401"],
)
def test_requests_that_are_refused_a_while(node: Node, fate: bytes, *, watching: bool) -> None:
    meant: list[str] = []

    def rule(method: str, path: str) -> Fate:
        if method == "GET" and (not watching or "watch=" in path):
            meant.append(path)
            return fate
        return None

    node.between.rule = rule
    node.between.drop()
    address = node.add()
    wait(lambda: bool(meant))
    time.sleep(1.5)
    assert len(meant) < 60, "no storm"
    node.between.rule = lambda method, path: None
    assert wait(lambda: node.answers(address)) < 6.0
    assert node.follows() < 4.0


@pytest.mark.parametrize(
    ("fate", "reason"),
    [(canned(403, "Forbidden"), "KindRefused"), (canned(404, "NotFound"), "KindMissing")],
    ids=["403", "404"],
)
@pytest.mark.parametrize(
    ("plural", "kind"), [("ipaddresspools", "IPAddressPool"), ("bgppeers", "BGPPeer")]
)
def test_a_kind_that_is_refused_is_named_and_the_rest_goes_on(
    node: Node, fate: bytes, reason: str, plural: str, kind: str
) -> None:
    before = len(node.said())
    node.between.rule = lambda method, path: fate if f"/{plural}?" in path else None
    node.between.drop()
    wait(lambda: f"[{reason}]" in node.said()[before:])
    assert node.follows() < 4.0
    node.between.rule = lambda method, path: None
    wait(lambda: f'solved what="{kind} in' in node.said()[before:], 8.0)


def test_a_server_that_is_away_and_a_token_that_ended_meanwhile(node: Node) -> None:
    cluster, site = node.site.cluster, node.site
    time.sleep(1.1)  # the log leaves out what it said already, and a problem says its second
    cluster.client.delete(f"/api/v1/namespaces/{site.system}/serviceaccounts/{site.account}")
    before = len(node.said())
    cluster.stop_apiserver()
    wait(lambda: "ApiUnreachable" in node.said()[before:], 15.0)
    node.stands()
    cluster.start_apiserver()
    address = node.add()
    wait(lambda: "Unauthorized" in node.said()[before:], 15.0)
    assert not node.answers(address)
    node.stands(but=address)
    node.token.write_text(cluster.token(site.system, site.account))
    assert wait(lambda: node.answers(address), 15.0) < 6.0
    assert node.follows() < 4.0
