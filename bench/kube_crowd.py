"""Many Services of one side: created at once, waiting for a controller, and when one restarts."""

from __future__ import annotations

import signal
import time
from dataclasses import dataclass, field

from bench.kube_audit import Audit, counted
from bench.kube_load import SERVICES, SLICES, Load, followed, services, slices, versus
from bench.kube_plant import Plant
from bench.kube_sides import (
    US,
    Side,
    resident,
    start_controller,
    start_speaker,
    stop_controller,
    stop_speaker,
)
from bench.row import Measure

ENDPOINTS = 10
QUIET = 2.5
RESTARTS = 3


@dataclass(slots=True, kw_only=True)
class Crowd:
    """So many Services of a side; each step leaves its controller as it says."""

    plant: Plant
    load: Load
    side: Side
    size: int
    within: float = 60.0
    names: list[str] = field(init=False)
    controller: int = 0

    def __post_init__(self) -> None:
        self.names = [f"{self.side.name.lower()}-{n:05}" for n in range(self.size)]

    def start(self) -> None:
        """Start the controller and wait until it has nothing left to write."""
        audit = Audit(self.plant, self.side)
        self.controller = start_controller(self.plant, self.side)
        self._await_watch(audit)
        audit.settle(QUIET, self.within)

    def stop(self) -> None:
        """End the controller as a rollout does."""
        stop_controller(self.plant, self.side, signal.SIGTERM)

    def create(self) -> None:
        """Create the Services."""
        self.load.create(SERVICES, services(self.names, self.side))

    def delete(self) -> None:
        """Delete all of them, with their endpoints."""
        space = self.plant.client.get(SERVICES)["items"]
        self.load.delete(SERVICES, [each["metadata"]["name"] for each in space])
        behind = self.plant.client.get(SLICES)["items"]
        self.load.delete(SLICES, [each["metadata"]["name"] for each in behind])

    def burst(self) -> list[Measure]:
        """All are created while the controller runs; it is ended once it has nothing to write."""
        self.start()
        audit = Audit(self.plant, self.side)
        with followed(self.plant) as arrived:
            begin = time.monotonic()
            end = self.load.create(SERVICES, services(self.names, self.side))
            self._await(arrived)
            last = max(arrived.values())
        audit.settle(QUIET, self.within)
        self.stop()
        return [
            self._measure(
                "Services created at once: last address after the last create",
                max(0.0, last - end),
                "s",
                f"created in {end - begin:.1f} s; {counted(audit.writes())}",
            )
        ]

    def wait(self) -> list[Measure]:
        """None has an address when the controller starts, which then stays."""
        with followed(self.plant) as arrived:
            begin = time.monotonic()
            self.controller = start_controller(self.plant, self.side)
            self._await(arrived)
        first, last = min(arrived.values()), max(arrived.values())
        note = f"first after {first - begin:.2f} s, last after {last - begin:.2f} s"
        return [
            self._measure(
                "Services waiting when the controller starts: addresses, from its start",
                self.size / (last - begin),
                "1/s",
                note,
            ),
            self._measure(
                "Services waiting when the controller starts: addresses, from the first",
                (self.size - 1) / (last - first),
                "1/s",
                note,
            ),
        ]

    def take_addresses(self) -> list[Measure]:
        """Clear every status, which tells what the API server can do."""
        rate = self.load.take_addresses(self.names)
        return [
            self._measure(
                "status patches that the API server takes from six threads",
                rate,
                "1/s",
                "no controller runs",
            )
        ]

    def memory(self) -> list[Measure]:
        """With endpoints behind each; the speakers are ended, the controller stays."""
        audit = Audit(self.plant, self.side)
        self.load.create(SLICES, slices(self.names, ENDPOINTS))
        pids = [start_speaker(self.plant, self.side, at) for at in range(len(self.plant.nodes))]
        self._await_watch(audit, self.side.speaker)
        audit.settle(QUIET * 2, self.within)
        self.announced()
        used = [resident(pid) for pid in pids]
        controller = resident(self.controller)
        for at in range(len(pids)):
            stop_speaker(self.plant, self.side, at)
        note = f"{self.size * ENDPOINTS:,} endpoints".replace(",", " ")
        mode = ", --datapath none" if self.side is US else ", native"
        each = ", ".join(f"{value:.0f}" for value in used)
        return [
            self._measure("resident memory of the controller", controller, "MB", note),
            self._measure(
                "resident memory of a speaker, layer 2",
                max(used),
                "MB",
                f"{note}; the largest of three, {each}{mode}",
            ),
        ]

    def restart(self, times: int = RESTARTS) -> list[Measure]:
        """A Service is created while the controller is away: from its start to that address."""
        took = [self._restarted(f"{self.side.name.lower()}-new-{at}") for at in range(times)]
        each = ", ".join(f"{value:.2f}" for value in took)
        return [
            self._measure(
                "restart to the first new address", max(took), "s", f"the longest of {each}"
            )
        ]

    def _restarted(self, name: str) -> float:
        self.stop()
        with followed(self.plant) as arrived:
            self.load.create(SERVICES, services([name], self.side))
            begin = time.monotonic()
            self.controller = start_controller(self.plant, self.side)
            self.plant.until(lambda: name in arrived, f"address of {name}", within=self.within)
        return arrived[name] - begin

    def unchanged(self) -> list[Measure]:
        """A restart where nothing is to be done; afterwards the controller is seen to work."""
        Audit(self.plant, self.side).settle(QUIET, self.within)
        self.stop()
        audit = Audit(self.plant, self.side)
        self.start()
        writes = audit.writes()
        self.proof()
        what = "writes of a restart although nothing changed"
        return [self._measure(what, len(writes), "", counted(writes))]

    def announced(self) -> None:
        """See that the speakers work: each Service has a status of who announces it."""
        path = f"/apis/metallb.io/v1beta1/namespaces/{self.side.space}/servicel2statuses?limit=1"
        self.plant.alive()

        def is_so() -> bool:
            found = self.plant.client.get(path)
            left = found["metadata"].get("remainingItemCount", 0)
            return len(found["items"]) + int(left) >= self.size

        self.plant.until(is_so, f"{self.size} Services announced", within=self.within)

    def proof(self) -> None:
        """See that the controller works: another Service gets an address."""
        name = f"{self.side.name.lower()}-proof"
        with followed(self.plant) as arrived:
            self.load.create(SERVICES, services([name], self.side))
            self.plant.until(lambda: name in arrived, f"address of {name}")

    def _await(self, arrived: dict[str, float]) -> None:
        self.plant.until(
            lambda: len(arrived) >= self.size, f"{self.size} addresses", within=self.within
        )

    def _await_watch(self, audit: Audit, account: str = "") -> None:
        """Wait until a program of the side watches Services, so has read them all."""
        user = f":{self.side.space}:{account or self.side.controller}"
        self.plant.until(
            lambda: any(
                event["verb"] == "watch"
                and event["objectRef"]["resource"] == "services"
                and event["user"]["username"].endswith(user)
                for event in audit.read()
            ),
            f"a watch by {user}",
            within=self.within,
        )

    def _measure(self, what: str, value: float, unit: str, note: str) -> Measure:
        size = f"{self.size:,} Services".replace(",", " ")
        return Measure(
            what=what,
            value=round(value, 3 if value < 10 else 1),
            unit=unit,
            versus=versus(self.side, size),
            note=note,
        )
