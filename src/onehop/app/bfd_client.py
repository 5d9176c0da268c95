"""The speaker's side of BFD: keeps the BFD process running and told, and hands on its facts.

The process is a child in this one's network namespace. When it dies, every path that was up is
told to be down without blame, for nothing is known of it any more, and a new process starts with
the same sessions.
"""

from __future__ import annotations

import asyncio
import socket
import subprocess
import sys
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType

from onehop.app.bfd_lines import (
    Ready,
    Refused,
    SessionStatistics,
    Statistics,
    decode,
    encode_wanted,
)
from onehop.model.address import IPAddress
from onehop.model.bgp import BFDProfile, BGPPeer
from onehop.model.reason import Reason, Refusal
from onehop.proto.bfd.packet import Diagnostic
from onehop.proto.bfd.profile import FLOOR, FLOOR_WITHOUT_PRIORITY, terms
from onehop.proto.bfd.session import Path, PathDown, PathUp, Terms

Fact = PathUp | PathDown

PROCESS = (sys.executable, "-P", "-m", "onehop.app.bfd_process")
_RESTART, _RESTART_MOST = 0.1, 5.0
_ENDS_WITHIN = 2.0
_READ = 1 << 16
_NO_STATISTICS = Statistics(sessions=(), discarded=MappingProxyType({}), unsent=0, lateness=0.0)


@dataclass(frozen=True, slots=True, kw_only=True)
class PathState:
    """A path that is watched, for metrics: how it stands and what was counted of it.

    Packets are counted by the process, and so anew when that had to be started again.
    """

    path: Path
    is_up: bool
    ups: int
    downs: int
    sent: int
    received: int


def path_to(
    peer: BGPPeer, address: IPAddress, local: IPAddress | None, *, is_on_link: bool
) -> Path:
    """The path that a BGP session with `peer` depends on; `local` is our end of its connection.

    `is_on_link`: the peer's address belongs to a network of one of our links. An internal peer
    further away is several hops away (RFC 5883 3) as much as an external one that says so.
    """
    return Path(
        peer=address,
        local=local,
        link=peer.vrf or peer.link,
        multihop=peer.ebgp_multihop or not is_on_link,
    )


