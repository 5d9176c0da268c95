"""The ARP announcer of one link: answers for addresses that no host has configured.

Answers requests for held addresses that came by broadcast or to our own MAC (RFC 826), probes
among them, so that a host that probes for one of our addresses learns that it is taken (RFC 5227
2.1.1). Announces newly held addresses (RFC 5227 2.3) and notices another station that claims one
(RFC 5227 2.4). The life of an address, with its diagram, is in `onehop.proto.announcing`, where
all transitions live; here is only what ARP says and hears.

It must never answer to a group address, or two stations could be made to flood the link.
"""

from __future__ import annotations

from ipaddress import IPv4Address

from onehop.model.address import IPAddress, Mac
from onehop.proto.announcing import Announcer, Holding
from onehop.proto.arp.packet import FORMAT, FRAME_LENGTH, Operation, announcement
from onehop.proto.machine import Effect, Send
from onehop.proto.wire import BROADCAST, is_unicast

# Seconds between announcements. Linux before 4.12 ignores a second change of an entry
# within a second (`locktime`), so the first repeat comes after 1.1 s; the last covers a switch
# port that comes up slowly. RFC 5227 2.3 asks for two announcements in two seconds.
REPEATS = (1.1, 1.1, 2.2)

_BOTH_FORMS = (Operation.REQUEST, Operation.REPLY)
_HEAD = b"\x08\x06" + FORMAT
_REQUEST = _HEAD + b"\x00\x01"
_REPLY = _HEAD + b"\x00\x02"


class ArpAnnouncer(Announcer):
    """Answers, announces and watches over IPv4 addresses on a link whose MAC is `mac`."""

    def __init__(self, *, mac: Mac, repeats: tuple[float, ...] = REPEATS) -> None:
        super().__init__(mac=mac, repeats=repeats)
        self._own = mac.octets
        self._accepted = frozenset((mac.octets, BROADCAST.octets))

    def _hold(self, address: IPAddress) -> Holding:
        assert isinstance(address, IPv4Address), "ARP was given an address of another family"
        return Holding(address, self._own + _REPLY + self._own + address.packed)

    def _release(self, holding: Holding) -> None:
        """ARP keeps nothing else for an address."""

    def _announcements(self, address: IPAddress) -> tuple[Send, ...]:
        assert isinstance(address, IPv4Address), "only such are held"
        return tuple(
            Send(frame=announcement(self._mac, address, operation)) for operation in _BOTH_FORMS
        )

    def receive_frame(self, frame: bytes, now: float) -> tuple[Effect, ...]:
        """An ARP frame arrived; anything that is not well formed is ignored.

        This is the hot path: slices of fixed offsets instead of `packet.decode`, which the tests
        hold it against. 22 sender, 28 sender address, 32 target, 38 target address.
        """
        holdings = self._holdings
        if len(frame) < FRAME_LENGTH:
            return ()
        head = frame[12:22]
        if head != _REQUEST and head != _REPLY:
            return ()
        sender = frame[22:28]
        if sender == self._own or not is_unicast(sender):
            return ()
        claimed = holdings.get(frame[28:32])
        if claimed is not None:
            self._claimed(claimed, sender, now)
            if frame[28:32] == frame[38:42]:
                return ()  # its announcement asks nothing; a defence comes by the clock
        wanted = holdings.get(frame[38:42])
        if wanted is None or head != _REQUEST or frame[:6] not in self._accepted:
            return ()
        wanted.requests += 1
        return (Send(frame=sender + wanted.answer + frame[22:32]),)
