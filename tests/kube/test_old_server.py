"""An API server with old definitions, without a cache of Services, whose etcd is compacted."""

from __future__ import annotations

import base64
import json
import urllib.request
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from onehop.adapters.kube.kubeconfig import load_access
from onehop.adapters.kube.reflector import Timing
from onehop.adapters.kube.store import KubeStore
from onehop.model.objects import Objects
from onehop.model.reason import Reason
from onehop.model.service import Key
from tests.kube.between import Between, Fate
from tests.kube.cluster import Cluster
from tests.kube.node import Node
from tests.kube.old_server import definitions
from tests.kube.place import Place
from tests.kube.site import Site
from tests.kube.test_lease import wait
from tests.lab.wire import wire
from tests.unit.adapters.kube.objects import eventually

pytestmark = pytest.mark.kube


@pytest.fixture(scope="module")
def old(kube_programs: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    folder = tmp_path_factory.mktemp("old")
    made = Cluster(folder / "kube", kube_programs, "--watch-cache-sizes=services#0")
    try:
        made.start(definitions(folder / "definitions"))
        assert made.refused_crds == {}
        yield made
    finally:
        made.stop()


def compact(cluster: Cluster) -> None:
    """Have etcd forget every version but the newest."""
    base = f"http://127.0.0.1:{cluster.site.etcd_port}/v3/kv"

    def asked(what: str, body: object) -> Any:
        request = urllib.request.Request(
            f"{base}/{what}", json.dumps(body).encode(), {"Content-Type": "application/json"}
        )
        with urllib.request.urlopen(request, timeout=10) as answer:
            return json.load(answer)

    key = base64.b64encode(b"none").decode()
    revision = asked("range", {"key": key})["header"]["revision"]
    asked("compaction", {"revision": revision, "physical": True})


def of_site(site: Site, kind: str, name: str, spec: object) -> dict[str, Any]:
    return {"apiVersion": "metallb.io/v1beta1", "kind": kind,
            "metadata": {"name": name, "namespace": site.system}, "spec": spec}  # fmt: skip


def the_problems(objects: Objects, site: Site) -> list[str]:
    return [str(each) for each in objects.problems if f" {site.system}/" in str(each)]


def test_a_list_whose_pages_are_compacted_away_is_read_in_one(
    old: Cluster, tmp_path: Path
) -> None:
    site = Site(old)
    old.apply(site.service(f"web-{number}") for number in range(7))
    between = Between(old.site)
    pages: list[str] = []

    def rule(method: str, path: str) -> Fate:
        if path.startswith("/api/v1/services?") and "watch=" not in path:
            pages.append(path)
            if len(pages) == 2:
                old.apply([site.service("more"), site.service("and-more")])
                compact(old)
        return None

    between.rule = rule
    config = between.kubeconfig(site.kubeconfig, tmp_path / "config")
    store = KubeStore(load_access(config), namespace=site.system, timing=Timing(page=3))
    with closing(between_and(store, between)):
        objects = eventually(store, lambda o: o.complete)
        assert len([key for key in objects.services if key.namespace == site.apps]) == 9
        assert objects.problems == ()
        assert ["continue=" in path for path in pages] == [False, True, False]
        assert "limit=" not in pages[2]


def test_a_watch_from_a_version_that_was_compacted_away_begins_with_a_list(
    old: Cluster, tmp_path: Path
) -> None:
    site = Site(old)
    old.apply([site.service("stays"), site.service("goes")])
    between = Between(old.site)
    asked: list[str] = []

    def rule(method: str, path: str) -> Fate:
        if path.startswith("/api/v1/services?"):
            asked.append(path)
            if "watch=" in path and len(asked) > 2 and not any("#" in each for each in asked):
                asked.append("# compacted")
                old.client.delete(site.path("goes"))
                old.apply([site.service("comes"), site.service("comes-too")])
                compact(old)
        return None

    between.rule = rule
    config = between.kubeconfig(site.kubeconfig, tmp_path / "config")
    store = KubeStore(load_access(config), namespace=site.system)
    with closing(between_and(store, between)):
        before = eventually(store, lambda o: o.complete and Key(site.apps, "goes") in o.services)
        wait(lambda: any("watch=" in path for path in asked))
        between.drop()
        after = eventually(store, lambda o: Key(site.apps, "comes-too") in o.services)
        eventually(store, lambda o: Key(site.apps, "goes") not in o.services)
        stays = Key(site.apps, "stays")
        assert after.services[stays] is before.services[stays]
        later = asked[asked.index("# compacted") + 1 :]
        assert any("limit=500" in path for path in later), "the watch was refused, a list followed"


def subjects_of_events(site: Site) -> set[tuple[str, str]]:
    path = f"/apis/events.k8s.io/v1/namespaces/{site.system}/events"
    about = [each["regarding"] for each in site.cluster.get(path)["items"]]
    return {(each["kind"], each["name"]) for each in about}


class between_and:  # noqa: N801
    """Closes a store, and then what stands before it."""

    def __init__(self, store: KubeStore, between: Between) -> None:
        self._both = store, between

    def close(self) -> None:
        for each in self._both:
            each.close()


def test_old_kinds_are_read_and_missing_ones_do_no_harm(old: Cluster, tmp_path: Path) -> None:
    """The controller, with the manifest's rights: an address is given as ever."""
    place = Place(old, tmp_path)
    site = place.site
    ancient = {"protocol": "layer2", "addresses": ["10.77.0.0/24"]}
    old.apply([of_site(site, "AddressPool", "ancient", ancient)])
    try:
        place.start()
        place.serve("web", 20.0)
        assert site.addresses("web") == ("10.99.0.0",)
        place.serve("other")
        assert "KindMissing" not in place.said(), "a kind of status is nobody's configuration"
        asked = [path for _, _, path in place.between.asked if "configurationstates" in path]
        assert len(asked) <= 4, asked
    finally:
        place.close()


def test_wrong_types_keep_the_last_good_object_in_force(old: Cluster, tmp_path: Path) -> None:
    place = Place(old, tmp_path)
    site = place.site
    strange = {"addresses": ["10.99.0.0/24"], "future": {"deep": [1, None]}, "autoAssign": True}
    old.apply([of_site(site, "IPAddressPool", "a", strange)])
    try:
        place.start()
        place.serve("before", 20.0)
        old.client.apply([
            of_site(site, "IPAddressPool", "a", strange | {"addresses": 5}),
            of_site(site, "IPAddressPool", "b", "no object"),
            of_site(site, "BGPPeer", "p", {"myASN": "x", "peerASN": 1.5}),
        ])  # fmt: skip
        wait(lambda: "spec.addresses: expected a list" in place.said())
        wait(lambda: f"BGPPeer {site.system}/p" in place.said())
        wait(lambda: f"IPAddressPool {site.system}/b" in place.said())
        place.serve("after")
        assert site.addresses("after")[0].startswith("10.99.0.")
        told = {("IPAddressPool", "a"), ("IPAddressPool", "b"), ("BGPPeer", "p")}
        wait(lambda: told <= subjects_of_events(site))
        old.client.apply([of_site(site, "IPAddressPool", "a", strange)])
        wait(lambda: f'solved what="IPAddressPool {site.system}/a' in place.said())
    finally:
        place.close()


def test_a_store_reads_the_first_version_of_a_peer(old: Cluster) -> None:
    site = Site(old)
    spec = {"myASN": 64500, "peerASN": 64501, "peerAddress": "192.0.2.1", "peerPort": 179,
            "nodeSelectors": [{"matchLabels": {"a": "b"}}], "unknown": {"x": 1}}  # fmt: skip
    old.apply([of_site(site, "BGPPeer", "router", spec)])
    store = KubeStore(load_access(site.kubeconfig), namespace=site.system)
    with closing(store):
        objects = eventually(store, lambda o: o.complete and o.bgp_peers)
        assert the_problems(objects, site) == []
        assert not any(each.reason is Reason.KIND_MISSING for each in objects.problems)


@pytest.mark.root
def test_a_speaker_announces_without_the_kinds_of_status(old: Cluster, tmp_path: Path) -> None:
    with wire(tmp_path) as lan:
        node = Node(old, lan, tmp_path)
        try:
            node.start()
            node.follows(20.0)
            node.follows()
            node.stands()
            asked = [path for _, _, path in node.between.asked if "servicel2statuses" in path]
            assert len(asked) <= 4, asked
        finally:
            node.close()
