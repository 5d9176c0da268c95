"""A cluster's speaker says what it carries: soon, once, and takes it back at the end."""

from __future__ import annotations

import asyncio
import io
from collections.abc import Callable, Iterator
from dataclasses import replace
from ipaddress import ip_address
from types import MappingProxyType

import pytest

from onehop.adapters.kube.structs import Live
from onehop.adapters.telemetry import Log
from onehop.app.kube_node_status import KubeNodeStatus, owner
from onehop.model.desired import Announcement, DatapathDesired, NodeDesired
from onehop.model.objects import Objects
from onehop.model.reason import Problem, Reason, Refusal
from onehop.model.service import Key
from tests.fakes.api_writes import ApiWrites

PREFIX = "/apis/metallb.io/v1beta1/namespaces/metallb-system/servicel2statuses/"
POD = owner("speaker-n1", "p1")


class Source:
    """A cluster in which one pool overlaps another, or none does."""

    def __init__(self, *problems: Problem) -> None:
        self.problems = problems

    def objects(self) -> Objects:
        return Objects(complete=True, problems=self.problems)

    def live(self, kind: str, key: Key) -> Live | None:
        return Live(name=key.name, namespace=key.namespace, uid="u1", resource_version="1")


@pytest.fixture
def api() -> Iterator[ApiWrites]:
    server = ApiWrites()
    server.lists = True
    server.discovery = ["servicel2statuses", "servicebgpstatuses"]
    yield server
    server.close()


def desired(*names: str) -> NodeDesired:
    announcements = (Announcement(address=ip_address("192.0.2.1")),)
    announced = {Key("apps", name): announcements for name in names}
    return NodeDesired(datapath=DatapathDesired(), announced=MappingProxyType(announced))


def said(api: ApiWrites) -> set[str]:
    return {
        body["status"]["serviceName"] for path, body in api.objects.items()
        if path.startswith(PREFIX)
    }  # fmt: skip


async def until(claim: Callable[[], bool]) -> None:
    async with asyncio.timeout(10):
        while not claim():  # noqa: ASYNC110 - another thread's server is what is waited for
            await asyncio.sleep(0.005)


def test_it_is_said_soon_and_taken_back_at_the_end(api: ApiWrites) -> None:
    async def play() -> None:
        telling = KubeNodeStatus(
            api.access(),
            node="n1",
            namespace="metallb-system",
            pod=POD,
            store=Source(),
            log=Log(),
        )
        telling.sync(desired("web", "api"))
        await until(lambda: said(api) == {"web", "api"})
        telling.sync(desired("web"))
        await until(lambda: said(api) == {"web"})
        telling.close()

    asyncio.run(play())
    assert said(api) == set()


def test_a_server_that_fails_at_first_is_asked_again(api: ApiWrites) -> None:
    api.script.extend([(503, {}, b"{}")] * 2)
    stream = io.StringIO()

    async def play() -> None:
        telling = KubeNodeStatus(
            api.access(),
            node="n1",
            namespace="metallb-system",
            pod=None,
            store=Source(),
            log=Log(stream=stream),
        )
        telling.sync(desired("web"))
        await until(lambda: said(api) == {"web"})
        telling.close()

    asyncio.run(play())
    assert stream.getvalue() == ""


def test_a_pod_is_an_owner_only_when_both_its_names_are_known() -> None:
    assert POD == {"apiVersion": "v1", "kind": "Pod", "name": "speaker-n1", "uid": "p1"}
    assert owner("speaker-n1", "") is owner("", "p1") is None


def test_an_event_tells_that_it_has_taken_a_service_over(api: ApiWrites) -> None:
    path = "/apis/events.k8s.io/v1/namespaces/apps/events/"

    def events() -> list[dict[str, object]]:
        return [body for at, body in list(api.objects.items()) if at.startswith(path)]

    async def play() -> None:
        telling = KubeNodeStatus(
            api.access(), node="n1", namespace="metallb-system", pod=POD,
            store=Source(), log=Log(),
        )  # fmt: skip
        not_ours = {Key("apps", "web"): Refusal(reason=Reason.NOT_OWNER)}
        telling.sync(replace(desired("new"), withheld=MappingProxyType(not_ours)))
        await until(lambda: said(api) == {"new"})
        telling.sync(desired("new", "web"))
        await until(lambda: said(api) == {"new", "web"} and bool(events()))
        telling.close()

    asyncio.run(play())
    [event] = events()
    assert event["note"] == 'announcing from node "n1" with protocol "layer2"'
    assert event["reportingInstance"] == "speaker-n1"
