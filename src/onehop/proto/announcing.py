"""What ARP and NDP announcers share: the addresses held on one link, and their life.

Per address, all transitions live here:

    absent --set_addresses--> announcing --last repeat--> held
       ^                          |                        |
       +------set_addresses-------+------------------------+
                                  claim of another station |
    (announcing | held) --claim--> claimed --SETTLE--> report + one defence --> as before

A held address is answered for in every state. Nothing is ever given up because somebody else
claims it: which node owns an address is decided elsewhere, from more than one link can hear.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from ipaddress import IPv6Address

from onehop.model.address import IPAddress, Mac
from onehop.proto.machine import AddressConflict, Effect, Send
from onehop.proto.pacing import Conflicts, Schedule


@dataclass(frozen=True, slots=True, kw_only=True)
class AddressCounters:
    """What happened for one address since it became wanted."""

    requests_received: int = 0
    replies_sent: int = 0
    gratuitous_sent: int = 0
    conflicts: int = 0

    def __add__(self, other: AddressCounters) -> AddressCounters:
        return AddressCounters(
            requests_received=self.requests_received + other.requests_received,
            replies_sent=self.replies_sent + other.replies_sent,
            gratuitous_sent=self.gratuitous_sent + other.gratuitous_sent,
            conflicts=self.conflicts + other.conflicts,
        )


class Holding:
    """One address and what happened for it.

    `answer` is the part of a reply that does not depend on who asks, when that saves time.
    """

    __slots__ = ("address", "answer", "conflicts", "gratuitous", "requests")

    def __init__(self, address: IPAddress, answer: bytes = b"") -> None:
        self.address = address
        self.answer = answer
        self.requests = 0
        self.gratuitous = 0
        self.conflicts = 0


class Announcer(ABC):
    """The addresses that one link answers for; a subclass speaks the protocol."""

    def __init__(self, *, mac: Mac, repeats: tuple[float, ...]) -> None:
        self._mac = mac
        self._siblings: frozenset[bytes] = frozenset()
        self._holdings: dict[bytes, Holding] = {}
        self._schedule = Schedule(repeats)
        self._conflicts = Conflicts()

    @abstractmethod
    def _hold(self, address: IPAddress) -> Holding:
        """The holding of a newly wanted address."""

    @abstractmethod
    def _release(self, holding: Holding) -> None:
        """The address of a holding is no longer wanted."""

    @abstractmethod
    def _announcements(self, address: IPAddress) -> tuple[Send, ...]:
        """The frames that announce an address once."""

    @abstractmethod
    def receive_frame(self, frame: bytes, now: float) -> tuple[Effect, ...]:
        """A frame arrived on the link."""

    @property
    def groups(self) -> frozenset[IPv6Address]:
        """The multicast groups that the link must be a member of; none but for NDP."""
        return frozenset()

    def set_siblings(self, macs: frozenset[Mac]) -> None:
        """The MACs of the node's links: two of them may be on one wire and hear each other.

        What a sibling says is said for us, and so no claim.
        """
        self._siblings = frozenset(mac.octets for mac in macs)

    def set_addresses(self, addresses: frozenset[IPAddress], now: float) -> tuple[Effect, ...]:
        """These addresses, and no others, are wanted on the link; new ones are announced."""
        held = frozenset(holding.address for holding in self._holdings.values())
        return self.change_addresses(addresses - held, held - addresses, now)

    def change_addresses(
        self, come: Iterable[IPAddress], gone: Iterable[IPAddress], now: float
    ) -> tuple[Effect, ...]:
        """The same, told by the difference: one address among thousands costs one."""
        for address in gone:
            self._release(self._holdings.pop(address.packed))
            self._schedule.forget(address.packed)
            self._conflicts.forget(address.packed)
        # Sorted, so that equal inputs give equal outputs.
        for address in sorted(come, key=_packed):
            self._holdings[address.packed] = self._hold(address)
            self._schedule.start(address.packed)
        return tuple(self._announcements_due(now))

    @property
    def deadline(self) -> float | None:
        """When `wake` wants to be called, or None for never."""
        scheduled, standing = self._schedule.deadline, self._conflicts.deadline
        if scheduled is None or standing is None:
            return standing if scheduled is None else scheduled
        return min(scheduled, standing)

    def wake(self, now: float) -> tuple[Effect, ...]:
        """Time has reached the deadline: repeats, and conflicts that did not go away."""
        effects = self._announcements_due(now)
        for packed in self._conflicts.rebuttals(now):
            self._announce(self._holdings[packed], effects)
        for packed, claimant in self._conflicts.due(now):
            address = self._holdings[packed].address
            effects.append(AddressConflict(address=address, claimant=Mac(claimant)))
        return tuple(effects)

    def counters(self) -> Mapping[IPAddress, AddressCounters]:
        """What happened for each address held now. Every request counted was answered."""
        return {
            holding.address: AddressCounters(
                requests_received=holding.requests,
                replies_sent=holding.requests,
                gratuitous_sent=holding.gratuitous,
                conflicts=holding.conflicts,
            )
            for holding in self._holdings.values()
        }

    def _announcements_due(self, now: float) -> list[Effect]:
        effects: list[Effect] = []
        for packed in self._schedule.due(now):
            self._announce(self._holdings[packed], effects)
        return effects

    def _announce(self, holding: Holding, effects: list[Effect]) -> None:
        announcements = self._announcements(holding.address)
        holding.gratuitous += len(announcements)
        effects.extend(announcements)

    def _claimed(self, holding: Holding, claimant: bytes, now: float) -> None:
        if claimant in self._siblings:
            return
        holding.conflicts += 1
        self._conflicts.claimed(holding.address.packed, claimant, now)


def _packed(address: IPAddress) -> bytes:
    return address.packed
