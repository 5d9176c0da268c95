"""The store over a fake API server: what it takes over, and what it makes of every failure."""

from __future__ import annotations

import select
import time
from collections.abc import Callable
from dataclasses import replace
from ipaddress import ip_address
from pathlib import Path

import pytest

from onehop.adapters.kube.credentials import TokenFile
from onehop.adapters.kube.reader import Recall
from onehop.adapters.kube.store import KubeStore
from onehop.model.desired import ClusterDesired, Report
from onehop.model.reason import Reason
from onehop.model.service import Key
from tests.fakes.api_server import ApiServer, status
from tests.unit.adapters.kube.conftest import QUICK, access
from tests.unit.adapters.kube.objects import eventually, metallb, pool, service, slice_

Open = Callable[..., KubeStore]
WEB = Key("shop", "web")


def is_quiet(store: KubeStore) -> bool:
    return not select.select([store.fileno()], [], [], 0)[0]


def reasons(store: KubeStore) -> list[Reason]:
    return [problem.reason for problem in store.objects().problems]


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


def test_what_changes_no_value_is_no_news(api: ApiServer, opened: Open) -> None:
    api.put(service(), pool())
    store = opened()
    store.refresh()
    objects = store.objects()
    noisy = service()
    noisy["metadata"]["managedFields"] = [{"manager": "somebody"}]
    noisy["status"]["conditions"] = [{"type": "Seen", "status": "True"}]
    api.put(noisy)
    api.put(service("mark"))
    eventually(store, lambda o: Key("shop", "mark") in o.services)
    assert store.objects().services[WEB] is objects.services[WEB]
    live = store.live("Service", WEB)
    assert live is not None
    assert (live.resource_version, live.conditions[0].type) == ("103", "Seen")


def test_kinds_that_only_names_matter_of_are_asked_for_as_metadata(
    api: ApiServer, opened: Open
) -> None:
    opened().refresh()
    listing, watching = api.requests("namespaces")
    wanted = "application/json;as=PartialObjectMetadata{};g=meta.k8s.io;v=v1"
    assert listing.accept == wanted.format("List")
    assert watching.accept == wanted.format("")


def test_a_watch_goes_on_where_the_last_one_ended(api: ApiServer, opened: Open) -> None:
    store = opened()
    store.refresh()
    api.put(service())
    eventually(store, lambda o: WEB in o.services)
    api.end_watches()
    api.put(service("other"))
    eventually(store, lambda o: len(o.services) == 2)
    assert len(api.requests("services", watch=False)) == 1
    assert [c.query["resourceVersion"] for c in api.requests("services", watch=True)] == [
        "100",
        "101",
    ]


def test_bookmarks_move_the_version_on(api: ApiServer, opened: Open) -> None:
    api.bookmark_seconds = 0.01
    store = opened()
    store.refresh()
    api.put(pool())
    eventually(store, lambda o: o.pools)
    # The bookmark comes only now; the version of Services is that of the pool from then on.
    until = time.monotonic() + 5
    while time.monotonic() < until:
        api.end_watches()
        if api.requests("services", watch=True)[-1].query["resourceVersion"] == "101":
            return
        time.sleep(0.02)
    pytest.fail("no watch began at the bookmark")


def test_a_version_that_is_gone_makes_a_new_list_and_a_comparison(
    api: ApiServer, opened: Open
) -> None:
    api.put(service(), service("gone"), service("changed"))
    store = opened()
    store.refresh()
    before = store.objects().services
    with api.changed:
        api.epoch += 1
        api.put(service("changed", type="ClusterIP"), service("new"))
        api.delete("Service", "shop", "gone")
        api.compact()
    after = eventually(store, lambda o: Key("shop", "new") in o.services).services
    assert after[WEB] is before[WEB]
    assert after[Key("shop", "changed")].type == "ClusterIP"
    eventually(store, lambda o: Key("shop", "gone") not in o.services)
    assert store.objects().problems == ()


def test_a_list_whose_pages_are_gone_is_read_in_one(api: ApiServer, opened: Open) -> None:
    api.put(*(service(f"web-{n}") for n in range(5)))
    first = api.listed

    def listed(call: object) -> list[dict[str, object]]:
        found = first(call)  # type: ignore[arg-type]
        if getattr(call, "plural", "") == "services":
            api.compact()
        return found

    api.listed = listed  # type: ignore[method-assign, assignment]
    store = opened()
    store.refresh()
    assert len(store.objects().services) == 5
    assert "limit" not in api.requests("services", watch=False)[-1].query


