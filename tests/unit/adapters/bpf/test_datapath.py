"""The effector's contract, held by the kernel's datapath on both hooks and by its fake alike."""

from __future__ import annotations

import gc
import os
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from ipaddress import ip_address
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from onehop.adapters.bpf import layout, syscall
from onehop.adapters.bpf.datapath import Datapath
from onehop.adapters.bpf.errors import DatapathError
from onehop.adapters.bpf.ports import RESERVED
from onehop.adapters.bpf.syscall import Map
from onehop.model.desired import DatapathDesired, FrontendDesired
from onehop.model.reason import Reason
from onehop.model.service import Backend, Protocol
from tests.fakes.datapath import FakeDatapath
from tests.unit.adapters.bpf.node import POD_ADDRESS, UPLINK, bpffs, namespace
from tests.unit.adapters.bpf.wants import (
    LOCAL,
    a_backend,
    a_frontend,
    by_turns,
    contents,
    terminating,
    wanted,
)

SMALL = {
    "frontends": 4, "services": 64, "backends": 64, "flows": 1024, "service_stats": 64,
    "tables_small": 16, "tables_medium": 4, "tables_large": 2,
}  # fmt: skip
NOTHING = DatapathDesired()

AnyDatapath = FakeDatapath | Datapath
KERNEL = [pytest.param(hook, marks=pytest.mark.root) for hook in ("tcx", "clsact")]


