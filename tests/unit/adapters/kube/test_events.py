"""Events: which change makes one, and what it says."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from ipaddress import ip_address
from typing import Any

import msgspec
import pytest

from onehop.adapters.kube.connection import Request
from onehop.adapters.kube.event_kinds import ADVERTISED, ANNOUNCE_FAILED, TAKEN_OVER, EventKind
from onehop.adapters.kube.events import (
    DeprecationEvents,
    Events,
    NodeEvents,
    ProblemEvents,
    ServiceEvents,
)
from onehop.adapters.kube.requests import Lane, Outcome
from onehop.adapters.kube.structs import Ingress, Live, LiveCondition
from onehop.model.desired import ServiceStatus
from onehop.model.reason import Problem, Reason, Refusal
from onehop.model.service import Condition, Key, Service

KEY = Key("kafka", "broker-0")
POOL = Key("metallb-system", "a")


class Sink:
    """Stands where requests are sent."""

    def __init__(self) -> None:
        self.sent: list[Any] = []
        self.has_room = True
        self.outcome = Outcome(status=201)

    def submit(
        self, lane: Lane, key: object, request: Request, done: Callable[[Outcome], None], *,
        limit: int | None = None,
    ) -> bool:  # fmt: skip
        assert lane is Lane.EVENT
        assert limit is not None
        if self.has_room:
            import json

            self.sent.append((request.path, json.loads(request.body)))
            done(self.outcome)
        return self.has_room

    @property
    def told(self) -> list[tuple[str, str, str]]:
        return [(body["type"], body["reason"], body["note"]) for _, body in self.sent]


@pytest.fixture
def sink() -> Sink:
    return Sink()


@pytest.fixture
def events(sink: Sink) -> Events:
    return Events(
        sink, instance="pod-a",  # type: ignore[arg-type]
        wall=lambda: 1.5,
    )  # fmt: skip


def live(*addresses: str, reason: str = "") -> Live:
    conditions = (LiveCondition(type="AddressAllocated", status="False", reason=reason),)
    return Live(
        name=KEY.name, namespace=KEY.namespace, uid="u1", resource_version="7", generation=3,
        ingress=tuple(Ingress(ip=each) for each in addresses),
        conditions=conditions if reason else (),
    )  # fmt: skip


def wanted(*addresses: str, reason: Reason | None = None, detail: str = "") -> ServiceStatus:
    refusal = Refusal(reason=reason, detail=detail) if reason else None
    code = reason.code if reason else "Allocated"
    return ServiceStatus(
        key=KEY, addresses=tuple(map(ip_address, addresses)), pool="a" if addresses else "",
        refusal=refusal,
        conditions=(Condition(type="AddressAllocated", status=bool(addresses), reason=code),),
    )  # fmt: skip


def test_an_event_is_whole(sink: Sink, events: Events) -> None:
    ServiceEvents(events).written(KEY, live(), wanted("192.0.2.1"))
    [(path, body)] = sink.sent
    assert path == "/apis/events.k8s.io/v1/namespaces/kafka/events?fieldManager=onehop"
    name = body["metadata"].pop("name")
    assert name.startswith("broker-0.")
    assert body == {
        "apiVersion": "events.k8s.io/v1", "kind": "Event", "metadata": {"namespace": "kafka"},
        "eventTime": "1970-01-01T00:00:01.500000Z", "reportingController": "onehop-controller",
        "reportingInstance": "pod-a", "action": "Allocate", "reason": "IPAllocated",
        "type": "Normal", "note": 'Assigned IP ["192.0.2.1"] from pool a',
        "regarding": {
            "apiVersion": "v1", "kind": "Service", "namespace": "kafka", "name": "broker-0",
            "uid": "u1",
        },
    }  # fmt: skip


@pytest.mark.parametrize(
    ("before", "after", "told"),
    [
        (live("192.0.2.1"), wanted("192.0.2.1"), None),
        (live("192.0.2.1"), wanted("192.0.2.2"),
         ("Normal", "IPAllocated",
          'Assigned IP ["192.0.2.2"] from pool a in place of ["192.0.2.1"]')),
        (live("192.0.2.1"), wanted(reason=Reason.NO_POOLS),
         ("Warning", "ClearAssignment",
          'Released ["192.0.2.1"]: NoPools: there is no IPAddressPool')),
        (live(), wanted(reason=Reason.POOL_EXHAUSTED, detail="a"),
         ("Warning", "AllocationFailed", "Failed to allocate IP: PoolExhausted: no address is "
          "free in the pools it may use (a)")),
        (live(reason="PoolExhausted"), wanted(reason=Reason.POOL_EXHAUSTED, detail="b"), None),
        (live(reason="NoPools"), wanted(reason=Reason.POOL_EXHAUSTED),
         ("Warning", "AllocationFailed", "Failed to allocate IP: PoolExhausted: no address is "
          "free in the pools it may use")),
        (live(), wanted(reason=Reason.NO_CLUSTER_IP), None),
        (live("192.0.2.1"), wanted("192.0.2.1", reason=Reason.UNKNOWN_POOL, detail="x"),
         ("Warning", "UnknownPool", "UnknownPool: no pool has this name (x)")),
    ],
)  # fmt: skip
def test_each_change_tells_itself_once(
    sink: Sink, events: Events, before: Live, after: ServiceStatus,
    told: tuple[str, str, str] | None,
) -> None:  # fmt: skip
    ServiceEvents(events).written(KEY, before, after)
    assert sink.told == ([told] if told else [])


ONE = "OneFamily: it prefers two families and gets an address of one"
LACKS = ("Normal", "AdditionalAssignFailed", f"Cannot assign an additional IP: {ONE}")
ALLOCATED = ("Normal", "IPAllocated", 'Assigned IP ["192.0.2.1"] from pool a')


@pytest.mark.parametrize(
    ("before", "told"),
    [
        (live(), [ALLOCATED, LACKS]),
        (live("192.0.2.1"), [LACKS]),
        (live(reason="PoolExhausted"), [ALLOCATED, LACKS]),
        (live("192.0.2.1", reason="OneFamily"), []),
        (live(reason="OneFamily"), [ALLOCATED]),
    ],
)
def test_a_second_family_that_is_lacking_is_told_once(
    sink: Sink, events: Events, before: Live, told: list[tuple[str, str, str]]
) -> None:
    after = wanted("192.0.2.1", reason=Reason.ONE_FAMILY)
    more = Condition(type="FullySupported", status=False, reason="AffinityUnsupported")
    after = replace(after, conditions=(*after.conditions, more))
    ServiceEvents(events).written(KEY, before, after)
    assert sink.told == told


def test_what_finds_no_room_or_no_ear_is_counted(sink: Sink, events: Events) -> None:
    sink.has_room = False
    ServiceEvents(events).written(KEY, live(), wanted("192.0.2.1"))
    sink.has_room, sink.outcome = True, Outcome(status=500, retry_at=1.0)
    ServiceEvents(events).written(KEY, live(), wanted("192.0.2.1"))
    sink.outcome = Outcome(status=409)
    ServiceEvents(events).written(KEY, live(), wanted("192.0.2.1"))
    assert events.dropped == 2


def problem(object_: str = "IPAddressPool metallb-system/a", detail: str = "x") -> Problem:
    return Problem(source="", line=0, object=object_, field="spec.addresses[0]",
                   reason=Reason.POOL_OVERLAP, detail=detail)  # fmt: skip


def look(kind: str, key: Key) -> Live | None:
    return live() if (kind, key) == ("IPAddressPool", POOL) else None


def test_a_problem_is_told_when_it_turns_up(sink: Sink, events: Events) -> None:
    problems = ProblemEvents(events)
    for _ in range(3):
        problems.tell(frozenset({problem()}), look)
    problems.tell(frozenset({problem(), problem(detail="y")}), look)
    problems.tell(frozenset(), look)
    assert sink.told == [
        ("Warning", "PoolOverlap", "spec.addresses[0]: x"),
        ("Warning", "PoolOverlap", "spec.addresses[0]: y"),
    ]
    assert sink.sent[0][1]["regarding"]["apiVersion"] == "metallb.io/v1beta1"


def test_another_controller_tells_it_under_the_same_name(sink: Sink, events: Events) -> None:
    ProblemEvents(events).tell(frozenset({problem()}), look)
    other = Events(sink, instance="b")  # type: ignore[arg-type]
    ProblemEvents(other).tell(frozenset({problem()}), look)
    names = {body["metadata"]["name"] for _, body in sink.sent}
    assert len(names) == 1


@pytest.mark.parametrize("object_", ["", "IPAddressPool metallb-system/gone", "Kind"])
def test_a_problem_of_no_object_makes_no_event(sink: Sink, events: Events, object_: str) -> None:
    ProblemEvents(events).tell(frozenset({problem(object_)}), look)
    assert sink.sent == []


def test_a_long_note_is_cut_to_what_the_server_takes(sink: Sink, events: Events) -> None:
    ProblemEvents(events).tell(frozenset({problem(detail="é" * 2000)}), look)
    assert 1020 <= len(sink.told[0][2].encode()) <= 1024


@pytest.mark.parametrize(("kind", "protocol"), [(TAKEN_OVER, "layer2"), (ADVERTISED, "bgp")])
def test_a_node_says_that_it_carries_a_service_in_metallbs_words(
    sink: Sink, events: Events, kind: EventKind, protocol: str
) -> None:
    node = NodeEvents(events, node="n1", live=lambda kind, key: live() if key == KEY else None)
    node.send(kind, KEY)
    node.send(kind, Key("kafka", "gone"))
    said = f'announcing from node "n1" with protocol "{protocol}"'
    assert sink.told == [("Normal", "nodeAssigned", said)]
    [(path, body)] = sink.sent
    assert path.startswith("/apis/events.k8s.io/v1/namespaces/kafka/events?")
    assert (body["reportingController"], body["regarding"]["uid"]) == ("onehop-speaker", "u1")


def test_a_node_without_a_link_says_so_under_one_name_for_one_list(
    sink: Sink, events: Events
) -> None:
    def tells(links: str, node: str = "n1") -> str:
        refusal = Refusal(reason=Reason.NO_LINK, detail=f"none of {links}")
        NodeEvents(events, node=node, live=lambda kind, key: live()).send(
            ANNOUNCE_FAILED, KEY, refusal
        )
        name: str = sink.sent[-1][1]["metadata"]["name"]
        return name

    first = tells("eth1")
    assert sink.told == [
        ("Warning", "announceFailed", 'cannot announce from node "n1" with protocol "layer2": '
         "NoLink: no link of the node may announce the address (none of eth1)")
    ]  # fmt: skip
    assert tells("eth1") == first  # the speaker that starts next finds the same
    assert len({first, tells("eth2"), tells("eth1", "n2")}) == 3


OLD_POOL = "metallb.universe.tf/address-pool"
OLD_SHARE = "metallb.universe.tf/allow-shared-ip"


class Controller:
    """One that leads, and hears of the Service from time to time."""

    def __init__(self, sink: Sink, events: Events) -> None:
        self.sink = sink
        self.events = DeprecationEvents(events)
        self.live = live()

    def hears(self, *annotations: str, in_charge: bool = True) -> list[str]:
        """The notes of what it tells when the Service has these."""
        before = len(self.sink.sent)
        service = Service(
            key=KEY, type="LoadBalancer", annotations=dict.fromkeys(annotations, "x")
        )
        self.events.tell({KEY: service}, {KEY} if in_charge else (), lambda kind, key: self.live)
        assert all(each[:2] == ("Warning", "deprecatedAnnotation") for each in self.sink.told)
        return [note for _, _, note in self.sink.told[before:]]


@pytest.fixture
def controller(sink: Sink, events: Events) -> Controller:
    return Controller(sink, events)


def said(annotation: str) -> str:
    now = annotation.replace("metallb.universe.tf", "metallb.io")
    return f"Service uses deprecated annotation {annotation}: it is {now} now"


def test_an_old_annotation_is_told_when_it_turns_up(controller: Controller) -> None:
    assert controller.hears(OLD_POOL) == [said(OLD_POOL)]
    assert controller.hears(OLD_POOL, "metallb.io/address-pool") == []
    assert controller.hears(OLD_POOL, OLD_SHARE) == [said(OLD_SHARE)]
    assert controller.hears() == []
    assert controller.hears(OLD_POOL) == [said(OLD_POOL)]
    controller.live = msgspec.structs.replace(controller.live, uid="u2")  # another of its name
    assert controller.hears(OLD_POOL, "a") == [said(OLD_POOL)]


@pytest.mark.parametrize("served", [live("192.0.2.1"), live(reason="NoPools")])
def test_a_start_tells_only_of_services_that_nobody_has_looked_at(
    controller: Controller, served: Live
) -> None:
    controller.live = served
    assert controller.hears(OLD_POOL) == []
    assert controller.hears(OLD_POOL, OLD_SHARE) == [said(OLD_SHARE)]
    controller.events.forget()  # another one leads, and then this one again
    assert controller.hears(OLD_POOL, OLD_SHARE) == []
    controller.events.tell({}, (), lambda kind, key: None)
    assert controller.hears(OLD_POOL) == [said(OLD_POOL)]


def test_the_annotations_of_others_services_are_others_business(controller: Controller) -> None:
    assert controller.hears(OLD_POOL, in_charge=False) == []
