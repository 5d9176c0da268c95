"""onehop's own BGP sessions of one node, on a loop of their own inside the node's namespace."""

from __future__ import annotations

import time
from collections.abc import Mapping
from ipaddress import ip_address
from pathlib import Path
from typing import TypeVar

from onehop.adapters.linux.link import Links
from onehop.app.bgp import BgpPeers
from onehop.app.bgp_peer import BgpFact
from onehop.model.bgp import PeerDesired
from onehop.model.desired import Report
from onehop.proto.bgp.status import PeerStatus, State
from onehop.proto.bgp.terms import Restart
from tests.lab.loops import OnLoop
from tests.lab.wire import WAIT, eventually

T = TypeVar("T")


class Sessions(OnLoop):
    """The effector under test; every method may be called from the test's thread."""

    def __init__(
        self, path: Path, listen_at: tuple[str, ...] = (), restart: Restart | None = None
    ) -> None:
        self.facts: list[BgpFact] = []
        self._listen_at = tuple((ip_address(address), 179) for address in listen_at)
        self._restart = restart
        super().__init__(path)

    def _begin(self) -> None:
        self._links = Links()
        self._links.refresh()
        self._peers = BgpPeers(
            lambda name, fact: self.facts.append(fact),
            listen_at=self._listen_at,
            restart=self._restart,
            loop=self._loop,
        )

    def _end(self) -> None:
        self._links.close()

    def want(self, *peers: PeerDesired) -> Report:
        return self.call(lambda: self._peers.sync(peers, self._links.links()))

    def statuses(self) -> Mapping[str, PeerStatus]:
        return self.call(
            lambda: {p.desired.name: p.machine.describe() for p in self._peers.peers()}
        )

    def status(self, name: str = "router") -> PeerStatus:
        return self.statuses()[name]

    def problem(self) -> str:
        return self.call(lambda: self._peers.peers()[0].problem)

    def up(self, name: str = "router", within: float = WAIT) -> PeerStatus:
        """Wait for the session to be established."""
        return eventually(
            lambda: self.status(name), lambda status: status.state is State.ESTABLISHED, within
        )

    def is_unheard(self) -> bool:
        """Whether nothing comes from the peer: no connection, or one that stays silent.

        Its kernel may have greeted with another TTL than its daemon's own messages have.
        """
        status = self.status()
        is_silent = status.state is State.OPEN_SENT and time.monotonic() - status.since_at > 0.5
        return is_silent or "no answer" in self.problem()

    def close(self, *, graceful: bool = True, keep: bool = False) -> None:
        """End the sessions, then the loop."""
        if self._thread.is_alive():
            self.wait_for(self._peers.close(graceful=graceful, keep=keep))
        super().close()