@pytest.fixture(params=["fake", *KERNEL], scope="module")
def datapath(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[AnyDatapath]:
    """One datapath for the module: a test that needs it empty empties it."""
    if request.param == "fake":
        yield FakeDatapath(capacity=SMALL)
        return
    with ExitStack() as stack:
        stack.enter_context(namespace())
        pins = stack.enter_context(bpffs(tmp_path_factory.mktemp("pins") / "bpf"))
        made = Datapath(
            pins,
            ring=by_turns,
            uplinks=(UPLINK,),
            hook=request.param,
            capacity=SMALL,
            clock=Clock(),
        )
        stack.callback(made.close)
        yield made


class Clock:
    """Time that passes by itself, so that nothing has to be waited for."""

    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        self.now += 5.0
        return self.now


@pytest.fixture
def empty(datapath: AnyDatapath) -> AnyDatapath:
    datapath.sync(NOTHING)
    assert contents(datapath.observe()) == contents(NOTHING)
    return datapath


ONE = a_frontend("192.168.200.241", a_backend(POD_ADDRESS, local=True), policy=LOCAL)
SEVERAL: dict[str, DatapathDesired] = {
    "one local backend": wanted(ONE),
    "no backend": wanted(a_frontend("192.168.200.241", policy=LOCAL)),
    "two backends": wanted(
        a_frontend("192.168.200.241", a_backend("10.0.1.1"), a_backend("10.0.1.2"))
    ),
    "many backends": wanted(
        a_frontend("192.168.200.241", *(a_backend(f"10.0.1.{n}") for n in range(1, 41)))
    ),
    "a terminating backend": wanted(
        a_frontend("192.168.200.241", a_backend("10.0.1.1"), terminating("10.0.1.2"))
    ),
    "UDP": wanted(
        a_frontend("192.168.200.241", a_backend("10.0.1.1", 53), port=53, protocol=Protocol.UDP)
    ),
    "IPv6": wanted(a_frontend("2001:db8::10", a_backend("fd00:10::1"), a_backend("fd00:10::2"))),
    "NodePorts of both families": wanted(
        a_frontend("0.0.0.0", a_backend("10.0.1.1"), port=30793),
        a_frontend("::", a_backend("fd00:10::1"), port=30793),
        addresses=("192.168.200.201", "fd00:200::201"),
    ),
    "several Services": wanted(
        a_frontend("192.168.200.241", a_backend("10.0.1.1"), service="a/one"),
        a_frontend("192.168.200.241", a_backend("10.0.1.1"), port=80, service="b/one"),
        a_frontend("192.168.200.242", a_backend("10.0.1.1"), port=80, service="b/one"),
    ),
}


@pytest.mark.parametrize("want", SEVERAL.values(), ids=SEVERAL.keys())
def test_it_holds_what_is_wanted(empty: AnyDatapath, want: DatapathDesired) -> None:
    report = empty.sync(want)
    assert report.changed
    assert not report.failures
    assert contents(empty.observe()) == contents(want)


def test_an_unchanged_want_changes_nothing(empty: AnyDatapath) -> None:
    want = SEVERAL["several Services"]
    empty.sync(want)
    assert empty.sync(want).changed == 0
    again = DatapathDesired(frontends=dict(want.frontends), node_addresses=want.node_addresses)
    assert empty.sync(again).changed == 0


def test_growing_takes_nothing_away(empty: AnyDatapath) -> None:
    before = wanted(ONE, addresses=("192.168.200.201",))
    after = wanted(a_frontend("192.168.200.242", a_backend("10.0.1.1"), service="a/b"))
    empty.sync(before)
    empty.sync(after, shrink=False)
    frontends, addresses = contents(empty.observe())
    assert frontends == contents(before)[0] | contents(after)[0]
    assert addresses == contents(before)[1]
    empty.sync(after)
    assert contents(empty.observe()) == contents(after)


def test_growing_keeps_a_frontend_that_its_service_no_longer_wants(empty: AnyDatapath) -> None:
    first = a_frontend("192.168.200.241", a_backend("10.0.1.1"), port=80)
    second = a_frontend("192.168.200.241", a_backend("10.0.1.1"), port=81)
    empty.sync(wanted(first, second))
    empty.sync(wanted(first), shrink=False)
    assert contents(empty.observe()) == contents(wanted(first, second))
    empty.sync(wanted(first))
    assert contents(empty.observe()) == contents(wanted(first))


def test_growing_robs_no_frontend_of_its_last_backend(empty: AnyDatapath) -> None:
    """The node that loses a local backend withdraws first, and stops serving after that."""
    empty.sync(wanted(ONE))
    gone = wanted(a_frontend("192.168.200.241", policy=LOCAL))
    empty.sync(gone, shrink=False)
    assert contents(empty.observe()) == contents(wanted(ONE))
    empty.sync(gone)
    assert contents(empty.observe()) == contents(gone)


def test_growing_moves_a_frontend_to_its_new_backends(empty: AnyDatapath) -> None:
    empty.sync(wanted(a_frontend("192.168.200.241", a_backend("10.0.1.1"))))
    after = wanted(a_frontend("192.168.200.241", a_backend("10.0.1.2"), a_backend("10.0.1.3")))
    empty.sync(after, shrink=False)
    assert contents(empty.observe()) == contents(after)


def test_a_frontend_moves_to_another_service(empty: AnyDatapath) -> None:
    empty.sync(wanted(a_frontend("192.168.200.241", a_backend("10.0.1.1"), service="a/old")))
    after = wanted(a_frontend("192.168.200.241", a_backend("10.0.1.1"), service="a/new"))
    empty.sync(after, shrink=False)
    assert contents(empty.observe()) == contents(after)
    empty.sync(after)
    assert contents(empty.observe()) == contents(after)


def test_a_frontend_that_was_lent_comes_back(empty: AnyDatapath) -> None:
    owner = a_frontend("192.168.200.241", a_backend("10.0.1.1"), service="a/owner")
    other = a_frontend("192.168.200.241", a_backend("10.0.1.2"), service="a/other")
    empty.sync(wanted(owner))
    empty.sync(wanted(other), shrink=False)
    empty.sync(wanted(owner))
    assert contents(empty.observe()) == contents(wanted(owner))


def test_two_services_exchange_their_frontends(empty: AnyDatapath) -> None:
    def pair(first: str, second: str) -> DatapathDesired:
        return wanted(
            a_frontend("192.168.200.241", a_backend("10.0.1.1"), service=first),
            a_frontend("192.168.200.242", a_backend("10.0.1.1"), service=second),
        )

    empty.sync(pair("a/one", "a/two"))
    empty.sync(pair("a/two", "a/one"))
    assert contents(empty.observe()) == contents(pair("a/two", "a/one"))


def test_a_full_map_refuses_what_has_no_room_and_nothing_else(empty: AnyDatapath) -> None:
    frontends = [
        a_frontend("192.168.200.241", a_backend("10.0.1.1"), port=port, service=f"a/s{port}")
        for port in range(1, 7)
    ]
    report = empty.sync(wanted(*frontends))
    assert len(report.failures) == 2
    assert {each.refusal.reason for each in report.failures} == {Reason.MAP_FULL}
    assert all(each.retry_at is not None for each in report.failures)
    held, _ = contents(empty.observe())
    assert len(held) == 4
    assert held < frozenset(frontends)


def test_what_was_refused_is_served_once_there_is_room(empty: AnyDatapath) -> None:
    frontends = [
        a_frontend("192.168.200.241", a_backend("10.0.1.1"), port=port, service=f"a/s{port}")
        for port in range(1, 6)
    ]
    assert empty.sync(wanted(*frontends)).failures
    held, _ = contents(empty.observe())
    [refused] = frozenset(frontends) - held
    fewer = wanted(refused, *sorted(held, key=lambda each: each.frontend.port)[1:])
    assert not empty.sync(fewer).failures
    assert contents(empty.observe()) == contents(fewer)


addresses = st.sampled_from(["192.168.200.241", "192.168.200.242", "2001:db8::10"])
backends = st.lists(
    st.integers(1, 6).map(lambda n: a_backend(f"10.0.1.{n}", local=n == 6)),
    unique=True,
    max_size=4,
).map(lambda found: tuple(sorted(found, key=lambda each: each.address)))


@st.composite
def wants(draw: st.DrawFn) -> DatapathDesired:
    places = draw(
        st.lists(st.tuples(addresses, st.sampled_from([80, 81])), unique=True, max_size=4)
    )
    found: list[FrontendDesired] = []
    for address, port in places:
        chosen: tuple[Backend, ...] = draw(backends)
        service = draw(st.sampled_from(["a/one", "a/two", "b/one"]))
        found.append(a_frontend(address, *chosen, port=port, service=service))
    return wanted(*found)


@given(steps=st.lists(st.tuples(wants(), st.booleans()), min_size=1, max_size=6))
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=40)
def test_any_way_leads_to_what_is_wanted(
    datapath: AnyDatapath, steps: list[tuple[DatapathDesired, bool]]
) -> None:
    """Whatever came before, a whole sync ends at the want; growing on the way loses nothing."""
    for want, whole in steps:
        before, _ = contents(datapath.observe())
        report = datapath.sync(want, shrink=False)
        grown, _ = contents(datapath.observe())
        assert {each.frontend for each in before} <= {each.frontend for each in grown}
        if whole:
            report = datapath.sync(want)
            full = {each.refusal.reason for each in report.failures} & {Reason.MAP_FULL}
            assert not full
            assert contents(datapath.observe()) == contents(want)


