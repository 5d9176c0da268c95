"""Who wrote a Service's addresses, by what the API server notes of its fields."""

from __future__ import annotations

from collections.abc import Iterator
from ipaddress import ip_address
from typing import Any

import pytest

from onehop.app.written_by import disputed, managers_of, others
from onehop.model.address import parse_range
from onehop.model.config import Pool
from onehop.model.objects import Objects
from onehop.model.service import Key, Service
from tests.unit.app.test_outside import Api

INGRESS = {"f:status": {"f:loadBalancer": {"f:ingress": {}}}}
CONDITIONS = {"f:status": {"f:conditions": {}}}


def a_body(*managers: tuple[str, Any]) -> dict[str, Any]:
    fields = [{"manager": name, "fieldsV1": fields} for name, fields in managers]
    return {"metadata": {"managedFields": fields}}


class Held(Api):
    """Services by name."""

    def __init__(self) -> None:
        super().__init__()
        self.services: dict[str, Any] = {}

    def answer(self, target: str) -> tuple[int, Any]:
        found = self.services.get(target.removeprefix("/api/v1/namespaces/shop/services/"))
        return (200, found) if found else (404, {"kind": "Status", "message": "not found"})


@pytest.fixture
def api() -> Iterator[Held]:
    api = Held()
    yield api
    api.http.shutdown()
    api.http.server_close()


def test_only_those_who_set_the_addresses_are_named() -> None:
    body = a_body(("b", INGRESS), ("kubectl", {"f:spec": {}}), ("a", INGRESS), ("c", CONDITIONS))
    assert managers_of(body) == ("a", "b")
    assert managers_of({"metadata": {}}) == ()


def test_what_onehop_wrote_and_what_is_not_shown_is_left_out(api: Held) -> None:
    api.services = {
        "ours": a_body(("onehop", INGRESS), ("controller", INGRESS)),
        "theirs": a_body(("onehop", CONDITIONS), ("controller", INGRESS)),
        "plain": a_body(),
    }
    keys = [Key("shop", name) for name in ("ours", "theirs", "plain", "gone")]
    assert others(api.access, keys) == {Key("shop", "theirs"): ("controller",)}


def test_a_dispute_is_about_other_addresses_than_are_wanted() -> None:
    def service(name: str, *ingress: str) -> Service:
        return Service(
            key=Key("shop", name), type="LoadBalancer", cluster_ips=(ip_address("10.96.0.1"),),
            ingress=tuple(map(ip_address, ingress)),
        )  # fmt: skip

    pool = Pool(key=Key("s", "a"), ranges=(parse_range("192.0.2.0/29"),))
    held = (service("fine", "192.0.2.1"), service("odd", "203.0.113.9"), service("waits"))
    objects = Objects(complete=True, services={each.key: each for each in held},
                      pools={pool.key: pool})  # fmt: skip
    assert disputed(objects, lb_class=None) == (Key("shop", "odd"),)
