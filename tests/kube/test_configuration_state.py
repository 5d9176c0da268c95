"""ConfigurationState of a speaker, at a real API server."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from onehop.adapters.kube.kubeconfig import load_access
from onehop.adapters.kube.store import KubeStore
from onehop.adapters.telemetry import Log
from onehop.app.kube_node_status import KubeNodeStatus
from onehop.model.desired import DatapathDesired, NodeDesired
from tests.kube.cluster import Cluster
from tests.kube.site import Ring, Site

pytestmark = pytest.mark.kube

NOTHING = NodeDesired(datapath=DatapathDesired())


@pytest.fixture
def site(cluster: Cluster) -> Site:
    return Site(cluster)


@pytest.fixture
def store(site: Site) -> Iterator[KubeStore]:
    made = KubeStore(load_access(site.kubeconfig), namespace=site.system, patience=20.0)
    made.refresh()
    assert made.objects().complete
    yield made
    made.close()


def made_pod(site: Site, name: str) -> dict[str, str]:
    """A pod that no node runs, as an owner reference to it."""
    meta = {"name": name, "namespace": site.system}
    spec = {"containers": [{"name": "speaker", "image": "none"}]}
    site.cluster.apply([{"apiVersion": "v1", "kind": "Pod", "metadata": meta, "spec": spec}])
    uid = site.cluster.get(f"/api/v1/namespaces/{site.system}/pods/{name}")["metadata"]["uid"]
    return {"apiVersion": "v1", "kind": "Pod", "name": name, "uid": uid}


def delete_pod(site: Site, name: str) -> None:
    path = f"/api/v1/namespaces/{site.system}/pods/{name}?gracePeriodSeconds=0"
    site.cluster.client.delete(path)


def states(site: Site) -> list[Any]:
    path = f"/apis/metallb.io/v1beta1/namespaces/{site.system}/configurationstates"
    found: list[Any] = site.cluster.get(path)["items"]
    return found


def said(site: Site) -> tuple[str, str]:
    """The result, and the uid of the one owner."""
    for each in states(site):
        (owner,) = each["metadata"]["ownerReferences"]
        return each.get("status", {}).get("result", ""), owner["uid"]
    return "", ""


def speak(
    site: Site, store: KubeStore, pod: dict[str, str], *acts: Callable[[], tuple[str, str]]
) -> None:
    """A speaker in this pod; each act changes something, and gives what is to be said then."""

    async def play() -> None:
        telling = KubeNodeStatus(
            load_access(site.kubeconfig), node="n1", namespace=site.system, pod=pod,
            store=store, log=Log(),
        )  # fmt: skip
        for act in acts:
            expected, until = act(), time.monotonic() + 20
            while said(site) != expected:
                assert time.monotonic() < until, states(site)
                store.refresh()
                telling.sync(NOTHING)
                await asyncio.sleep(0.05)
        telling.close()

    asyncio.run(play())


def writes(site: Site) -> int:
    return sum(each[1] == "configurationstates" for each in site.writes())


def test_a_speaker_says_whether_the_configuration_holds(site: Site, store: KubeStore) -> None:
    pod = made_pod(site, "speaker-a")

    def spoil() -> tuple[str, str]:
        twin = site.pool("10.99.0.0/25")
        site.cluster.apply([{**twin, "metadata": {**twin["metadata"], "name": "b"}}])
        return "Invalid", pod["uid"]

    def mend() -> tuple[str, str]:
        site.cluster.kubectl("delete", "ipaddresspool", "b", "-n", site.system)
        return "Valid", pod["uid"]

    speak(site, store, pod, lambda: ("Valid", pod["uid"]), spoil)
    (state,) = states(site)
    assert state["metadata"]["name"] == "speaker-n1"
    assert state["metadata"]["labels"] == {
        "metallb.io/component-type": "speaker", "metallb.io/node-name": "n1",
    }  # fmt: skip
    assert "PoolOverlap" in state["status"]["errorSummary"]
    (condition,) = state["status"]["conditions"]
    assert (condition["type"], condition["status"]) == ("configReconcilerValid", "False")
    assert writes(site) == 3, json.dumps(site.writes())
    speak(site, store, pod, lambda: ("Invalid", pod["uid"]))  # its container starts again
    assert writes(site) == 3
    speak(site, store, pod, mend)
    assert writes(site) == 4


def test_it_goes_with_the_pod_unless_the_next_pod_has_it(site: Site, store: KubeStore) -> None:
    site.cluster.require_controller_manager()
    first, second = made_pod(site, "speaker-a"), made_pod(site, "speaker-b")
    speak(site, store, first, lambda: ("Valid", first["uid"]))
    speak(site, store, second, lambda: ("Valid", second["uid"]))
    assert writes(site) == 3
    delete_pod(site, "speaker-a")
    delete_pod(site, "speaker-b")
    until = time.monotonic() + 30
    while states(site):
        assert time.monotonic() < until
        time.sleep(0.1)


def gone(site: Site, name: str) -> str:
    """Deletes it as a user would; the uid that it had."""
    (state,) = states(site)
    site.cluster.kubectl("delete", "configurationstate", name, "-n", site.system)
    uid: str = state["metadata"]["uid"]
    return uid


def stands(site: Site, before: str) -> bool:
    """Whether another one says what the last one said."""
    return any(
        each["metadata"]["uid"] != before and each.get("status", {}).get("result") == "Valid"
        for each in states(site)
    )


def test_a_speaker_makes_what_somebody_deletes_again(site: Site, store: KubeStore) -> None:
    pod = made_pod(site, "speaker-a")
    valid = ("Valid", pod["uid"])

    async def play() -> None:
        telling = KubeNodeStatus(
            load_access(site.kubeconfig), node="n1", namespace=site.system, pod=pod,
            store=store, log=Log(),
        )  # fmt: skip
        telling.sync(NOTHING)  # once: nothing else ever happens
        async with asyncio.timeout(20):
            while said(site) != valid:  # noqa: ASYNC110 - a server in another process
                await asyncio.sleep(0.05)
            for _ in range(2):
                before = await asyncio.to_thread(gone, site, "speaker-n1")
                while not stands(site, before):  # noqa: ASYNC110 - the same
                    await asyncio.sleep(0.02)
        telling.close()

    asyncio.run(play())
    assert said(site) == valid
    assert writes(site) == 6


def test_a_controller_makes_what_somebody_deletes_again(site: Site) -> None:
    ring = Ring(site)
    ring.until(lambda: stands(site, ""))
    before = gone(site, "controller")
    ring.until(lambda: stands(site, before))
    ring.close()
