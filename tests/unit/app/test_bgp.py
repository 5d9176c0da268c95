"""The BGP effector with peers of a few lines, on the loopback of a namespace of its own."""

from __future__ import annotations

import asyncio
import os
import socket
from collections.abc import Callable, Coroutine, Iterator
from dataclasses import replace
from ipaddress import IPv4Address, ip_address, ip_interface, ip_network
from pathlib import Path

import pytest

from onehop.adapters.linux import bgp_socket
from onehop.app.bgp import BgpPeers
from onehop.app.bgp_peer import BgpFact, local_of, path_of
from onehop.model.address import Mac
from onehop.model.bgp import AuthenticationOption, RouteAttributes
from onehop.model.node import Link
from onehop.model.reason import Reason, Refusal
from onehop.model.service import Key
from onehop.proto.bgp.constants import MessageType
from onehop.proto.bgp.framing import KEEPALIVE
from onehop.proto.bgp.status import PeerStatus, State
from onehop.proto.bgp.terms import Local
from tests.fakes.bgp_far import HOST, OPEN, PORT, Far, alone, wanted

pytestmark = pytest.mark.root


GRACEFUL_SHUTDOWN = bytes.fromhex("ffff0000")


@pytest.fixture(autouse=True)
def own_namespace(tmp_path: Path) -> Iterator[None]:
    with alone(tmp_path):
        yield


class Case:
    """The effector, the peer, and what was told."""

    def __init__(self, **more: object) -> None:
        self.facts: list[tuple[str, BgpFact]] = []
        self.news = asyncio.Event()
        self.peers = BgpPeers(self._fact, **more)  # type: ignore[arg-type]
        self.far = Far()

    def _fact(self, name: str, fact: BgpFact) -> None:
        self.facts.append((name, fact))
        self.news.set()

    def status(self, name: str = "router") -> PeerStatus:
        found = {peer.desired.name: peer for peer in self.peers.peers()}
        return found[name].machine.describe()

    async def until(self, holds: Callable[[], bool]) -> None:
        async with asyncio.timeout(10):
            while not holds():
                self.news.clear()
                await self.news.wait()

    async def established(self, name: str = "router") -> None:
        await self.until(lambda: self.status(name).state is State.ESTABLISHED)


def run(what: Callable[[Case], Coroutine[None, None, None]], **more: object) -> None:
    async def on_loop() -> None:
        case = Case(**more)
        try:
            await what(case)
        finally:
            await case.peers.close(graceful=False)
            case.far.close()

    asyncio.run(on_loop())


def test_the_first_update_has_left_when_sync_returns() -> None:
    async def what(case: Case) -> None:
        case.peers.sync((wanted(),))
        await case.far.establish()
        await case.established()
        case.far.heard_now()
        report = case.peers.sync((wanted("198.51.100.10/32"),))
        assert report.changed == 1
        frames = case.far.heard_now()
        assert [frame.kind for frame in frames] == [MessageType.UPDATE]
        assert bytes((32, 198, 51, 100, 10)) in frames[0].body

    run(what)


def test_what_did_not_change_costs_nothing_and_says_nothing() -> None:
    async def what(case: Case) -> None:
        peers = (wanted("198.51.100.10/32"),)
        case.peers.sync(peers)
        await case.far.establish()
        await case.established()
        case.far.heard_now()
        assert case.peers.sync(peers).changed == 0
        assert case.peers.sync((*peers,)).changed == 0
        assert case.far.heard_now() == []

    run(what)


