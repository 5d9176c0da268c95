"""How often a server is asked again, and when that is forgotten."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import replace
from itertools import pairwise
from pathlib import Path

from onehop.adapters.kube.credentials import TokenFile
from onehop.adapters.kube.reflector import Timing
from onehop.adapters.kube.store import KubeStore
from onehop.model.reason import Reason
from onehop.model.service import Key
from tests.fakes.api_server import ApiServer, Call
from tests.unit.adapters.kube.conftest import QUICK, access
from tests.unit.adapters.kube.objects import eventually, peer, service

Open = Callable[..., KubeStore]
WEB = Key("shop", "web")
# Pauses that can be told apart: 0.025 to 0.05 s, then twice as long each time, 2 s at most.
TOLD: Timing = replace(QUICK, first_pause=0.05, last_pause=2.0, spacing=0.0, brief=5.0)


def spans(calls: list[Call]) -> list[float]:
    return [after.at - before.at for before, after in pairwise(calls)]


def settle(store: KubeStore, holds: Callable[[], object]) -> None:
    eventually(store, lambda _: holds())


def test_each_refusal_doubles_the_pause(api: ApiServer, opened: Open) -> None:
    store = opened(timing=TOLD)
    store.refresh()
    api.answer("services", 504, times=5)
    api.end_watches()
    start = len(api.requests("services"))
    settle(store, lambda: len(api.requests("services")) >= start + 6)
    found = spans(api.requests("services")[start:])
    # What other kinds are answered ends the first pause; the watch that ended may count as one.
    for number, span in enumerate(found[1:5], start=1):
        least = 0.05 * 2**number / 2
        assert least <= span < 4 * least + 0.3, found


def test_what_is_heard_makes_the_next_pause_short_again(api: ApiServer, opened: Open) -> None:
    store = opened(timing=TOLD)
    store.refresh()
    api.answer("services", 504, times=4)
    api.end_watches()
    settle(store, lambda: api.ordered["services"].left == 0)
    settle(store, lambda: api.requests("services")[-1].is_watch)
    api.put(service())
    eventually(store, lambda o: WEB in o.services)
    start = len(api.requests("services"))
    api.answer("services", 504, times=1)
    api.end_watches()
    settle(store, lambda: len(api.requests("services")) >= start + 2)
    assert spans(api.requests("services")[start:])[0] < 0.3


def test_a_watch_that_stands_makes_the_next_pause_short_again(
    api: ApiServer, opened: Open
) -> None:
    """A kind of which nothing changes is no less well than others."""
    store = opened(timing=replace(TOLD, brief=0.1))
    store.refresh()
    api.answer("communities", 504, times=4)
    api.end_watches()
    settle(store, lambda: api.ordered["communities"].left == 0)
    settle(store, lambda: api.requests("communities")[-1].is_watch)
    stood = api.requests("communities")[-1].at
    settle(store, lambda: time.monotonic() - stood > 0.2)
    start = len(api.requests("communities"))
    api.answer("communities", 504, times=1)
    api.end_watches()
    settle(store, lambda: len(api.requests("communities")) >= start + 2)
    assert spans(api.requests("communities")[start:])[0] < 0.3


def test_a_version_that_is_always_gone_makes_no_storm_of_lists(
    api: ApiServer, opened: Open
) -> None:
    store = opened(timing=TOLD)
    store.refresh()
    api.answer("services", 410, watch=True)
    start = len(api.requests("services", watch=False))
    began = time.monotonic()
    api.end_watches()
    settle(store, lambda: time.monotonic() - began > 1.0)
    assert 3 <= len(api.requests("services", watch=False)) - start <= 8
    api.ordered.clear()
    api.put(service())
    eventually(store, lambda o: WEB in o.services)


def test_a_version_that_is_gone_within_each_watch_makes_no_storm(
    api: ApiServer, opened: Open
) -> None:
    """It is said inside an answer that began well (HTTP 200)."""
    store = opened(timing=TOLD)
    store.refresh()
    api.oldest = 10**9
    start = len(api.requests("services", watch=False))
    began = time.monotonic()
    api.end_watches()
    settle(store, lambda: time.monotonic() - began > 1.0)
    assert 3 <= len(api.requests("services", watch=False)) - start <= 8
    api.oldest = 0
    api.put(service())
    eventually(store, lambda o: WEB in o.services)


def test_a_retry_after_beyond_reason_is_not_obeyed(api: ApiServer, opened: Open) -> None:
    store = opened(timing=replace(TOLD, obeyed=0.2))
    store.refresh()
    api.answer("services", 429, times=1, retry_after=86_400)
    api.end_watches()
    api.put(service())
    eventually(store, lambda o: WEB in o.services)


def test_a_server_that_refuses_answers_all_the_same(api: ApiServer, opened: Open) -> None:
    """First it is away, then it says that it cannot: two problems that are never both there."""
    api.put(service())
    store = opened()
    store.refresh()
    api.stop()
    eventually(store, lambda o: o.problems)
    assert store.staleness() > 0
    for plural in api.versions:
        api.answer(plural, 503)
    api.start()
    objects = eventually(
        store, lambda o: {each.reason for each in o.problems} == {Reason.KIND_REFUSED}
    )
    assert WEB in objects.services
    eventually(store, lambda o: len(o.problems) == 10)
    assert store.staleness() > 0, "nothing is heard of any kind"
    del api.ordered["services"]
    eventually(store, lambda o: len(o.problems) == 9)
    assert store.staleness() == 0
    api.ordered.clear()
    eventually(store, lambda o: not o.problems)


def test_a_token_that_is_exchanged_is_taken_at_the_next_try(
    api: ApiServer, tmp_path: Path
) -> None:
    file = tmp_path / "token"
    file.write_text("old\n")
    api.token = "old"
    store = KubeStore(
        access(api, credentials=TokenFile(file)), namespace="metallb-system", timing=TOLD,
        patience=15.0,
    )  # fmt: skip
    try:
        store.refresh()
        api.token = "new"
        start = len(api.requests("services"))
        api.end_watches()
        settle(store, lambda: len(api.requests("services")) >= start + 4)
        refused = api.requests("services")[start : start + 4]
        assert all(span >= 0.02 for span in spans(refused)), "the same token is not shown twice"
        file.write_text("new\n")
        api.put(service())
        exchanged = time.monotonic()
        eventually(store, lambda o: WEB in o.services)
        assert time.monotonic() - exchanged < 1.5
        old, new = api.requests("services")[-2:]
        assert new.at - old.at < 0.1 or old.authorization == "Bearer new"
    finally:
        store.close()


def test_a_version_that_the_server_has_not_reached_is_asked_for_once(
    api: ApiServer, opened: Open
) -> None:
    """Restored from a backup behind a proxy that kept our connection: only the 504 tells."""
    api.put(service(), service("kept"))
    backup = dict(api.objects)
    store = opened()
    store.refresh()
    api.put(service("later"))
    eventually(store, lambda o: len(o.services) == 3)
    api.knows_its_past = True
    api.go_back(backup, 102)
    eventually(store, lambda o: len(o.services) == 2)
    api.put(service("after"))
    eventually(store, lambda o: Key("shop", "after") in o.services)


def test_a_newer_version_of_a_kind_is_read_once_it_is_there(api: ApiServer, opened: Open) -> None:
    """The objects' own versions stay: what they say may have changed all the same."""
    api.versions["bgppeers"] = "metallb.io/v1beta1"
    api.put(peer(holdTime="0s"))
    store = opened()
    store.refresh()
    assert store.objects().bgp_peers
    before = next(iter(store.objects().bgp_peers.values()))
    api.versions["bgppeers"] = "metallb.io/v1beta2"
    api.end_watches()
    eventually(store, lambda o: next(iter(o.bgp_peers.values())) is not before)


