"""The NDP announcer of one link: answers for IPv6 addresses that no host has configured.

Answers solicitations for held addresses (RFC 4861 7.2.3, 7.2.4): to their solicited-node group,
or straight to us as neighbour unreachability detection sends them (RFC 4861 7.3), with or without
a source link-layer option. A solicitation from the unspecified address is somebody's duplicate
address detection: it is answered to all nodes (RFC 4861 7.2.4), so that they give up (RFC 4862
5.4.4), and counts as a claim. Announces newly held addresses by unsolicited advertisements with
Override (RFC 4861 7.2.6). The life of an address, with its diagram, is in
`onehop.proto.announcing`, where all transitions live; here is only what NDP says and hears.

It must never answer to a group address other than all nodes.
"""

from __future__ import annotations

from ipaddress import IPv6Address

from onehop.model.address import IPAddress, Mac
from onehop.proto.announcing import Announcer, Holding
from onehop.proto.machine import DecodeError, Effect, Send
from onehop.proto.ndp.message import (
    ALL_NODES,
    TARGET_OFFSET,
    UNSPECIFIED,
    NeighbourAdvertisement,
    NeighbourSolicitation,
    decode,
    encode,
    group_mac,
    solicited_node,
)
from onehop.proto.wire import is_unicast

# RFC 4861 7.2.6: at most MAX_NEIGHBOR_ADVERTISEMENT (3) advertisements, RetransTimer (1 s) or
# more apart; a little more than that, for the same reason as in ARP.
REPEATS = (1.1, 1.1)


class NdpAnnouncer(Announcer):
    """Answers, announces and watches over IPv6 addresses on a link whose MAC is `mac`."""

    def __init__(self, *, mac: Mac, repeats: tuple[float, ...] = REPEATS) -> None:
        super().__init__(mac=mac, repeats=repeats)
        self._own = mac.octets
        # Addresses that end alike share a group (RFC 4291 2.7.1).
        self._users_by_suffix: dict[bytes, int] = {}
        self._group_by_suffix: dict[bytes, IPv6Address] = {}

    @property
    def groups(self) -> frozenset[IPv6Address]:
        """The groups to be a member of, for switches that listen to MLD (RFC 4861 7.2.1)."""
        return frozenset(self._group_by_suffix.values())

    def _hold(self, address: IPAddress) -> Holding:
        assert isinstance(address, IPv6Address), "NDP was given an address of another family"
        suffix = address.packed[13:]
        self._users_by_suffix[suffix] = self._users_by_suffix.get(suffix, 0) + 1
        if suffix not in self._group_by_suffix:
            self._group_by_suffix[suffix] = solicited_node(address)
        return Holding(address)

    def _release(self, holding: Holding) -> None:
        suffix = holding.address.packed[13:]
        self._users_by_suffix[suffix] -= 1
        if not self._users_by_suffix[suffix]:
            del self._users_by_suffix[suffix]
            del self._group_by_suffix[suffix]

    def _announcements(self, address: IPAddress) -> tuple[Send, ...]:
        assert isinstance(address, IPv6Address), "only such are held"
        frame = self._advertisement(address, ALL_NODES, group_mac(ALL_NODES), False)
        return (Send(frame=frame),)

    def _advertisement(
        self, target: IPv6Address, receiver: IPv6Address, mac: Mac, solicited: bool
    ) -> bytes:
        return encode(
            NeighbourAdvertisement(
                destination=mac,
                source=self._mac,
                source_address=target,
                destination_address=receiver,
                target=target,
                solicited=solicited,
                override=True,
                link_layer=self._mac,
            )
        )

    def receive_frame(self, frame: bytes, now: float) -> tuple[Effect, ...]:
        """A neighbour message arrived; what RFC 4861 7.1 calls invalid is ignored."""
        # Nearly all frames of a busy link are for others: they are not worth decoding.
        holding = self._holdings.get(frame[TARGET_OFFSET : TARGET_OFFSET + 16])
        if holding is None or frame[6:12] == self._own:
            return ()
        try:
            message = decode(frame)
        except DecodeError:
            return ()
        station = message.link_layer or message.source
        if not is_unicast(station.octets):
            return ()
        if isinstance(message, NeighbourSolicitation):
            return self._solicited(holding, message, station, now)
        if station != self._mac:
            self._claimed(holding, station.octets, now)
        return ()

    def _solicited(
        self, holding: Holding, message: NeighbourSolicitation, asker: Mac, now: float
    ) -> tuple[Effect, ...]:
        receiver = message.destination
        if receiver != self._mac and receiver.octets[:2] != b"\x33\x33":
            return ()
        holding.requests += 1
        if message.source_address == UNSPECIFIED:
            self._claimed(holding, asker.octets, now)
            return self._announcements(message.target)
        answer = self._advertisement(message.target, message.source_address, asker, True)
        return (Send(frame=answer),)
