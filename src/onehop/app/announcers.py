"""Layer 2 made so: which addresses this node answers for, on which links, from now on.

An effector: `sync` is handed all that is wanted and all links there are. It holds one port (a
frame socket, a machine and its driver) per link and family that has an address to answer for. A
link that goes away takes its ports with it; when it is back, they are opened anew, and so every
address on it is announced again. It never chooses an address or an owner.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable
from dataclasses import dataclass

from onehop.adapters.linux.frame import FrameError, FrameProtocol, FrameSocket
from onehop.adapters.linux.link import carries_arp, carries_ndp
from onehop.adapters.linux.multicast import Memberships
from onehop.app.driver import Driver, Fact
from onehop.model.address import IPAddress, Mac
from onehop.model.desired import Announcement, Failure, Report
from onehop.model.node import Link
from onehop.model.reason import Reason, Refusal
from onehop.proto.announcing import AddressCounters, Announcer
from onehop.proto.arp.announcer import ArpAnnouncer
from onehop.proto.ndp.announcer import NdpAnnouncer

RETRY = 1.0
_VERSIONS = {FrameProtocol.ARP: 4, FrameProtocol.NDP: 6}


@dataclass(frozen=True, slots=True, kw_only=True)
class _Place:
    """Where a port may be open: when any of it changes, the port is another one.

    `carrier_changes` tells a link that was down between two looks from one that never was.
    """

    index: int
    name: str
    mac: Mac
    carrier_changes: int
    protocol: FrameProtocol

    def covers(self, announcement: Announcement) -> bool:
        """Whether the announcement's address is to be answered for here."""
        return announcement.address.version == _VERSIONS[self.protocol] and (
            announcement.links is None or self.name in announcement.links
        )


class _Port:
    """A machine on a link: frames in, effects out."""

    def __init__(
        self,
        link: Link,
        place: _Place,
        *,
        on_fact: Callable[[Fact], None],
        loop: asyncio.AbstractEventLoop,
    ) -> None:
        self._socket = FrameSocket(link, place.protocol)
        self._memberships = Memberships(link)
        self._name = link.name
        self._loop = loop
        self.machine = _machine(place)
        self._driver = Driver(self.machine, send=self._socket.send, on_fact=on_fact, loop=loop)
        loop.add_reader(self._socket.fileno(), self._frames_arrived)

    def change(self, come: Iterable[IPAddress], gone: Iterable[IPAddress]) -> None:
        """Answer for these as well, and for those no more; new ones are announced at once."""
        self._driver.perform(self.machine.change_addresses(come, gone, self._driver.now()))
        self._driver.rearm()
        # After the announcement: a client that learnt from it need not ask.
        self._memberships.sync(self.machine.groups)

    def failures(self) -> list[Failure]:
        """What does not keep the link from being served, yet ought to be known."""
        if not self._memberships.unjoined:
            return []
        detail = f"{self._memberships.unjoined} multicast groups could not be joined"
        refusal = Refusal(reason=Reason.LINK_FAILED, detail=detail)
        return [Failure(subject=f"link {self._name}", refusal=refusal)]

    def _frames_arrived(self) -> None:
        now = self._driver.now()
        for frame in self._socket.frames():
            effects = self.machine.receive_frame(frame, now)
            if effects:
                self._driver.perform(effects)
        self._driver.rearm()

    def close(self) -> None:
        """Leave the link."""
        self._driver.close()
        self._loop.remove_reader(self._socket.fileno())
        self._socket.close()
        self._memberships.close()


def _machine(place: _Place) -> Announcer:
    if place.protocol is FrameProtocol.ARP:
        return ArpAnnouncer(mac=place.mac)
    return NdpAnnouncer(mac=place.mac)


