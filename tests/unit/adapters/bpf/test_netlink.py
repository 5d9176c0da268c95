"""rtnetlink: routes, devices, bridges and filters of a real namespace, against what `ip` says."""

from __future__ import annotations

import subprocess
from collections.abc import Iterator
from ipaddress import ip_address
from pathlib import Path

import pytest

from onehop.adapters.bpf.errors import KernelError
from onehop.adapters.bpf.libbpf import Object
from onehop.adapters.bpf.netlink import (
    EGRESS,
    INGRESS,
    Changes,
    Device,
    Netlink,
    Route,
    device_index,
    device_name,
)
from tests.unit.adapters.bpf.node import POD, POD_ADDRESS, UPLINK, compiled, ip

pytestmark = [pytest.mark.root, pytest.mark.usefixtures("node")]

PASS = """
SEC("tc") int pass(struct __sk_buff *skb) { return -1; }
char licence[] SEC("license") = "GPL";
"""


@pytest.fixture
def netlink() -> Iterator[Netlink]:
    made = Netlink()
    yield made
    made.close()


@pytest.fixture
def program(tmp_path: Path) -> Iterator[int]:
    held = Object(compiled(tmp_path, PASS))
    held.load()
    yield held.program_fd("pass")
    held.close()


def test_devices_have_kind_and_master(netlink: Netlink) -> None:
    ip("link add br0 type bridge", f"link set {POD} master br0")
    bridge, pod = device_index("br0"), device_index(POD)
    assert netlink.device(pod) == Device(index=pod, kind="veth", master=bridge)
    assert netlink.device(bridge) == Device(index=bridge, kind="bridge", master=0)
    assert netlink.device(device_index("lo")) == Device(index=1, kind="", master=0)


def test_a_device_that_is_gone_is_none(netlink: Netlink) -> None:
    assert netlink.device(9999) is None
    assert device_index("never0") == 0
    assert device_name(9999) == "link 9999"
    assert device_name(device_index(UPLINK)) == UPLINK


@pytest.mark.parametrize("address", [POD_ADDRESS, "fd00:10::233"])
def test_a_host_route_leads_to_a_device(netlink: Netlink, address: str) -> None:
    assert netlink.route(ip_address(address)) == Route(device=device_index(POD), on_link=True)


def test_a_route_through_a_gateway_is_not_on_the_link(netlink: Netlink) -> None:
    ip("route add 10.0.5.0/24 via 192.168.200.200")
    found = netlink.route(ip_address("10.0.5.1"))
    assert found == Route(device=device_index(UPLINK), on_link=False)


def test_the_hosts_own_address_leads_to_the_host(netlink: Netlink) -> None:
    assert netlink.route(ip_address("192.168.200.201")).to_host


def test_no_route_leads_nowhere(netlink: Netlink) -> None:
    assert netlink.route(ip_address("203.0.113.1")) == Route()
    ip("route add unreachable 10.0.6.0/24", "route add blackhole 10.0.7.0/24")
    assert netlink.route(ip_address("10.0.6.1")) == Route()
    assert netlink.route(ip_address("10.0.7.1")) == Route()


def test_a_bridge_tells_the_port_of_a_neighbour(netlink: Netlink) -> None:
    ip(
        "link add br0 type bridge",
        "link set br0 up",
        f"link set {POD} master br0",
        "neighbour add 10.0.8.2 lladdr 02:00:00:00:00:99 dev br0",
    )
    subprocess.run(
        ["bridge", "fdb", "add", "02:00:00:00:00:99", "dev", POD, "master", "static"], check=True
    )
    bridge = device_index("br0")
    assert netlink.bridge_port(bridge, ip_address("10.0.8.2")) == device_index(POD)
    assert netlink.bridge_port(bridge, ip_address("10.0.8.3")) == 0


def test_filters_come_go_and_are_found(netlink: Netlink, program: int) -> None:
    uplink, pod = device_index(UPLINK), device_index(POD)
    netlink.add_filter(uplink, INGRESS, program, "pass")
    netlink.add_filter(uplink, EGRESS, program, "pass")
    netlink.add_filter(pod, INGRESS, program, "pass")
    netlink.add_filter(pod, INGRESS, program, "pass")  # in its own place
    assert sorted(netlink.our_filters()) == sorted(
        [(uplink, INGRESS), (uplink, EGRESS), (pod, INGRESS)]
    )
    for device, hook in netlink.our_filters():
        netlink.delete_filter(device, hook)
    assert netlink.our_filters() == []
    shown = subprocess.run(["tc", "qdisc", "show"], capture_output=True, text=True, check=True)
    assert "clsact" not in shown.stdout


def test_somebody_elses_filter_stays(netlink: Netlink, program: int, tmp_path: Path) -> None:
    subprocess.run(["tc", "qdisc", "add", "dev", UPLINK, "clsact"], check=True)
    theirs = ["bpf", "direct-action", "object-file", str(tmp_path / "tiny.bpf.o"), "section", "tc"]
    subprocess.run(["tc", "filter", "add", "dev", UPLINK, "ingress", *theirs], check=True)
    uplink = device_index(UPLINK)
    netlink.add_filter(uplink, INGRESS, program, "pass")
    netlink.delete_filter(uplink, INGRESS)
    shown = subprocess.run(
        ["tc", "filter", "show", "dev", UPLINK, "ingress"],
        capture_output=True,
        text=True,
        check=True,
    )
    assert shown.stdout.count("handle 0x") == 1
    assert "handle 0x1 " in shown.stdout


def test_deleting_from_a_device_that_is_gone_is_no_failure(netlink: Netlink) -> None:
    netlink.delete_filter(9999, INGRESS)
    netlink.delete_filter(device_index(UPLINK), INGRESS)


def test_adding_to_a_device_that_is_gone_is(netlink: Netlink, program: int) -> None:
    with pytest.raises(KernelError, match="device 9999"):
        netlink.add_filter(9999, INGRESS, program, "pass")


def test_changes_are_told_once() -> None:
    changes = Changes()
    assert not changes.any()
    ip("route add 10.0.9.0/24 dev " + POD)
    assert changes.any()
    assert not changes.any()
    ip(f"link set {POD} down")
    assert changes.any()
    changes.close()


def test_lost_messages_count_as_a_change() -> None:
    changes = Changes()
    for first in range(8):
        ip(*(f"route add 10.{first}.{n}.0/24 dev {POD}" for n in range(100, 250)))
    assert changes.any()
    assert not changes.any()
    changes.close()
