"""The paths that a node's BGP sessions depend on, as BFD watches them (RFC 5882 4.2)."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable

from onehop.adapters.telemetry import Log
from onehop.app.bfd_client import BfdClient, path_to
from onehop.model.address import IPAddress
from onehop.model.bgp import PeerDesired
from onehop.model.node import Link
from onehop.proto.bfd.session import Path, PathDown, PathUp


class Paths:
    """All methods belong to the loop's own thread.

    `on_down` is told which peer cannot be reached any more, and why; `on_change` of every change.
    """

    def __init__(
        self,
        *,
        log: Log,
        on_down: Callable[[IPAddress, str], None],
        on_change: Callable[[], None],
        loop: asyncio.AbstractEventLoop,
    ) -> None:
        self._log = log
        self._on_down = on_down
        self._on_change = on_change
        self.bfd = BfdClient(on_fact=self.changed, loop=loop)
        self._by_peer: dict[str, Path] = {}

    def sync(self, peers: Iterable[PeerDesired], links: tuple[Link, ...]) -> None:
        """Look at the path to every peer that has a profile."""
        profiles = {}
        self._by_peer = {}
        for desired in peers:
            if desired.bfd is not None and desired.peer.address is not None:
                path = self._by_peer[desired.name] = path_of(desired, links)
                profiles[path] = desired.bfd
        self.bfd.sync(profiles)

    def changed(self, fact: PathUp | PathDown) -> None:
        """A path that was switched off says nothing of itself (RFC 5882 3.2)."""
        if isinstance(fact, PathUp):
            self._log("bfd-up", path=fact.path)
        else:
            why = fact.diagnostic.sentence
            self._log("bfd-down", path=fact.path, why=why)
            if not fact.is_administrative:
                self._on_down(fact.path.peer, f"BFD: {why}")
        self._on_change()

    def words(self, peer: str) -> str:
        """How a peer's path stands; nothing when BFD has no part in it."""
        path = self._by_peer.get(peer)
        if path is None:
            return ""
        words = "up" if self.bfd.is_up(path) else "down"
        return "; ".join([words, *map(str, self.bfd.refusals(path))])

    def close(self) -> None:
        """Look at nothing any more."""
        self.bfd.close()


def path_of(desired: PeerDesired, links: tuple[Link, ...]) -> Path:
    """What BFD has to watch for a peer: over several hops when it is on none of our links."""
    peer = desired.peer
    address = peer.address
    assert address is not None, "only a peer with an address has a path"
    is_near = any(address in own.network for link in links for own in link.addresses)
    return path_to(peer, address, peer.source, is_on_link=is_near or address.is_link_local)
