"""When to announce and when to defend: the timing that ARP and NDP announcers share.

`Schedule` holds addresses to announce: each at once, then again after fixed spans, never more
than `BATCH` addresses in `PACE` seconds. First announcements go before repeats, so one moved
address never waits behind the repeats of thousands.

`Conflicts` holds claims of others to our addresses. A claim that still stands `REBUT` seconds
later is answered by one announcement: by then the old owner of a hand-over has heard of it and
let go, and one to whom the address came back at once has to call its clients back. It is reported
when it still stands after `SETTLE` seconds. The constants are our own; decision record 0030 says
why.
"""

from __future__ import annotations

from collections import deque
from heapq import heappop, heappush
from itertools import takewhile

BATCH = 128
PACE = 0.01
REBUT = 0.004
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
    """Claims of others to our addresses: each answered and reported once in `DEFEND_INTERVAL`."""

    def __init__(self) -> None:
        # All spans are equal, so in each mapping the order of insertion is the order of time.
        self._unanswered: dict[bytes, float] = {}
        self._standing: dict[bytes, tuple[float, bytes]] = {}
        self._claimed_at: dict[bytes, float] = {}

    def claimed(self, address: bytes, claimant: bytes, now: float) -> None:
        """The station `claimant` said that `address` is its own."""
        claimed_at = self._claimed_at.get(address)
        if claimed_at is None or now >= claimed_at + DEFEND_INTERVAL:
            self._claimed_at[address] = now
            self._unanswered[address] = now + REBUT
            self._standing[address] = (now + SETTLE, claimant)

    def forget(self, address: bytes) -> None:
        """The address is no longer ours: whoever claims it is right."""
        self._unanswered.pop(address, None)
        self._standing.pop(address, None)
        self._claimed_at.pop(address, None)

    @property
    def deadline(self) -> float | None:
        """When `rebuttals` or `due` next has something to give."""
        for answers_at in self._unanswered.values():
            return answers_at
        for settles_at, _ in self._standing.values():
            return settles_at
        return None

    def rebuttals(self, now: float) -> list[bytes]:
        """Addresses to announce once, since somebody else claimed them."""
        answered = list(takewhile(lambda each: self._unanswered[each] <= now, self._unanswered))
        for address in answered:
            del self._unanswered[address]
        return answered

    def due(self, now: float) -> list[tuple[bytes, bytes]]:
        """(address, claimant) of the claims to report now."""
        settled: list[tuple[bytes, bytes]] = []
        for address, (settles_at, claimant) in self._standing.items():
            if settles_at > now:
                break
            settled.append((address, claimant))
        for address, _ in settled:
            del self._standing[address]
        return settled
