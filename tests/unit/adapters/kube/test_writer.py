"""The writer: what it writes, what it leaves, and what becomes of each failure."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from ipaddress import ip_address
from typing import Any

import msgspec
import pytest

from onehop.adapters.kube.requests import Requests
from onehop.adapters.kube.structs import Live, Owner, ServiceHead
from onehop.adapters.kube.writer import ServiceStatuses
from onehop.model.desired import Report, ServiceStatus
from onehop.model.objects import Objects
from onehop.model.service import Condition, Key, Service
from tests.fakes.api_writes import ApiWrites, settled

NAMES = ("broker-0", "broker-1", "broker-2")
KEYS = tuple(Key("kafka", name) for name in NAMES)
FIRST = KEYS[0]


def wanted(key: Key, *addresses: str, reason: str = "Allocated") -> ServiceStatus:
    condition = Condition(type="AddressAllocated", status=bool(addresses), reason=reason)
    return ServiceStatus(
        key=key, addresses=tuple(map(ip_address, addresses)), conditions=(condition,)
    )


class Told:
    def __init__(self) -> None:
        self.found: list[tuple[Key, tuple[str, ...], tuple[str, ...]]] = []

    def written(self, key: Key, before: Live, status: ServiceStatus) -> None:
        old = tuple(each.ip or "" for each in before.ingress)
        self.found.append((key, old, tuple(map(str, status.addresses))))


class Ring:
    """A controller's ring around the writer; `watch` says when it sees what the server holds."""

    def __init__(self, api: ApiWrites, **settings: Any) -> None:
        self.api = api
        self.now = 0.0
        self.told = Told()
        self.requests = Requests(api.access(), timeout=0.5, **settings)
        self.writer = ServiceStatuses(
            self.requests, telling=(self.told,), clock=lambda: time.monotonic() + self.now,
            wall=lambda: 0.0,
        )  # fmt: skip
        self.woken = threading.Event()
        self.writer.start(self.woken.set)
        self.want: dict[Key, ServiceStatus] = {}
        self.types: dict[Key, str] = {}
        self.owners: dict[Key, tuple[Owner, ...]] = {}
        self._live: dict[Key, Live] = {}
        self._touched: set[Key] = set()
        self.watch()

    def watch(self) -> None:
        """See what the server holds now."""
        for key in KEYS:
            with self.api.lock:
                body = self.api.objects.get(f"/api/v1/namespaces/kafka/services/{key.name}")
                found = _live(body, self.owners.get(key, ())) if body else None
            if found != self._live.get(key):
                self._touched.add(key)
                self._live.pop(key, None)
                if found is not None:
                    self._live[key] = found

    def look(self, kind: str, key: Key) -> Live | None:
        assert kind == "Service"
        return self._live.get(key)

    def round(self) -> Report:
        self.writer.collect()
        services = {
            key: Service(key=key, type=self.types.get(key, "LoadBalancer")) for key in KEYS
        }
        touched, self._touched = frozenset(self._touched), set()
        have = Objects(complete=True, services=services)
        return self.writer.sync(self.want, have, self.look, touched)

    def settle(self) -> None:
        """Wait until nothing is under way, and see it."""
        settled(self.requests)
        self.watch()

    def written(self) -> list[tuple[str, tuple[str, ...]]]:
        return [
            (each.path.split("/")[6], tuple(
                entry["ip"] for entry in
                each.json["status"].get("loadBalancer", {}).get("ingress") or ()
            ))
            for each in self.api.writes()
        ]  # fmt: skip


def _live(body: dict[str, Any], owners: tuple[Owner, ...]) -> Live:
    head = msgspec.convert(body, ServiceHead)
    status = head.status
    balancer = status.load_balancer if status else None
    return Live(
        name=head.metadata.name,
        namespace=head.metadata.namespace,
        uid=head.metadata.uid,
        resource_version=head.metadata.resource_version,
        owners=owners,
        ingress=(balancer.ingress if balancer else None) or (),
        conditions=(status.conditions if status else None) or (),
    )


def wait(claim: Callable[[], bool]) -> None:
    until = time.monotonic() + 10
    while not claim():
        assert time.monotonic() < until
        time.sleep(0.001)


@pytest.fixture
def api() -> Iterator[ApiWrites]:
    server = ApiWrites()
    for name in NAMES:
        server.service("kafka", name)
    yield server
    server.close()


@pytest.fixture
def ring(api: ApiWrites) -> Iterator[Ring]:
    made = Ring(api)
    yield made
    made.requests.close()


def test_what_is_wanted_is_written_once_and_never_again(ring: Ring) -> None:
    ring.want = {FIRST: wanted(FIRST, "192.0.2.1", "2001:db8::1")}
    ring.round()
    ring.settle()
    assert ring.round().changed == 1
    ring.round()
    ring.settle()
    assert ring.written() == [("broker-0", ("192.0.2.1", "2001:db8::1"))]
    assert ring.told.found == [(FIRST, (), ("192.0.2.1", "2001:db8::1"))]


