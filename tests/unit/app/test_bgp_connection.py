"""A connection on the loop: what its owner hears, in which order, and that an end is an end."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Awaitable, Callable
from ipaddress import ip_address

from onehop.adapters.linux.bgp_socket import BgpSocket, Path
from onehop.app.bgp_connection import Connection
from onehop.model.reason import Reason, Refusal

PATH = Path(address=ip_address("192.0.2.1"))


class Owner:
    """Writes down what it is told."""

    def __init__(self) -> None:
        self.heard: list[str] = []
        self.octets = b""
        self.refusals: list[Refusal] = []
        self.news = asyncio.Event()

    def _hear(self, what: str) -> None:
        self.heard.append(what)
        self.news.set()

    def connected(self, connection: Connection) -> None:
        self._hear("connected")

    def received(self, connection: Connection, octets: bytes) -> None:
        self.octets += octets
        self._hear("received")

    def written(self, connection: Connection) -> None:
        self._hear("written")

    def ended(self, connection: Connection, refusal: Refusal) -> None:
        self.refusals.append(refusal)
        self._hear("ended")

    async def until(self, holds: Callable[[], bool]) -> None:
        async with asyncio.timeout(5):
            while not holds():
                self.news.clear()
                await self.news.wait()


def run(case: Callable[[Owner, Connection, socket.socket], Awaitable[None]]) -> Owner:
    """Run a case on a loop with a connection that stands and the peer's end of it."""

    async def on_loop() -> Owner:
        ours, theirs = socket.socketpair()
        ours.setblocking(False)
        owner = Owner()
        loop = asyncio.get_running_loop()
        connection = Connection(BgpSocket(ours, PATH), owner, loop=loop)
        try:
            await owner.until(lambda: owner.heard == ["connected"])
            await case(owner, connection, theirs)
        finally:
            connection.close()
            theirs.close()
        return owner

    return asyncio.run(on_loop())


def test_octets_are_handed_on_and_go_out_at_once() -> None:
    async def case(owner: Owner, connection: Connection, peer: socket.socket) -> None:
        connection.send(b"there")
        assert peer.recv(16) == b"there", "before the loop turns"
        peer.sendall(b"back")
        await owner.until(lambda: owner.octets == b"back")

    run(case)


def test_what_the_kernel_cannot_take_waits_in_order() -> None:
    async def case(owner: Owner, connection: Connection, peer: socket.socket) -> None:
        messages = [bytes([number]) * 50_000 for number in range(40)]
        for message in messages:
            connection.send(message)
        assert connection.waiting
        assert not connection.is_delivered
        peer.setblocking(False)
        got = b""
        async with asyncio.timeout(5):
            while len(got) < 2_000_000:
                got += await asyncio.get_running_loop().sock_recv(peer, 1 << 20)
        assert got == b"".join(messages)
        await owner.until(lambda: connection.waiting == 0)
        assert connection.is_delivered

    assert "written" in run(case).heard


def test_the_peers_end_is_told_once() -> None:
    async def case(owner: Owner, connection: Connection, peer: socket.socket) -> None:
        peer.close()
        await owner.until(lambda: bool(owner.refusals))
        connection.send(b"to nobody")
        connection.close()

    owner = run(case)
    assert [refusal.reason for refusal in owner.refusals] == [Reason.SESSION_DOWN]


def test_a_send_that_fails_is_told_from_the_loop() -> None:
    async def case(owner: Owner, connection: Connection, peer: socket.socket) -> None:
        peer.close()
        connection.send(b"to nobody")
        assert owner.refusals == [], "the sender is in the middle of something"
        await owner.until(lambda: bool(owner.refusals))

    assert len(run(case).refusals) == 1


def test_after_close_nothing_is_heard_and_the_number_is_free() -> None:
    async def case(owner: Owner, connection: Connection, peer: socket.socket) -> None:
        peer.sendall(b"too late")
        connection.close()
        assert connection.is_delivered
        loop = asyncio.get_running_loop()
        again, other = socket.socketpair()  # gets the number that was just given up
        second = Owner()
        again.setblocking(False)
        next_one = Connection(BgpSocket(again, PATH), second, loop=loop, is_connected=True)
        other.sendall(b"for the next")
        await second.until(lambda: second.octets == b"for the next")
        next_one.close()
        other.close()

    assert run(case).heard == ["connected"]


def test_a_connection_that_never_comes_about_is_told() -> None:
    async def on_loop() -> Owner:
        with socket.socket() as free:  # a port that nobody listens on
            free.bind(("127.0.0.1", 0))
            name = free.getsockname()
        sock = socket.socket()
        sock.setblocking(False)
        sock.connect_ex(name)
        owner = Owner()
        Connection(BgpSocket(sock, PATH), owner, loop=asyncio.get_running_loop())
        await owner.until(lambda: bool(owner.refusals))
        return owner

    owner = asyncio.run(on_loop())
    assert owner.heard == ["ended"]
    assert "connection refused" in owner.refusals[0].detail
