"""Standing: a doubt for each deletion and each watch that cannot go on, and no request at rest."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator

import pytest

from onehop.adapters.kube.standing import Standing, version_of
from tests.fakes.api_writes import ApiWrites

COLLECTION = "/apis/metallb.io/v1beta1/namespaces/metallb-system/configurationstates"
PATH = f"{COLLECTION}/controller"


def wait(claim: Callable[[], bool]) -> None:
    until = time.monotonic() + 10
    while not claim():
        assert time.monotonic() < until
        time.sleep(0.002)


class World:
    """An object that is followed."""

    def __init__(self) -> None:
        self.api = ApiWrites()
        self.doubts = 0
        self.standing = Standing(self.api.access(), COLLECTION, "controller", self._doubted)

    def _doubted(self) -> None:
        self.doubts += 1

    def puts(self) -> None:
        """It is written, and was seen."""
        found = self.api.put(PATH, {"metadata": {"name": "controller"}})
        self.standing.follow(found["metadata"]["resourceVersion"])

    def watches(self) -> list[str]:
        """The versions from which it was watched."""
        with self.api.lock:
            paths = [each.path for each in self.api.seen]
        assert all(path.startswith(f"{COLLECTION}?watch=1") for path in paths)
        return [path.partition("resourceVersion=")[2].partition("&")[0] for path in paths]

    def close(self) -> None:
        self.standing.close()
        self.api.close()


@pytest.fixture
def world() -> Iterator[World]:
    made = World()
    yield made
    made.close()


def test_nothing_is_asked_before_it_was_seen(world: World) -> None:
    world.standing.follow("")
    assert not [each for each in threading.enumerate() if each.name == "standing"]
    assert world.watches() == []


def test_a_deletion_is_a_doubt_and_it_is_followed_again_when_it_is_seen(world: World) -> None:
    world.puts()
    wait(lambda: world.watches() == ["101"])
    world.puts()  # changes are none
    world.puts()
    with world.api.lock:
        del world.api.objects[PATH]
    wait(lambda: world.doubts == 1)
    assert world.watches() == ["101"]
    world.puts()
    wait(lambda: world.watches() == ["101", "104"])
    assert world.doubts == 1


def test_a_watch_that_breaks_goes_on_from_the_last_version(world: World) -> None:
    world.puts()
    wait(lambda: world.watches() == ["101"])
    world.puts()
    wait(lambda: world.api.shown == 1)
    world.api.break_connections()
    wait(lambda: world.watches() == ["101", "102"])
    assert world.doubts == 0


def test_a_watch_that_is_refused_is_a_doubt(world: World) -> None:
    """Its version is too old, or the right to watch is missing."""
    world.api.script.append((410, {}, b"{}"))
    world.puts()
    wait(lambda: world.doubts == 1)
    world.puts()
    wait(lambda: world.watches() == ["101", "102"])


def test_the_end_does_not_wait_for_the_watch(world: World) -> None:
    world.puts()
    wait(lambda: world.watches() == ["101"])
    begun = time.monotonic()
    world.standing.close()
    assert time.monotonic() - begun < 1.5
    assert world.doubts == 0


@pytest.mark.parametrize(
    ("body", "version"),
    [(b'{"metadata": {"resourceVersion": "7"}}', "7"), (b'{"metadata": {}}', ""), (b"x", "")],
)
def test_the_version_of_an_object(body: bytes, version: str) -> None:
    assert version_of(body) == version
