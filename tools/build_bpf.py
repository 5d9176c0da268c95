"""Compile the datapath: bpf/lb.bpf.c to src/onehop/adapters/bpf/lb.bpf.o.

Used by `make bpf` and by the wheel's build hook. Needs clang, llvm-strip and the headers of
Linux and libbpf (Debian: clang llvm linux-libc-dev libbpf-dev).
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import sysconfig
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
SOURCE = Path("bpf/lb.bpf.c")
OBJECT = Path("src/onehop/adapters/bpf/lb.bpf.o")
TOOLS = ("clang", "llvm-strip")

# -mcpu=v3: the default of older compilers knows neither 32-bit jumps nor results of atomics.
FLAGS = ("-O2", "-g", "-mcpu=v3", "-target", "bpf", "-Wall", "-Wextra", "-Werror")


class BuildError(Exception):
    """The datapath could not be compiled; the text is for the user."""


def multiarch_include() -> Path | None:
    """The folder of asm/types.h where a distribution keeps one for each architecture."""
    triplet = sysconfig.get_config_var("MULTIARCH") or f"{os.uname().machine}-linux-gnu"
    folder = Path("/usr/include") / triplet
    return folder if (folder / "asm/types.h").exists() else None


def missing_tools() -> list[str]:
    """The programs that have to be installed first."""
    return [tool for tool in TOOLS if shutil.which(tool) is None]


def build(root: Path = ROOT, target: Path | None = None, source: Path = SOURCE) -> Path:
    """Compile `source` into `target`, replacing what stood there as a whole, and return it.

    Raises:
        BuildError: when a tool is missing or the compiler refuses.
    """
    if missing := missing_tools():
        raise BuildError(f"{' and '.join(missing)} not found: install the packages clang and llvm")
    target = target or root / OBJECT
    include = multiarch_include()
    fresh = target.with_suffix(f".{os.getpid()}")
    # Only the path inside the project goes into the object, so that equal sources give equal
    # bytes wherever the project lies.
    paths = (f"-ffile-prefix-map={root}=.", *((f"-I{include}",) if include else ()))
    try:
        _run(["clang", *FLAGS, *paths, "-c", str(source), "-o", str(fresh)], root)
        _run(["llvm-strip", "-g", str(fresh)], root)
        fresh.replace(target)
    finally:
        fresh.unlink(missing_ok=True)
    return target


def _run(command: list[str], root: Path) -> None:
    done = subprocess.run(command, cwd=root, capture_output=True, text=True, check=False)
    if done.returncode:
        raise BuildError(f"{' '.join(command)}\n{done.stderr.strip()}")


if __name__ == "__main__":
    try:
        print(build(target=Path(sys.argv[1]).resolve() if len(sys.argv) > 1 else None))
    except BuildError as error:
        sys.exit(f"datapath not built: {error}")
