"""Groups joined and left, as the kernel lists them."""

from __future__ import annotations

from collections.abc import Iterator
from ipaddress import IPv6Address
from pathlib import Path

import pytest

from onehop.adapters.linux.link import Links
from onehop.adapters.linux.multicast import Memberships
from onehop.lab import namespace
from onehop.model.address import Mac
from onehop.model.node import Link
from tests.lab.wire import Wire, eventually, wire

pytestmark = pytest.mark.root
FIRST = IPv6Address("ff02::1:ff77:0")


@pytest.fixture
def lan(tmp_path: Path) -> Iterator[Wire]:
    with wire(tmp_path) as both:
        yield both


def joined(lan: Wire) -> set[IPv6Address]:
    """Our groups among those that the kernel says the node is a member of."""
    lines = lan.run("node", "ip", "-6", "maddress", "show", "dev", "net0").stdout.splitlines()
    groups = {IPv6Address(line.split()[1]) for line in lines if "inet6" in line}
    return {group for group in groups if group >= FIRST}


def link_of(lan: Wire) -> Link:
    with namespace.entered(lan.root / "node"):
        links = Links()
    links.close()
    return links.links()[0]


def groups(*numbers: int) -> frozenset[IPv6Address]:
    return frozenset(FIRST + number for number in numbers)


def test_exactly_the_wanted_groups_are_joined(lan: Wire) -> None:
    memberships = Memberships(link_of(lan))
    with namespace.entered(lan.root / "node"):
        memberships.sync(groups(1, 2))
        assert joined(lan) == groups(1, 2)
        memberships.sync(groups(2, 3))
        assert joined(lan) == groups(2, 3)
        memberships.sync(groups())
        assert joined(lan) == set()
        memberships.sync(groups(4))
    memberships.close()
    memberships.close()
    eventually(lambda: joined(lan), lambda left: left == set())


def test_more_groups_than_one_socket_can_hold(lan: Wire) -> None:
    memberships = Memberships(link_of(lan))
    wanted = groups(*range(6000))
    with namespace.entered(lan.root / "node"):
        memberships.sync(wanted)
    assert memberships.unjoined == 0
    assert joined(lan) == wanted
    memberships.close()


def test_what_cannot_be_joined_is_counted(lan: Wire) -> None:
    nowhere = Link(index=999, name="none", mac=Mac(bytes(6)), up=True)
    memberships = Memberships(nowhere)
    with namespace.entered(lan.root / "node"):
        memberships.sync(groups(1, 2))
    assert memberships.unjoined == 2
    memberships.close()


def test_leaving_a_link_that_is_gone_is_no_error(lan: Wire) -> None:
    memberships = Memberships(link_of(lan))
    with namespace.entered(lan.root / "node"):
        memberships.sync(groups(1))
        lan.ip("node", "link delete net0")
        memberships.sync(groups())
    assert memberships.unjoined == 0
    memberships.close()
