"""Jars are the pinned ones or refused, and what changed since set-up is noticed."""

from __future__ import annotations

import hashlib
import os
import pwd
import re
import shlex
from dataclasses import replace
from pathlib import Path

import pytest

from onehop.lab.kafka_artifacts import (
    KAFKA_VERSION,
    RECORD,
    ArtifactError,
    Artifacts,
    Jar,
    cache_directory,
    checksums,
    fetch,
    installed,
    java_version,
    mismatches,
    read_record,
    require_package,
    write_record,
)

PINS = Path(__file__).parents[3] / "tools" / "kafka"
GOOD = {"a.jar": b"alpha", "b.jar": b"beta"}


def sums_of(files: dict[str, bytes]) -> str:
    return "".join(f"{hashlib.sha256(text).hexdigest()}  {name}\n" for name, text in files.items())


def fill(folder: Path, files: dict[str, bytes]) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    for name, text in files.items():
        (folder / name).write_bytes(text)
    return folder


@pytest.fixture
def maven(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A `mvn` that copies what lies in the folder returned to where it is told to."""
    source = tmp_path / "repository"
    source.mkdir()
    program = tmp_path / "bin" / "mvn"
    program.parent.mkdir()
    program.write_text(
        "#!/bin/sh\n"
        'for word; do case "$word" in -DoutputDirectory=*) to="${word#*=}";; esac; done\n'
        f'mkdir -p "$to" && cp {shlex.quote(str(source))}/* "$to"\n'
    )
    program.chmod(0o755)
    monkeypatch.setenv("PATH", f"{program.parent}:{os.environ['PATH']}")
    return source


def test_fetch(maven: Path, tmp_path: Path) -> None:
    """Jars that have the pinned checksums are kept, and replace those that were there."""
    fill(maven, GOOD)
    libs = fill(tmp_path / "libs", {"old.jar": b"old"})
    fetch(Path("pom.xml"), libs, sums_of(GOOD))
    assert {path.name: path.read_bytes() for path in libs.iterdir()} == GOOD


def test_fetch_refuses(maven: Path, tmp_path: Path) -> None:
    """A jar that differs is named with both checksums; nothing that was there is touched."""
    fill(maven, {**GOOD, "b.jar": b"forged"})
    libs = fill(tmp_path / "libs", {"old.jar": b"old"})
    with pytest.raises(ArtifactError) as refusal:
        fetch(Path("pom.xml"), libs, sums_of(GOOD))
    forged, pinned = (hashlib.sha256(text).hexdigest() for text in (b"forged", b"beta"))
    assert f"b.jar has SHA-256 {forged}, pinned is {pinned}" in str(refusal.value)
    assert [path.name for path in libs.iterdir()] == ["old.jar"]
    assert not (tmp_path / "libs.new").exists()


def test_maven_fails(maven: Path, tmp_path: Path) -> None:
    """What Maven said is passed on."""
    with pytest.raises(ArtifactError, match=r"mvn -B -ntp failed:\n.*cp"):
        fetch(Path("pom.xml"), tmp_path / "libs", sums_of(GOOD))


def test_no_maven(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Without Maven, one sentence says what installs it."""
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(ArtifactError, match=r"^mvn is not installed \(maven\): run `make setup`"):
        fetch(Path("pom.xml"), tmp_path / "libs", sums_of(GOOD))


def test_no_client_library() -> None:
    """A missing Python package is one sentence, too."""
    require_package()
    with pytest.raises(ArtifactError, match="no-such-client is missing: run `make setup`"):
        require_package("no_such_client")


@pytest.mark.parametrize(
    ("have", "problem"),
    [
        pytest.param(GOOD, "", id="the same"),
        pytest.param({"a.jar": b"alpha"}, "b.jar is missing", id="missing"),
        pytest.param({**GOOD, "c.jar": b""}, "c.jar has no checksum", id="unknown"),
        pytest.param({**GOOD, "a.jar": b"x"}, "a.jar has SHA-256", id="wrong"),
    ],
)
def test_mismatches(tmp_path: Path, have: dict[str, bytes], problem: str) -> None:
    """The folder has to hold exactly the pinned jars."""
    found = mismatches(fill(tmp_path / "libs", have), sums_of(GOOD))
    assert [text for text in found if not text.startswith(problem)] == []
    assert bool(found) == bool(problem)


def test_checksums(tmp_path: Path) -> None:
    """What is recorded is what is later wanted."""
    libs = fill(tmp_path / "libs", GOOD)
    assert checksums(libs) == sums_of(GOOD)
    assert mismatches(libs, checksums(libs)) == ()


def test_pins() -> None:
    """The committed files speak of the version that the lab asks for, and pin every jar once."""
    pom = (PINS / "pom.xml").read_text()
    assert re.findall(r"<kafka.version>(.*)</kafka.version>", pom) == [KAFKA_VERSION]
    rows = [line.split("  ") for line in (PINS / "SHA256SUMS").read_text().splitlines()]
    names = [name for _, name in rows]
    assert names == sorted(set(names))
    assert all(re.fullmatch("[0-9a-f]{64}", digest) for digest, _ in rows)
    wanted = {f"{jar}-{KAFKA_VERSION}.jar" for jar in ("kafka_2.13", "kafka-tools", "kafka-raft")}
    assert wanted < set(names)
    assert not [name for name in names if "jetty" in name or "connect" in name]


@pytest.fixture
def ready(tmp_path: Path) -> Artifacts:
    """A folder as set-up leaves it."""
    directory = tmp_path / "kafka"
    libs = fill(directory / "libs", GOOD)
    fill(directory, {"classes.jsa": b"archive", "bootstrap.checkpoint": b"c", "java": b""})
    made = Artifacts(
        directory=directory,
        java=directory / "java",
        jars=tuple(
            Jar(name=p.name, size_bytes=p.stat().st_size, modified_ns=p.stat().st_mtime_ns)
            for p in sorted(libs.iterdir())
        ),
        sums=sums_of(GOOD),
        archive_bytes=len(b"archive"),
    )
    write_record(directory / RECORD, made)
    return made


def test_installed(ready: Artifacts) -> None:
    """What set-up left is found again, and the class path is spelt out in the archive's order."""
    assert installed(ready.directory) == ready
    libs = ready.directory / "libs"
    assert ready.java_command(("-Xmx1m",)) == (
        str(ready.java),
        "-Xmx1m",
        "-Xshare:auto",
        f"-XX:SharedArchiveFile={ready.directory / 'classes.jsa'}",
        "-cp",
        f"{libs / 'a.jar'}:{libs / 'b.jar'}",
    )


def test_without_archive(ready: Artifacts) -> None:
    """Brokers start without an archive where none could be built."""
    assert "-Xshare:auto" not in replace(ready, archive_bytes=0).java_command(())


@pytest.mark.parametrize(
    ("path", "text", "problem"),
    [
        (RECORD, None, "is not installed"),
        (RECORD, b"{", "is not installed"),
        ("java", None, "was installed for another place"),
        ("libs/b.jar", None, r"changed .*\(b.jar\)"),
        ("libs/b.jar", b"betas", r"changed .*\(b.jar\)"),
        ("classes.jsa", b"arch", r"changed .*\(classes.jsa\)"),
        ("bootstrap.checkpoint", None, r"changed .*\(bootstrap.checkpoint\)"),
    ],
)
def test_not_installed(ready: Artifacts, path: str, text: bytes | None, problem: str) -> None:
    """Whatever is missing or was changed is one sentence that names the way out."""
    spoilt = ready.directory / path
    if text is None:
        spoilt.unlink()
    else:
        spoilt.write_bytes(text)
    with pytest.raises(ArtifactError, match=f"Kafka {KAFKA_VERSION} {problem}.*run `make setup`"):
        installed(ready.directory)


def test_moved(ready: Artifacts, tmp_path: Path) -> None:
    """A folder that was moved is refused: what its record says is about another place."""
    moved = ready.directory.rename(tmp_path / "elsewhere")
    with pytest.raises(ArtifactError, match="another place"):
        installed(moved)


def test_record(ready: Artifacts, tmp_path: Path) -> None:
    """Paths survive being written down."""
    write_record(tmp_path / "copy", ready)
    assert read_record(tmp_path / "copy") == ready


@pytest.mark.parametrize(
    ("environ", "cache"),
    [
        ({"HOME": "/home/a"}, "/home/a/.cache"),
        ({"HOME": "/home/a", "XDG_CACHE_HOME": "/var/a"}, "/var/a"),
        ({"HOME": "/home/a", "XDG_CACHE_HOME": ""}, "/home/a/.cache"),
        ({"HOME": "/home/a", "SUDO_USER": "no such user"}, "/home/a/.cache"),
        ({}, f"{pwd.getpwuid(os.getuid()).pw_dir}/.cache"),
    ],
)
def test_cache_directory(environ: dict[str, str], cache: str) -> None:
    """Kafka is kept in the user's cache, by version."""
    assert cache_directory(environ) == Path(cache, "onehop", "kafka", KAFKA_VERSION)


@pytest.mark.parametrize(
    ("text", "release"),
    [
        ('openjdk version "17.0.15" 2025-04-15\n', 17),
        ('Picked up JAVA_TOOL_OPTIONS: -Xmx1g\nopenjdk version "21" 2023-09-19\n', 21),
        ('java version "1.8.0_392"\n', 1),
        ("command not found", 0),
    ],
)
def test_java_version(text: str, release: int) -> None:
    """The feature release decides whether a JVM can run a broker."""
    assert java_version(text) == release
