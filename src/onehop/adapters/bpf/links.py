"""Where the datapath's programs sit: on uplinks and on the host's side of local pods.

Two hooks do the same: tcx (6.6 and later), whose links are pinned, and clsact filters, which the
device holds by itself. Either survives the process. What an earlier process left is taken over
in place: the program is exchanged, and no packet meets a device without one.
"""

from __future__ import annotations

import errno
import os
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from enum import Enum
from pathlib import Path
from typing import Protocol

from onehop.adapters.bpf import syscall
from onehop.adapters.bpf.errors import KernelError
from onehop.adapters.bpf.netlink import EGRESS, INGRESS, Netlink
from onehop.adapters.bpf.syscall import AttachType


class Place(Enum):
    """A place for a program: the program's name and whether it sees what leaves the device."""

    UPLINK_INGRESS = ("lb_uplink_ingress", False)
    UPLINK_EGRESS = ("lb_uplink_egress", True)
    POD_INGRESS = ("lb_pod_ingress", False)

    def __init__(self, program: str, egress: bool) -> None:
        self.program = program
        self.egress = egress


@dataclass(frozen=True, slots=True)
class Seat:
    """One place on one device."""

    place: Place
    device: int


class Hook(Protocol):
    """A way to attach programs to devices."""

    name: str

    def attach(self, seat: Seat, program: int) -> None:
        """Put the program there, in place of an earlier one of ours."""
        ...

    def detach(self, seat: Seat) -> None:
        """Take our program off; that the device is gone is no failure."""
        ...

    def seats(self) -> set[Seat]:
        """Where programs of ours sit now."""
        ...

    def close(self) -> None:
        """Give descriptors back; the programs stay where they are."""
        ...


class TcxHook:
    """tcx links, pinned below `folder` as `<program>_<ifindex>`."""

    name = "tcx"

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._links: dict[Seat, int] = {}
        for path in sorted(folder.iterdir()) if folder.is_dir() else ():
            self._adopt(path)

    def _adopt(self, path: Path) -> None:
        program, _, device = path.name.rpartition("_")
        place = next((each for each in Place if each.program == program), None)
        if place is None:
            return
        link = syscall.pinned(path)
        if syscall.link_ifindex(link) == int(device):
            self._links[Seat(place, int(device))] = link
        else:  # the device went away, and the kernel detached the program with it
            os.close(link)
            path.unlink()

    def _path(self, seat: Seat) -> Path:
        return self._folder / f"{seat.place.program}_{seat.device}"

    def attach(self, seat: Seat, program: int) -> None:
        """Put the program there, in place of an earlier one of ours."""
        link = self._links.get(seat)
        if link is not None and syscall.link_ifindex(link) == seat.device:
            syscall.link_update(link, program)
            return
        if link is not None:
            self._forget(seat)
        hook = AttachType.TCX_EGRESS if seat.place.egress else AttachType.TCX_INGRESS
        link = syscall.link_create(program, seat.device, hook)
        self._folder.mkdir(exist_ok=True)
        try:
            syscall.pin(link, self._path(seat))
        except KernelError:
            os.close(link)
            raise
        self._links[seat] = link

    def detach(self, seat: Seat) -> None:
        """Take our program off; that the device is gone is no failure."""
        if seat in self._links:
            self._forget(seat)

    def _forget(self, seat: Seat) -> None:
        link = self._links.pop(seat)
        try:
            syscall.link_detach(link)
        except KernelError as error:
            if error.errno != errno.ENOLINK:  # the device took the program with it
                raise
        finally:
            os.close(link)
            self._path(seat).unlink(missing_ok=True)

    def seats(self) -> set[Seat]:
        """Where programs of ours sit now."""
        return set(self._links)

    def close(self) -> None:
        """Give descriptors back; the pinned links hold the programs."""
        for link in self._links.values():
            os.close(link)
        self._links.clear()


class ClsactHook:
    """Filters on the clsact queueing discipline, for kernels before 6.6."""

    name = "clsact"

    def __init__(self, netlink: Netlink, uplinks: Iterable[int]) -> None:
        self._netlink = netlink
        on_uplinks = set(uplinks)
        self._seats: set[Seat] = set()
        for device, hook in netlink.our_filters():
            if hook == EGRESS:
                self._seats.add(Seat(Place.UPLINK_EGRESS, device))
            elif device in on_uplinks:
                self._seats.add(Seat(Place.UPLINK_INGRESS, device))
            else:
                self._seats.add(Seat(Place.POD_INGRESS, device))

    def attach(self, seat: Seat, program: int) -> None:
        """Put the program there, in place of an earlier one of ours."""
        hook = EGRESS if seat.place.egress else INGRESS
        self._netlink.add_filter(seat.device, hook, program, seat.place.program)
        self._seats.add(seat)

    def detach(self, seat: Seat) -> None:
        """Take our program off; that the device is gone is no failure."""
        self._seats.discard(seat)
        self._netlink.delete_filter(seat.device, EGRESS if seat.place.egress else INGRESS)

    def seats(self) -> set[Seat]:
        """Where programs of ours sit now."""
        return set(self._seats)

    def close(self) -> None:
        """Nothing is held here: the devices hold the filters."""


class Links:
    """The seats that are wanted against those that are taken."""

    def __init__(self, hook: Hook, others: Iterable[Hook], programs: Mapping[Place, int]) -> None:
        self._hook = hook
        self._others = tuple(others)
        self._programs = programs
        self._current: set[Seat] = set()  # seats that hold this process's programs

    @property
    def hook(self) -> str:
        """The name of the hook in use."""
        return self._hook.name

    def attached(self, seat: Seat) -> bool:
        """Whether this process's program sits there."""
        return seat in self._current

    def attach(self, seat: Seat) -> None:
        """Put the program there."""
        if seat not in self._current:
            self._hook.attach(seat, self._programs[seat.place])
            self._current.add(seat)
            for other in self._others:
                if seat in other.seats():
                    other.detach(seat)

    def detach(self, seat: Seat) -> None:
        """Take it off."""
        self._current.discard(seat)
        for hook in (self._hook, *self._others):
            if seat in hook.seats():
                hook.detach(seat)

    def lost(self, devices: Iterable[int]) -> None:
        """Devices that are gone took their programs with them."""
        gone = set(devices)
        for seat in [seat for seat in self._taken() if seat.device in gone]:
            self.detach(seat)

    def _taken(self) -> set[Seat]:
        taken = set(self._current)
        for hook in (self._hook, *self._others):
            taken |= hook.seats()
        return taken

    def seats(self) -> set[Seat]:
        """Every seat that a program of ours holds, this process's or an earlier one's."""
        return self._taken()

    def close(self) -> None:
        """Give descriptors back; every program stays where it is."""
        for hook in (self._hook, *self._others):
            hook.close()
