"""The lab's processes: started inside a namespace, logged, recorded, and ended for certain.

Two things name a process as ours: its record (PID and start time) and the namespace it is in.
Signals go through a pidfd that was opened before either was checked, so a PID that was reused in
between is never signalled.
"""

from __future__ import annotations

import json
import os
import select
import signal
import subprocess
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path

from onehop.lab import namespace
from onehop.lab.state import LabError, Layout, start_time, write_atomically

READY_FD = "{ready_fd}"
LAB_VARIABLE = "ONEHOP_LAB"  # tells whoever looks at a process which lab it belongs to
Claim = tuple[int, Callable[[], bool]]

_TERM_TIMEOUT = 5.0
_KILL_TIMEOUT = 5.0
_TAIL_LINES = 15


@dataclass(frozen=True, slots=True, kw_only=True)
class ProcessRecord:
    """What a file in pids/ holds; a `sudden` process is not asked to end before it is killed."""

    name: str
    host: str
    pid: int
    started: int
    argv: tuple[str, ...]
    log: str
    sudden: bool = False

    def is_alive(self) -> bool:
        """Whether this very process still runs."""
        return self.started != 0 and start_time(self.pid) == self.started

    @property
    def claim(self) -> Claim:
        """Its PID, and the test that it is still the process that was started."""
        return self.pid, self.is_alive


class Supervisor:
    """Starts and ends the processes of one lab; it restarts none."""

    def __init__(self, layout: Layout) -> None:
        self._layout = layout
        self._children: dict[str, subprocess.Popen[bytes]] = {}
        self._pending: dict[str, int] = {}

    def start(
        self,
        name: str,
        host: str,
        argv: Sequence[str],
        *,
        env: Mapping[str, str] | None = None,
        pass_fds: Sequence[int] = (),
        sudden: bool = False,
    ) -> None:
        """Start `argv` in the namespace of `host`, its output in logs/NAME.log.

        A word `{ready_fd}` becomes a descriptor to which the process writes a byte once it
        serves; `await_ready` waits for that. `env` stands in place of our own environment.
        """
        reader, writer = os.pipe()
        words = [word.replace(READY_FD, str(writer)) for word in argv]
        try:
            child = self._spawn(name, host, words, env, (writer, *pass_fds))
            self.adopt(name, host, child, log=self._log(name), sudden=sudden)
        except BaseException:
            os.close(reader)
            raise
        finally:
            os.close(writer)
        if READY_FD in argv:
            self._pending[name] = reader
        else:
            os.close(reader)

    def _log(self, name: str) -> Path:
        return self._layout.logs / f"{name}.log"

    def _spawn(
        self,
        name: str,
        host: str,
        argv: Sequence[str],
        env: Mapping[str, str] | None,
        pass_fds: Sequence[int],
    ) -> subprocess.Popen[bytes]:
        where = namespace.entered(self._layout.namespace(host))
        with self._log(name).open("ab") as log, where:
            return subprocess.Popen(
                argv,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                pass_fds=pass_fds,
                start_new_session=True,  # a Ctrl-C at the terminal is for the builder alone
                cwd="/",
                env={**(os.environ if env is None else env), LAB_VARIABLE: self._layout.name},
            )

    def adopt(
        self,
        name: str,
        host: str,
        child: subprocess.Popen[bytes],
        *,
        log: Path,
        sudden: bool = False,
    ) -> None:
        """Take charge of a process that runs in the namespace of `host` already."""
        ended = self._children.pop(name, None)
        if ended is not None:
            ended.wait()
        self._children[name] = child
        record = ProcessRecord(
            name=name,
            host=host,
            pid=child.pid,
            started=start_time(child.pid) or 0,
            argv=tuple(map(str, child.args)) if isinstance(child.args, (list, tuple)) else (),
            log=str(log),
            sudden=sudden,
        )
        write_atomically(self._layout.pids / f"{name}.json", json.dumps(asdict(record)))

    def await_ready(self, timeout: float) -> None:
        """Wait until every process that was given a `{ready_fd}` serves.

        Raises:
            LabError: with the end of its log, when one ended or is not ready in time.
        """
        deadline = time.monotonic() + timeout
        while self._pending:
            name, reader = next(iter(self._pending.items()))
            left = max(0.0, deadline - time.monotonic())
            readable, _, _ = select.select([reader], [], [], left)
            served = bool(readable) and os.read(reader, 1) != b""
            os.close(self._pending.pop(name))
            if not served:
                why = "ended" if readable else f"was not ready within {timeout:.0f} s"
                raise LabError(f"{name} {why}:\n{self.tail(name)}")

    def check(self, name: str | None = None) -> None:
        """Make sure that nothing that was started has ended, or this one has not.

        Raises:
            LabError: with the end of the log of the first that has.
        """
        for record in self.records():
            if name in (None, record.name) and not record.is_alive():
                raise LabError(f"{record.name} ended:\n{self.tail(record.name)}")

    def tail(self, name: str) -> str:
        """The last lines of a process's log, indented."""
        known = {record.name: record.log for record in self.records()}
        try:
            lines = Path(known.get(name, "")).read_text(errors="replace").splitlines()
        except (FileNotFoundError, IsADirectoryError):
            lines = []
        shown = lines[-_TAIL_LINES:] or ["(it said nothing)"]
        return "\n".join(f"  {line}" for line in shown)

    def records(self) -> tuple[ProcessRecord, ...]:
        """Every process that was started, by name."""
        return tuple(self._read_records())

    def _read_records(self) -> Iterator[ProcessRecord]:
        if not self._layout.pids.is_dir():
            return
        for path in sorted(self._layout.pids.glob("*.json")):
            with suppress(ValueError, TypeError, KeyError, FileNotFoundError):
                fields = json.loads(path.read_text())
                yield ProcessRecord(**{**fields, "argv": tuple(fields["argv"])})

    def send(self, name: str, number: signal.Signals) -> None:
        """Send a signal to one of the lab's processes; to one that has ended, none.

        Raises:
            KeyError: when no process of this name was started.
        """
        for record in self.records():
            if record.name == name:
                _signal_and_wait([record.claim], number, 0.0)
                return
        raise KeyError(name)

    def stop(self, name: str) -> None:
        """End one process and forget it; deleting the absent is success."""
        for record in self.records():
            if record.name == name:
                _end([record])
                (self._layout.pids / f"{name}.json").unlink(missing_ok=True)
        child = self._children.pop(name, None)
        if child is not None:
            child.wait()

    def stop_all(self) -> None:
        """End every process of the lab: those recorded, then any other in its namespaces."""
        for reader in self._pending.values():
            os.close(reader)
        self._pending.clear()
        _end(self.records())
        inodes = _inodes(self._layout.namespaces)
        # A process may have forked while it was being looked for: look until none is left.
        for _ in range(20):
            found = [pid for pid in _pids() if _is_inside(pid, inodes)]
            if not found:
                break
            claims = [(pid, partial(_is_inside, pid, inodes)) for pid in found]
            _signal_and_wait(claims, signal.SIGKILL, _KILL_TIMEOUT)
        for child in self._children.values():
            child.wait()
        self._children.clear()