def test_a_peer_that_takes_nothing_delays_nobody_and_costs_no_memory() -> None:
    async def what(case: Case) -> None:
        other = Far("127.0.0.2")
        two = {"name": "other", "host": "127.0.0.2"}
        case.peers.sync((wanted(), wanted(**two)))
        await case.far.establish()
        await other.establish()
        await case.established()
        await case.established("other")
        stalled = next(p for p in case.peers.peers() if p.desired.name == "router")
        most = 0
        # Attributes of their own, so that every route takes an UPDATE of its own.
        base = wanted()
        for turn in range(6):
            routes = {
                ip_network(f"10.{turn}.{n >> 8}.{n & 255}/32"): RouteAttributes(
                    med=n, next_hop=IPv4Address("192.0.2.1")
                )
                for n in range(3000)
            }
            case.peers.sync((replace(base, routes=routes), replace(wanted(**two), routes=routes)))
            most = max(most, sum(c.waiting for c in stalled.connections()))
            for _ in range(20):  # the loop writes what the other one has room for
                other.heard_now()
                await asyncio.sleep(0)
        assert 0 < most < 500_000, "one difference at most waits"
        assert case.status("other").state is State.ESTABLISHED
        other.close()

    run(what)


def test_garbage_ends_the_session_with_words_and_is_tried_again() -> None:
    async def what(case: Case) -> None:
        case.peers.sync((wanted(),))
        await case.far.accept()
        await case.far.say(b"GET / HTTP/1.1\r\n\r\n" * 3)
        await case.far.hear(MessageType.NOTIFICATION)
        await case.until(lambda: "Not Synchronized" in case.status().problem)
        await case.far.establish()
        await case.established()

    run(what)


def test_reconnecting_in_a_loop_leaks_no_descriptor() -> None:
    async def what(case: Case) -> None:
        case.peers.sync((wanted(connect_time=0.01),))
        await case.far.establish()
        before = len(os.listdir("/proc/self/fd"))
        for _ in range(30):
            await case.far.establish()
        assert len(os.listdir("/proc/self/fd")) <= before + 1
        await case.established()
        assert case.status().counters.established >= 30

    run(what)


def test_a_change_of_the_session_begins_it_anew_at_the_new_place() -> None:
    async def what(case: Case) -> None:
        case.peers.sync((wanted(),))
        await case.far.establish()
        await case.established()
        elsewhere = Far("127.0.0.3")
        case.peers.sync((wanted(host="127.0.0.3"),))
        await case.far.hear(MessageType.NOTIFICATION)
        await elsewhere.establish()
        await case.established()
        elsewhere.close()

    run(what)


def test_whoever_is_not_configured_is_hung_up_on() -> None:
    async def what(case: Case) -> None:
        case.peers.sync(())
        stranger = socket.socket()
        stranger.setblocking(False)
        loop = asyncio.get_running_loop()
        await loop.sock_connect(stranger, ("127.0.0.9", 1791))
        async with asyncio.timeout(5):
            assert await loop.sock_recv(stranger, 64) == b""
        stranger.close()

    run(what, listen_at=((ip_address("127.0.0.9"), 1791),))


def test_an_address_that_is_not_there_yet_is_listened_at_later() -> None:
    async def what(case: Case) -> None:
        (failure,) = case.peers.sync(()).failures
        assert failure.subject == "BGP at 192.0.2.9 port 1791"
        assert failure.retry_at is not None
        assert case.peers.sync(()).failures == (
            replace(failure, retry_at=pytest.approx(1e9, 1e9)),
        )

    run(what, listen_at=((ip_address("192.0.2.9"), 1791),))


def test_a_peer_without_an_address_is_refused_by_name() -> None:
    async def what(case: Case) -> None:
        (failure,) = case.peers.sync((wanted(address=None, link="eth1"),)).failures
        assert failure.subject == "BGPPeer router"
        assert failure.refusal.reason is Reason.FIELD_INVALID
        assert case.peers.peers() == ()

    run(what)


def test_a_passive_peer_needs_a_place_to_come_to() -> None:
    async def what(case: Case) -> None:
        (failure,) = case.peers.sync((wanted(passive=True),)).failures
        assert "--bgp-listen" in failure.refusal.detail
        assert case.peers.peers() == ()
        assert case.peers.sync((wanted(),)).failures == ()

    run(what)


def test_a_passive_peer_comes_and_is_not_called() -> None:
    async def what(case: Case) -> None:
        case.peers.sync((wanted("198.51.100.10/32", passive=True),))
        loop = asyncio.get_running_loop()
        with socket.create_connection(("127.0.0.9", 1791), source_address=(HOST, 0)) as sock:
            sock.setblocking(False)
            await loop.sock_sendall(sock, OPEN + KEEPALIVE)
            await case.established()
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(case.far.accept(), 0.05)

    run(what, listen_at=((ip_address("127.0.0.9"), 1791),))


