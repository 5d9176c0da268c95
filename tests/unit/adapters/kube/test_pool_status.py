"""IPAddressPool.status: written seldom, and only where it differs."""

from __future__ import annotations

import json
from collections.abc import Iterator
from types import MappingProxyType

import pytest

from onehop.adapters.kube.pool_status import PoolStatuses
from onehop.adapters.kube.requests import Requests
from onehop.adapters.kube.structs import Live
from onehop.model.objects import Objects
from onehop.model.pool_use import PoolUse
from onehop.model.service import Key
from tests.fakes.api_writes import ApiWrites, settled

POOL = Key("metallb-system", "a")
PATH = "/apis/metallb.io/v1beta1/namespaces/metallb-system/ipaddresspools/a"
EMPTY: MappingProxyType[Key, object] = MappingProxyType({})


class World:
    def __init__(self, api: ApiWrites) -> None:
        self.api = api
        self.now = 100.0
        self.use = PoolUse(assigned_ipv4=1, available_ipv4=255)
        self.status = b""
        self.counted = 0
        self.requests = Requests(api.access(), timeout=0.5)
        self.pools = PoolStatuses(self.requests, counting=self.count, clock=lambda: self.now)

    def count(self, have: object, statuses: object) -> dict[Key, PoolUse]:
        self.counted += 1
        return {POOL: self.use, Key("metallb-system", "gone"): self.use}

    def look(self, kind: str, key: Key) -> Live | None:
        if (kind, key) != ("IPAddressPool", POOL):
            return None
        return Live(name="a", namespace="metallb-system", uid="u", resource_version="1",
                    status=self.status)  # fmt: skip

    def sync(self, *, changed: bool) -> float | None:
        due = self.pools.sync(Objects(), {}, self.look, changed=changed)
        settled(self.requests)
        return due


@pytest.fixture
def world() -> Iterator[World]:
    api = ApiWrites()
    api.put(PATH, {"metadata": {"uid": "u"}})
    made = World(api)
    yield made
    made.requests.close()
    api.close()


def test_it_is_written_at_the_start_if_it_differs(world: World) -> None:
    assert world.sync(changed=True) is None
    [write] = world.api.writes()
    assert write.path == f"{PATH}/status?fieldManager=onehop"
    assert json.loads(write.body)["status"] == {
        "assignedIPv4": 1, "assignedIPv6": 0, "availableIPv4": 255, "availableIPv6": 0,
    }  # fmt: skip


def test_one_that_agrees_is_not_written(world: World) -> None:
    world.status = (
        b'{"assignedIPv4":1,"assignedIPv6":0,"availableIPv4":255,"availableIPv6":0,"x":1}'
    )
    world.sync(changed=True)
    assert world.api.writes() == []


def test_a_burst_of_changes_is_one_write(world: World) -> None:
    world.sync(changed=True)
    for _ in range(50):
        assert world.sync(changed=True) == 105.0
    assert (world.counted, len(world.api.writes())) == (1, 1)
    world.now = 105.0
    assert world.sync(changed=False) is None
    assert (world.counted, len(world.api.writes())) == (2, 2)


def test_a_change_after_a_quiet_spell_waits_a_second(world: World) -> None:
    world.sync(changed=True)
    world.now = 200.0
    assert world.sync(changed=False) is None
    assert world.sync(changed=True) == 201.0
    assert world.counted == 1


def test_a_failed_write_is_due_again(world: World) -> None:
    world.api.script.append((500, {}, b"{}"))
    world.sync(changed=True)
    due = world.sync(changed=False)
    assert due is not None
    world.now = due
    world.sync(changed=False)
    assert len(world.api.writes()) == 2
