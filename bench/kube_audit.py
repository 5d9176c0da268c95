"""What the programs under test have asked the API server for, out of its audit log."""

from __future__ import annotations

import json
import time
from collections import Counter
from collections.abc import Iterable

from bench.kube_plant import Plant
from bench.kube_sides import Side
from onehop.lab.kube_client import Object

WRITES = frozenset({"create", "update", "patch", "delete", "deletecollection"})
_POLL = 0.1


class Audit:
    """What the ServiceAccounts of one side have asked for since this was made."""

    def __init__(self, plant: Plant, side: Side) -> None:
        self._log = plant.server.site.audit_log
        self._accounts = [f"system:serviceaccount:{each}" for each in side.accounts]
        self._offset = self._log.stat().st_size if self._log.exists() else 0
        self.events: list[Object] = []

    def read(self) -> list[Object]:
        """All of them; a line half written is not one yet."""
        with self._log.open("rb") as log:
            log.seek(self._offset)
            text = log.read()
        whole = text[: text.rfind(b"\n") + 1]
        self._offset += len(whole)
        for line in whole.splitlines():
            event = json.loads(line)
            if event["user"].get("username") in self._accounts:
                self.events.append(event)
        return self.events

    def writes(self) -> list[Object]:
        """Those that write, but for Leases."""
        return [
            event
            for event in self.read()
            if event["verb"] in WRITES and event["objectRef"]["resource"] != "leases"
        ]

    def settle(self, quiet: float, within: float = 120.0) -> None:
        """Wait until nothing was written for a while.

        Raises:
            RuntimeError: when that does not come.
        """
        count, since = len(self.writes()), time.monotonic()
        begin = since
        while time.monotonic() - since < quiet:
            if time.monotonic() - begin > within:
                raise RuntimeError(
                    f"writes go on after {within:g} s: {counted(self.events[-50:])}"
                )
            time.sleep(_POLL)
            if len(self.writes()) != count:
                count, since = len(self.writes()), time.monotonic()


def counted(events: Iterable[Object]) -> str:
    """How many of each verb and resource."""
    found = Counter(f"{event['verb']} {_resource(event)}" for event in events)
    return ", ".join(f"{count} {what}" for what, count in found.most_common())


def _resource(event: Object) -> str:
    reference = event.get("objectRef", {})
    parts = (reference.get("resource", event["requestURI"]), reference.get("subresource", ""))
    return "/".join(part for part in parts if part)
