"""Builds are told apart by what they are made of, and made once; the compiler here is a script."""

from __future__ import annotations

import re
import shlex
import shutil
import subprocess
import sys
import threading
from dataclasses import replace
from pathlib import Path

import pytest

from onehop.lab import kube_build
from onehop.lab.kube_build import (
    METALLB,
    MODULES,
    SERVER,
    SOURCES,
    BuildError,
    cache_directory,
    digest,
    given,
    go_release,
    installed,
    prepare,
)

NOTHING = (shutil.which("false") or "false",)  # a pip that gets nothing
GO = "go version go1.26.0 linux/amd64"
BUILDS = """#!/bin/sh
case $1 in
version) echo '{version}' ;;
mod) ;;
list) echo {owner} ;;
build)
    echo "$@" >> {calls}
    echo 'example.org/one' >&2
    for word; do case $before in -o) to=$word ;; esac; before=$word; done
    for name in {makes}; do printf '#!/bin/sh\\n' > "$to$name"; chmod +x "$to$name"; done
    {then} ;;
esac
"""


class Machine:
    """A home with a Go that makes `makes` of anything, or fails."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.bin = root / "bin"
        self.bin.mkdir()
        for tool in ("sh", "cp", "chmod", "sleep"):
            (self.bin / tool).symlink_to(shutil.which(tool) or tool)
        self.owner = root / "module"
        (self.owner / "config" / "crd").mkdir(parents=True)
        (self.owner / "config" / "crd" / "pools.yaml").write_text("kind: CRD\n")
        self.environ = {"HOME": str(root / "home"), "PATH": str(self.bin)}
        self.has_go()

    def has_go(self, version: str = GO, makes: str = "server", then: str = "true") -> None:
        program = self.bin / "go"
        program.write_text(
            BUILDS.format(
                version=version,
                makes=makes,
                then=then,
                owner=shlex.quote(str(self.owner)),
                calls=shlex.quote(str(self.calls)),
            )
        )
        program.chmod(0o755)

    @property
    def calls(self) -> Path:
        return self.root / "calls"

    @property
    def builds(self) -> int:
        return len(self.calls.read_text().splitlines()) if self.calls.exists() else 0

    @property
    def cache(self) -> Path:
        return cache_directory(self.environ)


@pytest.fixture
def machine(tmp_path: Path) -> Machine:
    return Machine(tmp_path)


def test_what_is_built_is_found_again_and_built_once(machine: Machine) -> None:
    assert installed(SERVER, machine.environ) is None

    said: list[str] = []
    folder = prepare(SERVER, said.append, machine.environ)

    assert folder.parent == machine.cache
    assert {path.name for path in folder.iterdir()} == {"server", *SERVER.links}
    assert (folder / "etcd").readlink() == Path("server")
    assert any("Kubernetes 1.37.1" in text for text in said)
    assert installed(SERVER, machine.environ) == folder
    assert prepare(SERVER, environ=machine.environ) == folder
    assert machine.builds == 1


def test_the_build_is_one_that_anybody_can_repeat(machine: Machine) -> None:
    prepare(SERVER, environ=machine.environ)
    words = machine.calls.read_text()
    assert "version.gitVersion=v1.37.1" in words
    assert words.rstrip().endswith("programs/ .")


def test_another_go_or_another_module_is_another_build(machine: Machine) -> None:
    first = prepare(SERVER, environ=machine.environ)
    machine.has_go(GO.replace("1.26.0", "1.27.1"))
    assert installed(SERVER, machine.environ) is None
    assert prepare(SERVER, environ=machine.environ) != first
    assert machine.builds == 2


def test_the_digest_covers_files_and_flags(tmp_path: Path) -> None:
    shutil.copytree(SOURCES / "server", tmp_path / "server")
    same = digest(SERVER, GO, tmp_path)
    assert same == digest(SERVER, GO)
    assert same != digest(replace(SERVER, ldflags="-s"), GO, tmp_path)
    assert same != digest(SERVER, "go version go1.27.0 linux/amd64", tmp_path)
    (tmp_path / "server" / "go.sum").write_text("")
    assert same != digest(SERVER, GO, tmp_path)


def test_what_is_wanted_of_another_module_comes_along_and_can_be_removed(
    machine: Machine,
) -> None:
    machine.has_go(makes="controller speaker")
    (machine.owner / "config" / "crd").chmod(0o555)
    folder = prepare(METALLB, environ=machine.environ)
    assert (folder / "config" / "crd" / "pools.yaml").read_text() == "kind: CRD\n"
    assert (folder / "config" / "crd").stat().st_mode & 0o200
    assert {"controller", "speaker"} <= {path.name for path in folder.iterdir()}


def test_a_failed_build_says_why_and_leaves_nothing(machine: Machine) -> None:
    machine.has_go(then="echo 'main.go:7: no such package' >&2; exit 1")
    with pytest.raises(BuildError, match=r"go build failed(?s:.)*main.go:7: no such package"):
        prepare(SERVER, environ=machine.environ)
    assert installed(SERVER, machine.environ) is None
    assert [path.name for path in machine.cache.iterdir()] == [".lock"]


def test_a_build_without_its_program_is_refused(machine: Machine) -> None:
    machine.has_go(makes="")
    with pytest.raises(BuildError, match="was built without server"):
        prepare(SERVER, environ=machine.environ)
    assert installed(SERVER, machine.environ) is None


def test_what_a_killed_builder_left_is_cleared(machine: Machine) -> None:
    left = machine.cache / "server.new-abcd" / "programs"
    left.mkdir(parents=True)
    prepare(SERVER, environ=machine.environ)
    assert not left.exists()


def test_two_builders_at_once_build_once(machine: Machine) -> None:
    machine.has_go(then="sleep 0.2")
    found: list[Path] = []
    builders = [
        threading.Thread(target=lambda: found.append(prepare(SERVER, environ=machine.environ)))
        for _ in range(3)
    ]
    for builder in builders:
        builder.start()
    for builder in builders:
        builder.join()
    assert len(found) == 3
    assert len(set(found)) == 1
    assert machine.builds == 1


@pytest.mark.parametrize("version", ["go version go1.25.9 linux/amd64", "what?"])
def test_an_old_go_is_as_good_as_none(machine: Machine, version: str) -> None:
    machine.has_go(version)
    assert installed(SERVER, machine.environ) is None
    with pytest.raises(BuildError, match=r"Go 1\.26 or newer is neither on PATH nor .* PyPI"):
        prepare(SERVER, environ=machine.environ, pip=NOTHING)


def test_go_comes_from_pypi_where_there_is_none(machine: Machine) -> None:
    """`pip install --target DIR` leaves DIR/go/bin/go; here a script does."""
    kept = (machine.bin / "go").rename(machine.root / "kept")
    pip = machine.bin / "pip"
    pip.write_text(
        "#!/bin/sh\nset -e\n"
        "for word; do case $before in --target) to=$word ;; esac; before=$word; done\n"
        f'{shutil.which("mkdir")} -p "$to/go/bin"\n'
        f'cp {shlex.quote(str(kept))} "$to/go/bin/go"\n'
        f'echo "$@" > {shlex.quote(str(machine.root / "pip"))}\n'
    )
    pip.chmod(0o755)

    folder = prepare(SERVER, environ=machine.environ, pip=[str(pip)])

    assert "--require-hashes" in (machine.root / "pip").read_text()
    assert installed(SERVER, machine.environ) == folder
    assert prepare(SERVER, environ=machine.environ, pip=NOTHING) == folder


def test_the_users_own_programs_are_taken_as_they_are(machine: Machine, tmp_path: Path) -> None:
    assets = tmp_path / "assets"
    assets.mkdir()
    environ = {**machine.environ, "KUBEBUILDER_ASSETS": str(assets)}
    with pytest.raises(BuildError, match=r"KUBEBUILDER_ASSETS=.* holds no program kube-apiserver"):
        installed(SERVER, environ)
    for name in ("kube-apiserver", "etcd", "kubectl"):
        (assets / name).write_text("#!/bin/sh\n")
        (assets / name).chmod(0o755)

    assert given(environ) == assets
    assert prepare(SERVER, environ=environ) == assets
    assert machine.builds == 0
    assert installed(METALLB, environ) is None  # it says nothing of MetalLB


def test_outside_a_checkout_the_user_is_told_what_to_do(tmp_path: Path) -> None:
    with pytest.raises(BuildError, match="set KUBEBUILDER_ASSETS to a folder"):
        digest(SERVER, GO, tmp_path)


@pytest.mark.parametrize(
    ("text", "release"),
    [
        ("go version go1.26.8 linux/amd64", (1, 26)),
        ("go version go1.27rc1 linux/arm64", (1, 27)),
        ("go version devel", (0, 0)),
    ],
)
def test_releases_of_go_are_read(text: str, release: tuple[int, int]) -> None:
    assert go_release(text) == release


def test_the_cache_is_where_the_user_wants_it() -> None:
    assert cache_directory({"HOME": "/h"}) == Path("/h/.cache/onehop/kube")
    assert cache_directory({"HOME": "/h", "XDG_CACHE_HOME": "/c"}) == Path("/c/onehop/kube")


@pytest.mark.parametrize("module", MODULES.values(), ids=MODULES)
def test_the_versions_named_are_the_versions_pinned(module: kube_build.Module) -> None:
    pins = (SOURCES / module.name / "go.mod").read_text()
    assert re.search(rf" v{re.escape(module.what.split()[-1])}( // indirect)?\n", pins)
    assert f"go {kube_build.GO_AT_LEAST[0]}.{kube_build.GO_AT_LEAST[1]}.0\n" in pins


def test_the_command_names_what_it_can_build() -> None:
    script = SOURCES.parent / "kube_setup.py"
    done = subprocess.run(
        [sys.executable, script, "nonsense"], capture_output=True, text=True, check=False
    )
    assert done.returncode == 2
    assert all(name in done.stderr for name in MODULES)
