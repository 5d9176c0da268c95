"""The speaker: one a node. Programs the node's datapath and announces what the node owns.

Order of a round: grow the datapath, announce on links and to routers, shrink the datapath. Traffic
is never attracted before it can be carried, and never dropped before it stopped being attracted.
While the store is incomplete nothing shrinks and nothing new is announced. At the end the routers
are told first, while the pinned datapath goes on carrying what is still under way.
"""

from __future__ import annotations

import json
import os
import signal
import time
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from onehop.adapters.telemetry import Log
from onehop.app.announcers import difference
from onehop.app.carried import carried
from onehop.app.long_lived import sparing
from onehop.app.loop import Ring
from onehop.app.ports import (
    Advertising,
    Announcing,
    Forwarding,
    LinkSource,
    NoBgp,
    NoStatus,
    Store,
    Telling,
)
from onehop.app.problem_log import ProblemLog
from onehop.core.advertise import is_draining
from onehop.core.decide import DecisionRules, NodeDecider
from onehop.core.snapshot import Snapshot
from onehop.model.bgp import PeerDesired
from onehop.model.desired import DatapathDesired, NodeDesired, Report
from onehop.model.objects import Objects
from onehop.model.reason import Reason, Refusal
from onehop.model.service import Key
from onehop.proto.machine import AddressConflict

if TYPE_CHECKING:
    from onehop.app.metrics import RoundFigures


@dataclass(frozen=True, slots=True, kw_only=True)
class End:
    """What SIGTERM means.

    `successor` says that another speaker follows at once: peers with graceful restart then keep
    their routes. For `drain` seconds before the end, routers are asked to use the routes last.
    """

    successor: bool = False
    drain: float = 0.0


