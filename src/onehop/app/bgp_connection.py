"""One BGP connection on the event loop: octets in, octets out, and its one end.

It owns its socket and its place in the loop together: both are given up in `close` and nowhere
else, the loop first, so that a number that the kernel gives to the next socket never belongs to
a connection that is over. After `close` the owner hears nothing more of it.
"""

from __future__ import annotations

import asyncio
from typing import Protocol

from onehop.adapters.linux.bgp_socket import BgpSocket
from onehop.model.address import IPAddress
from onehop.model.reason import Refusal

_DRAIN_READS = 16


class Owner(Protocol):
    """Whoever is told what happens on a connection; each call is the last thing it does."""

    def connected(self, connection: Connection) -> None:
        """It stands: octets may go."""
        ...

    def received(self, connection: Connection, octets: bytes) -> None:
        """Octets have come."""
        ...

    def written(self, connection: Connection) -> None:
        """The kernel has taken something that was waiting."""
        ...

    def ended(self, connection: Connection, refusal: Refusal) -> None:
        """It is over, or has never come about; it is closed already."""
        ...


class Connection:
    """All methods belong to the loop's own thread."""

    def __init__(
        self,
        sock: BgpSocket,
        owner: Owner,
        *,
        loop: asyncio.AbstractEventLoop,
        is_connected: bool = False,
    ) -> None:
        self._socket = sock
        self._owner = owner
        self._loop = loop
        self._waiting = bytearray()
        self._is_open = True
        if is_connected:
            loop.add_reader(sock.fileno(), self._readable)
        else:
            loop.add_writer(sock.fileno(), self._decided)

    @property
    def local(self) -> IPAddress:
        """Our address on it."""
        return self._socket.local

    @property
    def waiting(self) -> int:
        """Octets that the kernel has not taken yet."""
        return len(self._waiting)

    @property
    def is_delivered(self) -> bool:
        """Whether the peer's kernel has everything that was sent, or never will."""
        return not self._is_open or not (self._waiting or self._socket.unacknowledged)

    def send(self, octets: bytes) -> None:
        """Send after all that waits; what the kernel cannot take now waits."""
        if not self._is_open:
            return
        if not self._waiting:
            taken = self._socket.send(octets)
            if isinstance(taken, Refusal):
                # Told from the loop: whoever sends is in the middle of something.
                self._loop.call_soon(self._end, taken)
                return
            if taken == len(octets):
                return
            octets = octets[taken:]
            self._loop.add_writer(self._socket.fileno(), self._writable)
        self._waiting += octets

    def _decided(self) -> None:
        self._loop.remove_writer(self._socket.fileno())
        refusal = self._socket.failure()
        if refusal is not None:
            self._end(refusal)
            return
        self._loop.add_reader(self._socket.fileno(), self._readable)
        self._owner.connected(self)

    def _readable(self) -> None:
        octets = self._socket.receive()
        if isinstance(octets, Refusal):
            self._end(octets)
        elif octets:
            self._owner.received(self, octets)

    def _writable(self) -> None:
        taken = self._socket.send(self._waiting)
        if isinstance(taken, Refusal):
            self._end(taken)
            return
        del self._waiting[:taken]
        if not self._waiting:
            self._loop.remove_writer(self._socket.fileno())
        if taken:
            self._owner.written(self)

    def _end(self, refusal: Refusal) -> None:
        if self._is_open:
            self.close()
            self._owner.ended(self, refusal)

    def close(self) -> None:
        """Leave the loop and end the connection; closing twice is no error."""
        if not self._is_open:
            return
        self._is_open = False
        self._loop.remove_reader(self._socket.fileno())
        self._loop.remove_writer(self._socket.fileno())
        # Octets left unread would make the kernel reset the connection, and the peer might then
        # never see the NOTIFICATION that was just sent.
        for _ in range(_DRAIN_READS):
            if not isinstance(octets := self._socket.receive(), bytes) or not octets:
                break
        self._socket.close()
