"""A cluster's speaker says what it carries: soon, once, and takes it back at the end."""

from __future__ import annotations

import asyncio
import io
from collections.abc import Callable, Iterator
from ipaddress import ip_address
from types import MappingProxyType

import pytest

from onehop.adapters.kube.structs import Live
from onehop.adapters.telemetry import Log
from onehop.app.kube_node_status import KubeNodeStatus, owner
from onehop.model.desired import Announcement, DatapathDesired, NodeDesired
from onehop.model.service import Key
from tests.fakes.api_writes import ApiWrites

PREFIX = "/apis/metallb.io/v1beta1/namespaces/metallb-system/servicel2statuses/"
POD = owner("speaker-n1", "p1")


def no_object(kind: str, key: Key) -> Live | None:
    return None


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
            live=no_object,
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
            live=no_object,
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
