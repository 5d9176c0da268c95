"""What becomes of single objects: values, problems, and no news."""

from __future__ import annotations

import time
from collections.abc import Callable
from ipaddress import ip_address
from typing import ClassVar

from onehop.adapters.kube.cache import Cache
from onehop.adapters.kube.decode import problem
from onehop.adapters.kube.store import KubeStore
from onehop.model.address import IPAddress
from onehop.model.desired import Report
from onehop.model.reason import Reason
from onehop.model.service import Key
from tests.fakes.api_server import ApiServer
from tests.unit.adapters.kube.objects import eventually, metallb, pool, service, slice_

Open = Callable[..., KubeStore]
WEB = Key("shop", "web")


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


def test_a_status_that_cannot_be_read_takes_no_service_away(api: ApiServer, opened: Open) -> None:
    api.put(service("web", "192.0.2.1"))
    store = opened()
    store.refresh()
    before = store.objects().services[WEB]
    odd = service()
    odd["status"]["conditions"] = "fine"
    api.put(odd)
    objects = eventually(store, lambda o: o.problems)
    assert objects.services[WEB] is before
    assert "Service shop/web status.conditions" in str(objects.problems[0])
    api.compact()
    api.end_watches()
    eventually(store, lambda _: len(api.requests("services", watch=False)) == 2)
    eventually(store, lambda _: len(api.requests("services", watch=True)) >= 3)
    store.refresh()
    assert store.objects().services[WEB] is before, "listed, and still not readable"
    api.delete("Service", "shop", "web")
    assert eventually(store, lambda o: not o.services).problems == ()


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


class Silent:
    """A writer that writes nothing: with one, a store remembers what was released."""

    assumed: ClassVar[dict[Key, tuple[IPAddress, ...]]] = {}

    def start(self, wake: Callable[[], None]) -> None:
        pass

    def collect(self) -> set[Key]:
        return set()

    def echoed(self, *_: object) -> bool:
        return False

    def sync(self, *_: object) -> Report:
        return Report()

    def close(self) -> None:
        pass


def test_a_service_made_again_while_nobody_listened_is_another_one(
    api: ApiServer, opened: Open
) -> None:
    api.put(service("web", "192.0.2.1"))
    store = opened(writer=Silent())
    store.refresh()
    api.stop()
    api.delete("Service", "shop", "web")
    api.put(service())
    api.compact()
    api.start()
    objects = eventually(store, lambda o: not o.services[WEB].ingress)
    assert objects.released == {WEB: (ip_address("192.0.2.1"),)}
    live = store.live("Service", WEB)
    assert live is not None
    assert live.uid == api.objects["Service", "shop", "web"]["metadata"]["uid"]


def test_a_version_alone_is_no_reason_for_a_round(api: ApiServer, opened: Open) -> None:
    api.put(service())
    store = opened(writer=Silent())
    store.refresh()
    noisy = service()
    noisy["metadata"]["managedFields"] = [{"manager": "somebody"}]
    api.put(noisy)
    eventually(store, lambda _: store.live("Service", WEB).resource_version == "102")
    assert not store.refresh()


def test_ten_thousand_problems_cost_what_one_does_each() -> None:
    woken: list[int] = []
    cache = Cache(lambda: woken.append(1))
    began = time.process_time()
    for number in range(10_000):
        cache.complain(number, (problem(f"Service x/{number}", Reason.FIELD_INVALID, "bad"),))
        cache.flush()
    assert len(cache.take().problems or ()) == 10_000
    assert woken == [1]
    assert time.process_time() - began < 2.0
