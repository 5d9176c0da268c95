"""A kubelet says what is so, once, and again whenever the API server has something else."""

from __future__ import annotations

from ipaddress import ip_address
from typing import Any

import pytest

from onehop.adapters.kube.instant import instant, micro_instant
from onehop.lab.kube_kubelet import RENEW_EVERY, TOKEN_EVERY, Kubelet
from onehop.lab.plan import topology
from onehop.model.node import Node, Pod
from onehop.model.objects import Objects
from onehop.model.service import Key

Object = dict[str, Any]
POD = "/api/v1/namespaces/shop/pods/web"
START = 1_800_000_000.0


class Api:
    """An API server that has Pods and keeps what is written."""

    def __init__(self) -> None:
        self.pods: dict[str, Object] = {}
        self.writes: list[str] = []
        self.leases: dict[str, Object] = {}

    def get(self, path: str) -> Object:
        assert path == "/api/v1/pods"
        return {"items": list(self.pods.values())}

    def request(
        self, method: str, path: str, body: Object | None = None, content_type: str = ""
    ) -> Object:
        assert body is not None
        self.writes.append(f"{method} {path.partition('?')[0]}")
        if body["kind"] == "Lease":
            self.leases[body["metadata"]["name"]] = body["spec"]
        else:
            self.pods[body["metadata"]["name"]]["status"] = body["status"]
        return {}

    def delete(self, path: str) -> None:
        self.writes.append(f"DELETE {path}")


class World:
    """A lab of one node and one pod, in which time stands still until it is moved."""

    def __init__(self) -> None:
        self.now = START
        self.serves = False
        self.tokens = 0
        self.api = Api()
        self.api.pods["web"] = {
            "metadata": {"name": "web", "namespace": "shop"},
            "spec": {"nodeName": "a", "containers": [{"name": "c", "image": "i"}]},
        }
        node = Node(name="a", addresses=(ip_address("10.1.0.5"),))
        addresses = (ip_address("10.2.0.7"), ip_address("fd01::7"))
        pod = Pod(name="web", namespace="shop", node="a", addresses=addresses)
        shape = topology(
            Objects(
                complete=True,
                nodes={Key("", "a"): node},
                pods={Key("shop", "web"): pod},
            )
        )
        self.kubelet = Kubelet(
            self.api,
            shape,
            answers=lambda _: self.serves,
            renew_tokens=self._renew,
            now=lambda: self.now,
        )

    def _renew(self) -> None:
        self.tokens += 1

    def turn(self) -> list[str]:
        """What is written in one turn, without Leases."""
        del self.api.writes[:]
        self.kubelet.turn()
        return [write for write in self.api.writes if "/leases/" not in write]

    @property
    def ready(self) -> Object:
        conditions = self.api.pods["web"]["status"]["conditions"]
        return next(each for each in conditions if each["type"] == "Ready")


@pytest.fixture
def world() -> World:
    return World()


def test_a_pod_has_its_addresses_before_it_serves(world: World) -> None:
    assert world.turn() == [f"PATCH {POD}/status"]
    status = world.api.pods["web"]["status"]
    assert status["podIPs"] == [{"ip": "10.2.0.7"}, {"ip": "fd01::7"}]
    assert (status["phase"], status["hostIP"]) == ("Running", "10.1.0.5")
    assert world.ready["status"] == "False"
    assert world.turn() == []


def test_it_is_ready_when_it_answers_and_not_when_it_stops(world: World) -> None:
    world.turn()
    world.serves, world.now = True, START + 5
    assert world.turn() == [f"PATCH {POD}/status"]
    assert world.ready == {
        "type": "Ready", "status": "True", "lastTransitionTime": instant(START + 5),
    }  # fmt: skip
    scheduled = world.api.pods["web"]["status"]["conditions"][0]
    assert scheduled["lastTransitionTime"] == instant(START)
    assert world.turn() == []
    world.serves = False
    assert world.turn() == [f"PATCH {POD}/status"]
    assert world.ready["status"] == "False"


def test_what_somebody_else_wrote_is_put_right(world: World) -> None:
    world.serves = True
    world.turn()
    del world.api.pods["web"]["status"]
    assert world.turn() == [f"PATCH {POD}/status"]
    world.ready["status"] = "False"
    assert world.turn() == [f"PATCH {POD}/status"]
    assert world.ready["status"] == "True"


def test_it_looks_more_often_while_a_pod_is_not_ready(world: World) -> None:
    unready = world.kubelet.turn()
    world.now += 60  # nobody waits for it any more
    tired = world.kubelet.turn()
    world.serves = True
    assert unready < tired == world.kubelet.turn()


def test_a_deleted_pod_is_let_go(world: World) -> None:
    world.api.pods["web"]["metadata"]["deletionTimestamp"] = instant(START)
    assert world.turn() == [f"DELETE {POD}"]


@pytest.mark.parametrize("other", [{"name": "else"}, {"namespace": "else"}])
def test_a_pod_that_the_lab_does_not_run_is_left_alone(world: World, other: Object) -> None:
    world.api.pods["web"]["metadata"].update(other)
    assert world.turn() == []


def test_a_pod_on_another_node_is_not_ours(world: World) -> None:
    world.api.pods["web"]["spec"]["nodeName"] = "b"
    assert world.turn() == []


def test_leases_are_renewed_in_time(world: World) -> None:
    for step, renewed in ((0, 0), (RENEW_EVERY - 1, 0), (RENEW_EVERY, RENEW_EVERY)):
        world.now = START + step
        world.kubelet.turn()
        assert world.api.leases["a"]["renewTime"] == micro_instant(START + renewed)
    assert world.api.leases["a"]["leaseDurationSeconds"] > 2 * RENEW_EVERY


def test_tokens_are_renewed_long_before_they_end(world: World) -> None:
    for step, times in ((0, 0), (TOKEN_EVERY - 1, 0), (TOKEN_EVERY, 1), (TOKEN_EVERY + 1, 1)):
        world.now = START + step
        world.kubelet.turn()
        assert world.tokens == times
    assert TOKEN_EVERY < 3600 / 2
