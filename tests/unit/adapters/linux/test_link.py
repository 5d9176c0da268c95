"""Links as the kernel has them, and which of them announce."""

from __future__ import annotations

import json
import select
from collections.abc import Iterator
from dataclasses import replace
from ipaddress import IPv4Interface, IPv6Interface
from pathlib import Path

import pytest

from onehop.adapters.linux.link import DEFAULT_EXCLUDE, Links, carries_arp, carries_ndp
from onehop.lab import namespace
from onehop.model.address import Mac
from onehop.model.node import Link
from tests.lab.wire import Wire, eventually, wire

LINK = Link(
    index=2,
    name="eno1",
    mac=Mac.parse("02:00:00:00:01:01"),
    up=True,
    addresses=(IPv4Interface("192.0.2.1/24"), IPv6Interface("fe80::1/64")),
)


@pytest.mark.parametrize(
    ("link", "arp", "ndp"),
    [
        (LINK, True, True),
        (replace(LINK, up=False), False, False),
        (replace(LINK, master=7), False, False),
        (replace(LINK, no_arp=True), False, False),
        (replace(LINK, broadcast=False), False, True),
        (replace(LINK, addresses=()), True, False),
        (replace(LINK, addresses=(IPv6Interface("fd00::1/64"),)), True, False),
        (replace(LINK, addresses=(IPv4Interface("169.254.0.1/16"),)), True, False),
    ],
    ids=[
        "plain", "down", "port of a bridge", "NOARP", "point to point", "no address",
        "no link-local address", "link-local of the other family",
    ],
)  # fmt: skip
def test_what_a_link_carries(link: Link, arp: bool, ndp: bool) -> None:
    assert (carries_arp(link), carries_ndp(link)) == (arp, ndp)


@pytest.mark.parametrize(
    ("name", "excluded"),
    [
        ("eno1", False), ("eth0", False), ("bond0", False), ("br0", False), ("vlan5", False),
        ("lo", True), ("lo0", False), ("local", False),
        ("docker0", True), ("cbr0", True), ("dummy0", True), ("virbr0", True), ("lxcbr0", True),
        ("veth12", True), ("cali1", True), ("tunl0", True), ("flannel.1", True),
        ("kube-ipvs0", True), ("cni0", True), ("nodelocaldns", True), ("lxc1", True),
    ],
)  # fmt: skip
def test_links_of_container_networks_are_left_out(name: str, excluded: bool) -> None:
    assert bool(DEFAULT_EXCLUDE.match(name)) is excluded


@pytest.fixture
def lan(tmp_path: Path) -> Iterator[Wire]:
    with wire(tmp_path) as both:
        yield both


@pytest.fixture
def links(lan: Wire) -> Iterator[Links]:
    with namespace.entered(lan.root / "node"):
        links = Links()
    yield links
    links.close()
    links.close()


def rings(links: Links) -> bool:
    return bool(select.select([links.fileno()], [], [], 0)[0])


def settled(lan: Wire, links: Links) -> tuple[Link, ...]:
    """The links once nothing changes any more: addresses are out of their tentative state."""

    def look() -> bool:
        with namespace.entered(lan.root / "node"):
            return links.refresh()

    eventually(look, lambda changed: not changed and len(links.links()[0].addresses) == 3)
    return links.links()


@pytest.mark.root
def test_links_read_as_ip_reads_them(lan: Wire, links: Links) -> None:
    lan.ip("node", "link add br0 type bridge", "link set net0 master br0", "link set br0 up")
    with namespace.entered(lan.root / "node"):
        eventually(lambda: links.refresh() or links.links(), lambda _: len(links.links()) == 2)
        eventually(links.refresh, lambda changed: not changed)
    seen = json.loads(lan.run("node", "ip", "-j", "-d", "address", "show").stdout)
    told = [
        (
            entry["ifindex"],
            entry["ifname"],
            entry["address"],
            {"UP", "LOWER_UP"} <= set(entry["flags"]),
            "BROADCAST" in entry["flags"],
            "NOARP" in entry["flags"],
            bool(entry.get("master")),
            entry["linkinfo"]["info_kind"],
            {f"{own['local']}/{own['prefixlen']}" for own in entry["addr_info"]},
        )
        for entry in seen
        if entry["ifname"] != "lo"
    ]
    assert told == [
        (
            link.index,
            link.name,
            str(link.mac),
            link.up,
            link.broadcast,
            link.no_arp,
            bool(link.master),
            link.kind,
            {str(address) for address in link.addresses},
        )
        for link in links.links()
    ]


@pytest.mark.root
def test_a_change_rings_and_a_look_without_one_gives_the_same_tuple(
    lan: Wire, links: Links
) -> None:
    before = settled(lan, links)
    assert not rings(links)
    lan.ip("node", "link add net1 type bridge")
    assert rings(links)
    with namespace.entered(lan.root / "node"):
        assert links.refresh()
        assert not rings(links)
        after = links.links()
        assert [link.name for link in after] == ["net0", "net1"]
        assert not links.refresh()
        assert links.links() is after
    lan.ip("node", "link delete net1")
    with namespace.entered(lan.root / "node"):
        assert links.refresh()
    assert links.links() == before


@pytest.mark.root
def test_a_lost_carrier_is_counted(lan: Wire, links: Links) -> None:
    (before,) = settled(lan, links)
    lan.ip("client", "link set net0 down")
    with namespace.entered(lan.root / "node"):
        eventually(lambda: links.refresh() and not links.links()[0].up)
    lan.ip("client", "link set net0 up")
    with namespace.entered(lan.root / "node"):
        eventually(lambda: links.refresh() and links.links()[0].up)
    assert links.links()[0].carrier_changes == before.carrier_changes + 2


@pytest.mark.root
def test_links_of_container_networks_are_read_on_demand(lan: Wire) -> None:
    lan.ip("node", "link add cali7 type bridge")
    with namespace.entered(lan.root / "node"):
        default, every = Links(), Links(exclude=None)
    names = [[link.name for link in links.links()] for links in (default, every)]
    default.close()
    every.close()
    assert names == [["net0"], ["lo", "net0", "cali7"]]


@pytest.mark.root
def test_more_events_than_the_socket_holds_lose_nothing(lan: Wire, links: Links) -> None:
    script = [f"link add n{number} type bridge" for number in range(200)]
    lan.ip(
        "node",
        *script,
        *(line.replace("add", "set").replace("type bridge", "up") for line in script),
    )
    with namespace.entered(lan.root / "node"):
        links.refresh()
    assert len(links.links()) == 201
