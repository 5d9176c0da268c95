"""A cluster's speaker says what it thinks of the configuration, when that changes."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from onehop.adapters.kube.configuration_state import ConfigurationState
from onehop.adapters.kube.requests import Requests
from onehop.app.kube_configuration import ConfigurationTeller
from onehop.model.objects import Objects
from onehop.model.reason import Problem, Reason
from tests.builders import a_pool
from tests.fakes.api_writes import ApiWrites

PATH = "/apis/metallb.io/v1beta1/namespaces/metallb-system/configurationstates/speaker-n1"
UNREADABLE = Problem(source="", line=0, object="BGPPeer metallb-system/r1", field="spec",
                     reason=Reason.FIELD_INVALID, detail="x")  # fmt: skip


@pytest.fixture
def api() -> Iterator[ApiWrites]:
    server = ApiWrites()
    yield server
    server.close()


def status(api: ApiWrites) -> dict[str, Any]:
    found: dict[str, Any] = api.objects.get(PATH, {}).get("status", {})
    return found


def overlapping() -> Objects:
    pools = (a_pool("a", "192.0.2.0/25"), a_pool("b", "192.0.2.0/24"))
    return Objects(complete=True, pools={pool.key: pool for pool in pools})


class World:
    """A speaker's loop, and what its store holds."""

    def __init__(self, api: ApiWrites) -> None:
        self.api = api
        self.objects = Objects(complete=True)

    def play(self, *acts: Callable[[], Callable[[], bool]]) -> None:
        """Each act changes something, and gives the claim that is waited for."""
        requests = Requests(self.api.access(), threads=1, timeout=0.5)
        state = ConfigurationState(requests, self.api.access(), "metallb-system", node="n1")

        async def run() -> None:
            teller = ConfigurationTeller(state, lambda: self.objects)
            for act in acts:
                claim = act()
                teller.sync()
                async with asyncio.timeout(10):
                    while not claim():  # noqa: ASYNC110 - a server in another thread
                        await asyncio.sleep(0.005)
            teller.close()
            teller.again()

        asyncio.run(run())
        requests.close()

    def holds(self, objects: Objects, result: str) -> Callable[[], Callable[[], bool]]:
        def act() -> Callable[[], bool]:
            self.objects = objects
            return lambda: status(self.api).get("result") == result

        return act


def test_it_says_what_is_wrong_and_when_that_is_over(api: ApiWrites) -> None:
    world = World(api)
    unreadable = Objects(complete=True, problems=(UNREADABLE,))
    world.play(
        world.holds(Objects(complete=True), "Valid"),
        world.holds(overlapping(), "Invalid"),
        world.holds(Objects(complete=True), "Valid"),
        world.holds(unreadable, "Invalid"),
    )
    assert status(api)["errorSummary"] == f"{UNREADABLE}"
    assert len(api.writes()) == 5  # it was made, and said four things


def test_what_overlaps_is_named(api: ApiWrites) -> None:
    world = World(api)
    world.play(world.holds(overlapping(), "Invalid"))
    assert "PoolOverlap" in status(api)["errorSummary"]


def test_a_write_that_fails_comes_again(api: ApiWrites) -> None:
    api.script.append((500, {}, b"{}"))
    begun = time.monotonic()
    world = World(api)
    world.play(world.holds(Objects(complete=True), "Valid"))
    assert time.monotonic() - begun < 8.0


def test_rounds_without_news_write_nothing(api: ApiWrites) -> None:
    world = World(api)
    same = world.holds(Objects(complete=True), "Valid")
    world.play(same, same, same)
    assert len(api.writes()) == 2
