"""How a lab begins and ends: one builder a name, and an end that needs no memory.

`take_down` reads what is there from the lab's directory and from the kernel, so it clears what an
interrupted or killed `up` left as it clears a whole lab.
"""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator
from contextlib import contextmanager

from onehop.lab import namespace
from onehop.lab.state import LabError, Layout, Record, start_time
from onehop.lab.supervisor import Supervisor

_INTERRUPTS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


def require_root() -> None:
    """Make sure that namespaces can be made.

    Raises:
        LabError: when the user is not root.
    """
    if os.geteuid() != 0:
        raise LabError("the lab needs root: it makes network namespaces and mounts")


def take_down(layout: Layout, supervisor: Supervisor | None = None) -> bool:
    """Remove all that a lab left, however far its `up` had come; False when there was nothing.

    Raises:
        LabError: when another process is building it right now, or something cannot be removed.
    """
    record = layout.read()
    if record is not None and not record.ready and _builds_elsewhere(record):
        raise LabError(f"lab {layout.name!r} is being built by process {record.builder}")
    if not layout.root.exists():
        layout.delete()  # a draft that never became a lab
        return False
    (supervisor or Supervisor(layout)).stop_all()
    for folder, remove in ((layout.bpf, namespace.unmount), (layout.namespaces, namespace.remove)):
        if folder.is_dir():
            for path in sorted(folder.iterdir()):
                remove(path)
    namespace.remove_names(layout.namespaces)
    layout.delete()
    if layout.root.exists():
        raise LabError(f"{layout.root} could not be removed: something still writes there")
    return True


def abandon(layout: Layout) -> None:
    """Take the lab down if this very process built it; anybody else's stays."""
    record = layout.read()
    if record is not None and record.builder == os.getpid():
        with undisturbed():
            take_down(layout)


def _builds_elsewhere(record: Record) -> bool:
    return record.builder != os.getpid() and start_time(record.builder) == record.builder_started


def claim(layout: Layout, record: Record) -> None:
    """Take the lab's name for the process that builds it; a killed builder's lab is cleared.

    Raises:
        LabError: when a lab of this name is up, or is being built.
    """
    if layout.create(record):
        return
    found = layout.read()
    if found is not None and found.ready:
        raise LabError(
            f"lab {layout.name!r} is up already: `onehop lab down --name {layout.name}` first, "
            "or take another --name"
        )
    take_down(layout)  # its builder was killed
    if not layout.create(record):
        raise LabError(f"lab {layout.name!r} is being built by another process")


@contextmanager
def undisturbed() -> Iterator[None]:
    """A Ctrl-C or a SIGTERM waits until the block is done: half a clean-up is none."""
    before = signal.pthread_sigmask(signal.SIG_BLOCK, _INTERRUPTS)
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)