class BfdClient:
    """All methods belong to the loop's own thread."""

    def __init__(
        self,
        *,
        on_fact: Callable[[Fact], None],
        loop: asyncio.AbstractEventLoop,
        command: Sequence[str] = PROCESS,
    ) -> None:
        self._command = command
        self._on_fact = on_fact
        self._loop = loop
        self._wanted: dict[Path, BFDProfile] = {}
        self._up: set[Path] = set()
        self._ups: Counter[Path] = Counter()
        self._downs: Counter[Path] = Counter()
        self._process: subprocess.Popen[bytes] | None = None
        self._socket: socket.socket | None = None
        self._read = bytearray()
        self._unsent = bytearray()
        self._refused: dict[Path, Refused] = {}
        self._restart: asyncio.TimerHandle | None = None
        self._pause = _RESTART
        self.ready: Ready | None = None
        self.statistics = _NO_STATISTICS
        self.starts = 0

    @property
    def pid(self) -> int | None:
        """The process, while it runs."""
        return self._process.pid if self._process else None

    @property
    def floor(self) -> float:
        """The shortest interval that is granted, in seconds."""
        return FLOOR if self.ready is None or self.ready.real_time else FLOOR_WITHOUT_PRIORITY

    def sync(self, wanted: Mapping[Path, BFDProfile]) -> None:
        """Exactly these paths are to be watched; the first one starts the process."""
        if dict(wanted) == self._wanted:
            return
        self._wanted = dict(wanted)
        self._up &= self._wanted.keys()
        self._refused = {p: r for p, r in self._refused.items() if p in self._wanted}
        if self._socket is not None:
            self._tell()
        elif self._wanted and self._restart is None:
            self._start()

    def is_up(self, path: Path) -> bool:
        """Whether the path works in both directions, as far as is known."""
        return path in self._up

    def session(self, path: Path) -> SessionStatistics | None:
        """The session as it was within the last second."""
        return next((one for one in self.statistics.sessions if one.path == path), None)

    def states(self) -> tuple[PathState, ...]:
        """Every path that is watched."""
        seen = {one.path: one for one in self.statistics.sessions}
        return tuple(
            PathState(
                path=path,
                is_up=path in self._up,
                ups=self._ups[path],
                downs=self._downs[path],
                sent=seen[path].sent if path in seen else 0,
                received=seen[path].received if path in seen else 0,
            )
            for path in self._wanted
        )

    def refusals(self, path: Path) -> tuple[Refusal, ...]:
        """What of this path's session is not as its profile asks."""
        profile = self._wanted.get(path)
        if profile is None:
            return ()
        _, refusals = terms(profile, self.floor)
        refused = self._refused.get(path)
        if refused is None:
            return refusals
        reason = next(reason for reason in Reason if reason.code == refused.code)
        return (*refusals, Refusal(reason=reason, detail=refused.detail))

    def _terms(self) -> dict[Path, Terms]:
        return {path: terms(profile, self.floor)[0] for path, profile in self._wanted.items()}

    def _start(self) -> None:
        self._restart = None
        if not self._wanted:
            return
        ours, theirs = socket.socketpair()
        self.starts += 1
        with theirs:
            try:
                self._process = subprocess.Popen(
                    self._command, stdin=theirs.fileno(), stdout=subprocess.DEVNULL
                )
            except OSError:  # no memory, no process left: as if it had died at once
                ours.close()
                self._died()
                return
        ours.setblocking(False)
        self._socket = ours
        self._loop.add_reader(ours.fileno(), self._readable)
        self._tell()

    def _tell(self) -> None:
        self._unsent += encode_wanted(self._terms())
        self._writable()

    def _writable(self) -> None:
        assert self._socket is not None, "only an open socket is written to"
        try:
            taken = self._socket.send(self._unsent)
        except BlockingIOError:
            taken = 0
        except OSError:
            return  # the reader learns the same, and starts anew
        del self._unsent[:taken]
        if self._unsent:
            self._loop.add_writer(self._socket.fileno(), self._writable)
        else:
            self._loop.remove_writer(self._socket.fileno())

    def _readable(self) -> None:
        assert self._socket is not None, "only an open socket is read from"
        try:
            octets = self._socket.recv(_READ)
        except BlockingIOError:
            return
        except OSError:
            octets = b""
        if not octets:
            self._died()
            return
        *lines, self._read = (self._read + octets).split(b"\n")
        for line in lines:
            self._take(bytes(line))

    def _take(self, octets: bytes) -> None:
        line = decode(octets)
        match line:
            case Ready():
                floor = self.floor
                self.ready = line
                if self.floor != floor:
                    self._tell()
            case Refused():
                self._take_refused(line)
            case Statistics():
                self.statistics = line
                self._pause = _RESTART
            case PathUp() | PathDown():
                self._take_fact(line)

    def _take_refused(self, line: Refused) -> None:
        if line.code:
            self._refused[line.path] = line
        else:
            self._refused.pop(line.path, None)

    def _take_fact(self, fact: Fact) -> None:
        if fact.path not in self._wanted:
            return  # the farewell of a session that nobody wants any more
        if isinstance(fact, PathUp):
            self._up.add(fact.path)
            self._ups[fact.path] += 1
        else:
            self._downs[fact.path] += fact.path in self._up
            self._up.discard(fact.path)
        self._on_fact(fact)

    def _died(self) -> None:
        self._stop()
        self._restart = self._loop.call_later(self._pause, self._start)
        self._pause = min(2 * self._pause, _RESTART_MOST)
        lost, self._up = self._up, set()
        self._downs.update(lost)
        for path in lost:
            self._on_fact(PathDown(path=path, diagnostic=Diagnostic.NONE, is_administrative=True))

    def _stop(self, *, ends_by_itself: bool = False) -> None:
        if self._process is not None:
            try:
                self._process.wait(_ENDS_WITHIN if ends_by_itself else 0)
            except subprocess.TimeoutExpired:
                self._process.kill()
                self._process.wait()
            self._process = None
        if self._socket is not None:
            self._loop.remove_reader(self._socket.fileno())
            self._loop.remove_writer(self._socket.fileno())
            self._socket.close()
            self._socket = None
        self._read.clear()
        self._unsent.clear()
        self._refused.clear()
        self.statistics = _NO_STATISTICS

    def close(self) -> None:
        """Tell every peer that its session ends, then end the process."""
        if self._restart is not None:
            self._restart.cancel()
            self._restart = None
        if self._socket is not None:
            self.sync({})
            # The process reads to the end; closing at once could cut its reading short.
            self._socket.shutdown(socket.SHUT_WR)
        self._stop(ends_by_itself=True)
