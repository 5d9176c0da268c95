"""Devices come and go under the datapath: programs and backends' records follow."""

from __future__ import annotations

import select
import subprocess
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from onehop.adapters.bpf.datapath import Datapath
from onehop.adapters.bpf.delivery import LINGER
from onehop.adapters.bpf.netlink import device_index
from onehop.model.reason import Reason
from tests.unit.adapters.bpf.clock import Clock
from tests.unit.adapters.bpf.node import POD, POD_ADDRESS, UPLINK, ip
from tests.unit.adapters.bpf.wants import LOCAL, a_backend, a_frontend, by_turns, wanted

pytestmark = [pytest.mark.root, pytest.mark.usefixtures("node")]

SMALL = {"flows": 1024, "services": 64, "service_stats": 64, "backends": 64}
WANT = wanted(a_frontend("192.168.200.241", a_backend(POD_ADDRESS, local=True), policy=LOCAL))
NEW_POD = (
    f"link add {POD} type veth peer name eth1",
    f"link set {POD} up",
    "link set eth1 up",
    f"route add {POD_ADDRESS}/32 dev {POD}",
)

Factory = Callable[..., Datapath]


@pytest.fixture
def kernel(pins: Path) -> Iterator[Factory]:
    with ExitStack() as stack:

        def make(**more: object) -> Datapath:
            values: dict[str, object] = {"ring": by_turns, "uplinks": (UPLINK,), **more}
            made = Datapath(pins, capacity=SMALL, **values)  # type: ignore[arg-type]
            stack.callback(made.close)
            return made

        yield make


def modes(datapath: Datapath) -> list[str]:
    return [row.mode for row in datapath.rows()]


def pinned(pins: Path) -> set[str]:
    return {path.name for path in (pins / "links").iterdir()}


def on(program: str, name: str) -> str:
    return f"{program}_{device_index(name)}"


def test_programs_sit_on_uplink_and_pod(kernel: Factory, pins: Path) -> None:
    kernel().sync(WANT)
    assert pinned(pins) == {
        on("lb_uplink_ingress", UPLINK),
        on("lb_uplink_egress", UPLINK),
        on("lb_pod_ingress", POD),
    }


def test_a_pod_that_comes_back_on_a_new_device_is_fast_again(kernel: Factory, pins: Path) -> None:
    datapath = kernel()
    datapath.sync(WANT)
    ip(f"link del {POD}")
    report = datapath.sync(WANT)
    assert [each.refusal.reason for each in report.failures] == [Reason.BACKEND_UNROUTED]
    assert modes(datapath) == ["stack"]
    ip(*NEW_POD)
    assert not datapath.sync(WANT).failures
    assert modes(datapath) == ["fast"]
    assert on("lb_pod_ingress", POD) in pinned(pins)
    assert len(pinned(pins)) == 3


def test_an_uplink_that_comes_back_gets_its_programs(kernel: Factory, pins: Path) -> None:
    datapath = kernel()
    datapath.sync(WANT)
    ip(f"link del {UPLINK}")
    report = datapath.sync(WANT)
    assert [each.refusal.reason for each in report.failures] == [Reason.LINK_FAILED]
    ip(f"link add {UPLINK} type veth peer name wire2", f"link set {UPLINK} up")
    assert not datapath.sync(WANT).failures
    assert {on("lb_uplink_ingress", UPLINK), on("lb_uplink_egress", UPLINK)} < pinned(pins)
    assert len(pinned(pins)) == 3


def test_a_change_of_routes_wakes_whoever_waits(kernel: Factory) -> None:
    datapath = kernel()
    datapath.sync(WANT)
    assert not select.select([datapath.fileno()], [], [], 0)[0]
    ip(f"link del {POD}")
    assert select.select([datapath.fileno()], [], [], 5)[0]
    datapath.sync(WANT)
    assert not select.select([datapath.fileno()], [], [], 0)[0]


def test_a_pod_behind_a_bridge_is_fast_once_the_bridge_knows_it(
    kernel: Factory, pins: Path
) -> None:
    ip(
        "link add br0 type bridge",
        "link set br0 up",
        "link add port0 type veth peer name eth1",
        "link set port0 up master br0",
        "address add 10.0.4.1/24 dev br0",
    )
    datapath = kernel()
    want = wanted(a_frontend("192.168.200.241", a_backend("10.0.4.2", local=True)))
    assert not datapath.sync(want).failures
    assert modes(datapath) == ["stack"]
    ip("neighbour add 10.0.4.2 lladdr 02:00:00:00:00:77 dev br0 nud permanent")
    fdb = ["bridge", "fdb", "add", "02:00:00:00:00:77", "dev", "port0", "master", "static"]
    subprocess.run(fdb, check=True)
    datapath.sync(want)
    assert modes(datapath) == ["fast"]
    assert on("lb_pod_ingress", "port0") in pinned(pins)


def test_a_backend_of_the_host_itself_goes_by_the_stack(kernel: Factory, pins: Path) -> None:
    datapath = kernel()
    want = wanted(a_frontend("192.168.200.241", a_backend("192.168.200.201", local=True)))
    assert not datapath.sync(want).failures
    assert modes(datapath) == ["stack"]
    assert not any(name.startswith("lb_pod") for name in pinned(pins))


def test_a_local_backend_behind_the_uplink_is_unrouted(kernel: Factory) -> None:
    ip("route add 10.0.5.0/24 via 192.168.200.200")
    want = wanted(a_frontend("192.168.200.241", a_backend("10.0.5.1", local=True)))
    [failure] = kernel().sync(want).failures
    assert failure.refusal.reason is Reason.BACKEND_UNROUTED


def test_a_remote_backend_needs_no_device(kernel: Factory, pins: Path) -> None:
    datapath = kernel()
    datapath.sync(wanted(a_frontend("192.168.200.241", a_backend("10.0.5.1"))))
    assert modes(datapath) == ["snat"]
    assert len(pinned(pins)) == 2


@pytest.mark.parametrize("hook", ["tcx", "clsact"])
def test_a_device_without_a_backend_keeps_its_program_for_a_while(
    kernel: Factory, hook: str
) -> None:
    """A backend that is moved away and back at once costs no second attachment."""
    clock = Clock()
    datapath = kernel(clock=clock, hook=hook)
    gone = wanted(a_frontend("192.168.200.241", policy=LOCAL))
    datapath.sync(WANT)
    datapath.sync(gone)
    datapath.sync(WANT, shrink=False)
    assert modes(datapath) == ["fast"]
    datapath.sync(gone)
    clock.now = LINGER
    datapath.sync(gone)
    datapath.sync(WANT, shrink=False)
    assert modes(datapath) == ["stack"]


def test_the_other_family_shares_the_pods_device(kernel: Factory, pins: Path) -> None:
    datapath = kernel()
    both = wanted(
        a_frontend("192.168.200.241", a_backend(POD_ADDRESS, local=True)),
        a_frontend("fd00:200::241", a_backend("fd00:10::233", local=True)),
    )
    assert not datapath.sync(both).failures
    assert modes(datapath) == ["fast", "fast"]
    assert len(pinned(pins)) == 3
