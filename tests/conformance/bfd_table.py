"""Pages about BFD: what goes into the table of sessions and what comes out.

    given   bfd jitter NUMBER              intervals are 75 % long with 0, discriminators 1, 2, ...

    > TIME want [PATH [ASKED ...]] [and PATH ...]     exactly these sessions are wanted
    > TIME hear SOURCE [to ADDRESS] [on LINK] [port 4784] [ttl N] PACKET
    > TIME damaged AT:HEX SOURCE ... PACKET           the same with octets overwritten
    > TIME wake                                       the deadline is reached
    < send PATH PACKET | up PATH | down PATH why [administratively] | discarded FIELD
    < wake at TIME | wake never

PATH is an address, with `over several hops` after it for RFC 5883. ASKED is `transmit MS`,
`receive MS`, `multiplier N`, `ttl N` or `passive`. PACKET is `STATE my N yours N` with, where not
usual, `diag N`, `x N` (3), `tx MS` and `rx MS` (100), `poll`, `final`, `demand`.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import replace
from ipaddress import ip_address

from onehop.proto.bfd.packet import ControlPacket, State, decode, encode
from onehop.proto.bfd.session import Effect, Path, PathDown, SendPacket, Terms
from onehop.proto.bfd.sessions import Arrival, Sessions

OURS = ip_address("192.0.2.1")
FLAGS = ("poll", "final", "demand")
NUMBERS = {"my": "my_discriminator", "yours": "your_discriminator", "diag": "diagnostic",
           "x": "multiplier"}  # fmt: skip
INTERVALS = {"tx": "desired_min_tx_us", "rx": "required_min_rx_us"}
PLAIN = ControlPacket(
    state=State.DOWN, my_discriminator=9, desired_min_tx_us=100_000, required_min_rx_us=100_000
)


def played(page: str) -> str:
    """The page with the effects that the table really has."""
    lines = [line for line in page.splitlines() if not line.startswith("<")]
    given = next(line.split() for line in lines if line.startswith("given"))
    share = float(given[3])
    table = Sessions(jitter=lambda: share)
    out: list[str] = []
    deadline: float | None = None
    for line in lines:
        out.append(line)
        if not line.startswith(">"):
            continue
        words = line[1:].split()
        before = Counter(table.discarded)
        effects = _step(table, float(words[0]), words[1], words[2:])
        out += [f"< {_effect(effect)}" for effect in effects]
        out += [f"< discarded {field}" for field in table.discarded - before]
        if table.deadline != deadline:
            deadline = table.deadline
            out.append("< wake never" if deadline is None else f"< wake at {deadline:.3f}")
    return "\n".join(out) + "\n"


def _step(table: Sessions, now: float, verb: str, words: list[str]) -> tuple[Effect, ...]:
    if verb == "want":
        text = " ".join(words)
        return table.set_sessions(dict(_wanted(one) for one in text.split(" and ") if one), now)
    if verb == "wake":
        return table.wake(now)
    damage = words.pop(0) if verb == "damaged" else "0:"
    assert verb in ("hear", "damaged"), f"{verb!r} is no input"
    arrival, rest = _arrival(words)
    octets = bytearray(encode(_packet(rest)))
    offset, _, wrong = damage.partition(":")
    octets[int(offset) : int(offset) + len(wrong) // 2] = bytes.fromhex(wrong)
    return table.receive_packet(bytes(octets), arrival, now)


def _wanted(text: str) -> tuple[Path, Terms]:
    multihop = "over several hops" in text
    address, *words = text.replace("over several hops", "").split()
    link = words.pop(words.index("on") + 1) if "on" in words else ""
    terms, asked = Terms(), iter(word for word in words if word != "on")
    for word in asked:
        if word == "passive":
            terms = replace(terms, is_passive=True)
        elif word in ("transmit", "receive"):
            terms = replace(terms, **{word: float(next(asked)) / 1000})
        else:
            name = {"multiplier": "multiplier", "ttl": "minimum_ttl"}[word]
            terms = replace(terms, **{name: int(next(asked))})
    return Path(peer=ip_address(address), link=link, multihop=multihop), terms


def _arrival(words: list[str]) -> tuple[Arrival, list[str]]:
    arrival = Arrival(source=ip_address(words[0]), destination=OURS, ttl=255)
    at = 1
    while words[at] in ("to", "on", "port", "ttl"):
        word, value = words[at : at + 2]
        if word == "to":
            arrival = replace(arrival, destination=ip_address(value))
        elif word == "on":
            arrival = replace(arrival, link=value)
        elif word == "port":
            arrival = replace(arrival, multihop=value == "4784")
        else:
            arrival = replace(arrival, ttl=int(value))
        at += 2
    return arrival, words[at:]


def _packet(words: list[str]) -> ControlPacket:
    fields: dict[str, object] = {"state": State[words[0]]}
    rest = iter(words[1:])
    for word in rest:
        if word in FLAGS:
            fields[word] = True
        elif word in NUMBERS:
            fields[NUMBERS[word]] = int(next(rest))
        else:
            fields[INTERVALS[word]] = int(next(rest)) * 1000
    return replace(PLAIN, **fields)  # type: ignore[arg-type]


def _words(packet: ControlPacket) -> str:
    words = [packet.state.name]
    words += [f"{word} {getattr(packet, name)}" for word, name in NUMBERS.items()]
    words += [f"{word} {getattr(packet, name) / 1000:g}" for word, name in INTERVALS.items()]
    return " ".join([*words, *(flag for flag in FLAGS if getattr(packet, flag))])


def _name(path: Path) -> str:
    return f"{path} over several hops" if path.multihop else str(path)


def _effect(effect: Effect) -> str:
    if isinstance(effect, SendPacket):
        return f"send {_name(effect.path)} {_words(decode(effect.octets))}"
    if isinstance(effect, PathDown):
        whose = " administratively" if effect.is_administrative else ""
        return f"down {_name(effect.path)} {effect.diagnostic.sentence}{whose}"
    return f"up {_name(effect.path)}"