class Speaker:
    """One node's decisions, carried out."""

    def __init__(
        self,
        rules: DecisionRules,
        *,
        store: Store,
        links: LinkSource,
        announcers: Announcing,
        datapath: Forwarding,
        bgp: Advertising | None = None,
        statuses: Telling | None = None,
        log: Log,
        report_file: Path | None = None,
        end: End | None = None,
    ) -> None:
        self._rules = rules
        self._decider = NodeDecider(rules)
        self._store = store
        self._links = links
        self._announcers = announcers
        self._datapath = datapath
        self._bgp = bgp or NoBgp()
        self._statuses = statuses or NoStatus()
        self._log = log
        self._problems = ProblemLog(log)
        self._report_file = report_file
        self._end = end or End()
        self._conflicts: dict[str, int] = {}
        self.figures: RoundFigures | None = None
        self.wanted = NodeDesired(datapath=DatapathDesired())
        self.objects = Objects()
        self._told: tuple[PeerDesired, ...] = ()
        self._failures: tuple[str, ...] = ()

    def round(self) -> Report:
        """Decide on what is known now and carry it out."""
        begun = time.monotonic()
        snapshot = Snapshot(objects=self._store.objects(), links=self._links.links())
        self._problems.tell(snapshot.objects.problems)
        want = self._decider.decide(snapshot)
        decided = time.monotonic()
        if not snapshot.complete:
            want = replace(
                want,
                announcements=self.wanted.announcements,
                peers=self.wanted.peers,
                announced=self.wanted.announced,
                advertised=self.wanted.advertised,
            )
        report = self._carry_out(want, snapshot)
        if snapshot.complete:
            self._statuses.sync(want)
        self._tell(want)
        self.wanted, self.objects = want, snapshot.objects
        failures = tuple(f"{f.subject}: {f.refusal}" for f in report.failures)
        if failures != self._failures:
            self._failures = failures
            self._write_report()
        if self.figures is not None:
            self._count(self.figures, begun, decided, report)
        return report

    def _count(self, figures: RoundFigures, begun: float, decided: float, report: Report) -> None:
        # A BGPPeer that is meant for other nodes is no fault.
        refused = self.wanted.peers_refused.values()
        faulty = sum(each.reason is not Reason.PEER_NOT_SELECTED for each in refused)
        figures.problems = len(self.objects.problems) + faulty
        figures.is_complete = self.objects.complete
        figures.ended(begun=begun, decided=decided, failures=len(report.failures))

    @property
    def node(self) -> str:
        """The node that is decided for."""
        return self._rules.node

    def conflict(self, fact: AddressConflict) -> None:
        """Another host claims an address of ours: said, counted, never fought over."""
        address = str(fact.address)
        self._conflicts[address] = self._conflicts.get(address, 0) + 1
        refusal = Refusal(
            reason=Reason.ADDRESS_CONFLICT, detail=f"{address} is claimed by {fact.claimant}"
        )
        self._log("address-conflict", address=address, reason=refusal)
        self._write_report()

    async def run(self) -> None:
        """Serve until SIGTERM; then fall silent, and leave the pinned datapath forwarding."""
        round_ = sparing(self.round, lambda: self.objects.complete)
        ring = Ring(round_, self._log, self._asked_to_end)
        self._store.refresh()
        self._links.refresh()
        ring.watch(self._store.fileno(), self._store.refresh)
        ring.watch(self._links.fileno(), self._links.refresh)
        if self._datapath.fileno() >= 0:
            # The round itself drains the descriptor: it says that routes to pods may differ.
            ring.watch(self._datapath.fileno(), lambda: True)
        self._log("speaker-started", node=self._rules.node)
        try:
            await ring.run()
        finally:
            await self._bgp.close(keep=self._keeps_routes(ring))
            self._announcers.close()
            self._datapath.close()
            self._statuses.close()
            self._log("speaker-stopped", node=self._rules.node)

    def _asked_to_end(self) -> float:
        """How long to go on after SIGTERM, with routes that are used last (RFC 8326 4.1)."""
        if self._end.drain > 0.0:
            self._log("draining", node=self._rules.node, seconds=self._end.drain)
            self._bgp.drain()
        return self._end.drain

    def _keeps_routes(self, ring: Ring) -> bool:
        """Whether routers are to keep what they have: only for a successor on a node that stays.

        Who presses Ctrl-C means the end, and so does who drained the node before.
        """
        here = self.objects.nodes.get(Key("", self._rules.node))
        is_staying = here is not None and not is_draining(here)
        return self._end.successor and is_staying and ring.stopped_by is signal.SIGTERM

    def _carry_out(self, want: NodeDesired, snapshot: Snapshot) -> Report:
        grown = self._datapath.sync(want.datapath, shrink=False)
        announced = self._announcers.sync(want.announcements, snapshot.links)
        self._told = carried(want.peers, self._told, grown)
        routed = self._bgp.sync(self._told, snapshot.links, want.peers_refused)
        shrunk = Report()
        if snapshot.complete:
            shrunk = self._datapath.sync(want.datapath)
        reports = (grown, announced, routed, shrunk)
        return Report(
            changed=sum(report.changed for report in reports),
            failures=tuple(dict.fromkeys(f for report in reports for f in report.failures)),
            again_at=shrunk.again_at,
        )

    def _tell(self, want: NodeDesired) -> None:
        if want.announcements is self.wanted.announcements:
            return
        gone, come = difference(self.wanted.announcements, want.announcements)
        before, now = {item.address for item in gone}, {item.address for item in come}
        for address in sorted(now - before, key=str):
            self._log("announced", address=address)
        for address in sorted(before - now, key=str):
            self._log("withdrawn", address=address)

    def report(self) -> dict[str, object]:
        """What `onehop explain` reads: the last failures and conflicts of this node."""
        return {
            "node": self._rules.node,
            "at": time.time(),
            "failures": self._failures,
            "conflicts": self._conflicts,
        }

    def _write_report(self) -> None:
        if self._report_file is None:
            return
        text = json.dumps(self.report())
        temporary = self._report_file.with_suffix(".tmp")
        try:
            self._report_file.parent.mkdir(parents=True, exist_ok=True)
            temporary.write_text(text)
            os.replace(temporary, self._report_file)
        except OSError as error:
            self._log("report-not-written", file=self._report_file, why=error.strerror)
