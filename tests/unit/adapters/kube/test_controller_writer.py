"""All that a controller writes, and that it writes it only while it leads."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from ipaddress import ip_address

import pytest

from onehop.adapters.kube.controller_writer import ControllerWriter
from onehop.adapters.kube.structs import Ingress, Live
from onehop.model.desired import ClusterDesired, ServiceStatus
from onehop.model.objects import Objects
from onehop.model.pool_use import PoolUse
from onehop.model.reason import Problem, Reason
from onehop.model.service import Key, Service
from tests.fakes.api_writes import ApiWrites

WEB, POOL = Key("apps", "web"), Key("metallb-system", "a")
PATH = "/api/v1/namespaces/apps/services/web"
POOL_PATH = "/apis/metallb.io/v1beta1/namespaces/metallb-system/ipaddresspools/a"
HAVE = Objects(complete=True, services={WEB: Service(key=WEB, type="LoadBalancer")})
WANT = ClusterDesired(
    statuses={WEB: ServiceStatus(key=WEB, addresses=(ip_address("192.0.2.1"),), pool="a")},
    released={Key("apps", "gone"): (ip_address("192.0.2.9"),)},
    problems=(
        Problem(source="", line=0, object="IPAddressPool metallb-system/a", field="spec",
                reason=Reason.POOL_OVERLAP, detail="overlaps b"),
    ),
)  # fmt: skip


class Leader:
    leads = True

    def __call__(self) -> bool:
        return self.leads


def wait(claim: Callable[[], bool]) -> None:
    until = time.monotonic() + 10
    while not claim():
        assert time.monotonic() < until
        time.sleep(0.002)


@pytest.fixture
def api() -> Iterator[ApiWrites]:
    server = ApiWrites()
    server.service("apps", "web")
    server.put(POOL_PATH, {"metadata": {"uid": "p"}})
    yield server
    server.close()


@pytest.fixture
def leader() -> Leader:
    return Leader()


def built(api: ApiWrites, leader: Leader, *, annotate: bool = False) -> ControllerWriter:
    return ControllerWriter(
        api.access(), namespace="metallb-system", own_namespace="onehop-system", instance="pod-a",
        counting=lambda have, statuses: {POOL: PoolUse(assigned_ipv4=len(statuses))},
        fence=leader, annotate=annotate,
    )  # fmt: skip


@pytest.fixture
def writer(api: ApiWrites, leader: Leader) -> Iterator[ControllerWriter]:
    made = built(api, leader)
    yield made
    made.close()


def look(api: ApiWrites) -> Callable[[str, Key], Live | None]:
    def live(kind: str, key: Key) -> Live | None:
        body = api.objects.get({"Service": PATH, "IPAddressPool": POOL_PATH}.get(kind, ""))
        if body is None or key not in (WEB, POOL):
            return None
        meta = body["metadata"]
        entries = (body.get("status") or {}).get("loadBalancer", {}).get("ingress") or ()
        return Live(
            name=key.name,
            namespace=key.namespace,
            uid=meta["uid"],
            resource_version=meta["resourceVersion"],
            ingress=tuple(Ingress(ip=each["ip"], ip_mode="VIP") for each in entries),
        )

    return live


def settle(api: ApiWrites, writer: ControllerWriter, claim: Callable[[], bool]) -> None:
    until = time.monotonic() + 10
    while not claim():
        writer.collect()
        writer.sync(WANT, HAVE, look(api), frozenset({WEB}))
        assert time.monotonic() < until
        time.sleep(0.01)


def resources(api: ApiWrites) -> set[str]:
    known = ("services", "events", "ipaddresspools", "configurationstates", "configmaps")
    return {name for each in api.writes() for name in known if f"/{name}" in each.path}


def test_everything_is_written_once(api: ApiWrites, writer: ControllerWriter) -> None:
    settle(api, writer, lambda: len(resources(api)) == 5)
    settle(api, writer, lambda: "result" in str(api.writes()[-1].body) or len(api.writes()) >= 7)
    time.sleep(0.1)
    count = len(api.writes())
    for _ in range(5):
        writer.collect()
        writer.sync(WANT, HAVE, look(api), frozenset({WEB}))
    time.sleep(0.1)
    assert len(api.writes()) == count
    # Status, two Events, the pool's count, the released address, the state: made, then written.
    assert count == 7
    assert writer.counters.by_status.get(409, 0) == 0


def test_who_does_not_lead_writes_nothing(
    api: ApiWrites, writer: ControllerWriter, leader: Leader
) -> None:
    leader.leads = False
    writer.collect()
    assert writer.sync(WANT, HAVE, look(api), frozenset({WEB})).again_at is None
    time.sleep(0.05)
    assert api.seen == []
    assert writer.assumed == {}


def test_a_deposed_leader_assumes_nothing(
    api: ApiWrites, writer: ControllerWriter, leader: Leader
) -> None:
    api.delay = 0.1
    writer.sync(WANT, HAVE, look(api), frozenset({WEB}))
    assert writer.assumed == {WEB: (ip_address("192.0.2.1"),)}
    leader.leads = False
    assert writer.collect() == {WEB}
    assert writer.assumed == {}


def test_the_end_remembers_what_was_released(api: ApiWrites, leader: Leader) -> None:
    writer = built(api, leader)
    writer.sync(ClusterDesired(statuses={}), HAVE, look(api), frozenset())
    api.delay = 0.05
    writer.sync(WANT, HAVE, look(api), frozenset())
    writer.close()
    kept = api.objects["/api/v1/namespaces/onehop-system/configmaps/onehop-released"]
    assert kept["data"] == {"apps.gone": "192.0.2.9"}


@pytest.mark.parametrize("annotate", [False, True])
def test_the_annotation_is_written_only_when_it_is_asked_for(
    api: ApiWrites, leader: Leader, annotate: bool
) -> None:
    writer = built(api, leader, annotate=annotate)
    settle(api, writer, lambda: sum("/events" in each.path for each in api.writes()) == 2)
    wait(lambda: not annotate or "annotations" in api.objects[PATH]["metadata"])
    found = api.objects[PATH]["metadata"].get("annotations")
    assert found == ({"metallb.io/ip-allocated-from-pool": "a"} if annotate else None)
    writer.close()
