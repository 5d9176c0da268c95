"""The machine contract: inputs are methods, effects are returned, one number says when to wake.

A machine never does I/O, never reads a clock and never raises on what a peer sent. Time enters
as `now` in monotonic seconds; randomness as a `jitter` callable.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol as TypingProtocol

from onehop.model.address import IPAddress, Mac


class DecodeError(Exception):
    """A peer sent something that the codec refuses: which field, where, and why."""

    def __init__(self, field: str, offset: int, why: str) -> None:
        super().__init__(f"{field} at offset {offset}: {why}")
        self.field = field
        self.offset = offset
        self.why = why


@dataclass(frozen=True, slots=True, kw_only=True)
class Send:
    """Effect: put this complete Ethernet frame on the machine's link."""

    frame: bytes


@dataclass(frozen=True, slots=True, kw_only=True)
class AddressConflict:
    """Fact: another host claims an address of ours (RFC 5227 2.4, RFC 4862 5.4.4)."""

    address: IPAddress
    claimant: Mac


Effect = Send | AddressConflict


class Machine(TypingProtocol):
    """What the driver needs of every machine."""

    @property
    def deadline(self) -> float | None:
        """When `wake` wants to be called, or None for never."""
        ...

    def wake(self, now: float) -> tuple[Effect, ...]:
        """Time has reached the deadline."""
        ...
