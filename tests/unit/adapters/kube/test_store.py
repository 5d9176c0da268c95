"""The store over a fake API server: what it takes over, and what it makes of every failure."""

from __future__ import annotations

import select
from collections.abc import Callable
from ipaddress import ip_address

import pytest

from onehop.adapters.kube.reader import Recall
from onehop.adapters.kube.store import KubeStore
from onehop.model.address import IPAddress
from onehop.model.desired import ClusterDesired, Report
from onehop.model.service import Key
from tests.fakes.api_server import ApiServer
from tests.unit.adapters.kube.objects import eventually, peer, pool, service, slice_

Open = Callable[..., KubeStore]
WEB = Key("shop", "web")


def is_quiet(store: KubeStore) -> bool:
    return not select.select([store.fileno()], [], [], 0)[0]


def test_the_first_refresh_waits_until_everything_was_listed(api: ApiServer, opened: Open) -> None:
    api.put(service(), slice_("web-x", "10.0.0.1"), pool())
    store = opened()
    assert store.refresh()
    objects = store.objects()
    assert objects.complete
    assert set(objects.services) == {WEB}
    assert objects.slices[Key("shop", "web-x")].endpoints[0].addresses == (ip_address("10.0.0.1"),)
    assert set(objects.pools) == {Key("metallb-system", "pool")}
    assert objects.problems == ()
    assert not store.refresh()
    assert store.objects() is objects


def test_lists_come_in_pages(api: ApiServer, opened: Open) -> None:
    api.put(*(service(f"web-{n}") for n in range(10)))
    store = opened()
    store.refresh()
    assert len(store.objects().services) == 10
    pages = api.requests("services", watch=False)
    assert [call.query["limit"] for call in pages] == ["3"] * 4
    assert ["continue" in call.query for call in pages] == [False, True, True, True]


def test_events_are_taken_over_one_by_one(api: ApiServer, opened: Open) -> None:
    store = opened()
    store.refresh()
    api.put(service())
    before = eventually(store, lambda o: WEB in o.services)
    api.put(service("other"))
    after = eventually(store, lambda o: len(o.services) == 2)
    assert after.services[WEB] is before.services[WEB]
    api.delete("Service", "shop", "web")
    assert set(eventually(store, lambda o: len(o.services) == 1).services) == {
        Key("shop", "other")
    }


def test_kinds_that_only_names_matter_of_are_asked_for_as_metadata(
    api: ApiServer, opened: Open
) -> None:
    store = opened()
    store.refresh()
    eventually(store, lambda _: len(api.requests("namespaces")) == 2)
    listing, watching = api.requests("namespaces")
    wanted = "application/json;as=PartialObjectMetadata{};g=meta.k8s.io;v=v1"
    assert listing.accept == wanted.format("List")
    assert watching.accept == wanted.format("")


def test_secrets_are_read_by_name_and_only_those_that_a_peer_names(
    api: ApiServer, opened: Open
) -> None:
    for name in ("bgp", "other"):
        api.put({
            "apiVersion": "v1", "kind": "Secret", "type": "kubernetes.io/basic-auth",
            "metadata": {"name": name, "namespace": "metallb-system"},
            "data": {"password": "aHVzaA=="},
        })  # fmt: skip
    api.put(peer(passwordSecret={"name": "bgp"}))
    store = opened()
    store.refresh()
    (secret,) = store.objects().secrets.values()
    assert (secret.key.name, secret.password) == ("bgp", "hush")
    assert {c.query["fieldSelector"] for c in api.requests("secrets")} == {"metadata.name=bgp"}
    api.put(peer())
    assert eventually(store, lambda o: not o.secrets).problems == ()


class Noting:
    """A writer that writes nothing, and remembers what it was asked."""

    def __init__(self) -> None:
        self.assumed: dict[Key, tuple[object, ...]] = {}
        self.moved: set[Key] = set()
        self.touched: list[frozenset[Key]] = []
        self.wake: Callable[[], None] = lambda: None

    def start(self, wake: Callable[[], None]) -> None:
        self.wake = wake

    def collect(self) -> set[Key]:
        moved, self.moved = self.moved, set()
        return moved

    def echoed(self, *_: object) -> bool:
        return False

    def sync(self, want: object, have: object, live: object, touched: frozenset[Key]) -> Report:
        del want, have, live
        self.touched.append(touched)
        return Report(changed=len(touched))

    def close(self) -> None:
        pass


