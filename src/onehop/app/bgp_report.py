"""What a speaker says of its BGP sessions: one file per node, beside the node's other report.

Written whole and put in place by rename, so that a reader sees one instant. It is written soon
after something changed and then not again for a span that grows with what the writing cost, so
that a node with ten thousand routes spends its time on routes. A file outlives its speaker: it
names the process, and `is_alive` says whether that still runs.
"""

from __future__ import annotations

import asyncio
import json
import os
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from onehop.model.address import IPNetwork
from onehop.model.bgp import RouteAttributes, Routes

_SOON, _SPAN = 0.02, 0.2
ANSWERED = "answered"  # in place of a process: the speaker itself was asked, over the network
_SHARE = 100  # of the time, how small a part goes into writing


@dataclass(frozen=True, slots=True, kw_only=True)
class RouteGroup:
    """Prefixes that were sent with the same attributes, in words."""

    attributes: Mapping[str, str]
    prefixes: tuple[str, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class PeerState:
    """One session as it stands. Instants are seconds since the epoch; `since` is the state's.

    `sent` counts routes the peer has of us, `wanted` those it ought to have, `received` routes
    that it sent and that were dropped. `info` is the last error in words, empty when none.
    """

    name: str
    address: str
    port: int
    local_asn: int
    peer_asn: int | None
    state: str
    since: float
    established: int = 0
    wanted: int = 0
    sent: int = 0
    received: int = 0
    info: str = ""
    bfd: str = ""
    messages: Mapping[str, int] = field(default_factory=dict)
    routes: tuple[RouteGroup, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class NodeState:
    """All sessions of a node, and why a BGPPeer has none here; `process` is who says so."""

    node: str
    at: float
    process: str = ""
    peers: tuple[PeerState, ...] = ()
    refused: Mapping[str, str] = field(default_factory=dict)


def attributes_in_words(attributes: RouteAttributes) -> dict[str, str]:
    """What a route carries beside its prefix, as a router prints it; what is unset is left out."""
    words = {
        "next_hop": "" if attributes.next_hop is None else str(attributes.next_hop),
        "local_pref": "" if attributes.local_pref is None else str(attributes.local_pref),
        "med": "" if attributes.med is None else str(attributes.med),
        "communities": " ".join(f"{c >> 16}:{c & 0xFFFF}" for c in attributes.communities),
        "large_communities": " ".join(map(str, attributes.large_communities)),
        "extended": " ".join(octets.hex() for octets in attributes.extended),
    }
    return {name: text for name, text in words.items() if text}


def grouped(routes: Routes, texts: dict[IPNetwork, str]) -> tuple[RouteGroup, ...]:
    """The routes by what they carry; `texts` remembers how a prefix is written."""
    groups: dict[RouteAttributes, list[str]] = {}
    last: RouteAttributes | None = None
    prefixes: list[str] = []
    for prefix, attributes in routes.items():
        if attributes is not last:  # hashing attributes costs more than all the rest
            prefixes = groups.setdefault(attributes, [])
            last = attributes
        text = texts.get(prefix)
        if text is None:
            text = texts[prefix] = str(prefix)
        prefixes.append(text)
    return tuple(
        RouteGroup(attributes=attributes_in_words(attributes), prefixes=tuple(prefixes))
        for attributes, prefixes in groups.items()
    )


class ReportFile:
    """Keeps a file like the world, a little later. All methods belong to the loop's thread."""

    def __init__(
        self,
        path: Path,
        content: Callable[[], NodeState],
        *,
        loop: asyncio.AbstractEventLoop,
        on_failure: Callable[[OSError], None],
    ) -> None:
        self._path = path
        self._content = content
        self._loop = loop
        self._on_failure = on_failure
        self._timer: asyncio.TimerHandle | None = None
        self._not_before = 0.0

    def changed(self) -> None:
        """Something that the file says is not so any more."""
        if self._timer is None:
            at = max(self._loop.time() + _SOON, self._not_before)
            self._timer = self._loop.call_at(at, self.write)

    def write(self) -> None:
        """Write it now."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        begin = self._loop.time()
        try:
            _write(self._path, self._content())
        except OSError as error:
            self._on_failure(error)
        end = self._loop.time()
        self._not_before = end + max(_SPAN, (end - begin) * _SHARE)

    def close(self) -> None:
        """Write no more."""
        if self._timer is not None:
            self._timer.cancel()
        self._timer = None


def body_of(state: NodeState) -> dict[str, object]:
    """The state as plain values."""
    return {
        "node": state.node,
        "at": state.at,
        "process": state.process,
        "refused": dict(state.refused),
        "peers": [
            {name: getattr(peer, name) for name in _PEER_FIELDS}
            | {"messages": dict(peer.messages), "routes": _plain(peer.routes)}
            for peer in state.peers
        ],
    }


def _write(path: Path, state: NodeState) -> None:
    temporary = path.with_suffix(".tmp")
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary.write_text(json.dumps(body_of(state)))
    os.replace(temporary, path)


_PEER_FIELDS = tuple(
    name for name in PeerState.__dataclass_fields__ if name not in ("messages", "routes")
)


def _plain(groups: Iterable[RouteGroup]) -> list[dict[str, object]]:
    return [{"attributes": dict(group.attributes), "prefixes": group.prefixes} for group in groups]


def report_path(state: Path, node: str) -> Path:
    """Where a node's speaker writes; node names hold no slash."""
    return state / "nodes" / f"{node}.bgp.json"


def read_reports(state: Path, node: str | None = None) -> tuple[NodeState, ...]:
    """What the speakers wrote, by node; a file that cannot be read counts as none."""
    files = [report_path(state, node)] if node else sorted((state / "nodes").glob("*.bgp.json"))
    found = (_read(file) for file in files)
    return tuple(state for state in found if state is not None)


def _read(file: Path) -> NodeState | None:
    try:
        body: Any = json.loads(file.read_text())
        return NodeState(
            node=body["node"],
            at=body["at"],
            process=body["process"],
            refused=body["refused"],
            peers=tuple(_peer(peer) for peer in body["peers"]),
        )
    except (OSError, ValueError, KeyError, TypeError):
        return None


def _peer(body: dict[str, Any]) -> PeerState:
    groups = tuple(
        RouteGroup(attributes=group["attributes"], prefixes=tuple(group["prefixes"]))
        for group in body["routes"]
    )
    return PeerState(**{**body, "routes": groups})


def is_alive(state: NodeState) -> bool:
    """Whether the speaker that wrote this still runs: a dead one has written its last state.

    What was asked of a speaker elsewhere names no process of ours, and it did answer.
    """
    if state.process == ANSWERED:
        return True
    pid = state.process.partition(":")[0]
    return pid.isdecimal() and state.process == process_name(int(pid))


def process_name(pid: int) -> str:
    """A process by number and birth, since numbers come again; empty when there is none."""
    try:
        stat = Path(f"/proc/{pid}/stat").read_text()
    except OSError:
        return ""
    # proc(5): the name in parentheses may hold anything; the start time is the 20th field after.
    return f"{pid}:{stat.rpartition(')')[2].split()[19]}"