Factory = Callable[..., Datapath]


@pytest.fixture
def kernel(node: None, pins: Path) -> Iterator[Factory]:
    """Makes datapaths over the same pins, as one process after the other."""
    with ExitStack() as stack:

        def make(**more: object) -> Datapath:
            values: dict[str, object] = {"ring": by_turns, "uplinks": (UPLINK,), **more}
            values.setdefault("capacity", SMALL)
            made = Datapath(pins, **values)  # type: ignore[arg-type]
            stack.callback(made.close)
            return made

        yield make


@pytest.mark.root
def test_numbers_stay_over_a_restart(kernel: Factory) -> None:
    want = SEVERAL["several Services"]
    first = kernel()
    first.sync(want)
    numbers = {row.frontend: row.id for row in first.rows()}
    first.close()
    second = kernel()
    assert contents(second.observe()) == contents(want)
    assert second.sync(want).changed == 0
    assert {row.frontend: row.id for row in second.rows()} == numbers


@pytest.mark.root
def test_nodes_that_start_together_number_alike(kernel: Factory) -> None:
    services = [f"a/s{n}" for n in (3, 1, 2)]
    made = kernel()
    made.sync(
        wanted(*(a_frontend(f"192.168.200.24{n}", service=s) for n, s in enumerate(services)))
    )
    assert [row.service.name for row in made.rows()] == ["s1", "s2", "s3"]