class Announcers:
    """The effector of a node's announcements; all methods belong to the loop's own thread."""

    def __init__(
        self,
        *,
        on_fact: Callable[[Fact], None],
        loop: asyncio.AbstractEventLoop | None = None,
    ) -> None:
        self._on_fact = on_fact
        self._loop = loop or asyncio.get_running_loop()
        self._announcements: tuple[Announcement, ...] = ()
        self._links: tuple[Link, ...] = ()
        self._macs: frozenset[Mac] = frozenset()
        self._places: dict[_Place, Link] = {}
        self._wanted: dict[_Place, set[IPAddress]] = {}
        self._ports: dict[_Place, _Port] = {}
        self._failed = False

    def sync(self, announcements: tuple[Announcement, ...], links: tuple[Link, ...]) -> Report:
        """Announce exactly this on these links; the first frames leave before it returns.

        Each address stands in one announcement at most.
        """
        unchanged = announcements is self._announcements and links == self._links
        if unchanged and not self._failed:
            return Report()
        changed = self._take(links) if links != self._links else 0
        gone, come = difference(self._announcements, announcements)
        self._announcements = announcements
        failures: list[Failure] = []
        for place, link in self._places.items():
            if place in self._wanted:
                added, removed = self._want(place, gone, come)
            else:
                self._wanted[place] = set()
                added, removed = self._want(place, (), announcements)
            changed += len(added) + len(removed)
            failures += self._serve(place, link, added, removed)
        self._failed = bool(failures)
        return Report(changed=changed, failures=tuple(failures))

    def _take(self, links: tuple[Link, ...]) -> int:
        """Links differ: leave the places that are gone; how many addresses that touches."""
        self._links, self._places = links, _places(links)
        self._macs = frozenset(link.mac for link in links)
        return sum(self._leave(place) for place in [*self._wanted] if place not in self._places)

    def _want(
        self, place: _Place, gone: Iterable[Announcement], come: Iterable[Announcement]
    ) -> tuple[set[IPAddress], set[IPAddress]]:
        """Take a difference into what is wanted at a place: what it adds and removes there."""
        wanted = self._wanted[place]
        added = {announcement.address for announcement in come if place.covers(announcement)}
        removed = {announcement.address for announcement in gone if place.covers(announcement)}
        removed -= added
        removed &= wanted
        added -= wanted
        wanted -= removed
        wanted |= added
        return added, removed

    def _serve(
        self, place: _Place, link: Link, come: set[IPAddress], gone: set[IPAddress]
    ) -> list[Failure]:
        """Have a port for a place once addresses are wanted there.

        It stays when none is left: to close it takes the kernel some 10 ms, and the address that
        left may come back at once.
        """
        port = self._ports.get(place)
        if port is None and not self._wanted[place]:
            return []
        try:
            if port is None:
                port = _Port(link, place, on_fact=self._on_fact, loop=self._loop)
                self._ports[place] = port
                come, gone = self._wanted[place], set()
        except FrameError as error:
            # A capability that is missing now will be missing in a second.
            can_mend = error.refusal.reason is not Reason.CAPABILITY_MISSING
            retry_at = self._loop.time() + RETRY if can_mend else None
            return [Failure(subject=f"link {link.name}", refusal=error.refusal, retry_at=retry_at)]
        port.machine.set_siblings(self._macs)
        if come or gone or port.failures():
            port.change(come, gone)
        return port.failures()

    def _leave(self, place: _Place) -> int:
        """A link is gone, or is another one now; how many addresses that touches."""
        port = self._ports.pop(place, None)
        if port is not None:
            port.close()
        return len(self._wanted.pop(place))

    def counters(self) -> dict[str, dict[str, int]]:
        """What happened for each address, over all links, since it was last announced anew."""
        total: dict[IPAddress, AddressCounters] = {}
        for port in self._ports.values():
            for address, counters in port.machine.counters().items():
                before = total.get(address)
                total[address] = counters if before is None else before + counters
        return {
            str(address): {
                "requests_received": counters.requests_received,
                "replies_sent": counters.replies_sent,
                "gratuitous_sent": counters.gratuitous_sent,
                "conflicts": counters.conflicts,
            }
            for address, counters in total.items()
        }

    def close(self) -> None:
        """Withdraw everything: nobody is told, the links just fall silent."""
        for place in [*self._wanted]:
            self._leave(place)
        self._announcements, self._links, self._places = (), (), {}


def _places(links: tuple[Link, ...]) -> dict[_Place, Link]:
    """Where announcements can be made now, with the link of each."""
    return {
        _Place(
            index=link.index,
            name=link.name,
            mac=link.mac,
            carrier_changes=link.carrier_changes,
            protocol=protocol,
        ): link
        for link in links
        for protocol, carries in (
            (FrameProtocol.ARP, carries_arp),
            (FrameProtocol.NDP, carries_ndp),
        )
        if carries(link)
    }


def difference(
    have: tuple[Announcement, ...], want: tuple[Announcement, ...]
) -> tuple[list[Announcement], list[Announcement]]:
    """The announcements that went and those that came.

    What both begin and end with is stepped over in C. Equal ones in between that are not
    identical are in both lists, which costs time and nothing else.
    """
    first = _alike(have, want)
    have, want = have[first:], want[first:]
    last = _alike(have, want, from_end=True)
    have, want = have[: len(have) - last], want[: len(want) - last]
    old, new = set(map(id, have)), set(map(id, want))
    gone = [announcement for announcement in have if id(announcement) not in new]
    return gone, [announcement for announcement in want if id(announcement) not in old]


def _alike(
    have: tuple[Announcement, ...], want: tuple[Announcement, ...], *, from_end: bool = False
) -> int:
    """How many both begin or end with: halving, since slices of identical values compare fast."""
    some, most = 0, min(len(have), len(want))
    while some < most:
        more = (some + most + 1) // 2
        part = slice(-more, -some or None) if from_end else slice(some, more)
        if have[part] == want[part]:
            some = more
        else:
            most = more - 1
    return some
