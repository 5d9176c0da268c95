"""Carries out deploy/Containerfile without a builder: each stage is a folder that is changed into.

A stage lies on this machine's own programs, read-only, so the lines that install packages of the
distribution are left out. With a Debian root file system in ONEHOP_IMAGE_BASE (made by
debootstrap, say) each stage begins as a copy of that, and those lines are carried out as well.
"""

from __future__ import annotations

import json
import os
import re
import shlex
import shutil
import subprocess
from dataclasses import dataclass, field
from pathlib import Path

BASE = os.environ.get("ONEHOP_IMAGE_BASE", "")
CERTIFICATES = Path("/etc/ssl/certs/ca-certificates.crt")
_ENTER = """
set -eu
root=$1; user=$2; shift 2
if [ -z "$BASE" ]; then
    for path in /usr /etc; do
        mount --rbind "$path" "$root$path"; mount -o remount,bind,ro "$root$path"
    done
    mount -t tmpfs none "$root/usr/local"
fi
for path in /dev /proc; do mount --rbind "$path" "$root$path"; done
exec /usr/sbin/chroot --userspec="$user" --groups= "$root" "$@"
"""


@dataclass(slots=True)
class Stage:
    """One stage: where it lies, and what its lines have set so far."""

    root: Path
    workdir: str = "/"
    environ: dict[str, str] = field(default_factory=dict)
    user: str = "0:0"
    entrypoint: tuple[str, ...] = ()

    def begin(self) -> None:
        """Lay the foundation."""
        if BASE:
            subprocess.run(["cp", "-a", BASE, self.root], check=True)
            shutil.copy("/etc/resolv.conf", self.root / "etc/resolv.conf")
        else:
            for name in ("tmp", "opt", "usr", "etc", "dev", "proc"):
                (self.root / name).mkdir(parents=True)
            for name in ("bin", "sbin", "lib", "lib64"):
                (self.root / name).symlink_to(f"usr/{name}")
        shutil.copy(CERTIFICATES, self.root / "tmp" / "certificates")  # where pip is told of them

    def inside(self, path: str) -> Path:
        """Where a path of the stage lies outside."""
        return self.root / os.path.join(self.workdir, path).lstrip("/")

    def run(self, *command: str) -> str:
        """What a command prints, run inside as the stage's user.

        Raises:
            AssertionError: with what it said, when it fails.
        """
        given = {key: value for key, value in os.environ.items() if key.endswith("_proxy")}
        given |= {"PIP_CERT": "/tmp/certificates", "PATH": "/usr/sbin:/usr/bin:/sbin:/bin"}
        given |= {"BASE": BASE, **self.environ}
        there = ["/bin/sh", "-c", f'cd {self.workdir} && exec "$@"', "sh", *command]
        outside = ["/usr/bin/unshare", "--mount", "--propagation=private", "/bin/sh", "-c", _ENTER]
        done = subprocess.run(
            [*outside, "enter", str(self.root), self.user, *there],
            env=given, capture_output=True, text=True, check=False,
        )  # fmt: skip
        said = f"{shlex.join(command)}\n{done.stdout[-2000:]}{done.stderr[-4000:]}"
        assert done.returncode == 0, said
        return done.stdout


class Build:
    """Carries out a Containerfile's lines, one stage after another, in a folder."""

    def __init__(self, context: Path, folder: Path) -> None:
        self._context = context
        self._folder = folder
        self._stages: dict[str, Stage] = {}
        self.last = Stage(folder)

    def carry_out(self, text: str) -> Stage:
        """The last stage, built."""
        lines = "\n".join(line for line in text.splitlines() if not line.startswith("#"))
        for line in lines.replace("\\\n", " ").splitlines():
            word, _, rest = line.strip().partition(" ")
            if word:
                getattr(self, f"_{word.lower()}")(rest.strip())
        return self.last

    def _arg(self, rest: str) -> None:
        pass  # which Debian: the one that is there

    def _from(self, rest: str) -> None:
        name = rest.partition(" AS ")[2] or "image"
        self.last = self._stages[name] = Stage(self._folder / name)
        self.last.begin()

    def _workdir(self, rest: str) -> None:
        self.last.workdir = rest
        self.last.inside(rest).mkdir(parents=True, exist_ok=True)

    def _copy(self, rest: str) -> None:
        source = self._context
        found = re.match(r"--from=(\S+) ", rest)
        if found:
            source, rest = self._stages[found[1]].root, rest[found.end() :]
        *paths, target = rest.split()
        for path in paths:
            there = self.last.inside(target)
            if target.endswith("/"):
                there = there / Path(path).name
            there.parent.mkdir(parents=True, exist_ok=True)
            subprocess.run(["cp", "-aT", source / path.lstrip("/"), there], check=True)
            for built in there.rglob("*.bpf.o") if source == self._context else ():
                built.unlink()  # it is compiled anew

    def _run(self, rest: str) -> None:
        if BASE or not rest.startswith("apt-get "):
            self.last.run("/bin/sh", "-c", rest)

    def _env(self, rest: str) -> None:
        self.last.environ |= dict(each.split("=", 1) for each in shlex.split(rest))

    def _user(self, rest: str) -> None:
        self.last.user = rest

    def _entrypoint(self, rest: str) -> None:
        self.last.entrypoint = tuple(json.loads(rest))
