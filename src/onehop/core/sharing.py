"""Sharing: who holds which address, and who may hold it together.

Two Services may hold one address when both name the same non-empty sharing key, when their
backend keys are equal (policy Local attracts all traffic of an address to one set of pods), and
when no protocol and port is in both. MetalLB's rule, without its exceptions by order of arrival.

Addresses are counted as numbers (`number`), since an `ipaddress` object is slow to hash and
10 000 of them are looked up in one decision.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from onehop.model.address import IPAddress
from onehop.model.reason import Reason, Refusal
from onehop.model.service import Key

V6 = 1 << 128
"""Added to an IPv6 address' integer, so that the two families never meet."""


def number(address: IPAddress) -> int:
    """A number that stands for the address, unlike that of any address of the other family."""
    return int(address) if address.version == 4 else int(address) + V6


@dataclass(frozen=True, slots=True, kw_only=True)
class Share:
    """By what a Service would share an address; `ports` are (protocol, port)."""

    key: Key
    sharing_key: str
    backend_key: str
    ports: frozenset[tuple[str, int]]


def compatible(one: Share, other: Share) -> bool:
    """Whether two different Services may hold one address together."""
    return bool(
        one.sharing_key
        and one.sharing_key == other.sharing_key
        and one.backend_key == other.backend_key
        and one.ports.isdisjoint(other.ports)
    )


def sharing_refusal(share: Share, holder: Share, address: IPAddress) -> Refusal:
    """Why `share` may not join `holder` on an address that it may not share."""
    if not share.sharing_key:
        return Refusal(
            reason=Reason.ADDRESS_IN_USE, detail=f"{address} is held by Service {holder.key}"
        )
    if share.sharing_key != holder.sharing_key:
        why = f"sharing key {share.sharing_key!r} is not its {holder.sharing_key!r}"
    elif share.backend_key != holder.backend_key:
        why = "policy Local shares only between Services of policy Local with one selector"
    else:
        taken = sorted(share.ports & holder.ports)
        why = "both serve " + ", ".join(f"{protocol}/{port}" for protocol, port in taken)
    return Refusal(
        reason=Reason.SHARING_REFUSED,
        detail=f"{address} is held by Service {holder.key}: {why}",
    )


class Ledger:
    """Who holds which address. `lowest` remembers where a search for a free one may start."""

    def __init__(self) -> None:
        self.held: dict[int, tuple[Share, ...]] = {}
        self.groups: dict[tuple[str, str], set[int]] = {}
        self.lowest: dict[int, int] = {}

    def admits(self, where: int, share: Share) -> bool:
        """Whether `share` may hold the address: nobody else does, or it may be shared."""
        holders = self.held.get(where)
        return holders is None or all(
            holder.key == share.key or compatible(share, holder) for holder in holders
        )

    def holder_against(self, where: int, share: Share) -> Share | None:
        """The holder that keeps `share` out, the first by key if there are several."""
        against = (
            holder
            for holder in self.held.get(where, ())
            if holder.key != share.key and not compatible(share, holder)
        )
        return min(against, key=lambda holder: holder.key, default=None)

    def claim(self, share: Share, numbers: Iterable[int]) -> None:
        """Enter `share` as a holder; the caller has asked `admits`."""
        for where in numbers:
            self.held[where] = (*self.held.get(where, ()), share)
            if share.sharing_key:
                group = (share.sharing_key, share.backend_key)
                self.groups.setdefault(group, set()).add(where)

    def release(self, share: Share, numbers: Iterable[int]) -> None:
        """Take `share` off the addresses it claimed."""
        for where in numbers:
            left = tuple(holder for holder in self.held[where] if holder is not share)
            if left:
                self.held[where] = left
                continue
            del self.held[where]
            for start, lowest in self.lowest.items():
                if start <= where < lowest:
                    self.lowest[start] = where
            if share.sharing_key:
                self.groups[share.sharing_key, share.backend_key].discard(where)
