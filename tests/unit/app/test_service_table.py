"""`onehop service list`: the columns, character by character."""

from __future__ import annotations

from ipaddress import ip_address

from onehop.adapters.bpf.tables import Row, Statistics
from onehop.app.service_table import document, table
from onehop.model.service import (
    Backend,
    BackendState,
    Frontend,
    FrontendKind,
    Key,
    Protocol,
    TrafficPolicy,
)


def a_row(number: int, address: str, port: int, *backends: str, **more: object) -> Row:
    where = ip_address(address)
    kind = FrontendKind.NODE_PORT if where.is_unspecified else FrontendKind.LOAD_BALANCER
    protocol = more.pop("protocol", Protocol.TCP)
    assert isinstance(protocol, Protocol)
    values: dict[str, object] = {
        "id": number,
        "frontend": Frontend(address=where, port=port, protocol=protocol, kind=kind),
        "service": Key("kafka", "broker-0"),
        "policy": TrafficPolicy.LOCAL,
        "total": 3,
        "backends": tuple(
            Backend(address=ip_address(each), port=9096, local=True) for each in backends
        ),
        "fast": 0,
        "statistics": Statistics(packets=40, bytes=4000, flows=2, drops=1),
        **more,
    }
    return Row(**values)  # type: ignore[arg-type]


def test_one_row_as_the_article_shows_it() -> None:
    text = table([a_row(1, "192.168.200.241", 9096, "10.0.2.233")])
    assert text.splitlines() == [
        "ID   Frontend               Service Type   Backend                         ",
        "1    192.168.200.241:9096   LoadBalancer   1 => 10.0.2.233:9096 (active)   ",
    ]


def test_local_without_a_local_backend_keeps_its_row_and_a_blank_cell() -> None:
    text = table([a_row(1, "192.168.200.241", 9096)])
    assert text.splitlines() == [
        "ID   Frontend               Service Type   Backend   ",
        "1    192.168.200.241:9096   LoadBalancer             ",
    ]


def test_nothing_is_a_header() -> None:
    assert table([]) == "ID   Frontend   Service Type   Backend   "


def test_further_backends_stand_below_the_first() -> None:
    row = a_row(12, "0.0.0.0", 30793, "10.0.1.1", "10.0.1.2")
    dying = Backend(
        address=ip_address("10.0.1.3"), port=1, local=False, state=BackendState.TERMINATING
    )
    more = a_row(13, "::", 30793, backends=(*row.backends[:1], dying))
    assert [line.rstrip() for line in table([row, more]).splitlines()] == [
        "ID   Frontend        Service Type   Backend",
        "12   0.0.0.0:30793   NodePort       1 => 10.0.1.1:9096 (active)",
        "                                    2 => 10.0.1.2:9096 (active)",
        "13   [::]:30793      NodePort       1 => 10.0.1.1:9096 (active)",
        "                                    2 => 10.0.1.3:1 (terminating)",
    ]


def test_a_port_that_is_not_tcp_says_so() -> None:
    row = a_row(1, "2001:db8::10", 53, "fd00::5", protocol=Protocol.UDP)
    assert "[2001:db8::10]:53/UDP" in table([row])
    assert "1 => [fd00::5]:9096/UDP (active)" in table([row])


def test_every_line_is_as_wide_as_the_header() -> None:
    rows = [a_row(1, "192.168.200.241", 9096, "10.0.2.233"), a_row(200000, "10.0.0.1", 1)]
    for wide in (False, True):
        assert len({len(line) for line in table(rows, wide=wide).splitlines()}) == 1


def test_wide_adds_what_the_kernel_knows() -> None:
    row = a_row(1, "192.168.200.241", 9096, "10.0.2.233", fast=1)
    header, line = (text.split() for text in table([row], wide=True).splitlines())
    assert header[:4] == ["ID", "Frontend", "Service", "Type"]
    assert line[3:11] == ["kafka/broker-0", "Local", "fast", "1/3", "40", "4000", "2", "1"]
    assert " ".join(line[11:]) == "1 => 10.0.2.233:9096 (active)"


def test_modes_tell_how_backends_are_reached() -> None:
    local = Backend(address=ip_address("10.0.0.1"), port=1, local=True)
    remote = Backend(address=ip_address("10.0.0.2"), port=1, local=False)
    assert a_row(1, "10.0.0.9", 1).mode == "-"
    assert a_row(1, "10.0.0.9", 1, backends=(local,), fast=1).mode == "fast"
    assert a_row(1, "10.0.0.9", 1, backends=(local,)).mode == "stack"
    assert a_row(1, "10.0.0.9", 1, backends=(local, remote), fast=1).mode == "fast+snat"


def test_the_document_has_every_fact() -> None:
    row = a_row(7, "192.168.200.241", 9096, "10.0.2.233", fast=1)
    assert document([row]) == [
        {
            "id": 7,
            "frontend": {"address": "192.168.200.241", "port": 9096, "protocol": "TCP"},
            "type": "LoadBalancer",
            "service": {"namespace": "kafka", "name": "broker-0"},
            "policy": "Local",
            "mode": "fast",
            "local": 1,
            "total": 3,
            "backends": [
                {"address": "10.0.2.233", "port": 9096, "state": "active", "local": True}
            ],
            "counters": {"packets": 40, "bytes": 4000, "flows": 2, "drops": 1},
        }
    ]
