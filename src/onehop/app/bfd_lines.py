"""The lines between a speaker and its BFD process: one JSON object each, in both directions.

The speaker writes the sessions that it wants, whole, whenever they change. The process answers
with facts; the last one of a path is its state. Both ends are of one version, so a line that
cannot be read is a defect and not an event.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from ipaddress import ip_address
from typing import Any

from onehop.proto.bfd.packet import Diagnostic
from onehop.proto.bfd.session import Path, PathDown, PathUp, Terms


@dataclass(frozen=True, slots=True, kw_only=True)
class Ready:
    """The process runs: with real-time priority, or why without."""

    real_time: bool
    detail: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Refused:
    """A session cannot be had now; the process goes on trying. Without `code` it can again."""

    path: Path
    code: str = ""
    detail: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class SessionStatistics:
    """One session as it is: intervals in seconds, after negotiation."""

    path: Path
    state: str
    remote_state: str
    transmit_interval: float
    detection_time: float
    sent: int
    received: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Statistics:
    """Counts since the process began; `lateness` is its worst wake-up since the last line."""

    sessions: tuple[SessionStatistics, ...]
    discarded: Mapping[str, int]
    unsent: int
    lateness: float


Line = Ready | Refused | Statistics | PathUp | PathDown


def encode_wanted(wanted: Mapping[Path, Terms]) -> bytes:
    """The speaker's line."""
    return _line([{"path": _path(path), **asdict(terms)} for path, terms in wanted.items()])


def decode_wanted(line: bytes) -> dict[Path, Terms]:
    """What `encode_wanted` was given."""
    entries = json.loads(line)
    return {_path_of(entry.pop("path")): Terms(**entry) for entry in entries}


def encode(line: Line) -> bytes:
    """The process's line."""
    match line:
        case Ready():
            return _line({"ready": asdict(line)})
        case PathUp():
            return _line({"up": _path(line.path)})
        case PathDown():
            down = {"diagnostic": line.diagnostic, "is_administrative": line.is_administrative}
            return _line({"down": {"path": _path(line.path), **down}})
        case Refused():
            refused = {"path": _path(line.path), "code": line.code, "detail": line.detail}
            return _line({"refused": refused})
        case Statistics():
            sessions = [{**asdict(one), "path": _path(one.path)} for one in line.sessions]
            return _line({"statistics": {**asdict(line), "sessions": sessions}})


def decode(line: bytes) -> Line:
    """What `encode` was given."""
    ((kind, body),) = json.loads(line).items()
    return _KINDS[kind](body)


def _line(value: object) -> bytes:
    return json.dumps(value, separators=(",", ":")).encode() + b"\n"


def _path(path: Path) -> list[str | bool]:
    return [str(path.peer), str(path.local or ""), path.link, path.multihop]


def _path_of(words: list[Any]) -> Path:
    peer, local, link, multihop = words
    return Path(
        peer=ip_address(peer),
        local=ip_address(local) if local else None,
        link=link,
        multihop=multihop,
    )


def _with_path(body: dict[str, Any]) -> dict[str, Any]:
    return {**body, "path": _path_of(body["path"])}


def _down(body: dict[str, Any]) -> PathDown:
    return PathDown(**{**_with_path(body), "diagnostic": Diagnostic(body["diagnostic"])})


def _statistics(body: dict[str, Any]) -> Statistics:
    sessions = tuple(SessionStatistics(**_with_path(one)) for one in body["sessions"])
    return Statistics(**{**body, "sessions": sessions})


_KINDS: Mapping[str, Callable[[Any], Line]] = {
    "ready": lambda body: Ready(**body),
    "up": lambda body: PathUp(path=_path_of(body)),
    "down": _down,
    "refused": lambda body: Refused(**_with_path(body)),
    "statistics": _statistics,
}