def test_a_watch_that_ends_inside_an_object_goes_on_before_it(
    api: ApiServer, opened: Open
) -> None:
    api.put(service())
    store = opened()
    store.refresh()
    api.cut()
    api.put(service("other"))
    eventually(store, lambda o: len(o.services) == 2)
    assert store.objects().problems == ()


def test_a_connection_that_is_silent_is_given_up(api: ApiServer, opened: Open) -> None:
    store = opened(timing=replace(QUICK, inactivity=0.2))
    store.refresh()
    api.silence()
    api.put(service())
    eventually(store, lambda o: o.services)


def test_a_server_that_went_back_in_time_is_believed(api: ApiServer, opened: Open) -> None:
    api.put(service(), service("kept"))
    backup = dict(api.objects)
    store = opened()
    store.refresh()
    api.put(service("later"), service("web", type="ClusterIP"))
    eventually(store, lambda o: len(o.services) == 3)
    api.stop()
    api.go_back(backup, 102)
    api.start()
    objects = eventually(store, lambda o: len(o.services) == 2)
    assert objects.services[WEB].type == "LoadBalancer"
    api.put(service("after"))
    eventually(store, lambda o: Key("shop", "after") in o.services)


def test_while_the_server_is_away_everything_stays_and_one_problem_says_since_when(
    api: ApiServer, opened: Open
) -> None:
    api.put(service(), pool())
    store = opened()
    store.refresh()
    before = store.objects()
    api.stop()
    objects = eventually(store, lambda o: o.problems)
    assert objects.services is before.services
    assert objects.pools is before.pools
    assert objects.complete
    assert [problem.reason for problem in objects.problems] == [Reason.API_UNREACHABLE]
    assert f"{api.url} has not answered since 20" in objects.problems[0].detail
    api.put(service("meanwhile"))
    api.start()
    objects = eventually(store, lambda o: len(o.services) == 2 and not o.problems)
    assert objects.services[WEB] is before.services[WEB]


def test_a_server_that_is_away_is_tried_seldom(api: ApiServer, opened: Open) -> None:
    store = opened(timing=replace(QUICK, spacing=0.1, first_pause=0.01, last_pause=0.05))
    store.refresh()
    for plural in ("services", "endpointslices", "nodes", "namespaces", "ipaddresspools",
                   "l2advertisements", "bgppeers", "bgpadvertisements", "bfdprofiles",
                   "communities"):  # fmt: skip
        api.answer(plural, 503)
    api.end_watches()
    eventually(store, lambda o: o.problems)
    start, began = len(api.calls), time.monotonic()
    eventually(store, lambda _: len(api.calls) >= start + 5)
    assert time.monotonic() - began >= 0.35


def test_a_kind_that_is_forbidden_hides_no_other(api: ApiServer, opened: Open) -> None:
    api.put(service(), pool())
    api.answer("ipaddresspools", 403)
    store = opened()
    store.refresh()
    objects = store.objects()
    assert objects.complete
    assert set(objects.services) == {WEB}
    assert [str(each) for each in objects.problems] == [
        "IPAddressPool in metallb-system: ordered 403 (HTTP 403) [KindRefused]"
    ]
    api.ordered.clear()
    eventually(store, lambda o: o.pools and not o.problems)


def test_without_an_essential_kind_nothing_is_complete(api: ApiServer, opened: Open) -> None:
    api.put(service())
    api.answer("endpointslices", 403)
    store = opened(patience=0.3)
    store.refresh()
    assert not store.objects().complete
    assert reasons(store) == [Reason.KIND_REFUSED]
    api.ordered.clear()
    eventually(store, lambda o: o.complete and not o.problems)


def test_rights_that_are_taken_away_take_no_object_away(api: ApiServer, opened: Open) -> None:
    api.put(pool())
    store = opened()
    store.refresh()
    before = store.objects().pools
    api.answer("ipaddresspools", 403)
    api.end_watches()
    assert eventually(store, lambda o: o.problems).pools is before


def test_a_kind_without_its_crd_is_empty_and_looked_for_again(
    api: ApiServer, opened: Open
) -> None:
    api.missing.add("bgppeers")
    store = opened()
    store.refresh()
    assert store.objects().complete
    assert [str(each) for each in store.objects().problems] == [
        "BGPPeer in metallb-system: the server could not find the requested resource (HTTP 404) "
        "[KindMissing]"
    ]
    api.put(peer())
    api.missing.clear()
    eventually(store, lambda o: o.bgp_peers and not o.problems)


