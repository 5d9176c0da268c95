"""The controller: who leads writes, who waits reads."""

from __future__ import annotations

import io
import os
from collections.abc import Iterator
from ipaddress import ip_address

import pytest

from onehop.adapters.telemetry import Log
from onehop.app.controller import Controller
from onehop.model.address import Family, parse_range
from onehop.model.config import Pool
from onehop.model.desired import ClusterDesired, Report
from onehop.model.objects import Objects
from onehop.model.service import FamilyPolicy, Key, Service

POOL, WEB = Key("metallb-system", "a"), Key("apps", "web")


class MemoryStore:
    """Objects in memory; what is wanted of it is kept."""

    def __init__(
        self, *, complete: bool = True, ranges: tuple[str, ...] = ("192.0.2.0/28",),
        cluster_ips: tuple[str, ...] = ("10.96.0.1",),
    ) -> None:  # fmt: skip
        service = Service(
            key=WEB, type="LoadBalancer", cluster_ips=tuple(map(ip_address, cluster_ips)),
            ip_families=(Family.IPV4,), family_policy=FamilyPolicy.PREFER_DUAL,
        )  # fmt: skip
        pools = {POOL: Pool(key=POOL, ranges=tuple(map(parse_range, ranges)))}
        self._objects = Objects(complete=complete, services={WEB: service}, pools=pools)
        self.wanted: list[ClusterDesired] = []

    def objects(self) -> Objects:
        return self._objects

    def fileno(self) -> int:
        return -1

    def refresh(self) -> bool:
        return False

    def sync(self, want: ClusterDesired) -> Report:
        self.wanted.append(want)
        return Report(changed=1)


class Leading:
    """A leadership that the test gives and takes."""

    holder, why = "someone", "a reason"

    def __init__(self) -> None:
        self.held = False
        self._descriptor = os.eventfd(0, os.EFD_NONBLOCK)

    def is_held(self) -> bool:
        return self.held

    def fileno(self) -> int:
        return self._descriptor

    def refresh(self) -> bool:
        return True

    def close(self) -> None:
        os.close(self._descriptor)


@pytest.fixture
def leading() -> Iterator[Leading]:
    made = Leading()
    yield made
    made.close()


def test_without_an_election_it_writes() -> None:
    store = MemoryStore()
    assert Controller(store, Log(stream=io.StringIO())).round().changed == 1
    assert store.wanted[0].statuses[WEB].addresses == (ip_address("192.0.2.0"),)


def test_an_incomplete_store_is_only_read() -> None:
    store = MemoryStore(complete=False)
    Controller(store, Log(stream=io.StringIO())).round()
    assert store.wanted == []


def test_who_does_not_lead_writes_nothing_and_says_so_when_it_changes(leading: Leading) -> None:
    store, said = MemoryStore(), io.StringIO()
    controller = Controller(store, Log(stream=said, quiet=0.0), leadership=leading)
    controller.round()
    assert store.wanted == []
    assert "standing-by holder=someone why=" in said.getvalue()
    controller.round()
    leading.why = "another"
    controller.round()
    leading.holder = leading.why = ""
    controller.round()
    leading.held = True
    controller.round()
    controller.round()
    assert len(store.wanted) == 2
    leading.held = False
    controller.round()
    assert len(store.wanted) == 2
    events = [line.split()[1] for line in said.getvalue().splitlines()]
    assert events == ["standing-by", "standing-by", "leading", "allocated"]


def test_what_is_wrong_with_the_objects_goes_to_the_store() -> None:
    store = MemoryStore(ranges=("192.0.2.0/28", "192.0.2.0/28"))
    said = io.StringIO()
    Controller(store, Log(stream=said)).round()
    [problem] = store.wanted[0].problems
    assert problem.object == "IPAddressPool metallb-system/a"
    assert "problem" in said.getvalue()


def test_who_gets_an_address_and_not_all_that_it_asks_for_is_logged_with_both() -> None:
    store, said = MemoryStore(cluster_ips=("10.96.0.1", "fd96::1")), io.StringIO()
    Controller(store, Log(stream=said, quiet=0.0)).round()
    refused, allocated = said.getvalue().splitlines()
    assert "refused service=apps/web reason=" in refused
    assert "OneFamily" in refused
    assert "allocated service=apps/web addresses=192.0.2.0 pool=a" in allocated