def test_a_restart_that_finds_everything_in_place_writes_nothing(ring: Ring) -> None:
    ring.want = {key: wanted(key, f"192.0.2.{n}") for n, key in enumerate(KEYS)}
    ring.round()
    ring.settle()
    second = Ring(ring.api)
    second.want = {key: wanted(key, f"192.0.2.{n}") for n, key in enumerate(KEYS)}
    second.round()
    second.settle()
    second.round()
    assert len(ring.api.writes()) == 3
    second.requests.close()


def test_an_address_is_assumed_until_the_watch_shows_it(ring: Ring) -> None:
    ring.want = {FIRST: wanted(FIRST, "192.0.2.1")}
    ring.round()
    assert ring.writer.collect() == {FIRST}
    wait(lambda: ring.requests.waiting() == 0)
    ring.round()
    assert ring.writer.assumed == {FIRST: (ip_address("192.0.2.1"),)}
    ring.watch()
    ring.round()
    assert ring.writer.assumed == {}
    assert ring.writer.collect() == {FIRST}
    assert len(ring.api.writes()) == 1


def test_a_decision_that_changes_before_the_watch_shows_the_last_is_written_over_it(
    ring: Ring,
) -> None:
    for last in (1, 2, 3):
        ring.want = {FIRST: wanted(FIRST, f"192.0.2.{last}")}
        ring.round()
        wait(lambda: ring.requests.waiting() == 0)
        time.sleep(0.01)
        ring.round()
    assert ring.written() == [("broker-0", (f"192.0.2.{last}",)) for last in (1, 2, 3)]
    ring.watch()
    ring.round()
    assert len(ring.api.writes()) == 3
    assert ring.writer.assumed == {}


def test_a_service_edited_while_it_is_written_gets_the_last_want(ring: Ring) -> None:
    ring.api.delay = 0.1
    ring.want = {FIRST: wanted(FIRST, "192.0.2.1")}
    ring.round()
    wait(lambda: bool(ring.api.seen))
    ring.want = {FIRST: wanted(FIRST, "192.0.2.2")}
    ring.round()
    assert ring.woken.wait(5)  # the end of the first write starts the round that sends the second
    ring.round()
    ring.settle()
    assert ring.written() == [("broker-0", ("192.0.2.1",)), ("broker-0", ("192.0.2.2",))]
    ring.round()
    ring.settle()
    assert ring.api.objects["/api/v1/namespaces/kafka/services/broker-0"]["status"][
        "loadBalancer"
    ] == {"ingress": [{"ip": "192.0.2.2", "ipMode": "VIP"}]}


def test_what_waits_is_replaced_and_never_sent(api: ApiWrites) -> None:
    ring = Ring(api, threads=1)
    api.delay = 0.1
    ring.want = {key: wanted(key, f"192.0.2.{n}") for n, key in enumerate(KEYS)}
    ring.round()
    ring.want = {**ring.want, KEYS[2]: wanted(KEYS[2], "192.0.2.9")}
    ring.round()
    ring.settle()
    assert [each for each in ring.written() if each[0] == "broker-2"] == [
        ("broker-2", ("192.0.2.9",))
    ]
    ring.requests.close()


def test_what_is_not_wanted_any_more_is_withdrawn(api: ApiWrites) -> None:
    ring = Ring(api, threads=1)
    api.delay = 0.1
    ring.want = {key: wanted(key, f"192.0.2.{n}") for n, key in enumerate(KEYS)}
    ring.round()
    ring.want = {FIRST: ring.want[FIRST]}
    ring.round()
    ring.settle()
    assert [name for name, _ in ring.written()] == ["broker-0"]
    assert set(ring.writer.assumed) == {FIRST}
    ring.requests.close()


def test_a_service_changed_by_somebody_else_is_refused_and_decided_on_again(ring: Ring) -> None:
    ring.want = {FIRST: wanted(FIRST, "192.0.2.1")}
    ring.api.service("kafka", "broker-0")  # a newer version, that the watch has not shown
    ring.round()
    assert ring.woken.wait(5)
    report = ring.round()
    [failure] = report.failures
    assert failure.subject == "Service kafka/broker-0"
    assert failure.refusal.reason.code == "StatusUnwritable"
    assert "409" in failure.refusal.detail
    assert failure.retry_at is not None
    assert ring.writer.assumed == {}
    ring.watch()
    assert ring.round().failures == ()
    ring.settle()
    assert ring.written()[-1] == ("broker-0", ("192.0.2.1",))
    assert ring.round().failures == ()


