"""A node for the datapath to stand on: a namespace with an uplink and pods, and a BPF mount."""

from __future__ import annotations

import ctypes
import os
import subprocess
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

_NEW_NETWORK = 0x40000000
_libc = ctypes.CDLL(None, use_errno=True)

UPLINK, POD, POD_ADDRESS = "up0", "lxc0", "10.0.2.233"
POD_NAMESPACE = "bpfu-pod"
NODE = f"""
link set lo up
link add {UPLINK} type veth peer name wire
link set wire up
link set {UPLINK} up
address add 192.168.200.201/24 dev {UPLINK}
address add fd00:200::201/64 dev {UPLINK} nodad
link add {POD} type veth peer name eth0
link set eth0 up
link set {POD} up
route add {POD_ADDRESS}/32 dev {POD}
route add fd00:10::233/128 dev {POD}
"""


def _call(name: str, *arguments: object) -> None:
    if getattr(_libc, name)(*arguments):
        raise OSError(ctypes.get_errno(), f"{name}{arguments}")


def ip(*lines: str) -> None:
    """Run lines of `ip`, in the namespace that this thread is in."""
    subprocess.run(["ip", "-batch", "-"], input="\n".join(lines), text=True, check=True)


@contextmanager
def namespace(setup: str = NODE) -> Iterator[None]:
    """This thread in a network namespace of its own, which has no way out."""
    home = os.open("/proc/thread-self/ns/net", os.O_RDONLY)
    _call("unshare", _NEW_NETWORK)
    try:
        ip(*setup.strip().splitlines())
        yield
    finally:
        _call("setns", home, _NEW_NETWORK)
        os.close(home)


@contextmanager
def bpffs(folder: Path) -> Iterator[Path]:
    """A BPF file system of its own on `folder`."""
    folder.mkdir(exist_ok=True)
    _call("mount", b"bpf", os.fsencode(folder), b"bpf", 0, None)
    try:
        yield folder
    finally:
        _call("umount2", os.fsencode(folder), 2)  # lazily: a failed test may still hold a file


def compiled(folder: Path, source: str, name: str = "tiny") -> Path:
    """A BPF object out of a few lines of C."""
    code, made = folder / f"{name}.bpf.c", folder / f"{name}.bpf.o"
    code.write_text("#include <linux/bpf.h>\n#include <bpf/bpf_helpers.h>\n" + source)
    flags: Sequence[str] = ("-target", "bpf", "-mcpu=v3", "-O2", "-g")
    include = f"-I/usr/include/{os.uname().machine}-linux-gnu"
    subprocess.run(["clang", *flags, include, "-c", str(code), "-o", str(made)], check=True)
    return made
