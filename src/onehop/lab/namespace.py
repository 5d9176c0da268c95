"""Network namespaces and mounts: made, entered and removed, with plain system calls.

A namespace is pinned by a bind mount in the lab's own directory. `/run/netns` gets a symbolic
link to it, so `ip netns exec` knows the name while no mount of ours lies there: `ip netns add`
re-mounts that directory onto itself, which would hide and leak a mount made before.

The calling thread enters a namespace and returns; processes are forked while it is inside. So a
child is in its namespace from birth, and whoever looks for the lab's processes by namespace finds
every one, even when the builder was killed between two instructions.
"""

from __future__ import annotations

import ctypes
import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

NAMES = Path("/run/netns")

_CLONE_NEWNET = 0x40000000
_MS_BIND = 4096
_MNT_DETACH = 2
_OWN = "/proc/thread-self/ns/net"

_libc = ctypes.CDLL(None, use_errno=True)


def _check(result: int, what: str) -> None:
    if result != 0:
        number = ctypes.get_errno()
        raise OSError(number, f"{what}: {os.strerror(number)}")


def _mount(source: str, target: Path, kind: str, flags: int) -> None:
    target_bytes = os.fsencode(target)
    result = _libc.mount(source.encode(), target_bytes, kind.encode(), ctypes.c_ulong(flags), None)
    _check(result, f"mount {target}")


def unmount(target: Path) -> None:
    """Take the mount at `target` away; one that is busy goes once its last user has.

    Raises:
        OSError: when the kernel refuses; no mount there is no error.
    """
    if os.path.ismount(target) or _is_namespace(target):
        _check(_libc.umount2(os.fsencode(target), _MNT_DETACH), f"umount {target}")


def _is_namespace(path: Path) -> bool:
    """Whether a namespace is mounted at `path`: a file mount, which `ismount` does not see."""
    try:
        return path.is_file() and path.stat().st_dev != path.parent.stat().st_dev
    except OSError:
        return False


def mount_bpf(target: Path) -> None:
    """A BPF file system at `target`, which is made when missing.

    Raises:
        OSError: when the kernel refuses.
    """
    target.mkdir(parents=True, exist_ok=True)
    _mount("bpf", target, "bpf", 0)


@contextmanager
def _returning_home() -> Iterator[None]:
    # The switch happens inside the `try`: an interrupt between the system call and the next
    # instruction must not leave the thread in the wrong namespace.
    home = os.open(_OWN, os.O_RDONLY | os.O_CLOEXEC)
    try:
        yield
    finally:
        result = _libc.setns(home, _CLONE_NEWNET)
        os.close(home)
        assert result == 0, "the thread's own namespace can always be entered again"


@contextmanager
def entered(path: Path) -> Iterator[None]:
    """The calling thread is inside the namespace at `path`; sockets and children stay there.

    Raises:
        OSError: when there is no such namespace, or it may not be entered.
    """
    target = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        with _returning_home():
            _check(_libc.setns(target, _CLONE_NEWNET), f"enter {path}")
            yield
    finally:
        os.close(target)


def create(path: Path, name: str) -> None:
    """A new network namespace, pinned at `path` and known to `ip netns` as `name`.

    Raises:
        OSError: when the kernel refuses, or the name or the path is taken; nothing is left then.
    """
    path.touch(exist_ok=False)
    try:
        with _returning_home():
            _check(_libc.unshare(_CLONE_NEWNET), "new network namespace")
            _mount(_OWN, path, "none", _MS_BIND)
        NAMES.mkdir(exist_ok=True)
        (NAMES / name).symlink_to(path)
    except OSError:
        remove(path)
        raise


def remove(path: Path) -> None:
    """Unpin the namespace at `path`; its devices go with its last process."""
    unmount(path)
    path.unlink(missing_ok=True)


def remove_names(directory: Path) -> None:
    """Forget every name of `ip netns` that leads into `directory`."""
    if not NAMES.is_dir():
        return
    for link in NAMES.iterdir():
        if link.is_symlink() and link.readlink().parent == directory:
            link.unlink(missing_ok=True)
    with suppress(OSError):
        NAMES.rmdir()  # only when empty, and not when iproute2 mounted it


def inode(path: Path) -> int:
    """The number that tells this namespace from every other."""
    return path.stat().st_ino


def write_sysctls(path: Path, settings: dict[str, str]) -> None:
    """Set kernel parameters inside the namespace at `path`; one the kernel lacks is left out.

    Keys are paths under /proc/sys, such as `net/ipv4/ip_forward`.
    """
    with entered(path):
        for name, value in settings.items():
            with suppress(FileNotFoundError):
                Path("/proc/sys", name).write_text(value)