def test_a_failed_write_is_tried_again_when_it_is_due_and_not_before(ring: Ring) -> None:
    ring.api.script.append((500, {}, b'{"message":"etcd is away","code":500}'))
    ring.want = {FIRST: wanted(FIRST, "192.0.2.1")}
    ring.round()
    assert ring.woken.wait(5)
    assert len(ring.round().failures) == 1
    assert len(ring.api.writes()) == 1
    assert ring.writer.assumed == {FIRST: (ip_address("192.0.2.1"),)}
    ring.now = 10.0
    assert ring.round().failures == ()
    ring.settle()
    ring.round()
    assert len(ring.api.writes()) == 2
    assert ring.told.found == [(FIRST, (), ("192.0.2.1",))]


def test_a_deleted_service_is_forgotten(ring: Ring) -> None:
    ring.want = {FIRST: wanted(FIRST, "192.0.2.1")}
    del ring.api.objects["/api/v1/namespaces/kafka/services/broker-0"]
    ring.round()
    assert ring.woken.wait(5)
    report = ring.round()
    assert report.failures == ()
    assert ring.writer.assumed == {}
    ring.watch()
    ring.round()
    assert len(ring.api.writes()) == 1


def test_addresses_of_one_owner_go_out_back_to_back(api: ApiWrites) -> None:
    ring = Ring(api, threads=1)
    cluster = (Owner(uid="cluster", controller=True),)
    ring.owners = {KEYS[0]: cluster, KEYS[2]: cluster}
    ring.watch()
    ring.want = {key: wanted(key, f"192.0.2.{n}") for n, key in enumerate(KEYS)}
    ring.round()
    ring.settle()
    assert [name for name, _ in ring.written()] == ["broker-0", "broker-2", "broker-1"]
    ring.requests.close()


def test_a_service_of_nobody_loses_our_conditions_and_others_are_not_touched(ring: Ring) -> None:
    mine = {"type": "AddressAllocated", "status": "True", "reason": "Allocated"}
    for name in NAMES:
        ring.api.service("kafka", name, conditions=[mine])
    ring.types = {KEYS[0]: "ClusterIP"}
    ring.watch()
    ring.round()
    ring.settle()
    [write] = ring.api.writes()
    assert write.path.startswith("/api/v1/namespaces/kafka/services/broker-0/status?")
    gone = [{"$patch": "delete", "type": "AddressAllocated"}]
    assert write.json["status"] == {"conditions": gone}


def test_a_deposed_controller_forgets_what_it_wanted(api: ApiWrites) -> None:
    is_leader = [False]
    ring = Ring(api, fence=lambda: is_leader[0])
    ring.want = {key: wanted(key, f"192.0.2.{n}") for n, key in enumerate(KEYS)}
    ring.round()
    wait(lambda: ring.requests.waiting() == 0)
    ring.writer.forget()
    assert ring.writer.assumed == {}
    assert ring.writer.collect() == set(KEYS)
    assert api.writes() == []
    is_leader[0] = True
    ring.round()
    ring.settle()
    assert len(api.writes()) == 3
    ring.requests.close()


def test_a_write_without_effect_is_not_repeated(ring: Ring) -> None:
    def nothing(path: str, body: dict[str, Any]) -> None:
        body["metadata"]["resourceVersion"] = version

    version = str(ring.look("Service", FIRST).resource_version)  # type: ignore[union-attr]
    ring.api.on_write = nothing
    ring.want = {FIRST: wanted(FIRST, "192.0.2.1")}
    ring.round()
    wait(lambda: ring.requests.waiting() == 0)
    for _ in range(3):
        time.sleep(0.01)
        ring.round()
    assert len(ring.api.writes()) == 1


def test_an_echo_of_our_own_write_is_known_whichever_comes_first(ring: Ring) -> None:
    ring.api.delay = 0.1
    ring.want = {FIRST: wanted(FIRST, "192.0.2.1")}
    ring.round()
    before = ring.look("Service", FIRST)
    wait(lambda: bool(ring.written()))
    wait(lambda: ring.requests.waiting() == 0)
    time.sleep(0.01)
    ring.watch()
    echo = ring.look("Service", FIRST)
    assert ring.writer.echoed(FIRST, echo)  # the answer has not been taken in yet
    ring.writer.collect()
    assert ring.writer.assumed == {}  # the watch was faster
    assert not ring.writer.echoed(FIRST, echo)  # now it is news like any other
    assert not ring.writer.echoed(FIRST, None)
    assert before != echo


def test_an_echo_ends_the_assumption_and_an_edit_is_none(ring: Ring) -> None:
    ring.want = {FIRST: wanted(FIRST, "192.0.2.1")}
    ring.round()
    before = ring.look("Service", FIRST)
    wait(lambda: ring.requests.waiting() == 0)
    time.sleep(0.01)
    ring.writer.collect()
    assert ring.writer.echoed(FIRST, before)  # what the watch shows is still what we wrote over
    assert set(ring.writer.assumed) == {FIRST}
    ring.watch()
    assert ring.writer.echoed(FIRST, ring.look("Service", FIRST))
    assert ring.writer.assumed == {}
    ring.api.service("kafka", "broker-0")
    ring.watch()
    assert not ring.writer.echoed(FIRST, ring.look("Service", FIRST))
