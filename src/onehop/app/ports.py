"""What the loops need of the world: store, links, announcers, BGP and the datapath."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Protocol

from onehop.model.bgp import PeerDesired
from onehop.model.desired import (
    Announcement,
    ClusterDesired,
    DatapathDesired,
    NodeDesired,
    Report,
)
from onehop.model.node import Link
from onehop.model.objects import Objects
from onehop.model.reason import Reason, Refusal
from onehop.model.service import Key

if TYPE_CHECKING:
    from onehop.adapters.bpf.tables import Statistics


class Store(Protocol):
    """A source of objects that says when it has new ones."""

    def objects(self) -> Objects:
        """The current value."""
        ...

    def fileno(self) -> int:
        """A descriptor that turns readable when something may have changed."""
        ...

    def refresh(self) -> bool:
        """Take in what changed; True when `objects` gives a new value."""
        ...

    def sync(self, want: ClusterDesired) -> Report:
        """Write the controller's decisions."""
        ...


class Leadership(Protocol):
    """Whether this controller is the one that writes."""

    def is_held(self) -> bool:
        """Whether it may write at this instant."""
        ...

    def fileno(self) -> int:
        """A descriptor that turns readable when that may have changed."""
        ...

    def refresh(self) -> bool:
        """Whether it changed since the last call."""
        ...

    @property
    def holder(self) -> str:
        """Who leads, as far as is known."""
        ...

    @property
    def why(self) -> str:
        """What keeps this controller from leading, in words; empty for nothing but a leader."""
        ...


class LinkSource(Protocol):
    """The links of this host."""

    def links(self) -> tuple[Link, ...]:
        """The current value."""
        ...

    def fileno(self) -> int:
        """A descriptor that turns readable when something may have changed."""
        ...

    def refresh(self) -> bool:
        """Take in what changed; True when `links` gives a new value."""
        ...


class Announcing(Protocol):
    """Layer 2: answers for addresses."""

    def sync(self, announcements: tuple[Announcement, ...], links: tuple[Link, ...]) -> Report:
        """Answer for exactly these addresses."""
        ...

    def counters(self) -> dict[str, dict[str, int]]:
        """Counts by address."""
        ...

    def close(self) -> None:
        """Stop answering."""
        ...


class Advertising(Protocol):
    """BGP: tells routers."""

    def sync(
        self,
        peers: tuple[PeerDesired, ...],
        links: tuple[Link, ...],
        refused: Mapping[str, Refusal],
    ) -> Report:
        """Hold exactly these sessions, and advertise exactly their routes.

        `refused` says why other BGPPeers have no session here, for whoever asks.
        """
        ...

    def drain(self) -> None:
        """Ask every router to use our routes last, while they still work."""
        ...

    async def close(self, *, keep: bool) -> None:
        """Withdraw every route, then end the sessions.

        With `keep`, routers that were promised a graceful restart keep their routes.
        """
        ...


class NoBgp:
    """No router is to be told anything."""

    def sync(
        self,
        peers: tuple[PeerDesired, ...],
        links: tuple[Link, ...],
        refused: Mapping[str, Refusal],
    ) -> Report:
        """Nobody to tell."""
        del peers, links, refused
        return Report()

    def drain(self) -> None:
        """Nobody to ask."""

    async def close(self, *, keep: bool) -> None:
        """Nothing to withdraw."""
        del keep


class Telling(Protocol):
    """Statuses: says which Services a node carries, to whoever looks on."""

    def sync(self, want: NodeDesired) -> None:
        """From now on, say this; it is written when there is time for it."""
        ...

    def close(self) -> None:
        """Take back what was said."""
        ...


class NoStatus:
    """Nobody is told."""

    def sync(self, want: NodeDesired) -> None:
        """Nothing to say."""
        del want

    def close(self) -> None:
        """Nothing to take back."""


class Forwarding(Protocol):
    """The service table of the node."""

    def sync(self, want: DatapathDesired, *, shrink: bool = True) -> Report:
        """Program what is wanted; without `shrink`, only add and change."""
        ...

    def fileno(self) -> int:
        """A descriptor that turns readable when links or routes changed, or -1 for none."""
        ...

    def refused_packets(self) -> Mapping[Reason, int]:
        """Packets that were dropped or left to the host, by reason."""
        ...

    def statistics(self) -> Iterator[tuple[Key, Statistics]]:
        """What was carried for each Service, read one by one as they are asked for."""
        ...

    def close(self) -> None:
        """Let go of the maps; what is pinned goes on forwarding."""
        ...


class NoDatapath:
    """Forwarding is another program's work: Cilium's or kube-proxy's."""

    def sync(self, want: DatapathDesired, *, shrink: bool = True) -> Report:
        """Nothing to program."""
        del want, shrink
        return Report()

    def fileno(self) -> int:
        """Nothing to watch."""
        return -1

    def refused_packets(self) -> Mapping[Reason, int]:
        """Another program counts."""
        return {}

    def statistics(self) -> Iterator[tuple[Key, Statistics]]:
        """Another program counts."""
        return iter(())

    def close(self) -> None:
        """Nothing to let go of."""