@pytest.mark.root
def test_a_restart_takes_away_what_went_meanwhile(kernel: Factory) -> None:
    first = kernel()
    first.sync(wanted(ONE, a_frontend("192.168.200.242", a_backend("10.0.1.1"), service="a/b")))
    first.close()
    second = kernel()
    second.sync(wanted(ONE), shrink=False)
    assert len(contents(second.observe())[0]) == 2
    second.sync(wanted(ONE))
    assert contents(second.observe()) == contents(wanted(ONE))


@pytest.mark.root
def test_removing_leaves_nothing(kernel: Factory, pins: Path) -> None:
    made = kernel()
    made.sync(wanted(ONE))
    made.remove()
    assert [path.name for path in pins.iterdir() if "." not in path.name] == []


@pytest.mark.root
@pytest.mark.parametrize("hook", ["tcx", "clsact"])
def test_a_local_backend_becomes_fast_after_the_growing(kernel: Factory, hook: str) -> None:
    """Its device gets the program in the second half of a round; the stack delivers till then."""
    made = kernel(hook=hook)
    assert made.hook == hook
    made.sync(wanted(ONE), shrink=False)
    assert [row.mode for row in made.rows()] == ["stack"]
    made.sync(wanted(ONE))
    assert [row.mode for row in made.rows()] == ["fast"]


@pytest.mark.root
def test_a_kernel_without_tcx_gets_clsact(kernel: Factory, pins: Path) -> None:
    made = kernel(has_tcx=lambda: False)
    made.sync(wanted(ONE))
    assert made.hook == "clsact"
    assert [row.mode for row in made.rows()] == ["fast"]
    assert not (pins / "links").exists()


@pytest.mark.root
def test_a_kernel_without_tcx_cannot_be_forced(kernel: Factory) -> None:
    with pytest.raises(DatapathError, match="no tcx hook") as caught:
        kernel(hook="tcx", has_tcx=lambda: False)
    assert caught.value.reason is Reason.KERNEL_LACKS
    kernel(hook="clsact")  # and the folder of pins is free again


@pytest.mark.root
def test_what_a_killed_process_had_half_written_goes(kernel: Factory, pins: Path) -> None:
    """A word without a frontend, a backend without a word: written first, so they may be left."""
    first = kernel()
    first.sync(wanted(ONE))
    first.close()
    words = Map(syscall.pinned(pins / "services"))
    words.memory().cast("Q")[9] = layout.Word(9, 1).pack()
    backends = Map(syscall.pinned(pins / "backends"))
    record = layout.pack_place(ip_address("10.0.9.9"), 1)
    backends.update((9).to_bytes(4, "little"), layout.BACKEND.pack(record, 1, 0, 0, 0))
    second = kernel()
    second.sync(wanted(ONE))
    assert words.memory().cast("Q")[9] == 0
    assert backends.memory()[9 * layout.BACKEND.size + layout.STATE_OFFSET] == 0
    assert contents(second.observe()) == contents(wanted(ONE))
    words.close()
    backends.close()


@pytest.mark.root
def test_stack_delivery_names_no_device(kernel: Factory) -> None:
    made = kernel(delivery="stack")
    made.sync(wanted(ONE))
    assert [row.mode for row in made.rows()] == ["stack"]


@pytest.mark.root
def test_a_local_backend_without_a_route_is_said(kernel: Factory) -> None:
    made = kernel()
    lost = a_frontend("192.168.200.241", a_backend("10.9.9.9", local=True), policy=LOCAL)
    report = made.sync(wanted(ONE, lost))
    assert [each.refusal.reason for each in report.failures] == [Reason.BACKEND_UNROUTED]
    assert "10.9.9.9" in report.failures[0].subject


@pytest.mark.root
def test_source_ports_are_kept_from_the_host(kernel: Factory) -> None:
    made = kernel(sources=(ip_address("192.168.200.201"),), ports=(50000, 50999))
    assert not made.sync(wanted(ONE)).failures
    assert RESERVED.read_text().strip() == "50000-50999"


@pytest.mark.root
def test_a_missing_uplink_is_said_and_the_rest_done(kernel: Factory) -> None:
    made = kernel(uplinks=(UPLINK, "missing0"))
    report = made.sync(wanted(ONE))
    assert [each.refusal.reason for each in report.failures] == [Reason.LINK_FAILED]
    assert "missing0" in report.failures[0].subject
    assert contents(made.observe()) == contents(wanted(ONE))


