"""ConfigurationState: made when missing, written when it ought to say something else."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from typing import Any

import pytest

from onehop.adapters.kube.configuration_state import ConfigurationState
from onehop.adapters.kube.requests import Requests
from onehop.model.reason import Problem, Reason
from tests.fakes.api_writes import ApiWrites, settled

COLLECTION = "/apis/metallb.io/v1beta1/namespaces/metallb-system/configurationstates"


def problem(object_: str = "IPAddressPool metallb-system/a", detail: str = "overlaps b",
            reason: Reason = Reason.POOL_OVERLAP) -> Problem:  # fmt: skip
    return Problem(source="", line=0, object=object_, field="spec", reason=reason, detail=detail)


class World:
    def __init__(
        self, api: ApiWrites, node: str = "", owner: dict[str, str] | None = None
    ) -> None:
        self.requests = Requests(api.access(), timeout=0.5)
        self.state = ConfigurationState(
            self.requests, api.access(), "metallb-system", node=node, owner=owner,
            wall=lambda: 0.0,
        )  # fmt: skip

    def close(self) -> None:
        self.state.close()
        self.requests.close()

    def settle(self, *problems: Problem) -> None:
        """Go round until nothing is left to do."""
        for _ in range(5):
            self.state.sync(problems)
            settled(self.requests)


@pytest.fixture
def api() -> Iterator[ApiWrites]:
    server = ApiWrites()
    yield server
    server.close()


@pytest.fixture
def world(api: ApiWrites) -> Iterator[World]:
    made = World(api)
    yield made
    made.close()


def status(api: ApiWrites, name: str = "controller") -> Any:
    return api.objects[f"{COLLECTION}/{name}"]["status"]


def test_it_is_made_and_says_that_all_is_well(api: ApiWrites, world: World) -> None:
    world.settle()
    assert api.objects[f"{COLLECTION}/controller"]["metadata"]["labels"] == {
        "metallb.io/component-type": "controller"
    }
    assert status(api) == {
        "result": "Valid", "errorSummary": "",
        "conditions": [
            {
                "type": "poolReconcilerValid", "status": "True", "reason": "Reconciled",
                "message": "", "lastTransitionTime": "1970-01-01T00:00:00Z",
            }
        ],
    }  # fmt: skip
    assert len(api.writes()) == 2


def test_a_problem_makes_it_invalid_and_its_end_valid_again(api: ApiWrites, world: World) -> None:
    world.settle(problem(), problem(detail="overlaps c"))
    said = "IPAddressPool metallb-system/a spec: overlaps {} [PoolOverlap]"
    assert status(api)["result"] == "Invalid"
    assert status(api)["errorSummary"] == "\n".join((said.format("b"), said.format("c")))
    assert status(api)["conditions"][0]["reason"] == "ConfigurationError"
    world.settle()
    assert status(api)["result"] == "Valid"
    assert len(api.writes()) == 3


def test_only_errors_of_the_configuration_count(api: ApiWrites, world: World) -> None:
    world.settle(
        problem("Service kafka/a", reason=Reason.FIELD_INVALID),
        problem(reason=Reason.UNKNOWN_POOL),
    )
    assert status(api)["result"] == "Valid"


def test_a_restart_that_finds_it_right_writes_nothing(api: ApiWrites, world: World) -> None:
    world.settle(problem())
    before = len(api.writes())
    second = World(api)
    second.settle(problem())
    assert len(api.writes()) == before
    second.close()


def test_a_speaker_says_which_node_it_speaks_for(api: ApiWrites) -> None:
    world = World(api, node="n1")
    world.settle()
    body = api.objects[f"{COLLECTION}/speaker-n1"]
    assert body["metadata"]["labels"] == {
        "metallb.io/component-type": "speaker", "metallb.io/node-name": "n1",
    }  # fmt: skip
    assert body["status"]["conditions"][0]["type"] == "configReconcilerValid"
    world.close()


def test_a_cluster_without_the_kind_is_left_alone(api: ApiWrites, world: World) -> None:
    api.script.extend([(404, {}, b"{}"), (404, {}, b"{}")])
    world.settle()
    world.settle()
    assert len(api.writes()) == 1


@pytest.mark.parametrize("now", [(), (problem(),)])
def test_a_deleted_one_is_made_again_although_there_is_nothing_new_to_say(
    api: ApiWrites, world: World, now: tuple[Problem, ...]
) -> None:
    woken = threading.Event()
    world.state.start(woken.set)
    world.settle()
    before = api.objects[f"{COLLECTION}/controller"]["status"]
    for _ in range(2):  # the second time too, a moment later
        woken.clear()
        with api.lock:
            del api.objects[f"{COLLECTION}/controller"]
        until = time.monotonic() + 10
        while "status" not in api.objects.get(f"{COLLECTION}/controller", {}):
            assert woken.wait(max(0.0, until - time.monotonic()))
            world.settle(*now)
    assert status(api)["result"] == ("Invalid" if now else "Valid")
    assert now or status(api) == before
    writes = len(api.writes())
    world.settle(*now)
    assert len(api.writes()) == writes == 6


def pod(uid: str) -> dict[str, str]:
    return {"apiVersion": "v1", "kind": "Pod", "name": "speaker-x", "uid": uid}


def test_a_speakers_belongs_to_its_pod_and_the_next_pod_takes_it_over(api: ApiWrites) -> None:
    def owned(uid: str, *problems: Problem) -> tuple[list[str], Any]:
        """The writes of a speaker in this pod, and what the object says of its owner then."""
        before = len(api.writes())
        world = World(api, node="n1", owner=pod(uid))
        world.settle(*problems)
        world.close()
        found = api.objects[f"{COLLECTION}/speaker-n1"]["metadata"]["ownerReferences"]
        paths = [each.path.split("?")[0] for each in api.writes()[before:]]
        return [path.removeprefix(f"{COLLECTION}/speaker-n1") or "/" for path in paths], found

    assert owned("u1") == (["/", "/status"], [pod("u1")])
    assert owned("u1") == ([], [pod("u1")])  # its container has started again
    assert owned("u2") == (["/"], [pod("u2")])
    assert status(api, "speaker-n1")["result"] == "Valid"
    assert owned("u3", problem()) == (["/", "/status"], [pod("u3")])
    assert status(api, "speaker-n1")["result"] == "Invalid"