def test_a_version_that_cannot_be_converted_is_left_for_the_first(
    api: ApiServer, opened: Open
) -> None:
    """After a start the newest one may be missing for a moment, and the older needs a webhook."""
    store = opened()
    store.refresh()
    api.missing.add("bgppeers")
    api.end_watches()
    settle(store, lambda: any("v1beta1" in c.path for c in api.requests("bgppeers")))
    api.answer("bgppeers", 500, times=2)
    api.missing.clear()
    api.put(peer())
    eventually(store, lambda o: o.bgp_peers and not o.problems)
    assert "v1beta2" in api.requests("bgppeers")[-1].path


def test_a_silence_that_hid_nothing_is_borne_longer_the_next_time(
    api: ApiServer, opened: Open
) -> None:
    store = opened(timing=replace(QUICK, inactivity=0.2))
    store.refresh()

    def lists() -> list[Call]:
        return api.requests("services", watch=False)

    settle(store, lambda: len(lists()) >= 3)
    first, second = spans(lists())[:2]
    assert first >= 0.2
    assert second >= 0.4
    api.silence()
    api.put(service())
    eventually(store, lambda o: WEB in o.services)
    settle(store, lambda: len(lists()) >= 5)
    hidden, after = spans(lists())[2:4]
    assert hidden >= 0.8
    assert after < hidden