@pytest.mark.root
@pytest.mark.parametrize(
    ("capacity", "name"),
    [
        ({"backends": 4}, "backends"),
        ({"tables_small": 1, "tables_medium": 1, "tables_large": 1}, "tables"),
        ({"services": 4, "service_stats": 4}, "services"),
    ],
    ids=["backends", "tables", "services"],
)
def test_any_full_map_refuses_one_frontend_only(
    kernel: Factory, capacity: dict[str, int], name: str
) -> None:
    now = [0.0]
    made = kernel(capacity={**SMALL, "frontends": 64, **capacity}, clock=lambda: now[0])
    one = a_backend("10.0.1.1")
    first = a_frontend("192.168.200.241", one, a_backend("10.0.1.2"), port=1, service="a/s1")
    second = a_frontend("192.168.200.241", one, a_backend("10.0.1.3"), port=2, service="a/s2")
    third = a_frontend("192.168.200.241", a_backend("10.0.1.3"), one, port=3, service="a/s3")
    fourth = a_frontend("192.168.200.241", one, a_backend("10.0.1.4"), port=4, service="a/s4")
    report = made.sync(wanted(first, second, third, fourth))
    assert [(each.refusal.reason, each.refusal.detail) for each in report.failures] == [
        (Reason.MAP_FULL, name)
    ]
    assert report.failures[0].subject == "a/s4 192.168.200.241 4/TCP"
    assert {each.service.name for each in contents(made.observe())[0]} == {"s1", "s2", "s3"}
    now[0] += 10.0
    made.sync(wanted(first, fourth))
    now[0] += 10.0
    assert not made.sync(wanted(first, fourth)).failures
    assert {each.service.name for each in contents(made.observe())[0]} == {"s1", "s4"}


@pytest.mark.root
def test_a_change_that_finds_no_room_leaves_what_stood(kernel: Factory) -> None:
    made = kernel(capacity={**SMALL, "backends": 2})
    before = wanted(a_frontend("192.168.200.241", a_backend("10.0.1.1")))
    made.sync(before)
    after = wanted(a_frontend("192.168.200.241", a_backend("10.0.1.2")))
    [failure] = made.sync(after).failures
    assert failure.refusal.reason is Reason.MAP_FULL
    assert contents(made.observe()) == contents(before)


@pytest.mark.root
def test_a_kernel_that_refuses_is_said_and_looked_at_again(kernel: Factory, pins: Path) -> None:
    """A frozen map takes no more calls: what stood stands, and every later round says so."""
    made = kernel()
    made.sync(wanted(ONE))
    frozen = syscall.pinned(pins / "frontends")
    syscall.freeze(frozen)
    os.close(frozen)
    more = a_frontend("192.168.200.242", a_backend("10.0.1.1"), service="a/b")
    for _ in range(2):
        [failure] = made.sync(wanted(ONE, more)).failures
        assert failure.subject == "datapath"
        assert failure.retry_at is not None
        assert "map frontends" in failure.refusal.detail
        assert contents(made.observe()) == contents(wanted(ONE))
    assert not made.sync(wanted(ONE)).failures


@pytest.mark.root
def test_closing_gives_every_descriptor_back(kernel: Factory, pins: Path) -> None:
    Datapath(pins, ring=by_turns, uplinks=(UPLINK,), capacity=SMALL).close()  # loads the library
    gc.collect()
    before = sorted(os.listdir("/proc/self/fd"))
    for hook in ("tcx", "clsact"):
        made = Datapath(pins, ring=by_turns, uplinks=(UPLINK,), capacity=SMALL, hook=hook)
        made.sync(wanted(ONE))
        made.close()
        del made
        gc.collect()
    assert sorted(os.listdir("/proc/self/fd")) == before


@pytest.mark.root
def test_a_load_that_fails_gives_every_descriptor_back(kernel: Factory, pins: Path) -> None:
    kernel().close()
    gc.collect()
    before = sorted(os.listdir("/proc/self/fd"))
    with pytest.raises(DatapathError):
        kernel(capacity={**SMALL, "backends": 8})
    gc.collect()
    assert sorted(os.listdir("/proc/self/fd")) == before
