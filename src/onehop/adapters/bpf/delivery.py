"""Which device leads to a local backend, and the programs on uplinks and on those devices.

A backend starts with delivery by the host's stack, which needs nothing here; once the program
sits on its device, one store makes it fast. Attaching costs the kernel a grace period (about
10 ms), so it is never in front of a change.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from onehop.adapters.bpf.errors import KernelError
from onehop.adapters.bpf.links import Links, Place, Seat
from onehop.adapters.bpf.netlink import Changes, Netlink, device_index
from onehop.adapters.bpf.records import Backends
from onehop.model.address import IPAddress
from onehop.model.desired import Failure
from onehop.model.reason import Reason, Refusal

LINGER = 60.0  # seconds that a program stays on a device without a backend: it may come back
_RETRY = 1.0
_PAIRS = ("veth", "netkit")


@dataclass(frozen=True, slots=True, kw_only=True)
class Way:
    """How packets reach a local backend: `device` 0 means by the host's stack.

    `known` is false while a bridge has not seen the pod yet: it may be faster later.
    """

    device: int = 0
    routed: bool = True
    known: bool = True


class Delivery:
    """Keeps programs on uplinks and pods' devices, and devices in backends' records."""

    def __init__(
        self,
        links: Links,
        netlink: Netlink,
        uplinks: tuple[str, ...],
        *,
        fast: bool,
        clock: Callable[[], float],
    ) -> None:
        self._links = links
        self._netlink = netlink
        self._uplinks = uplinks
        self._fast = fast
        self._clock = clock
        self._changes = Changes()
        self._ways: dict[IPAddress, Way] = {}
        self._idle: dict[int, float] = {}
        self._uplinks_done = False
        self._moved = False

    def fileno(self) -> int:
        """Readable when links or routes changed: time to sync again."""
        return self._changes.fileno()

    def notice(self) -> None:
        """Take in that links or routes changed, even if nothing can be done about it now."""
        self._moved = self._changes.any() or self._moved

    def sync(self, backends: Backends, *, attach: bool) -> list[Failure]:
        """Seat the uplinks' programs, then bring local backends to their devices.

        Without `attach` only devices that have their program already come into use.
        """
        self.notice()
        if self._moved:
            self._ways.clear()
            backends.unplace()
            self._uplinks_done = False
            self._drop_lost()
            self._moved = False
        failures = [] if self._uplinks_done else self._seat_uplinks()
        if self._fast:
            failures += self._bring(backends, attach=attach)
        return failures

    def _drop_lost(self) -> None:
        devices = {seat.device for seat in self._links.seats()}
        self._links.lost(each for each in devices if self._netlink.device(each) is None)

    def _seat_uplinks(self) -> list[Failure]:
        failures: list[Failure] = []
        for name in self._uplinks:
            device = device_index(name)
            try:
                if not device:
                    raise KernelError(f"find link {name}", 19)
                for place in (Place.UPLINK_INGRESS, Place.UPLINK_EGRESS):
                    self._links.attach(Seat(place, device))
            except KernelError as error:
                refusal = Refusal(reason=Reason.LINK_FAILED, detail=f"{name}: {error.why}")
                failures.append(self._failure(f"uplink {name}", refusal))
        self._uplinks_done = not failures
        return failures

    def _failure(self, subject: str, refusal: Refusal) -> Failure:
        return Failure(subject=subject, refusal=refusal, retry_at=self._clock() + _RETRY)

    def _bring(self, backends: Backends, *, attach: bool) -> list[Failure]:
        failures: list[Failure] = []
        for number in sorted(backends.unplaced):
            address = backends.address(number)
            refusal = self._bring_one(backends, number, address, attach=attach)
            if refusal is not None:
                failures.append(self._failure(f"backend {address}", refusal))
        if attach:
            self._leave_idle(backends)
        return failures

    def _bring_one(
        self, backends: Backends, number: int, address: IPAddress, *, attach: bool
    ) -> Refusal | None:
        way = self._way(address)
        if not way.routed:
            if backends.link(number):
                backends.set_link(number, 0)
            return Refusal(reason=Reason.BACKEND_UNROUTED, detail=str(address))
        try:
            ready = self._ready(way.device, attach=attach)
        except KernelError as error:  # the stack goes on delivering
            return Refusal(reason=Reason.LINK_FAILED, detail=f"{error.operation}: {error.why}")
        if ready:
            if backends.link(number) != way.device:
                backends.set_link(number, way.device)
            if way.known:
                backends.unplaced.discard(number)
        return None

    def _way(self, address: IPAddress) -> Way:
        found = self._ways.get(address)
        if found is None:
            found = self._look_up(address)
            if found.routed and found.known:
                self._ways[address] = found
        return found

    def _look_up(self, address: IPAddress) -> Way:
        route = self._netlink.route(address)
        if route.to_host:
            return Way()
        if not route.device or route.device in map(device_index, self._uplinks):
            return Way(routed=False)
        device = self._netlink.device(route.device)
        if device is None or not route.on_link:
            return Way()
        if device.kind == "bridge":
            port = self._netlink.bridge_port(device.index, address)
            if not port:
                return Way(known=False)
            device = self._netlink.device(port)
        return Way(device=device.index if device and device.kind in _PAIRS else 0)

    def _ready(self, device: int, *, attach: bool) -> bool:
        seat = Seat(Place.POD_INGRESS, device)
        if not device or self._links.attached(seat):
            return True
        if attach:
            self._links.attach(seat)
        return attach

    def _leave_idle(self, backends: Backends) -> None:
        now = self._clock()
        for seat in self._links.seats():
            if seat.place is not Place.POD_INGRESS or backends.uses(seat.device):
                self._idle.pop(seat.device, None)
            elif now - self._idle.setdefault(seat.device, now) >= LINGER:
                self._links.detach(seat)
                del self._idle[seat.device]

    def remove(self) -> None:
        """Take every program off its device."""
        for seat in self._links.seats():
            self._links.detach(seat)

    def close(self) -> None:
        """Give descriptors back; the programs stay."""
        self._changes.close()
        self._links.close()
