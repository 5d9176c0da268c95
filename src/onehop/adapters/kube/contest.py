"""Statuses that somebody else overwrites each time: written more and more seldom.

Two controllers of one class with pools of their own would otherwise answer each other for ever,
hundreds of times a second. What a person overwrites is put right at once: only the fourth time
within two minutes waits. Addresses that we wrote ourselves are nobody else's, so a Service that is
moved again and again never waits.
"""

from __future__ import annotations

from dataclasses import dataclass

from onehop.adapters.kube.statuses import addresses_agree
from onehop.adapters.kube.structs import Live
from onehop.model.address import IPAddress
from onehop.model.desired import ServiceStatus
from onehop.model.service import Key

_FREE = 3
_LONGEST = 64.0
_OURS = 4  # of our own last addresses of a Service, how many are told from others'
_QUIET = 2 * _LONGEST  # seconds without a write after which all is forgotten


@dataclass(frozen=True, slots=True, kw_only=True)
class _Round:
    """How often others' addresses were replaced, and when last."""

    count: int
    at: float

    @property
    def due(self) -> float:
        if self.count < _FREE:
            return self.at
        exponent: int = self.count - _FREE + 1
        return self.at + min(_LONGEST, float(1 << min(exponent, 10)))


class Contests:
    """Remembers whose addresses we replaced, by Service."""

    def __init__(self) -> None:
        self._rounds: dict[Key, _Round] = {}
        self._ours: dict[Key, tuple[tuple[IPAddress, ...], ...]] = {}

    def wait(self, key: Key, live: Live, status: ServiceStatus | None, now: float) -> float | None:
        """The instant before which this is not to be written, None when it may be now."""
        found = self._rounds.get(key)
        if found is None or not self._replaces(key, live, status):
            return None
        if now - found.at > _QUIET:
            del self._rounds[key]
            return None
        return found.due if found.due > now else None

    def sent(self, key: Key, live: Live, status: ServiceStatus | None, now: float) -> None:
        """It is written now."""
        is_contest = self._replaces(key, live, status)
        if status is not None:
            others = (each for each in self._ours.get(key, ()) if each != status.addresses)
            self._ours[key] = (status.addresses, *others)[:_OURS]
        if not is_contest:
            return
        found = self._rounds.get(key)
        count = found.count if found is not None and now - found.at <= _QUIET else 0
        self._rounds[key] = _Round(count=count + 1, at=now)

    def forget(self, key: Key | None = None) -> None:
        """The Service is gone, or we are no controller any more."""
        if key is None:
            self._rounds.clear()
            self._ours.clear()
        else:
            self._rounds.pop(key, None)
            self._ours.pop(key, None)

    def _replaces(self, key: Key, live: Live, status: ServiceStatus | None) -> bool:
        """Whether addresses of others stand there; where none stand, nobody is contradicted."""
        if status is None or not live.ingress:
            return False
        ours = (status.addresses, *self._ours.get(key, ()))
        return not any(addresses_agree(live, each) for each in ours)
