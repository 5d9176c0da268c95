"""BFD's sockets: ports, TTL, links, and what they say when they cannot be had."""

from __future__ import annotations

import socket
from collections.abc import Iterator
from contextlib import closing
from ipaddress import ip_address

import pytest

from onehop.adapters.linux.bfd_socket import LAST_SOURCE_PORT, BfdSockets, Sender
from onehop.lab import namespace
from onehop.model.reason import Reason
from onehop.proto.bfd.session import Path
from onehop.proto.bfd.sessions import Arrival
from tests.lab.bfd_lan import NODE, NODE6, ROUTER, ROUTER6, Lan, lan
from tests.lab.wire import eventually

pytestmark = pytest.mark.root


@pytest.fixture(scope="module")
def network(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Lan]:
    with lan(tmp_path_factory.mktemp("lan")) as made:
        yield made


@pytest.fixture
def ends(network: Lan) -> Iterator[tuple[BfdSockets, BfdSockets]]:
    with closing(BfdSockets()) as node, closing(BfdSockets()) as router:
        yield node, router


def opened(network: Lan, where: str, sockets: BfdSockets, *paths: Path) -> None:
    with namespace.entered(network.path(where)):
        assert sockets.sync(paths) == {}


def received(sockets: BfdSockets) -> list[tuple[bytes, Arrival]]:
    return [one for receiver in sockets.receivers() for one in receiver.received()]


CASES = {
    "one hop": (Path(peer=ip_address(ROUTER)), NODE, ROUTER),
    "one hop, IPv6": (Path(peer=ip_address(ROUTER6)), NODE6, ROUTER6),
    "on a link": (Path(peer=ip_address(ROUTER), link="net0"), NODE, ROUTER),
    "from an address": (
        Path(peer=ip_address(ROUTER6), local=ip_address(NODE6), link="net0"), NODE6, ROUTER6,
    ),
    "several hops": (Path(peer=ip_address(ROUTER), multihop=True), NODE, ROUTER),
    "several hops, IPv6": (Path(peer=ip_address(ROUTER6), multihop=True), NODE6, ROUTER6),
}  # fmt: skip


@pytest.mark.parametrize("name", CASES)
def test_a_datagram_arrives_with_how_it_came(
    network: Lan, ends: tuple[BfdSockets, BfdSockets], name: str
) -> None:
    path, source, destination = CASES[name]
    node, router = ends
    opened(network, "node", node, path)
    back = Path(peer=ip_address(source), link=path.link, multihop=path.multihop)
    opened(network, "router", router, back)
    assert node.send(path, b"hello")
    ((octets, arrival),) = eventually(lambda: received(router))
    assert octets == b"hello"
    assert arrival == Arrival(
        source=ip_address(source),
        destination=ip_address(destination),
        ttl=255,
        link=path.link,
        multihop=path.multihop,
    )


def test_link_local_addresses_need_their_link(
    network: Lan, ends: tuple[BfdSockets, BfdSockets]
) -> None:
    node, router = ends
    texts = {
        name: network.run(name, "ip", "-6", "-o", "addr", "show", "dev", "net0", "scope", "link")
        for name in ("node", "router")
    }
    far, near = (
        ip_address(texts[name].split("inet6 ")[1].split("/")[0]) for name in ("router", "node")
    )
    path = Path(peer=far, local=near, link="net0")

    def ready() -> bool:
        with namespace.entered(network.path("node")):
            return not node.sync([path])

    eventually(ready)  # once duplicate detection is over
    opened(network, "router", router, Path(peer=near, link="net0"))
    assert node.send(path, b"hello")
    ((_, arrival),) = eventually(lambda: received(router))
    assert (arrival.source, arrival.destination, arrival.link) == (near, far, "net0")


def test_a_link_of_its_own_stands_beside_all_links(
    network: Lan, ends: tuple[BfdSockets, BfdSockets]
) -> None:
    node, router = ends
    path = Path(peer=ip_address(ROUTER))
    opened(network, "node", node, path)
    opened(
        network, "router", router, Path(peer=ip_address(NODE)),
        Path(peer=ip_address("192.0.2.9"), link="net0"),
    )  # fmt: skip
    node.send(path, b"hello")
    ((_, arrival),) = eventually(lambda: received(router))
    assert arrival.link == "net0"


def test_each_session_has_a_source_port_of_its_own(network: Lan) -> None:
    paths = [Path(peer=ip_address(ROUTER) - n) for n in range(3)]
    with namespace.entered(network.path("node")):
        senders = [Sender(path, LAST_SOURCE_PORT - 1) for path in paths]
    assert [one.port for one in senders] == [65534, 65535, 49152]
    for one in senders:
        one.close()


def test_what_is_no_longer_wanted_is_closed(
    network: Lan, ends: tuple[BfdSockets, BfdSockets]
) -> None:
    node, _ = ends
    path = Path(peer=ip_address(ROUTER))
    opened(network, "node", node, path, Path(peer=ip_address(ROUTER6)))
    assert len(list(node.receivers())) == 2
    opened(network, "node", node, path)
    assert len(list(node.receivers())) == 1
    assert network.run("node", "ss", "-Hnua").count("\n") == 2
    node.sync(())
    assert network.run("node", "ss", "-Hnua") == ""
    assert not node.send(path, b"late")
    assert node.unsent == 1


def test_a_datagram_that_cannot_leave_is_counted(
    network: Lan, ends: tuple[BfdSockets, BfdSockets]
) -> None:
    node, _ = ends
    path = Path(peer=ip_address("198.51.100.1"))
    opened(network, "node", node, path)
    assert not node.send(path, b"no route")
    assert node.unsent == 1


def test_refusals_name_what_is_at_fault(network: Lan) -> None:
    strange = Path(peer=ip_address(ROUTER), local=ip_address("192.0.2.99"))
    unlinked = Path(peer=ip_address(ROUTER), link="net7")
    held = Path(peer=ip_address(ROUTER6))
    with (
        namespace.entered(network.path("node")),
        socket.socket(socket.AF_INET6, socket.SOCK_DGRAM) as other,
        closing(BfdSockets()) as sockets,
    ):
        other.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
        other.bind(("::", 3784))
        said = sockets.sync([strange, unlinked, held])
    assert {path: refusal.detail.partition(": ")[2] for path, refusal in said.items()} == {
        strange: "the source address 192.0.2.99 is not this node's",
        unlinked: "there is no link net7",
        held: "another program holds UDP port 3784",
    }
    assert {refusal.reason for refusal in said.values()} == {Reason.BFD_DOWN}
