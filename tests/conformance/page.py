"""A conformance case: one page of text that says what goes into a machine and what comes out.

    title   what the page shows
    clause  the standard and its sections
    given   `arp` or `ndp`, and the MAC of the link

    > TIME want ADDRESS ...          these addresses are wanted from now on
    > TIME frame FRAME               this frame arrives
    > TIME damaged AT:HEX FRAME      the same with octets overwritten from offset AT
    > TIME bytes HEX                 just these octets arrive
    > TIME wake                      the deadline is reached
    < send FRAME | conflict ADDRESS MAC | wake at TIME | wake never

A line with `<` is an effect, in order; the deadline is told when it changed. FRAME reads
`request DESTINATION SOURCE sender MAC ADDRESS target MAC ADDRESS` (or `reply`), or
`solicitation DESTINATION SOURCE from ADDRESS to ADDRESS target ADDRESS [option MAC]`, or
`advertisement` likewise with `flags` R, S, O or -, before the option.

Pages that begin `given bgp codec` are described in `bgp_codec.py`, those that begin `given bfd` in
`bfd_table.py`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from ipaddress import IPv4Address, IPv6Address, ip_address

from onehop.model.address import Mac
from onehop.proto.announcing import Announcer
from onehop.proto.arp import packet as arp
from onehop.proto.arp.announcer import ArpAnnouncer
from onehop.proto.machine import Effect, Send
from onehop.proto.ndp import message as ndp
from onehop.proto.ndp.announcer import NdpAnnouncer
from tests.conformance import bfd_table, bgp_codec, bgp_peer

PROTOCOLS = ("arp", "ndp", "bgp", "bfd")
MACHINES: dict[str, type[Announcer]] = {"arp": ArpAnnouncer, "ndp": NdpAnnouncer}


def played(page: str) -> str:
    """The page with the effects that the machine really has."""
    lines = [line for line in page.splitlines() if not line.startswith("<")]
    given = next(line.split() for line in lines if line.startswith("given"))
    if given[1:3] == ["bgp", "codec"]:
        return bgp_codec.played(page)
    if given[1:3] == ["bgp", "peer"]:
        return bgp_peer.played(page)
    if given[1] == "bfd":
        return bfd_table.played(page)
    machine = MACHINES[given[1]](mac=Mac.parse(given[2]))
    out: list[str] = []
    deadline: float | None = None
    for line in lines:
        out.append(line)
        if not line.startswith(">"):
            continue
        words = line[1:].split()
        effects = _step(machine, float(words[0]), words[1], words[2:])
        out += [f"< {_effect(effect)}" for effect in effects]
        if machine.deadline != deadline:
            deadline = machine.deadline
            out.append("< wake never" if deadline is None else f"< wake at {deadline:.3f}")
    return "\n".join(out) + "\n"


def _step(machine: Announcer, now: float, verb: str, words: list[str]) -> tuple[Effect, ...]:
    if verb == "want":
        return machine.set_addresses(frozenset(map(ip_address, words)), now)
    if verb == "wake":
        return machine.wake(now)
    if verb == "bytes":
        return machine.receive_frame(bytes.fromhex("".join(words)), now)
    if verb == "damaged":
        offset, octets = words[0].split(":")
        frame = bytearray(_frame(words[1:]))
        damage = bytes.fromhex(octets)
        frame[int(offset) : int(offset) + len(damage)] = damage
        return machine.receive_frame(bytes(frame), now)
    assert verb == "frame", f"{verb!r} is no input"
    return machine.receive_frame(_frame(words), now)


def _frame(words: list[str]) -> bytes:
    return (_ARP if words[0] in ("request", "reply") else _NDP)[0](words)


def _effect(effect: Effect) -> str:
    if not isinstance(effect, Send):
        return f"conflict {effect.address} {effect.claimant}"
    is_arp = effect.frame[12:14] == b"\x08\x06"
    return "send " + " ".join((_ARP if is_arp else _NDP)[1](effect.frame))


def _arp_frame(words: list[str]) -> bytes:
    kind, destination, source, _, sender, sender_address, _, target, target_address = words
    return arp.encode(
        arp.ArpPacket(
            destination=Mac.parse(destination),
            source=Mac.parse(source),
            operation=arp.Operation[kind.upper()],
            sender=Mac.parse(sender),
            sender_address=IPv4Address(sender_address),
            target=Mac.parse(target),
            target_address=IPv4Address(target_address),
        )
    )


def _arp_words(frame: bytes) -> Iterator[str]:
    packet = arp.decode(frame)
    yield from (packet.operation.name.lower(), str(packet.destination), str(packet.source))
    yield from ("sender", str(packet.sender), str(packet.sender_address))
    yield from ("target", str(packet.target), str(packet.target_address))


def _ndp_frame(words: list[str]) -> bytes:
    kind, destination, source, *rest = words
    named = dict(zip(rest[::2], rest[1::2], strict=True))
    option = named.get("option")
    link_layer = Mac.parse(option) if option else None
    if kind == "solicitation":
        return ndp.encode(
            ndp.NeighbourSolicitation(
                destination=Mac.parse(destination),
                source=Mac.parse(source),
                source_address=IPv6Address(named["from"]),
                destination_address=IPv6Address(named["to"]),
                target=IPv6Address(named["target"]),
                link_layer=link_layer,
            )
        )
    return ndp.encode(
        ndp.NeighbourAdvertisement(
            destination=Mac.parse(destination),
            source=Mac.parse(source),
            source_address=IPv6Address(named["from"]),
            destination_address=IPv6Address(named["to"]),
            target=IPv6Address(named["target"]),
            router="R" in named["flags"],
            solicited="S" in named["flags"],
            override="O" in named["flags"],
            link_layer=link_layer,
        )
    )


def _ndp_words(frame: bytes) -> Iterator[str]:
    message = ndp.decode(frame)
    is_question = isinstance(message, ndp.NeighbourSolicitation)
    yield "solicitation" if is_question else "advertisement"
    yield from (str(message.destination), str(message.source))
    yield from ("from", str(message.source_address), "to", str(message.destination_address))
    yield from ("target", str(message.target))
    if isinstance(message, ndp.NeighbourAdvertisement):
        set_flags = zip("RSO", (message.router, message.solicited, message.override), strict=True)
        yield from ("flags", "".join(letter for letter, is_set in set_flags if is_set) or "-")
    if message.link_layer is not None:
        yield from ("option", str(message.link_layer))


_Codec = tuple[Callable[[list[str]], bytes], Callable[[bytes], Iterator[str]]]
_ARP: _Codec = (_arp_frame, _arp_words)
_NDP: _Codec = (_ndp_frame, _ndp_words)
