"""Kafka's programs on this machine: fetched once, checked, and made quick to start.

`prepare` is the set-up step and `installed` is what the lab asks; both speak of one folder in the
user's cache, outside the source tree. It holds the jars that Maven copied, each compared with a
committed SHA-256; the `bootstrap.checkpoint` that formatting a node leaves; and a class-data
archive, which halves the time brokers need to start.

The archive is bound to the JVM's build and to the order, size and time stamp of the jars, so it is
built here and never shipped, and the class path is spelt out.
"""

from __future__ import annotations

import fcntl
import hashlib
import importlib.util
import os
import pwd
import re
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace
from pathlib import Path

import msgspec

from onehop.lab.kafka_node import CLUSTER_ID, CONTROLLER_PORT, JVM_OPTIONS, REPLICATION_PORT
from onehop.lab.state import LabError

KAFKA_VERSION = "4.3.1"
JAVA_AT_LEAST = 17
RECORD = "installed.json"
ARCHIVE = "classes.jsa"
SETUP = "run `make setup` to install it"


class ArtifactError(LabError):
    """Kafka is missing, or is not what was pinned; the text is for the user."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Jar:
    """A jar as the archive knows it: by name, size and time stamp."""

    name: str
    size_bytes: int
    modified_ns: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Artifacts:
    """What is needed to start a broker. `archive_bytes` is 0 when there is no archive."""

    directory: Path
    java: Path
    jars: tuple[Jar, ...]
    sums: str
    archive_bytes: int = 0

    @property
    def checkpoint(self) -> Path:
        """The file that formatting a node leaves in its data folder."""
        return self.directory / "bootstrap.checkpoint"

    @property
    def archive(self) -> Path:
        """The class-data archive."""
        return self.directory / ARCHIVE

    def java_command(self, options: Sequence[str]) -> tuple[str, ...]:
        """The command line up to the main class."""
        libs = self.directory / "libs"
        class_path = ":".join(str(libs / jar.name) for jar in self.jars)
        shared = ("-Xshare:auto", f"-XX:SharedArchiveFile={self.archive}")
        used = shared if self.archive_bytes else ()
        return (str(self.java), *options, *used, "-cp", class_path)


def cache_directory(environ: Mapping[str, str] = os.environ) -> Path:
    """Where Kafka is kept: in the user's cache, XDG_CACHE_HOME or ~/.cache.

    The lab runs as root but `make setup` may not have: under sudo, what the user who typed the
    command has installed is used when root has nothing.
    """
    home = Path(environ.get("HOME") or pwd.getpwuid(os.getuid()).pw_dir)
    caches = [Path(environ.get("XDG_CACHE_HOME") or home / ".cache")]
    if environ.get("SUDO_USER"):
        with suppress(KeyError):
            caches.append(Path(pwd.getpwnam(environ["SUDO_USER"]).pw_dir) / ".cache")
    places = [cache / "onehop" / "kafka" / KAFKA_VERSION for cache in caches]
    return next((place for place in places if (place / RECORD).exists()), places[0])


def installed(directory: Path) -> Artifacts:
    """What `prepare` left in `directory`.

    Raises:
        ArtifactError: when it never ran, or a file changed since.
    """
    record = directory / RECORD
    try:
        found = read_record(record)
    except (FileNotFoundError, msgspec.DecodeError):
        raise ArtifactError(f"Kafka {KAFKA_VERSION} is not installed: {SETUP}") from None
    if found.directory != directory or not found.java.exists():
        raise ArtifactError(f"Kafka {KAFKA_VERSION} was installed for another place: {SETUP}")
    changed = [jar.name for jar in found.jars if not _is_unchanged(directory / "libs", jar)]
    # A cut archive would not be refused: the JVM reads past its end and dies.
    if found.archive_bytes and _size(found.archive) != found.archive_bytes:
        changed.append(ARCHIVE)
    if not found.checkpoint.exists():
        changed.append(found.checkpoint.name)
    if changed:
        raise ArtifactError(
            f"Kafka {KAFKA_VERSION} changed since it was installed ({changed[0]}): {SETUP}"
        )
    return found


def read_record(path: Path) -> Artifacts:
    """What `write_record` wrote.

    Raises:
        FileNotFoundError: when there is no such file.
        msgspec.DecodeError: when it holds something else.
    """
    return msgspec.json.decode(
        path.read_bytes(), type=Artifacts, dec_hook=lambda kind, value: kind(value)
    )


def write_record(path: Path, artifacts: Artifacts) -> None:
    """Write `artifacts` down for another process."""
    path.write_bytes(msgspec.json.encode(artifacts, enc_hook=str))


def require_package(name: str = "confluent_kafka") -> None:
    """Make sure that the Kafka client for Python is there; it is an optional package.

    Raises:
        ArtifactError: when it is not.
    """
    if importlib.util.find_spec(name) is None:
        raise ArtifactError(f"the Python package {name.replace('_', '-')} is missing: {SETUP}")


def prepare(directory: Path, pom: Path, sums: Path, say: Callable[[str], None]) -> Artifacts:
    """Fetch, check and build whatever `directory` lacks; a second call only looks.

    Raises:
        ArtifactError: when a tool is missing or fails, or a jar differs from its checksum.
    """
    require_package()
    directory.mkdir(parents=True, exist_ok=True)
    with _alone(directory):
        wanted = sums.read_text()
        java = find_java()
        found = _still_good(directory, java, wanted)
        if found is not None:
            return found
        (directory / RECORD).unlink(missing_ok=True)
        libs = directory / "libs"
        if not libs.is_dir() or mismatches(libs, wanted):
            say(f"fetching Kafka {KAFKA_VERSION} through Maven")
            fetch(pom, libs, wanted)
        found = Artifacts(directory=directory, java=java, jars=_jars(libs), sums=wanted)
        _make_checkpoint(found)
        found.archive.unlink(missing_ok=True)
        alone = ("unshare", "--net") if os.geteuid() == 0 else ("unshare", "-r", "--net")
        if _can_run(*alone, "true"):
            say("building the class-data archive")
            _train(found, alone)
        else:
            say("no network namespace to train in: brokers will start without the archive")
        found = replace(found, archive_bytes=_size(found.archive))
        write_record(directory / RECORD, found)
        return found


def find_java() -> Path:
    """A Java new enough for Kafka's brokers.

    Raises:
        ArtifactError: when there is none.
    """
    on_path = shutil.which("java")
    candidates = [Path(on_path)] if on_path else []
    candidates += sorted(Path("/usr/lib/jvm").glob("*/bin/java"), reverse=True)
    for candidate in candidates:
        if java_version(_run([str(candidate), "-version"], "java").stderr) >= JAVA_AT_LEAST:
            return candidate.resolve()
    raise ArtifactError(f"Kafka needs Java {JAVA_AT_LEAST} or newer: {SETUP}")


def java_version(text: str) -> int:
    """The feature release that `java -version` printed, 0 when it named none."""
    found = re.search(r'version "(\d+)', text)
    return int(found.group(1)) if found else 0


def checksums(libs: Path) -> str:
    """The SHA-256 of every file in `libs`, in the form of `sha256sum`, sorted by name."""
    paths = sorted(libs.iterdir())
    return "".join(f"{hashlib.sha256(p.read_bytes()).hexdigest()}  {p.name}\n" for p in paths)


def mismatches(libs: Path, wanted: str) -> tuple[str, ...]:
    """A sentence for every file of `libs` that is missing, unknown or not the pinned one."""
    want, have = _parse_sums(wanted), _parse_sums(checksums(libs))
    missing = (f"{name} is missing" for name in sorted(want.keys() - have.keys()))
    unknown = (f"{name} has no checksum" for name in sorted(have.keys() - want.keys()))
    wrong = (
        f"{name} has SHA-256 {have[name]}, pinned is {want[name]}"
        for name in sorted(want.keys() & have.keys())
        if want[name] != have[name]
    )
    return (*missing, *unknown, *wrong)


def fetch(pom: Path, libs: Path, wanted: str | None) -> None:
    """Let Maven copy the jars of `pom` into `libs`, and keep them only when they are `wanted`.

    Raises:
        ArtifactError: when Maven is missing or fails, or a jar differs from its checksum.
    """
    fresh = libs.with_name("libs.new")
    shutil.rmtree(fresh, ignore_errors=True)
    argv = ["mvn", "-B", "-ntp", "-q", "-f", str(pom), "dependency:copy-dependencies"]
    argv += ["-DincludeScope=runtime", f"-DoutputDirectory={fresh}"]
    _run(argv, "maven")
    wrong = mismatches(fresh, wanted) if wanted is not None else ()
    if wrong:
        shutil.rmtree(fresh)
        raise ArtifactError(f"Kafka's jars are not the pinned ones: {'; '.join(wrong)}")
    shutil.rmtree(libs, ignore_errors=True)
    fresh.rename(libs)


def _parse_sums(text: str) -> dict[str, str]:
    rows = (line.split(maxsplit=1) for line in text.splitlines() if line.strip())
    return {name: digest for digest, name in rows}


def _still_good(directory: Path, java: Path, wanted: str) -> Artifacts | None:
    try:
        found = installed(directory)
    except ArtifactError:
        return None
    if found.java != java or found.sums != wanted or not archive_is_accepted(found):
        return None
    return found


def archive_is_accepted(artifacts: Artifacts) -> bool:
    """Whether this JVM starts from the archive; without asking it would go without, silently."""
    if not artifacts.archive_bytes:
        return False
    options = [*JVM_OPTIONS, "-XX:ErrorFile=/dev/null"]
    return _can_run(*artifacts.java_command(options), "-Xshare:on", "-version")


def _make_checkpoint(artifacts: Artifacts) -> None:
    with tempfile.TemporaryDirectory() as scratch:
        data, settings = Path(scratch, "data"), Path(scratch, "server.properties")
        settings.write_text(
            "process.roles=broker,controller\nnode.id=1\n"
            f"controller.quorum.voters=1@127.0.0.1:{CONTROLLER_PORT}\n"
            f"listeners=C://127.0.0.1:{CONTROLLER_PORT},R://127.0.0.1:{REPLICATION_PORT}\n"
            "controller.listener.names=C\ninter.broker.listener.name=R\n"
            f"listener.security.protocol.map=C:PLAINTEXT,R:PLAINTEXT\nlog.dirs={data}\n"
        )
        tool = ["kafka.tools.StorageTool", "format", "-t", CLUSTER_ID, "-c", str(settings)]
        _run([*artifacts.java_command(JVM_OPTIONS), *tool], "java")
        shutil.copyfile(data / artifacts.checkpoint.name, artifacts.checkpoint)


def _train(artifacts: Artifacts, alone: Sequence[str]) -> None:
    """Run a broker under a small load in a network of its own; at its end it writes the archive.

    Raises:
        ArtifactError: when the run failed.
    """
    record = artifacts.directory / "training.json"
    write_record(record, artifacts)
    try:
        _run(
            [*alone, sys.executable, "-m", "onehop.lab.kafka_training", str(record)], "util-linux"
        )
    finally:
        record.unlink()


def _can_run(*argv: str) -> bool:
    try:
        return subprocess.run(argv, capture_output=True, check=False).returncode == 0
    except FileNotFoundError:
        return False


def _run(argv: Sequence[str], package: str) -> subprocess.CompletedProcess[str]:
    try:
        done = subprocess.run(argv, capture_output=True, text=True, check=False, timeout=600)
    except FileNotFoundError:
        raise ArtifactError(f"{argv[0]} is not installed ({package}): {SETUP}") from None
    except subprocess.TimeoutExpired:
        raise ArtifactError(f"{' '.join(argv[:3])} did not end in ten minutes") from None
    if done.returncode != 0:
        said = (done.stdout + done.stderr).strip().splitlines()[-12:]
        raise ArtifactError("\n".join([f"{' '.join(argv[:3])} failed:", *said]))
    return done


def _jars(libs: Path) -> tuple[Jar, ...]:
    stats = ((path.name, path.stat()) for path in sorted(libs.iterdir()))
    return tuple(
        Jar(name=name, size_bytes=stat.st_size, modified_ns=stat.st_mtime_ns)
        for name, stat in stats
    )


def _is_unchanged(libs: Path, jar: Jar) -> bool:
    try:
        stat = (libs / jar.name).stat()
    except FileNotFoundError:
        return False
    return (stat.st_size, stat.st_mtime_ns) == (jar.size_bytes, jar.modified_ns)


def _size(path: Path) -> int:
    try:
        return path.stat().st_size
    except FileNotFoundError:
        return 0


@contextmanager
def _alone(directory: Path) -> Iterator[None]:
    """Keep a second set-up of the same folder waiting until this one is done."""
    with (directory / ".lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield
