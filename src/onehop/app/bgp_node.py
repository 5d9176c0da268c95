"""BGP of one speaker: the sessions, the log of what became of them, and the node's report."""

from __future__ import annotations

import asyncio
import json
import os
import time
from collections.abc import Iterable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from onehop.adapters.telemetry import Log
from onehop.app.bgp import BgpPeers
from onehop.app.bgp_peer import BgpFact
from onehop.app.bgp_report import NodeState, ReportFile, body_of, process_name
from onehop.app.bgp_state import Describer
from onehop.model.address import IPAddress
from onehop.model.bgp import PeerDesired
from onehop.model.desired import Report
from onehop.model.node import Link
from onehop.model.reason import Refusal
from onehop.proto.bgp.effect import RoutesSent, SessionDown, SessionUp
from onehop.proto.bgp.terms import Restart

_LOOK = 5.0  # seconds after which counters alone are worth a new report

if TYPE_CHECKING:
    from onehop.app.bfd_client import BfdClient
    from onehop.app.bgp_paths import Paths


class NodeBgp:
    """All methods belong to the loop's own thread."""

    def __init__(
        self,
        node: str,
        *,
        log: Log,
        report_file: Path,
        listen_at: Iterable[tuple[IPAddress, int]] = (),
        restart: Restart | None = None,
        loop: asyncio.AbstractEventLoop | None = None,
    ) -> None:
        self._node = node
        self._log = log
        self._loop = loop or asyncio.get_running_loop()
        self.peers = BgpPeers(self._fact, listen_at=listen_at, restart=restart, loop=self._loop)
        self._paths: Paths | None = None
        self._describer = Describer()
        self._process = process_name(os.getpid())
        self._refused: Mapping[str, Refusal] = {}
        self._report = ReportFile(
            report_file, self._state, loop=self._loop, on_failure=self._not_written
        )
        self._timer: asyncio.TimerHandle | None = None

    def sync(
        self,
        peers: tuple[PeerDesired, ...],
        links: tuple[Link, ...],
        refused: Mapping[str, Refusal],
    ) -> Report:
        """Hold exactly these sessions; `refused` says why other BGPPeers have none here."""
        report = self.peers.sync(peers, links)
        if report.changed:
            # After the routes: a session does not wait for BFD, nor a route for either.
            self._watch(peers, links)
        if report.changed or refused != self._refused:
            self._refused = refused
            self._tell_soon()
        return report

    def _watch(self, peers: tuple[PeerDesired, ...], links: tuple[Link, ...]) -> None:
        """Have BFD look at the path to every peer that has a profile."""
        if self._paths is None:
            if all(desired.bfd is None for desired in peers):
                return
            # Most nodes have no use for BFD, and every node wants to start at once.
            from onehop.app.bgp_paths import Paths

            self._paths = Paths(
                log=self._log,
                on_down=self.peers.path_down,
                on_change=self._tell_soon,
                loop=self._loop,
            )
        self._paths.sync(peers, links)

    @property
    def bfd(self) -> BfdClient | None:
        """Who watches the paths; None while no session depends on one."""
        return None if self._paths is None else self._paths.bfd

    def report(self) -> str:
        """What stands in the report, in JSON, as of now."""
        return json.dumps(body_of(self._state()))

    def drain(self) -> None:
        """From now on every peer is asked to use our routes last."""
        self.peers.drain()

    async def close(self, *, keep: bool = False) -> None:
        """Withdraw everything, end all sessions, and write that down.

        With `keep`, peers that were promised a graceful restart keep their routes.
        """
        await self.peers.close(keep=keep)
        if self._paths is not None:
            self._paths.close()
        if self._timer is not None:
            self._timer.cancel()
            self._report.write()
        self._report.close()

    def _fact(self, name: str, fact: BgpFact) -> None:
        if isinstance(fact, SessionUp):
            agreed = fact.negotiated
            families = " ".join(sorted(family.value for family in agreed.families))
            self._log("bgp-up", peer=name, hold_time=agreed.hold_time, families=families)
        elif isinstance(fact, SessionDown):
            event = "bgp-down" if fact.was_established else "bgp-not-up"
            self._log(event, peer=name, why=fact.why)
        else:
            self._sent(name, fact)
        self._tell_soon()

    def _sent(self, name: str, fact: RoutesSent) -> None:
        if fact.announced or fact.withdrawn:
            self._log(
                "bgp-sent",
                peer=name,
                announced=fact.announced,
                withdrawn=fact.withdrawn,
                standing=fact.advertised,
            )

    def _tell_soon(self) -> None:
        self._report.changed()
        if self._timer is None:
            self._timer = self._loop.call_later(_LOOK, self._look)

    def _look(self) -> None:
        self._timer = None
        if self.peers.peers():
            self._tell_soon()

    def _state(self) -> NodeState:
        now, wall = self._loop.time(), time.time()
        drivers = self.peers.peers()
        self._describer.forget({driver.desired.name for driver in drivers})
        return NodeState(
            node=self._node,
            at=wall,
            process=self._process,
            peers=tuple(
                replace(
                    self._describer.peer_state(driver, now=now, wall=wall),
                    bfd="" if self._paths is None else self._paths.words(driver.desired.name),
                )
                for driver in drivers
            ),
            refused={name: str(refusal) for name, refusal in self._refused.items()},
        )

    def _not_written(self, error: OSError) -> None:
        self._log("report-not-written", node=self._node, why=error.strerror)
