"""Programs on devices: put there, exchanged in place, found again, and gone with their device."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from onehop.adapters.bpf import syscall
from onehop.adapters.bpf.libbpf import Object
from onehop.adapters.bpf.links import ClsactHook, Hook, Links, Place, Seat, TcxHook
from onehop.adapters.bpf.netlink import Netlink, device_index
from tests.unit.adapters.bpf.node import POD, UPLINK, compiled, ip

pytestmark = [pytest.mark.root, pytest.mark.usefixtures("node")]

PROGRAMS = """
SEC("tc") int lb_uplink_ingress(struct __sk_buff *skb) { return -1; }
SEC("tc") int lb_uplink_egress(struct __sk_buff *skb) { return -1; }
SEC("tc") int lb_pod_ingress(struct __sk_buff *skb) { return -1; }
char licence[] SEC("license") = "GPL";
"""


@pytest.fixture
def programs(tmp_path: Path) -> Iterator[dict[Place, int]]:
    held = Object(compiled(tmp_path, PROGRAMS))
    held.load()
    yield {place: held.program_fd(place.program) for place in Place}
    held.close()


Open = Callable[[str], Hook]


@pytest.fixture
def hook_of(pins: Path) -> Iterator[Open]:
    """Opens a hook by its name, as another process would."""
    with ExitStack() as stack:

        def opened(name: str) -> Hook:
            netlink = Netlink()
            stack.callback(netlink.close)
            if name == "clsact":
                return ClsactHook(netlink, [device_index(UPLINK)])
            tcx = TcxHook(pins / "links")
            stack.callback(tcx.close)
            return tcx

        yield opened


def seats() -> list[Seat]:
    return [
        Seat(Place.UPLINK_INGRESS, device_index(UPLINK)),
        Seat(Place.UPLINK_EGRESS, device_index(UPLINK)),
        Seat(Place.POD_INGRESS, device_index(POD)),
    ]


both = pytest.mark.parametrize("name", ["tcx", "clsact"])


@both
def test_what_one_process_attached_another_finds(
    hook_of: Open, programs: dict[Place, int], name: str
) -> None:
    first = hook_of(name)
    for seat in seats():
        first.attach(seat, programs[seat.place])
    first.close()
    assert hook_of(name).seats() == set(seats())


@both
def test_attaching_again_exchanges_the_program(
    hook_of: Open, programs: dict[Place, int], name: str
) -> None:
    first = hook_of(name)
    first.attach(seats()[0], programs[Place.UPLINK_INGRESS])
    second = hook_of(name)
    second.attach(seats()[0], programs[Place.UPLINK_INGRESS])
    assert second.seats() == {seats()[0]}


@both
def test_detaching_leaves_the_rest(hook_of: Open, programs: dict[Place, int], name: str) -> None:
    hook = hook_of(name)
    for seat in seats():
        hook.attach(seat, programs[seat.place])
    hook.detach(seats()[0])
    hook.detach(seats()[0])
    assert hook.seats() == hook_of(name).seats() == set(seats()[1:])


@both
def test_a_device_takes_its_program_with_it(
    hook_of: Open, programs: dict[Place, int], name: str
) -> None:
    hook = hook_of(name)
    taken = seats()
    for seat in taken:
        hook.attach(seat, programs[seat.place])
    ip(f"link del {POD}")
    hook.detach(taken[2])
    assert hook_of(name).seats() == set(taken[:2])


def test_a_pinned_link_without_its_device_is_forgotten(
    hook_of: Open, programs: dict[Place, int], pins: Path
) -> None:
    hook_of("tcx").attach(seats()[2], programs[Place.POD_INGRESS])
    (pins / "links" / "somebody_else").mkdir()
    ip(f"link del {POD}")
    assert hook_of("tcx").seats() == set()
    assert [path.name for path in (pins / "links").iterdir()] == ["somebody_else"]


@pytest.mark.parametrize(("before", "after"), [("tcx", "clsact"), ("clsact", "tcx")])
def test_changing_the_hook_leaves_no_program_on_the_old_one(
    hook_of: Open, programs: dict[Place, int], before: str, after: str
) -> None:
    old = hook_of(before)
    for seat in seats():
        old.attach(seat, programs[seat.place])
    links = Links(hook_of(after), (hook_of(before),), programs)
    assert links.seats() == set(seats())
    assert not any(links.attached(seat) for seat in seats())
    for seat in seats():
        links.attach(seat)
    assert all(links.attached(seat) for seat in seats())
    assert hook_of(before).seats() == set()
    assert hook_of(after).seats() == set(seats())
    assert links.hook == after


@both
def test_lost_devices_are_given_up(hook_of: Open, programs: dict[Place, int], name: str) -> None:
    links = Links(hook_of(name), (), programs)
    taken = seats()
    for seat in taken:
        links.attach(seat)
    ip(f"link del {POD}")
    links.lost([taken[2].device])
    assert links.seats() == set(taken[:2])


def test_this_kernel_has_tcx() -> None:
    assert syscall.has_tcx()