def test_a_writer_learns_what_was_touched_and_can_ask_for_a_round(
    api: ApiServer, opened: Open
) -> None:
    api.put(service())
    writer = Noting()
    store = opened(writer=writer)
    store.refresh()
    nothing = ClusterDesired(statuses={})
    assert store.sync(nothing) == Report(changed=1)
    noisy = service()
    noisy["status"]["conditions"] = [{"type": "Seen", "status": "True"}]
    api.put(noisy)
    assert select.select([store.fileno()], [], [], 5)[0], "a status that somebody wrote"
    assert store.refresh()
    store.sync(nothing)
    store.sync(nothing)
    assert writer.touched == [{WEB}, {WEB}, frozenset()]
    assert is_quiet(store)
    writer.wake()
    assert not is_quiet(store)
    assert store.refresh()
    assert not store.refresh()


def test_addresses_on_their_way_are_published_and_their_arrival_is_no_news(
    api: ApiServer, opened: Open
) -> None:
    api.put(service())
    writer = Noting()
    store = opened(writer=writer)
    store.refresh()
    writer.assumed[WEB], writer.moved = (ip_address("192.0.2.1"),), {WEB}
    assert store.refresh()
    shown = store.objects().services[WEB]
    assert shown.ingress == (ip_address("192.0.2.1"),)
    api.put(service("web", "192.0.2.1"))
    eventually(store, lambda _: (live := store.live("Service", WEB)) and live.ingress)
    store.refresh()
    del writer.assumed[WEB]
    writer.moved = {WEB}
    store.refresh()
    assert store.objects().services[WEB] is shown


def test_what_a_deleted_service_held_is_remembered_until_somebody_decides(
    api: ApiServer, opened: Open
) -> None:
    kept = {Key("shop", "old"): (ip_address("192.0.2.9"),)}
    path = "/api/v1/namespaces/onehop-system/configmaps?fieldSelector=metadata.name%3Dkept"
    api.put(service("web", "192.0.2.1"))
    store = opened(writer=Noting(), recall=Recall(path=path, decoded=lambda body: kept))
    store.refresh()
    assert store.objects().complete
    assert store.objects().released == kept
    api.delete("Service", "shop", "web")
    objects = eventually(store, lambda o: not o.services)
    assert objects.released == {**kept, WEB: (ip_address("192.0.2.1"),)}
    store.sync(ClusterDesired(statuses={}, released={WEB: (ip_address("192.0.2.1"),)}))
    assert store.objects().released == {WEB: (ip_address("192.0.2.1"),)}


def test_a_store_that_only_reads_writes_and_remembers_nothing(
    api: ApiServer, opened: Open
) -> None:
    api.put(service("web", "192.0.2.1"))
    store = opened()
    store.refresh()
    api.delete("Service", "shop", "web")
    assert eventually(store, lambda o: not o.services).released == {}
    assert store.sync(ClusterDesired(statuses={})) == Report()


@pytest.mark.filterwarnings("ignore::pytest.PytestUnhandledThreadExceptionWarning")
def test_without_the_thread_that_hears_no_round_goes_on(api: ApiServer, opened: Open) -> None:
    def broken(body: bytes) -> dict[Key, tuple[IPAddress, ...]]:
        raise AssertionError(f"a mistake of ours: {body!r}")

    path = "/api/v1/namespaces/onehop-system/configmaps?limit=1"
    store = opened(writer=Noting(), recall=Recall(path=path, decoded=broken))
    assert store.refresh()
    with pytest.raises(BaseExceptionGroup) as error:
        store.objects()
    assert "a mistake of ours" in str(error.value.exceptions[0])


def test_closing_twice_is_fine(opened: Open) -> None:
    store = opened()
    store.close()
    store.close()
    assert store.fileno() == -1
