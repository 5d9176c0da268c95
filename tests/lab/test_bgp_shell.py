"""The BGP shell against a real BIRD 2: sessions, routes in the router's kernel, and their end."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable, Coroutine, Iterator, Mapping
from ipaddress import IPv4Address, ip_address, ip_network
from pathlib import Path
from typing import TypeVar

import pytest

from onehop.adapters.linux.link import Links
from onehop.app.bgp import BgpPeers
from onehop.app.bgp_peer import BgpFact
from onehop.lab import namespace
from onehop.model.bgp import BGPPeer, PeerDesired, RouteAttributes
from onehop.model.desired import Report
from onehop.model.service import Key
from onehop.proto.bgp.status import PeerStatus, State
from tests.lab.bird import (
    NODE,
    NODE_AS,
    ROUTER,
    ROUTER_AS,
    Router,
    router,
    session,
)
from tests.lab.wire import WAIT, eventually

pytestmark = pytest.mark.root
T = TypeVar("T")
VIP, VIP6 = "198.51.100.10/32", "2001:db8::10/128"


def a_peer(*prefixes: str, name: str = "router", **more: object) -> PeerDesired:
    """The router, as a BGPPeer makes it wanted, and what it is to be told."""
    values: dict[str, object] = {
        "key": Key("metallb-system", name),
        "my_asn": NODE_AS,
        "peer_asn": ROUTER_AS,
        "address": ip_address(ROUTER),
        "hold_time": 9.0,
        **more,
    }
    shared = RouteAttributes()
    return PeerDesired(
        name=name,
        peer=BGPPeer(**values),  # type: ignore[arg-type]
        router_id=IPv4Address(NODE),
        routes={ip_network(prefix): shared for prefix in prefixes},
    )


class Shell:
    """The effector under test, on a loop of its own inside the node's namespace."""

    def __init__(self, path: Path, listen_at: tuple[str, ...] = ()) -> None:
        self.facts: list[BgpFact] = []
        self._listen_at = tuple((ip_address(address), 179) for address in listen_at)
        self._loop = asyncio.new_event_loop()
        self._ready = threading.Event()
        self._thread = threading.Thread(target=self._run, args=(path,))
        self._thread.start()
        assert self._ready.wait(WAIT)

    def _run(self, path: Path) -> None:
        with namespace.entered(path):
            self.links = Links()
            self.links.refresh()
            self.peers = BgpPeers(
                lambda name, fact: self.facts.append(fact),
                listen_at=self._listen_at,
                loop=self._loop,
            )
            self._loop.call_soon(self._ready.set)
            self._loop.run_forever()
            self.links.close()
            self._loop.close()

    def call(self, what: Callable[[], T]) -> T:
        async def on_loop() -> T:
            return what()

        return self.run(on_loop())

    def run(self, what: Coroutine[None, None, T]) -> T:
        return asyncio.run_coroutine_threadsafe(what, self._loop).result(WAIT)

    def want(self, *peers: PeerDesired) -> Report:
        return self.call(lambda: self.peers.sync(peers, self.links.links()))

    def statuses(self) -> Mapping[str, PeerStatus]:
        return self.call(
            lambda: {p.desired.name: p.machine.describe() for p in self.peers.peers()}
        )

    def status(self, name: str = "router") -> PeerStatus:
        return self.statuses()[name]

    def up(self, name: str = "router") -> PeerStatus:
        """Wait for the session to be established."""
        return eventually(
            lambda: self.status(name), lambda status: status.state is State.ESTABLISHED
        )

    def close(self, *, graceful: bool = True) -> None:
        if self._thread.is_alive():
            self.run(self.peers.close(graceful=graceful))
            self._loop.call_soon_threadsafe(self._loop.stop)
            self._thread.join(WAIT)
        assert not self._thread.is_alive()


class Wire:
    """The router, and the shells that were started in the node."""

    def __init__(self, far: Router) -> None:
        self.far = far
        self.shells: list[Shell] = []

    def shell(self, **more: tuple[str, ...]) -> Shell:
        shell = Shell(self.far.root / "netns" / "node", **more)
        self.shells.append(shell)
        return shell


@pytest.fixture
def wire(tmp_path: Path) -> Iterator[Wire]:
    with router(tmp_path) as far:
        both = Wire(far)
        try:
            yield both
        finally:
            for shell in both.shells:
                shell.close(graceful=False)


def test_a_route_stands_in_the_routers_kernel_until_it_is_withdrawn(wire: Wire) -> None:
    wire.far.bird(session())
    shell = wire.shell()
    shell.want(a_peer(VIP))
    shell.up()
    wire.far.established()
    eventually(wire.far.routes, lambda routes: routes == {"198.51.100.10": [NODE]})
    shell.want(a_peer())
    eventually(wire.far.routes, lambda routes: routes == {})
    assert shell.status().state is State.ESTABLISHED
    assert shell.status().counters.established == 1
