"""Lists and watches of a fake API server, and every way in which they fail."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from onehop.adapters.kube.credentials import TokenFile
from onehop.adapters.kube.store import KubeStore
from onehop.model.reason import Reason
from onehop.model.service import Key
from tests.fakes.api_server import ApiServer, Id, Plain, status
from tests.unit.adapters.kube.conftest import QUICK, access
from tests.unit.adapters.kube.objects import eventually, peer, pool, service

Open = Callable[..., KubeStore]
WEB = Key("shop", "web")


def reasons(store: KubeStore) -> list[Reason]:
    return [problem.reason for problem in store.objects().problems]


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


NEVER_SILENT = replace(QUICK, inactivity=60.0)  # silence is answered by a list, some time


def restored(api: ApiServer, backup: dict[Id, Plain], version: int, *then: Plain) -> None:
    """Be as a backup says, and have come on from there when the server is back."""
    api.stop()
    api.go_back(backup, version)
    api.oldest = 0
    api.put(*then)
    api.start()


def test_a_version_that_comes_a_second_time_is_another_one(api: ApiServer, opened: Open) -> None:
    api.put(service())
    backup, version = dict(api.objects), api.version
    store = opened(timing=NEVER_SILENT)
    store.refresh()
    api.put(service("web", "192.0.2.1"))
    eventually(store, lambda o: o.services[WEB].ingress)
    restored(api, backup, version, service("web", "192.0.2.2"))
    eventually(store, lambda o: str(o.services[WEB].ingress[0]) == "192.0.2.2")


def test_a_server_that_went_back_and_came_further_since_is_believed(
    api: ApiServer, opened: Open
) -> None:
    api.put(service())
    backup, version = dict(api.objects), api.version
    store = opened(timing=NEVER_SILENT)
    store.refresh()
    api.put(service("undone"))
    eventually(store, lambda o: len(o.services) == 2)
    restored(api, backup, version, service("a"), service("b"))
    eventually(store, lambda o: {key.name for key in o.services} == {"web", "a", "b"})


def test_what_was_deleted_is_back_with_a_backup(api: ApiServer, opened: Open) -> None:
    api.put(service(), service("lost"))
    backup, version = dict(api.objects), api.version
    store = opened(timing=NEVER_SILENT)
    store.refresh()
    api.delete("Service", "shop", "lost")
    eventually(store, lambda o: len(o.services) == 1)
    restored(api, backup, version, pool(), pool("more"))
    eventually(store, lambda o: len(o.services) == 2)


def test_a_server_that_was_away_and_holds_what_it_held_is_not_listed_anew(
    api: ApiServer, opened: Open
) -> None:
    api.put(service(), service("newest"), pool())
    store = opened()
    store.refresh()
    lists = len(api.requests("services", watch=False))
    watches = len(api.requests("services", watch=True))
    api.stop()
    api.start()
    eventually(store, lambda _: len(api.requests("services", watch=True)) > watches)
    looks = api.requests("services", watch=False)[lists:]
    assert [call.query["fieldSelector"] for call in looks] == ["metadata.name=newest"]


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


def test_a_kind_that_the_server_cannot_give_holds_up_no_other(
    api: ApiServer, opened: Open
) -> None:
    api.put(service())
    api.answer("communities", 500)
    store = opened()
    store.refresh()
    assert store.objects().complete
    assert [str(each) for each in eventually(store, lambda o: o.problems).problems] == [
        "Community in metallb-system: ordered 500 (HTTP 500) [KindRefused]"
    ]


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


def test_a_token_that_is_refused_is_read_again(api: ApiServer, tmp_path: Path) -> None:
    file = tmp_path / "token"
    file.write_text("first\n")
    api.token = "first"
    store = KubeStore(
        access(api, credentials=TokenFile(file)),
        namespace="metallb-system",
        timing=QUICK,
        patience=15.0,
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
