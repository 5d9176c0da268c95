"""BFD in a small process of its own, so that no decision and no collection can delay it.

`python -m onehop.app.bfd_process`, started by `onehop.app.bfd_client` with a socket as its
standard input: wanted sessions come in, facts go out (`onehop.app.bfd_lines`). It ends when that
socket closes, and with it every session: a router then stops using a node whose speaker is gone.

One blocking loop: what has arrived is read before any time is judged, so a process that was held
up does not take its own sleep for the peer's silence. It imports little and keeps a tiny heap.
"""

from __future__ import annotations

import gc
import os
import random
import select
import signal
import socket
import sys
import time
from collections.abc import Iterable

from onehop.adapters.linux.bfd_socket import BATCH, BfdSockets
from onehop.app.bfd_lines import (
    Line,
    Ready,
    Refused,
    SessionStatistics,
    Statistics,
    decode_wanted,
    encode,
)
from onehop.model.reason import Refusal
from onehop.proto.bfd.session import Effect, Path, SendPacket, Session, Terms
from onehop.proto.bfd.sessions import Sessions

PRIORITY = 50
# Statistics, and another try at sockets that could not be opened.
PERIOD = 1.0
# Under a flood the process rests after each batch: at its priority nothing else would get to run.
REST = 0.002
_READ = 1 << 16


class Parent:
    """The socket to the speaker: whole lines in, the latest of each kind of line out.

    A speaker that does not read costs a line a path and no waiting: while the socket is full, a
    newer line replaces an older one of the same key.
    """

    def __init__(self, sock: socket.socket) -> None:
        self._socket = sock
        sock.setblocking(False)
        self._read = bytearray()
        self._unsent = bytearray()
        self._waiting: dict[object, bytes] = {}
        self.is_closed = False

    def fileno(self) -> int:
        """What to wait on."""
        return self._socket.fileno()

    @property
    def is_waiting(self) -> bool:
        """Whether something waits until the socket takes more."""
        return bool(self._unsent or self._waiting)

    def received(self) -> list[bytes]:
        """Whole lines that have come; `is_closed` tells whether more may."""
        try:
            octets = self._socket.recv(_READ)
        except BlockingIOError:
            return []
        except OSError:
            octets = b""
        if not octets:
            self.is_closed = True
        self._read += octets
        *lines, rest = self._read.split(b"\n")
        self._read = rest
        return [bytes(line) for line in lines]

    def send(self, key: object, line: bytes) -> None:
        """Send, in place of an older line of this key that still waits."""
        self._waiting.pop(key, None)
        self._waiting[key] = line
        self.flush()

    def flush(self) -> None:
        """Write what the socket takes."""
        while self.is_waiting:
            if not self._unsent:
                self._unsent += self._waiting.pop(next(iter(self._waiting)))
            try:
                taken = self._socket.send(self._unsent)
            except BlockingIOError:
                return
            except OSError:
                self.is_closed = True
                return
            del self._unsent[:taken]


class Process:
    """The machines, their sockets and the loop."""

    def __init__(self, parent: Parent) -> None:
        self._parent = parent
        self._sockets = BfdSockets()
        self._sessions = Sessions(jitter=random.random)
        self._wanted: dict[Path, Terms] = {}
        self._refusals: dict[Path, Refusal] = {}
        self._period_at = time.monotonic() + PERIOD
        self._lateness = 0.0

    def run(self) -> None:
        """Until the speaker is gone."""
        while not self._parent.is_closed:
            deadline = self._deadline()
            self._wait(deadline)
            now = time.monotonic()
            self._lateness = max(self._lateness, now - deadline)
            self._receive(now)
            self._perform(self._sessions.wake(now))
            for line in self._parent.received():
                self._want(decode_wanted(line), now)
            if now >= self._period_at:
                self._period(now)
            self._parent.flush()
        self._sockets.close()

    def _deadline(self) -> float:
        deadline = self._sessions.deadline
        return self._period_at if deadline is None else min(deadline, self._period_at)

    def _wait(self, deadline: float) -> None:
        # A new set for each round costs microseconds and cannot name a socket that is closed.
        poll = select.poll()
        poll.register(self._parent, select.POLLIN | select.POLLOUT * self._parent.is_waiting)
        for receiver in self._sockets.receivers():
            poll.register(receiver, select.POLLIN)
        poll.poll(max(0.0, (deadline - time.monotonic()) * 1000))

    def _receive(self, now: float) -> None:
        is_flooded = False
        for receiver in self._sockets.receivers():
            batch = list(receiver.received())
            for octets, arrival in batch:
                self._perform(self._sessions.receive_packet(octets, arrival, now))
            is_flooded |= len(batch) == BATCH
        if is_flooded:
            time.sleep(REST)

    def _want(self, wanted: dict[Path, Terms], now: float) -> None:
        self._wanted = wanted
        self._open()
        self._perform(self._sessions.set_sessions(wanted, now))
        self._perform(self._sessions.wake(now))
        self._open()

    def _open(self) -> None:
        """Sockets for what is wanted, and for what still says its farewell."""
        refusals = self._sockets.sync({*self._wanted, *self._sessions.paths()})
        for path in self._wanted:
            refusal = refusals.get(path)
            if refusal == self._refusals.get(path):
                continue
            self._tell(
                Refused(path=path)
                if refusal is None
                else Refused(path=path, code=refusal.reason.code, detail=refusal.detail)
            )
        self._refusals = refusals

    def _period(self, now: float) -> None:
        self._period_at = now + PERIOD
        self._open()
        sessions = tuple(map(_statistics, self._sessions.sessions()))
        self._tell(
            Statistics(
                sessions=sessions,
                discarded=dict(self._sessions.discarded),
                unsent=self._sockets.unsent,
                lateness=self._lateness,
            )
        )
        self._lateness = 0.0

    def _perform(self, effects: Iterable[Effect]) -> None:
        for effect in effects:
            if isinstance(effect, SendPacket):
                self._sockets.send(effect.path, effect.octets)
            else:
                self._tell(effect)

    def _tell(self, line: Line) -> None:
        is_state = not isinstance(line, Ready | Refused | Statistics)
        key = ("state" if is_state else type(line), getattr(line, "path", None))
        self._parent.send(key, encode(line))


def _statistics(session: Session) -> SessionStatistics:
    return SessionStatistics(
        path=session.path,
        state=session.state.name,
        remote_state=session.remote_state.name,
        transmit_interval=session.transmit_interval,
        detection_time=session.detection_time,
        sent=session.sent,
        received=session.received,
    )


def _prioritised() -> Ready:
    """Take real-time priority, if the process may (CAP_SYS_NICE or RLIMIT_RTPRIO)."""
    try:
        os.sched_setscheduler(0, os.SCHED_FIFO, os.sched_param(PRIORITY))
    except OSError as error:
        return Ready(real_time=False, detail=f"SCHED_FIFO: {os.strerror(error.errno or 0)}")
    return Ready(real_time=True)


def main() -> int:
    """Run on the socket that is the standard input."""
    # A terminal's interrupt goes to the speaker too, which ends this process when it is done.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    parent = Parent(socket.socket(fileno=os.dup(0)))
    ready = _prioritised()
    parent.send(Ready, encode(ready))
    gc.collect()
    gc.freeze()
    Process(parent).run()
    return 0


if __name__ == "__main__":
    sys.exit(main())