def test_the_end_is_bounded_by_no_peer() -> None:
    async def what(case: Case) -> None:
        case.peers.sync((wanted("198.51.100.10/32"),))
        await case.far.establish()
        await case.established()
        begin = asyncio.get_running_loop().time()
        await case.peers.close()
        assert asyncio.get_running_loop().time() - begin < 0.5
        kinds = [frame.kind for frame in case.far.heard_now()]
        assert kinds[-2:] == [MessageType.UPDATE, MessageType.NOTIFICATION]

    run(what)


@pytest.mark.parametrize("keep", [False, True])
def test_only_a_successor_keeps_the_routes_of_a_graceful_restart(keep: bool) -> None:
    async def what(case: Case) -> None:
        case.peers.sync((wanted("198.51.100.10/32", graceful_restart=True),))
        await case.far.establish()
        await case.far.hear(MessageType.UPDATE)  # End-of-RIB
        await case.peers.close(keep=keep)
        kinds = [frame.kind for frame in case.far.heard_now()]
        assert kinds == ([] if keep else [MessageType.UPDATE, MessageType.NOTIFICATION])

    run(what)


def test_a_peer_that_comes_while_we_drain_is_asked_to_use_us_last() -> None:
    async def what(case: Case) -> None:
        case.peers.drain()
        case.peers.sync((wanted("198.51.100.10/32"),))
        await case.far.accept()
        await case.far.say(OPEN + KEEPALIVE)
        route = await case.far.hear(MessageType.UPDATE)
        assert GRACEFUL_SHUTDOWN in route.body

    run(what)


def a_link(*addresses: str) -> Link:
    return Link(
        index=2,
        name="eth0",
        mac=Mac.parse("02:00:00:00:00:01"),
        up=True,
        addresses=tuple(map(ip_interface, addresses)),
    )


@pytest.mark.parametrize(
    ("ours", "theirs", "expected"),
    [
        ("192.0.2.1", "192.0.2.254", ("192.0.2.1", "2001:db8::1", "fe80::1")),
        ("2001:db8::1", "2001:db8::fe", ("192.0.2.1", "2001:db8::1", "fe80::1")),
        ("192.0.2.1", "203.0.113.9", ("192.0.2.1", "2001:db8::1", None)),
        ("198.51.100.1", "192.0.2.254", ("198.51.100.1", None, None)),
        ("127.0.0.1", "127.0.0.1", (None, None, None)),
    ],
)
def test_next_hops_are_our_addresses_on_the_link(
    ours: str, theirs: str, expected: tuple[str | None, ...]
) -> None:
    links = (a_link("192.0.2.1/24", "2001:db8::1/64", "fe80::1/64"),)
    local = local_of(ip_address(ours), ip_address(theirs), links)
    ipv4, ipv6, link_local = (None if x is None else ip_address(x) for x in expected)
    assert local == Local(ipv4=ipv4, ipv6=ipv6, link_local=link_local)


def test_a_path_is_what_the_peer_asks_for() -> None:
    desired = wanted(source=ip_address("192.0.2.1"), password="x", hold_time=9.0, ttl_security=2)
    assert path_of(desired) == bgp_socket.Path(
        address=ip_address(HOST),
        port=PORT,
        source=ip_address("192.0.2.1"),
        hops=2,
        password="x",
        patience=9.0,
    )
    assert isinstance(path_of(wanted(address=None)), Refusal)


def test_a_master_key_is_no_password() -> None:
    option = AuthenticationOption(secret=Key("metallb-system", "ao"), send_id=3, receive_id=4)
    path = path_of(wanted(password="x", authentication=option))
    assert isinstance(path, bgp_socket.Path)
    assert path.password == ""
    assert path.key == bgp_socket.AuthenticationKey(secret="x", send_id=3, receive_id=4)
