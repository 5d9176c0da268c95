"""Layer 2 made so: which addresses this node answers for, on which links, from now on.

An effector: `sync` is handed all that is wanted and all links there are. It holds one port (a
frame socket, a machine and its driver) per link and family that has an address to answer for. A
link that goes away takes its ports with it; when it is back, they are opened anew, and so every
address on it is announced again. It never chooses an address or an owner.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import asdict, dataclass

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


@dataclass(frozen=True, slots=True, kw_only=True)
class _Place:
    """Where a port is open: when any of it changes, the port is another one.

    `carrier_changes` tells a link that was down between two looks from one that never was.
    """

    index: int
    mac: Mac
    carrier_changes: int
    protocol: FrameProtocol


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
        self.wanted: frozenset[IPAddress] = frozenset()
        self._driver = Driver(self.machine, send=self._socket.send, on_fact=on_fact, loop=loop)
        loop.add_reader(self._socket.fileno(), self._frames_arrived)

    def set_addresses(self, addresses: frozenset[IPAddress]) -> None:
        """Answer for these addresses; new ones are announced before this returns."""
        self.wanted = addresses
        self._driver.perform(self.machine.set_addresses(addresses, self._driver.now()))
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
        self._ports: dict[_Place, _Port] = {}
        self._have: tuple[tuple[Announcement, ...], tuple[Link, ...]] | None = None

    def sync(self, announcements: tuple[Announcement, ...], links: tuple[Link, ...]) -> Report:
        """Announce exactly this on these links; the first frames leave before it returns."""
        if self._have == (announcements, links):
            return Report()
        want = _wanted(announcements, links)
        changed = 0
        for place in [place for place in self._ports if place not in want]:
            self._ports.pop(place).close()
            changed += 1
        failures: list[Failure] = []
        for place, (link, addresses) in want.items():
            try:
                changed += self._open(place, link, addresses)
                failures.extend(self._ports[place].failures())
            except FrameError as error:
                retry_at = self._loop.time() + RETRY
                failures.append(
                    Failure(subject=f"link {link.name}", refusal=error.refusal, retry_at=retry_at)
                )
        self._have = None if failures else (announcements, links)
        return Report(changed=changed, failures=tuple(failures))

    def _open(self, place: _Place, link: Link, addresses: frozenset[IPAddress]) -> int:
        port = self._ports.get(place)
        if port is None:
            port = _Port(link, place, on_fact=self._on_fact, loop=self._loop)
            self._ports[place] = port
        changed = len(port.wanted ^ addresses)
        if changed:
            port.set_addresses(addresses)
        return changed

    def counters(self) -> dict[str, dict[str, int]]:
        """What happened for each address, over all links, since it was last announced anew."""
        total: dict[IPAddress, AddressCounters] = {}
        for port in self._ports.values():
            for address, counters in port.machine.counters().items():
                total[address] = total.get(address, AddressCounters()) + counters
        return {str(address): asdict(counters) for address, counters in total.items()}

    def close(self) -> None:
        """Withdraw everything: nobody is told, the links just fall silent."""
        for port in self._ports.values():
            port.close()
        self._ports.clear()
        self._have = None


def _wanted(
    announcements: tuple[Announcement, ...], links: tuple[Link, ...]
) -> dict[_Place, tuple[Link, frozenset[IPAddress]]]:
    """For each place that needs a port, its link and its addresses."""
    wanted: dict[_Place, tuple[Link, frozenset[IPAddress]]] = {}
    for link in links:
        for protocol, can_carry, version in (
            (FrameProtocol.ARP, carries_arp, 4),
            (FrameProtocol.NDP, carries_ndp, 6),
        ):
            if not can_carry(link):
                continue
            addresses = frozenset(
                announcement.address
                for announcement in announcements
                if announcement.address.version == version
                and (announcement.links is None or link.name in announcement.links)
            )
            if addresses:
                place = _Place(
                    index=link.index,
                    mac=link.mac,
                    carrier_changes=link.carrier_changes,
                    protocol=protocol,
                )
                wanted[place] = (link, addresses)
    return wanted