def peer(**spec: object) -> dict[str, object]:
    return metallb(
        "BGPPeer", "router", myASN=64500, peerASN=64501, peerAddress="192.0.2.1", **spec
    )


def test_an_older_crd_is_read_in_its_older_version(api: ApiServer, opened: Open) -> None:
    api.versions["bgppeers"] = "metallb.io/v1beta1"
    api.put(peer(holdTime="0s"))
    store = opened()
    store.refresh()
    (found,) = store.objects().bgp_peers.values()
    assert found.hold_time is None
    assert store.objects().problems == ()


def test_throttling_is_waited_for_as_long_as_the_server_asks(api: ApiServer, opened: Open) -> None:
    api.put(service())
    api.answer("services", 429, times=1, retry_after=1)
    store = opened()
    store.refresh()
    first, second = api.requests("services", watch=False)
    assert second.at - first.at >= 1.0
    assert WEB in store.objects().services


@pytest.mark.parametrize("code", [500, 503, 504])
def test_errors_of_the_server_pass(api: ApiServer, opened: Open, code: int) -> None:
    api.put(service())
    api.answer("services", code, times=3)
    store = opened()
    store.refresh()
    assert WEB in store.objects().services
    assert store.objects().problems == ()


def test_an_error_inside_a_watch_is_tried_again(api: ApiServer, opened: Open) -> None:
    store = opened()
    store.refresh()
    with api.changed:
        api.version += 1
        api.history.append((api.version, "ERROR", {**status(500, "etcd is slow"),
                            "kind": "Service", "metadata": {}}))  # fmt: skip
        api.changed.notify_all()
    api.put(service())
    api.history = [each for each in api.history if each[1] != "ERROR"]
    eventually(store, lambda o: o.services)


def test_one_bad_object_spoils_no_other_and_keeps_its_last_good_value(
    api: ApiServer, opened: Open
) -> None:
    api.put(pool("a"), pool("b", "192.0.2.0/33"), pool("c"))
    store = opened()
    store.refresh()
    assert {key.name for key in store.objects().pools} == {"a", "c"}
    assert [str(each) for each in store.objects().problems] == [
        "IPAddressPool metallb-system/b spec.addresses[0]: invalid CIDR or range "
        "'192.0.2.0/33' [FieldInvalid]"
    ]
    before = store.objects().pools[Key("metallb-system", "a")]
    api.put(metallb("IPAddressPool", "a", addresses="192.0.2.0/24"))
    objects = eventually(store, lambda o: len(o.problems) == 2)
    assert objects.pools[Key("metallb-system", "a")] is before
    assert "spec.addresses: expected a list, got a string" in str(objects.problems[0])
    api.put(pool("a"), pool("b"))
    assert eventually(store, lambda o: len(o.pools) == 3).problems == ()


def test_an_object_without_a_name_is_named_as_far_as_it_can_be(
    api: ApiServer, opened: Open
) -> None:
    bad = service("bad")
    api.put(bad, service())
    api.objects["Service", "shop", "bad"]["metadata"]["name"] = 7
    store = opened()
    store.refresh()
    assert set(store.objects().services) == {WEB}
    (problem,) = store.objects().problems
    assert (problem.object, problem.field) == ("Service shop/7", "metadata.name")


def test_fields_that_are_null_or_unknown_are_let_through(api: ApiServer, opened: Open) -> None:
    empty = slice_("empty")
    empty["endpoints"] = empty["ports"] = None
    odd = service(futureField={"a": [1, None]}, loadBalancerSourceRanges=None)
    odd["status"] = {"loadBalancer": {"ingress": None}, "conditions": None}
    odd["metadata"]["labels"] = None
    api.put(empty, odd)
    store = opened()
    store.refresh()
    assert store.objects().slices[Key("shop", "empty")].endpoints == ()
    assert store.objects().services[WEB].ingress == ()
    assert store.objects().problems == ()


def test_a_token_that_is_refused_is_read_again(api: ApiServer, tmp_path: Path) -> None:
    file = tmp_path / "token"
    file.write_text("first\n")
    api.token = "first"
    store = KubeStore(
        access(api, credentials=TokenFile(file)), namespace="metallb-system", timing=QUICK
    )
    try:
        store.refresh()
        assert store.objects().complete
        file.write_text("second\n")
        api.token = "second"
        api.end_watches()
        api.put(service())
        eventually(store, lambda o: o.services)
        assert api.calls[-1].authorization == "Bearer second"
    finally:
        store.close()


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


def test_closing_twice_is_fine(opened: Open) -> None:
    store = opened()
    store.close()
    store.close()
    assert store.fileno() == -1
