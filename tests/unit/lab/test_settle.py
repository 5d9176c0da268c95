"""Which addresses a new lab waits for, and for how long it waits."""

from __future__ import annotations

from dataclasses import replace
from ipaddress import ip_address

import pytest

from onehop.lab.plan import topology
from onehop.lab.settle import expected, on_link, wait
from onehop.model.objects import Objects
from onehop.model.service import Key, Service
from tests.builders import a_node, a_pool, a_service, a_slice, an_advertisement, an_endpoint


def cluster(service: Service, *, ready: bool = True, serving: bool = True) -> Objects:
    endpoint = an_endpoint("10.2.0.7", "a", ready=ready, serving=serving)
    advert = an_advertisement()
    piece = a_slice(service.key.name, endpoint)
    pool = a_pool("far", "172.30.0.0/28")
    return Objects(
        complete=True,
        nodes={Key("", "a"): a_node("a", "10.1.0.5")},
        services={service.key: service},
        slices={piece.key: piece},
        pools={pool.key: pool},
        l2_advertisements={advert.key: advert},
    )


def waited_for(objects: Objects) -> list[str]:
    return [str(address) for address in expected(objects, topology(objects))]


def test_addresses_with_an_endpoint_are_waited_for() -> None:
    assert waited_for(cluster(a_service("web", "10.1.0.240"))) == ["10.1.0.240"]


UNEXPECTED = {
    "no address yet": cluster(a_service("web")),
    "another type": cluster(a_service("web", "10.1.0.240", type="ClusterIP")),
    "no endpoint that serves": cluster(a_service("web", "10.1.0.240"), ready=False, serving=False),
    "an address elsewhere": cluster(a_service("web", "192.0.2.1")),
    "nothing advertised": replace(cluster(a_service("web", "10.1.0.240")), l2_advertisements={}),
    "no endpoint": replace(cluster(a_service("web", "10.1.0.240")), slices={}),
}


@pytest.mark.parametrize("case", UNEXPECTED)
def test_what_nobody_will_announce_is_not_waited_for(case: str) -> None:
    assert waited_for(UNEXPECTED[case]) == []


def test_a_layer_2_pool_off_the_lan_is_on_link_too() -> None:
    objects = cluster(a_service("web", "172.30.0.9"))
    assert waited_for(objects) == ["172.30.0.9"]
    assert not on_link(topology(objects), ip_address("172.30.1.9"))


def test_a_wait_ends_when_nothing_is_left_or_the_time_is_over() -> None:
    answers = iter([("a", "b"), ("b",), ()])
    assert wait(10.0, lambda: next(answers)) == ()
    assert wait(0.0, lambda: ("a",)) == ("a",)
