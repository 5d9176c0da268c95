"""What there is to see of a peer: its state, its counters, and why it is not up.

Values for people and metrics; nothing here decides.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from enum import Enum

from onehop.proto.bgp.constants import MessageType
from onehop.proto.bgp.message import Open
from onehop.proto.bgp.negotiated import Negotiated


class State(Enum):
    """RFC 4271 8.2.2, of a peer; a session knows the last three and CLOSED."""

    IDLE = "Idle"
    CONNECT = "Connect"
    ACTIVE = "Active"
    OPEN_SENT = "OpenSent"
    OPEN_CONFIRM = "OpenConfirm"
    ESTABLISHED = "Established"
    CLOSED = "Closed"


@dataclass(frozen=True, slots=True, kw_only=True)
class Counters:
    """What happened with one peer since it was configured.

    `prefixes_received` and `prefixes_withdrawn` were counted and dropped (RFC 8212 2); `faults`
    are those that the session survived (RFC 7606 2).
    """

    sent: Mapping[MessageType, int]
    received: Mapping[MessageType, int]
    prefixes_received: int
    prefixes_withdrawn: int
    faults: int
    established: int

    @property
    def prefixes_standing(self) -> int:
        """Those of the peer's prefixes that it has not withdrawn; never below 0."""
        return max(0, self.prefixes_received - self.prefixes_withdrawn)


class Tally:
    """The counters while they count; shared by all sessions of a peer."""

    __slots__ = (
        "established", "faults", "prefixes_received", "prefixes_withdrawn", "received", "sent",
    )  # fmt: skip

    def __init__(self) -> None:
        self.sent = dict.fromkeys(MessageType, 0)
        self.received = dict.fromkeys(MessageType, 0)
        self.prefixes_received = 0
        self.prefixes_withdrawn = 0
        self.faults = 0
        self.established = 0

    def counters(self) -> Counters:
        """How it stands now."""
        return Counters(
            sent=dict(self.sent),
            received=dict(self.received),
            prefixes_received=self.prefixes_received,
            prefixes_withdrawn=self.prefixes_withdrawn,
            faults=self.faults,
            established=self.established,
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class PeerStatus:
    """A peer now. Instants are the machine's; None where there was none.

    `ours` and `theirs` are the OPENs of the session that got farthest. `problem` says why the
    last attempt or session ended, `fault` what the last fault was that did not end one.
    """

    name: str
    state: State
    since_at: float
    established_at: float | None
    retry_at: float | None
    problem: str
    problem_at: float | None
    fault: str
    ours: Open | None
    theirs: Open | None
    negotiated: Negotiated | None
    wanted: int
    advertised: int
    counters: Counters
