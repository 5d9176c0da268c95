"""What an API server tells of controllers, Leases and MetalLB."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Any
from urllib.parse import quote

import pytest

from onehop.app.around import look_around
from tests.unit.app.test_outside import Api

NOW = datetime(2026, 1, 1, 0, 0, 30, tzinfo=UTC)
LEASES = "/apis/coordination.k8s.io/v1/leases"


class Labelled(Api):
    """Pods by label selector, and Leases."""

    def __init__(self) -> None:
        super().__init__()
        self.leases: list[dict[str, Any]] = []
        self.by_label: dict[str, list[dict[str, Any]]] = {}
        self.hidden = ""

    def answer(self, target: str) -> tuple[int, Any]:
        self.asked.append(target)
        if self.hidden and target.startswith(self.hidden):
            return 403, {"kind": "Status", "message": "leases is forbidden"}
        if target.startswith(LEASES):
            return 200, {"items": self.leases}
        found = [pods for label, pods in self.by_label.items() if label in target]
        return 200, {"items": found[0] if found else None}


@pytest.fixture
def api() -> Iterator[Labelled]:
    api = Labelled()
    yield api
    api.http.shutdown()
    api.http.server_close()


def a_pod(name: str, *, ready: str = "True") -> dict[str, Any]:
    return {
        "metadata": {"namespace": "s", "name": name},
        "status": {"conditions": [{"type": "Ready", "status": ready}]},
    }


def a_lease(renewed: str | None) -> dict[str, Any]:
    spec = {"holderIdentity": "a", "leaseDurationSeconds": 15, "renewTime": renewed}
    return {"metadata": {"namespace": "s", "name": "onehop-controller"}, "spec": spec}


def test_holders_replicas_and_metallb_are_told(api: Labelled) -> None:
    api.leases = [a_lease("2026-01-01T00:00:20.500000Z")]
    api.by_label["component%3Dcontroller"] = [a_pod("a"), a_pod("b", ready="False")]
    api.by_label["=app%3Dmetallb"] = [a_pod("speaker-x")]
    found = look_around(api.access, NOW)
    assert [(each.holder, each.age, each.duration) for each in found.leases] == [("a", 9.5, 15.0)]
    assert found.controllers == {"s/a": True, "s/b": False}
    assert found.metallb == ("s/speaker-x",)
    assert found.unknown == ()
    assert all("fieldSelector=metadata.name%3Donehop-controller" in each
               for each in api.asked if each.startswith(LEASES))  # fmt: skip


@pytest.mark.parametrize("renewed", [None, "soon", "2026-01-01T00:00:20"])
def test_a_renewal_that_cannot_be_read_has_no_age(api: Labelled, renewed: str | None) -> None:
    api.leases = [a_lease(renewed)]
    assert look_around(api.access, NOW).leases[0].age is None


def test_what_is_hidden_is_said_and_the_rest_is_told(api: Labelled) -> None:
    api.hidden = LEASES
    api.by_label["component%3Dcontroller"] = [a_pod("a")]
    found = look_around(api.access, NOW)
    assert found.unknown == ("Leases: HTTP 403: leases is forbidden",)
    assert found.controllers == {"s/a": True}


@pytest.mark.parametrize("label", ["app", "app.kubernetes.io/name"])
def test_metallb_without_a_pod_is_known_by_what_would_start_one(api: Labelled, label: str) -> None:
    chosen = f"labelSelector={quote(f'{label}=metallb')}"
    api.by_label[f"daemonsets?{chosen}"] = [a_pod("speaker")]
    api.by_label[f"deployments?{chosen}"] = [a_pod("controller")]
    found = look_around(api.access, NOW)
    assert found.metallb == ()
    assert found.installed == ("DaemonSet s/speaker", "Deployment s/controller")


def test_who_sees_pods_of_metallb_asks_no_further(api: Labelled) -> None:
    api.by_label["name%3Dmetallb"] = [a_pod("speaker-x")]
    found = look_around(api.access, NOW)
    assert (found.metallb, found.installed) == (("s/speaker-x",), ())
    assert not any("/apps/" in each for each in api.asked)


def test_who_may_not_list_workloads_is_told_of_none(api: Labelled) -> None:
    api.hidden = "/apis/apps/"
    found = look_around(api.access, NOW)
    assert (found.installed, found.unknown) == ((), ())
