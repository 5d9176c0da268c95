"""A conformance case of the BGP codec: octets of a peer, and what is made of them.

    title   what the page shows
    clause  the standard and its sections
    given   bgp codec, and any of: internal two-octet over-ipv6 extended role

    > stream HEX ...                 octets arrive on the connection
    > open HEX ...                   the body of an OPEN
    > update [withdrawn PREFIX ...] [attributes ATTRIBUTE ...] [nlri PREFIX ...]
    > update body HEX ...            the same, with lengths that need not fit
    > notification HEX ...           the body of a NOTIFICATION
    > refresh HEX ...                the body of a ROUTE-REFRESH
    > advertise PREFIX ... [NAME=VALUE ...]
    > withdraw PREFIX ...
    > end-of-rib FAMILY

An ATTRIBUTE is `origin`, `as-path`, `next-hop`, `reach` or `unreach` for a good one, or hex; a
PREFIX may be hex as well. Families are IPv4 and IPv6. What comes out follows with `<`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import replace
from ipaddress import IPv4Address, IPv6Address, ip_address, ip_network

from onehop.model.address import Family
from onehop.model.bgp import LargeCommunity, RouteAttributes
from onehop.proto.bgp import notification
from onehop.proto.bgp.attribute import Outbound
from onehop.proto.bgp.capability import Capabilities
from onehop.proto.bgp.error import BgpError
from onehop.proto.bgp.framing import Splitter
from onehop.proto.bgp.message import decode_open, decode_route_refresh
from onehop.proto.bgp.negotiated import Negotiated
from onehop.proto.bgp.received import Update, decode
from onehop.proto.bgp.update import end_of_rib, prefix_octets, updates

OUR_AS = 4_200_000_001
HOP = IPv6Address("2001:db8::1")
GOOD = {
    "origin": "40010100",
    "as-path": "400206 0201 0000fde9",
    "next-hop": "400304 c0000201",
    "reach": f"800e1a 0002 01 10 {HOP.packed.hex()} 00 20 20010db8",
    "unreach": "800f08 0002 01 20 20010db8",
}
WORDS = {
    "internal": {"internal": True},
    "two-octet": {"four_octet": False},
    "over-ipv6": {"extended_next_hop": True},
    "extended": {"max_length": 65535},
    "role": {},
}


def played(page: str) -> str:
    """The page with what the codec really makes of its inputs."""
    lines = [line for line in page.splitlines() if not line.startswith("<")]
    given = next(line.split()[2:] for line in lines if line.startswith("given"))
    codec = _Codec(given[1:])
    out: list[str] = []
    for line in lines:
        out.append(line)
        if line.startswith(">"):
            out += [f"< {effect}" for effect in codec.effects(line[1:].split())]
    return "\n".join(out) + "\n"


class _Codec:
    def __init__(self, words: list[str]) -> None:
        agreed = Negotiated(families=frozenset(Family), four_octet=True)
        for word in words:
            agreed = replace(agreed, **WORDS[word])
        self._agreed = agreed
        self._splitter = Splitter()
        self._splitter.max_length = agreed.max_length
        self._outbound = Outbound(
            asn=OUR_AS,
            negotiated=agreed,
            next_hop_ipv4=None if "over-ipv6" in words else IPv4Address("192.0.2.1"),
            next_hop_ipv6=HOP,
            only_to_customer="role" in words,
        )

    def effects(self, words: list[str]) -> Iterator[str]:
        verb, rest = words[0], words[1:]
        inputs: dict[str, Callable[[list[str]], Iterator[str]]] = {
            "stream": self._stream,
            "open": self._open,
            "update": self._update,
            "notification": self._notification,
            "refresh": self._refresh,
            "advertise": self._advertise,
            "withdraw": self._withdraw,
            "end-of-rib": self._end_of_rib,
        }
        try:
            yield from inputs[verb](rest)
        except BgpError as error:
            yield f"notification {notification.of(error)}, data {error.data.hex() or '-'}"
            yield f"because {error.field}: {error.why}"

    def _stream(self, words: list[str]) -> Iterator[str]:
        self._splitter.feed(_octets(words))
        while (frame := self._splitter.next()) is not None:
            yield f"message {frame.kind.name} {frame.body.hex() or '-'}"
        yield f"waiting {self._splitter.pending} octets"

    def _open(self, words: list[str]) -> Iterator[str]:
        message = decode_open(_octets(words))
        yield f"open AS {message.asn} hold {message.hold_time} identifier {message.identifier}"
        yield from (f"capability {words}" for words in _capabilities(message.capabilities))

    def _update(self, words: list[str]) -> Iterator[str]:
        yield from _counted(decode(_body(words), self._agreed))

    def _notification(self, words: list[str]) -> Iterator[str]:
        yield f"reads {notification.decode(_octets(words))}"

    def _refresh(self, words: list[str]) -> Iterator[str]:
        message = decode_route_refresh(_octets(words))
        family = "another family" if message.family is None else message.family.value
        subtype = "another subtype" if message.subtype is None else message.subtype.name.lower()
        yield f"refresh {family}: {subtype}"

    def _advertise(self, words: list[str]) -> Iterator[str]:
        prefixes = [ip_network(word) for word in words if "=" not in word]
        given = _attributes(word.split("=") for word in words if "=" in word)
        yield from _sent(updates(dict.fromkeys(prefixes, given), (), self._outbound))

    def _withdraw(self, words: list[str]) -> Iterator[str]:
        yield from _sent(updates({}, map(ip_network, words), self._outbound))

    def _end_of_rib(self, words: list[str]) -> Iterator[str]:
        yield from _sent([end_of_rib(Family(words[0]))])


def _octets(words: list[str]) -> bytes:
    return bytes.fromhex("".join(words).replace("MARKER", "ff" * 16))


def _prefix(word: str) -> bytes:
    return prefix_octets(ip_network(word)) if "/" in word else bytes.fromhex(word)


def _body(words: list[str]) -> bytes:
    if words[:1] == ["body"]:
        return _octets(words[1:])
    fields: dict[str, list[str]] = {"withdrawn": [], "attributes": [], "nlri": []}
    into: list[str] = []
    for word in words:
        into = fields.get(word, into)
        if word not in fields:
            into.append(word)
    gone = b"".join(map(_prefix, fields["withdrawn"]))
    attributes = bytes.fromhex("".join(GOOD.get(word, word) for word in fields["attributes"]))
    lengths = [len(part).to_bytes(2, "big") for part in (gone, attributes)]
    return b"".join((lengths[0], gone, lengths[1], attributes, *map(_prefix, fields["nlri"])))


def _counted(found: Update) -> Iterator[str]:
    if found.end_of_rib is not None:
        yield f"end-of-rib {found.end_of_rib.value}"
    yield f"advertised {found.announced} withdrawn {found.withdrawn}"
    for fault in found.faults:
        yield f"{fault.action.name.lower().replace('_', '-')} {fault}"


def _capabilities(told: Capabilities) -> Iterator[str]:
    yield from (f"family {family.value}" for family in Family if family in (told.families or ()))
    if told.asn is not None:
        yield f"AS {told.asn}"
    for name in ("route_refresh", "enhanced_route_refresh", "extended_message"):
        if getattr(told, name):
            yield name
    if told.extended_next_hop:
        yield "IPv4 over IPv6"
    if told.role is not None:
        yield f"role {told.role.name}"
    yield from _restarts(told)
    yield from (f"several paths {family.value}" for family in Family if family in told.add_path)
    yield from (f"unknown {code}" for code in told.unknown)


def _restarts(told: Capabilities) -> Iterator[str]:
    restart = told.graceful_restart
    if restart is not None:
        bits = "R" * restart.restarting + "N" * restart.notification
        yield f"graceful restart {restart.restart_time} s {bits or '-'}"
        for family in Family:
            if family in restart.families:
                kept = "kept" if family in restart.forwarding else "not kept"
                yield f"graceful restart {family.value} {kept}"
    for entry in told.long_lived:
        kept = "kept" if entry.forwarding else "not kept"
        yield f"long-lived {entry.family.value} {entry.stale_time} s {kept}"


def _attributes(pairs: Iterable[list[str]]) -> RouteAttributes:
    given = RouteAttributes()
    for name, value in pairs:
        if name == "next-hop":
            given = replace(given, next_hop=ip_address(value))
        elif name == "community":
            high, low = map(int, value.split(":"))
            given = replace(given, communities=(*given.communities, high << 16 | low))
        elif name == "large":
            large = LargeCommunity(*map(int, value.split(":")))
            given = replace(given, large_communities=(*given.large_communities, large))
        elif name == "extended":
            given = replace(given, extended=(*given.extended, bytes.fromhex(value)))
        else:
            given = replace(given, **{name.replace("-", "_"): int(value)})
    return given


def _sent(messages: Iterable[bytes]) -> Iterator[str]:
    for message in messages:
        yield f"update {message[19:].hex()}"
