"""When to announce and when to defend: the timing that ARP and NDP announcers share.

`Schedule` holds addresses to announce: each at once, then again after fixed spans, never more
than `BATCH` addresses in `PACE` seconds. First announcements go before repeats, so one moved
address never waits behind the repeats of thousands.

`Conflicts` holds claims of others to our addresses. A claim counts only when it still stands
`SETTLE` seconds later: in a hand-over the new owner's announcement arrives some milliseconds
before the old owner's own decision, and a defence would pull the clients back. The constants are
our own; decision record 0030 says why.
"""

from __future__ import annotations

from collections import deque
from heapq import heappop, heappush

BATCH = 128
PACE = 0.01
SETTLE = 0.5
DEFEND_INTERVAL = 10.0  # RFC 5227 1.1


class Schedule:
    """Which addresses are due for an announcement; `repeats` are the spans between them.

    A span counts from the announcement before it, not from its due time: a loop that was held up
    must not send two in a row.
    """

    def __init__(self, repeats: tuple[float, ...]) -> None:
        self._spans = repeats
        self._fresh: deque[tuple[bytes, int]] = deque()
        self._fresh_at = 0.0
        self._repeats: list[tuple[float, int, bytes, int]] = []
        self._repeats_at = 0.0
        self._round_by_address: dict[bytes, int] = {}
        self._count = 0

    def start(self, address: bytes) -> None:
        """The address is newly wanted: announce it at once and repeat."""
        self._count += 1
        self._round_by_address[address] = self._count
        self._fresh.append((address, self._count))

    def forget(self, address: bytes) -> None:
        """The address is no longer wanted: what is still queued for it is dropped."""
        self._round_by_address.pop(address, None)

    @property
    def deadline(self) -> float | None:
        """When `due` next has something to give."""
        instants = []
        if self._fresh:
            instants.append(self._fresh_at)
        if self._repeats:
            instants.append(max(self._repeats[0][0], self._repeats_at))
        return min(instants, default=None)

    def due(self, now: float) -> list[bytes]:
        """The addresses to announce now."""
        return self._fresh_due(now) + self._repeats_due(now)

    def _fresh_due(self, now: float) -> list[bytes]:
        addresses: list[bytes] = []
        if now < self._fresh_at:
            return addresses
        while self._fresh and len(addresses) < BATCH:
            address, round_ = self._fresh.popleft()
            if self._round_by_address.get(address) != round_:
                continue
            addresses.append(address)
            self._repeat(address, round_, 0, now)
        self._fresh_at = now + PACE if len(addresses) == BATCH else now
        return addresses

    def _repeat(self, address: bytes, round_: int, step: int, now: float) -> None:
        if step < len(self._spans):
            heappush(self._repeats, (now + self._spans[step], round_, address, step))

    def _repeats_due(self, now: float) -> list[bytes]:
        addresses: list[bytes] = []
        if now < self._repeats_at:
            return addresses
        while self._repeats and self._repeats[0][0] <= now and len(addresses) < BATCH:
            _, round_, address, step = heappop(self._repeats)
            if self._round_by_address.get(address) == round_:
                addresses.append(address)
                self._repeat(address, round_, step + 1, now)
        self._repeats_at = now + PACE if len(addresses) == BATCH else now
        return addresses


class Conflicts:
    """Claims of others to our addresses, each reported once in `DEFEND_INTERVAL` seconds."""

    def __init__(self) -> None:
        # All spans are equal, so the order of insertion is the order of time.
        self._standing: dict[bytes, tuple[float, bytes]] = {}
        self._reported_at: dict[bytes, float] = {}

    def claimed(self, address: bytes, claimant: bytes, now: float) -> None:
        """The station `claimant` said that `address` is its own."""
        if address in self._standing:
            return
        reported_at = self._reported_at.get(address)
        if reported_at is None or now >= reported_at + DEFEND_INTERVAL:
            self._standing[address] = (now + SETTLE, claimant)

    def forget(self, address: bytes) -> None:
        """The address is no longer ours: whoever claims it is right."""
        self._standing.pop(address, None)
        self._reported_at.pop(address, None)

    @property
    def deadline(self) -> float | None:
        """When `due` next has something to give."""
        for settles_at, _ in self._standing.values():
            return settles_at
        return None

    def due(self, now: float) -> list[tuple[bytes, bytes]]:
        """(address, claimant) of the claims to report, and to defend against, now."""
        settled: list[tuple[bytes, bytes]] = []
        for address, (settles_at, claimant) in self._standing.items():
            if settles_at > now:
                break
            settled.append((address, claimant))
        for address, _ in settled:
            del self._standing[address]
            self._reported_at[address] = now
        return settled
