"""What a speaker says in ServiceL2Status and ServiceBGPStatus objects."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from types import MappingProxyType
from typing import Any
from urllib.parse import unquote

import pytest

from onehop.adapters.kube.event_kinds import ADVERTISED, ANNOUNCE_FAILED, TAKEN_OVER, EventKind
from onehop.adapters.kube.node_status import NodeStatusObjects
from onehop.adapters.kube.requests import Requests
from onehop.adapters.service_status import labels, object_name
from onehop.model.reason import Reason, Refusal
from onehop.model.service import Key
from onehop.model.status import NodeStatuses, ServiceBGPStatus, ServiceL2Status
from tests.fakes.api_writes import ApiWrites, settled

BASE = "/apis/metallb.io/v1beta1/namespaces/metallb-system"
WEB, API = Key("apps", "web"), Key("apps", "api")
OWNER = {"apiVersion": "v1", "kind": "Pod", "name": "speaker-n1", "uid": "p1"}


def l2(
    *keys: Key, node: str = "n1", links: tuple[str, ...] = (), taken_over: tuple[Key, ...] = ()
) -> NodeStatuses:
    return NodeStatuses(
        l2=MappingProxyType(
            {key: ServiceL2Status(node=node, service=key, links=links) for key in keys}
        ),
        taken_over=frozenset(taken_over),
    )


def bgp(*keys: Key, peers: tuple[str, ...] = ("a",)) -> NodeStatuses:
    return NodeStatuses(
        bgp=MappingProxyType(
            {key: ServiceBGPStatus(node="n1", service=key, peers=peers) for key in keys}
        )
    )


def name(key: Key, node: str = "n1") -> str:
    return object_name(ServiceL2Status(node=node, service=key))


class World:
    """The objects of one node, stepped until all is quiet."""

    def __init__(
        self, api: ApiWrites, node: str = "n1", owner: dict[str, str] | None = OWNER
    ) -> None:
        self.api = api
        self.now = 100.0
        self.asked: list[float] = []
        self.told: list[tuple[EventKind, Key]] = []
        self.refusals: list[Refusal | None] = []
        self.requests = Requests(api.access(), timeout=0.5)
        self.objects = NodeStatusObjects(
            self.requests, node=node, namespace="metallb-system", owner=owner,
            tell=self._tell, clock=lambda: self.now,
        )  # fmt: skip
        self.objects.start(self.asked.append)

    def _tell(self, kind: EventKind, key: Key, refusal: Refusal | None = None) -> None:
        self.told.append((kind, key))
        self.refusals.append(refusal)

    def say(self, statuses: NodeStatuses) -> None:
        self.objects.want(statuses)
        self.settle()

    def settle(self) -> None:
        until = time.monotonic() + 5
        for _ in range(8):
            while self.objects.step(10):
                assert time.monotonic() < until
            settled(self.requests)


@pytest.fixture
def api() -> Iterator[ApiWrites]:
    server = ApiWrites()
    server.lists = True
    server.discovery = ["servicel2statuses", "servicebgpstatuses"]
    yield server
    server.close()


@pytest.fixture
def world(api: ApiWrites) -> Iterator[World]:
    made = World(api)
    yield made
    made.requests.close()


def l2_objects(api: ApiWrites) -> dict[str, Any]:
    prefix = f"{BASE}/servicel2statuses/"
    return {path.removeprefix(prefix): body for path, body in api.objects.items()
            if path.startswith(prefix)}  # fmt: skip


def test_a_service_that_is_announced_is_said_in_one_write(api: ApiWrites, world: World) -> None:
    world.say(l2(WEB, links=("eth0",)))
    [write] = api.writes()
    assert (write.method, write.path) == ("POST", f"{BASE}/servicel2statuses")
    assert write.json["metadata"] == {
        "name": name(WEB), "namespace": "metallb-system", "ownerReferences": [OWNER],
        "labels": {
            "metallb.io/node": "n1", "metallb.io/service-name": "web",
            "metallb.io/service-namespace": "apps",
        },
    }  # fmt: skip
    assert write.json["status"] == {
        "node": "n1", "serviceName": "web", "serviceNamespace": "apps",
        "interfaces": [{"name": "eth0"}],
    }  # fmt: skip
    world.say(l2(WEB, links=("eth0",)))
    assert len(api.writes()) == 1


def test_metallbs_own_definition_takes_a_second_write(api: ApiWrites, world: World) -> None:
    api.discovery.append("servicel2statuses/status")
    world.say(l2(WEB))
    world.say(l2(WEB, links=("eth0",)))
    assert [(each.method, each.path.removeprefix(BASE)) for each in api.writes()] == [
        ("POST", "/servicel2statuses"),
        ("PATCH", f"/servicel2statuses/{name(WEB)}/status"),
        ("PATCH", f"/servicel2statuses/{name(WEB)}/status"),
    ]


def test_what_is_not_said_any_more_goes(api: ApiWrites, world: World) -> None:
    world.say(l2(WEB, API))
    assert l2_objects(api).keys() == {name(WEB), name(API)}
    world.say(l2(API))
    assert l2_objects(api).keys() == {name(API)}


def test_routes_are_said_with_their_peers(api: ApiWrites, world: World) -> None:
    world.say(bgp(WEB, peers=("a", "b")))
    [write] = api.writes()
    assert write.path == f"{BASE}/servicebgpstatuses"
    assert write.json["status"]["peers"] == ["a", "b"]


def test_a_restart_writes_what_differs_and_takes_away_what_is_stale(
    api: ApiWrites, world: World
) -> None:
    world.say(l2(WEB, API))
    before = len(api.writes())
    second = World(api)
    second.say(l2(WEB))
    assert [each.method for each in api.writes()[before:]] == ["DELETE"]
    assert l2_objects(api).keys() == {name(WEB)}
    second.requests.close()


def test_the_next_owner_takes_away_what_a_dead_node_left(api: ApiWrites, world: World) -> None:
    world.say(l2(WEB, API))
    second = World(api, node="n2")
    second.say(l2(WEB, node="n2"))
    assert l2_objects(api).keys() == {name(WEB), name(API), name(WEB, "n2")}
    assert second.asked  # it comes back for that in a moment
    second.now += 1.0
    second.settle()
    assert l2_objects(api).keys() == {name(API), name(WEB, "n2")}
    listed = [unquote(each.path) for each in api.seen if "!=" in unquote(each.path)]
    assert listed == [
        f"{BASE}/servicel2statuses?labelSelector=metallb.io/node!=n2,"
        "metallb.io/service-name in (web)"
    ]
    second.requests.close()


def test_a_failed_write_is_tried_again_when_it_is_due(api: ApiWrites, world: World) -> None:
    world.say(l2(API))
    api.script.append((500, {}, b"{}"))
    world.say(l2(API, WEB))
    assert l2_objects(api).keys() == {name(API)}
    assert max(world.asked) > 0
    world.now = time.monotonic() + 10.0
    world.settle()
    assert l2_objects(api).keys() == {name(API), name(WEB)}


def test_one_that_is_there_already_is_changed(api: ApiWrites, world: World) -> None:
    world.say(l2(API))
    api.put(f"{BASE}/servicel2statuses/{name(WEB)}", {"metadata": {"name": name(WEB)}})
    world.say(l2(API, WEB))
    assert l2_objects(api)[name(WEB)]["status"]["serviceName"] == "web"
    assert l2_objects(api)[name(WEB)]["metadata"]["ownerReferences"] == [OWNER]


def test_nothing_is_written_before_it_is_known_what_is_there(api: ApiWrites, world: World) -> None:
    api.script.extend([(500, {}, b"{}")] * 3)
    world.say(l2(WEB))
    assert api.writes() == []
    world.now = time.monotonic() + 10.0
    world.settle()
    assert l2_objects(api).keys() == {name(WEB)}


def test_the_end_takes_the_words_back(api: ApiWrites, world: World) -> None:
    world.say(l2(WEB, API))
    world.objects.want(NodeStatuses())
    world.objects.step(1 << 30)
    world.objects.close()
    assert l2_objects(api) == {}
    assert json.loads(api.writes()[0].body)["kind"] == "ServiceL2Status"


def test_who_takes_a_service_over_says_so_once(api: ApiWrites, world: World) -> None:
    api.put(
        f"{BASE}/servicel2statuses/{name(WEB, 'n2')}",
        {
            "metadata": {
                "name": name(WEB, "n2"),
                "labels": dict(labels("n2", WEB)),
            }
        },
    )
    world.say(l2(API))  # a new one: nobody had it
    assert world.told == []
    world.say(l2(API, WEB, taken_over=(WEB,)))
    assert world.told == [(TAKEN_OVER, WEB)]
    world.now += 1.0  # and what the other one has left behind tells nothing new
    world.settle()
    assert l2_objects(api).keys() == {name(API), name(WEB)}
    world.say(l2(API, WEB, links=("eth0",), taken_over=(WEB,)))
    assert world.told == [(TAKEN_OVER, WEB)]


def test_a_start_tells_of_what_another_node_has_left_and_of_nothing_else(
    api: ApiWrites, world: World
) -> None:
    world.say(l2(WEB))
    heir = World(api, node="n2")
    heir.say(l2(WEB, API, node="n2"))
    heir.now += 1.0
    heir.settle()
    assert heir.told == [(TAKEN_OVER, WEB)]
    heir.requests.close()
    again = World(api, node="n2")
    again.say(l2(WEB, API, node="n2"))
    again.now += 1.0
    again.settle()
    assert again.told == world.told == []
    again.requests.close()


def test_what_a_node_had_itself_is_not_taken_over_from_a_relic(
    api: ApiWrites, world: World
) -> None:
    other = World(api, node="n2")
    other.say(l2(WEB, node="n2"))
    world.say(l2(WEB))
    again = World(api)
    again.say(l2(WEB))
    again.now += 1.0
    again.settle()
    assert l2_objects(api).keys() == {name(WEB)}
    assert again.told == []
    for each in (other, again):
        each.requests.close()


def test_routes_are_told_when_they_begin_but_not_at_a_start(api: ApiWrites, world: World) -> None:
    world.say(bgp(WEB))
    assert world.told == []
    world.say(bgp(WEB, API))
    world.say(bgp(WEB, API, peers=("a", "b")))
    assert world.told == [(ADVERTISED, API)]
    world.say(bgp(WEB))
    world.say(bgp(WEB, API))
    assert world.told == [(ADVERTISED, API)] * 2


def test_an_owner_without_a_link_tells_it_with_each_list_that_it_lacks(world: World) -> None:
    def unlinked(*keys: Key, links: str) -> NodeStatuses:
        why = Refusal(reason=Reason.NO_LINK, detail=links)
        return NodeStatuses(unlinked=dict.fromkeys(keys, why))

    for statuses in (
        unlinked(WEB, links="a"), unlinked(WEB, API, links="a"), l2(WEB),
        unlinked(WEB, links="a"), unlinked(WEB, links="b"), NodeStatuses(),
    ):  # fmt: skip
        world.say(statuses)
    assert world.told == [(ANNOUNCE_FAILED, key) for key in (WEB, API, WEB, WEB)]
    assert [each.detail for each in world.refusals if each] == ["a", "a", "a", "b"]


@pytest.mark.parametrize("is_split", [False, True])
def test_what_another_pod_of_the_node_has_left_is_taken_over(
    api: ApiWrites, world: World, is_split: bool
) -> None:
    """Else the garbage collector would take it away with that pod, although it is true."""
    if is_split:
        api.discovery.append("servicel2statuses/status")
    world.say(l2(WEB, API))
    before = len(api.writes())
    heir = World(api, owner=OWNER | {"uid": "p2"})
    heir.say(l2(WEB))
    own = f"{BASE}/servicel2statuses/"
    assert sorted(
        (each.method, each.path.removeprefix(own)) for each in api.writes()[before:]
    ) == [
        ("DELETE", name(API)),
        ("PATCH", name(WEB)),
        *([("PATCH", f"{name(WEB)}/status")] if is_split else []),
    ]
    found = l2_objects(api)[name(WEB)]
    assert found["metadata"]["ownerReferences"] == [OWNER | {"uid": "p2"}]
    assert found["metadata"]["labels"] == dict(labels("n1", WEB))
    assert heir.told == []  # the same node had it before
    count = len(api.writes())
    heir.say(l2(WEB))
    assert len(api.writes()) == count
    outside = World(api, owner=None)  # whoever runs in no pod leaves the owner as it is
    outside.say(l2(WEB))
    assert len(api.writes()) == count
    for each in (heir, outside):
        each.requests.close()