def _inodes(folder: Path) -> frozenset[int]:
    if not folder.is_dir():
        return frozenset()
    # a file on which nothing was mounted yet has an inode of the folder's own file system
    device = Path("/proc/self/ns/net").stat().st_dev
    stats = (path.stat() for path in folder.iterdir())
    home = Path("/proc/self/ns/net").stat().st_ino
    return frozenset(s.st_ino for s in stats if s.st_dev == device) - {home}


def _pids() -> Iterable[int]:
    own = os.getpid()
    return [int(p) for p in os.listdir("/proc") if p.isdigit() and int(p) != own]


def _is_inside(pid: int, inodes: frozenset[int]) -> bool:
    try:
        return Path(f"/proc/{pid}/ns/net").stat().st_ino in inodes
    except OSError:
        return False


def _end(records: Sequence[ProcessRecord]) -> None:
    """Ask those that may be asked, while what they lean on is there; then kill what is left."""
    asked = [record.claim for record in records if not record.sudden]
    left = _signal_and_wait(asked, signal.SIGTERM, _TERM_TIMEOUT)
    left += [record.claim for record in records if record.sudden]
    if left:
        _signal_and_wait(left, signal.SIGKILL, _KILL_TIMEOUT)


def _signal_and_wait(
    claims: Sequence[Claim], number: signal.Signals, timeout: float
) -> list[Claim]:
    """Signal each process whose claim holds, and return those that outlived `timeout`."""
    waiting: dict[int, Claim] = {}
    poll = select.poll()
    try:
        for pid, is_ours in claims:
            with suppress(ProcessLookupError):
                handle = os.pidfd_open(pid)
                waiting[handle] = (pid, is_ours)
                if is_ours():
                    signal.pidfd_send_signal(handle, number)
                    poll.register(handle, select.POLLIN)
                else:
                    os.close(handle)
                    del waiting[handle]
        handles = set(waiting)
        deadline = time.monotonic() + timeout
        while handles and (left := deadline - time.monotonic()) > 0:
            for handle, _ in poll.poll(left * 1000):
                poll.unregister(handle)
                handles.discard(handle)
        return [waiting[handle] for handle in handles]
    finally:
        for handle in waiting:
            os.close(handle)
