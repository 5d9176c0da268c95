"""What the datapath has counted, read from the kernel when somebody asks."""

from __future__ import annotations

import struct
from pathlib import Path

import pytest

from onehop.adapters.bpf import syscall
from onehop.adapters.bpf.datapath import Datapath
from onehop.adapters.bpf.syscall import Map, possible_cpus
from onehop.adapters.bpf.tables import Statistics
from onehop.model.reason import DATAPATH, Reason
from onehop.model.service import Key
from tests.unit.adapters.bpf.wants import a_backend, a_frontend, by_turns, wanted

pytestmark = pytest.mark.root

WEB, DB = Key("shop", "web"), Key("shop", "db")


def everywhere(value: bytes) -> bytes:
    """The same on every processor."""
    return value * possible_cpus()


def test_refused_packets_are_summed_over_processors(node: None, pins: Path) -> None:
    datapath = Datapath(pins, ring=by_turns, capacity={"flows": 1024})
    assert datapath.refused_packets() == dict.fromkeys(DATAPATH, 0)
    kernel = Map(syscall.pinned(pins / "counters"))
    number = DATAPATH.index(Reason.NO_ROUTE) + 1
    kernel.update(struct.pack("=I", number), everywhere(struct.pack("=Q", 3)))
    found = datapath.refused_packets()
    assert found[Reason.NO_ROUTE] == 3 * possible_cpus()
    assert sum(found.values()) == 3 * possible_cpus()
    datapath.close()


def test_what_a_service_carried_is_summed_over_its_frontends(node: None, pins: Path) -> None:
    datapath = Datapath(pins, ring=by_turns, capacity={"flows": 1024})
    datapath.sync(
        wanted(
            a_frontend("192.0.2.1", a_backend(), port=80, service="shop/web"),
            a_frontend("192.0.2.1", a_backend(), port=443, service="shop/web"),
            a_frontend("192.0.2.2", a_backend(), service="shop/db"),
        )
    )
    kernel = Map(syscall.pinned(pins / "service_stats"))
    numbers = {(r.service, r.frontend.port): r.id for r in datapath.rows()}
    for (service, port), number in numbers.items():
        counted = struct.pack("=QQQQ", port, 10, 2, 1) if service == WEB else bytes(32)
        kernel.update(struct.pack("=I", number), everywhere(counted))
    cpus = possible_cpus()
    assert dict(datapath.statistics()) == {
        WEB: Statistics(packets=523 * cpus, bytes=20 * cpus, flows=4 * cpus, drops=2 * cpus),
        DB: Statistics(),
    }
    datapath.sync(wanted())
    assert list(datapath.statistics()) == []
    datapath.close()
