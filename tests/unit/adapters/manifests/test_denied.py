"""What the system refuses: a full disk, a read-only one, and files that belong to others."""

from __future__ import annotations

import os
import select
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path

import pytest

from onehop.adapters.manifests import Manifests
from tests.unit.adapters.manifests.texts import a_namespace

pytestmark = pytest.mark.root

NOBODY = 65534
# Runs in a mount namespace of its own, where `state` is a small or a read-only file system.
ON_A_SMALL_DISK = """\
import sys
from ipaddress import ip_address
from pathlib import Path
from onehop.adapters.manifests import Manifests
from onehop.model.desired import ClusterDesired, ServiceStatus
from onehop.model.service import Key

folder, state, count = Path(sys.argv[1]), Path(sys.argv[2]), int(sys.argv[3])
keys = [Key("shop", f"web-{index}") for index in range(count)]
want = ClusterDesired(
    statuses={key: ServiceStatus(key=key, addresses=(ip_address("192.0.2.7"),)) for key in keys}
)
store = Manifests(folder, state=state)
store.refresh()
for _ in range(2):
    report = store.sync(want)
    print(len(report.failures), report.failures[0].refusal if report.failures else "")
    store.refresh()
print(sorted(str(path.relative_to(state)) for path in state.rglob("*.new")))
again = Manifests(folder, state=state)
again.refresh()
print(again.objects() == store.objects(), len(store.objects().problems))
"""


def run(tmp_path: Path, options: str, count: int) -> list[str]:
    state = tmp_path / "state"
    state.mkdir()
    (tmp_path / "cluster").mkdir()
    command = f'mount -t tmpfs -o {options} tmpfs {state} && exec "$@"'
    program = [sys.executable, "-c", ON_A_SMALL_DISK]
    program += [str(tmp_path / "cluster"), str(state), str(count)]
    done = subprocess.run(
        ["unshare", "--mount", "sh", "-c", command, "sh", *program],
        capture_output=True,
        text=True,
        check=True,
        timeout=60,
    )
    return [line.replace(str(state), "STATE") for line in done.stdout.splitlines()]


def test_a_full_disk(tmp_path: Path) -> None:
    """One failure, not one for each Service; what was written is whole, and nothing is left."""
    first, second, left, same = run(tmp_path, "size=64k", 100)
    sentence = "StatusUnwritable: the status could not be written (status/shop/web-"
    for line in (first, second):
        assert line.startswith(f"1 {sentence}")
        assert line.endswith(" in STATE: No space left on device)")
    assert (left, same) == ("[]", "True 0")


def test_a_read_only_disk(tmp_path: Path) -> None:
    """The same sentence with its own cause; reading goes on."""
    first, _, left, same = run(tmp_path, "ro", 3)
    assert first == (
        "1 StatusUnwritable: the status could not be written "
        "(status/shop/web-0.yaml in STATE: Read-only file system)"
    )
    assert (left, same) == ("[]", "True 0")


@contextmanager
def as_nobody() -> Iterator[None]:
    os.seteuid(NOBODY)
    try:
        yield
    finally:
        os.seteuid(0)


@pytest.fixture
def open_folder() -> Iterator[Path]:
    """A folder that everybody reaches, which pytest's own is not."""
    with tempfile.TemporaryDirectory() as name:
        Path(name).chmod(0o755)
        yield Path(name)


def test_a_file_that_may_not_be_read(open_folder: Path) -> None:
    """It keeps what it held, and is read again as soon as its mode allows it."""
    path = open_folder / "x.yaml"
    path.write_text(a_namespace("one"))
    path.chmod(0o644)
    with closing(Manifests(open_folder)) as store:
        with as_nobody():
            store.refresh()
        path.write_text(a_namespace("one", "red"))
        path.chmod(0)
        with as_nobody():
            assert store.refresh()
        assert [str(each) for each in store.objects().problems] == [
            f"{path}: cannot be read: Permission denied [ManifestUnreadable]"
        ]
        assert [each.labels["team"] for each in store.objects().namespaces.values()] == ["blue"]
        path.chmod(0o644)
        with as_nobody():
            assert store.refresh()
        assert store.objects().problems == ()
        assert [each.labels["team"] for each in store.objects().namespaces.values()] == ["red"]


def test_a_folder_that_may_not_be_read(open_folder: Path) -> None:
    """It is told by its path, and the rest is read."""
    (open_folder / "shut").mkdir(mode=0o700)
    (open_folder / "x.yaml").write_text(a_namespace("one"))
    (open_folder / "x.yaml").chmod(0o644)
    with closing(Manifests(open_folder)) as store:
        with as_nobody():
            store.refresh()
        assert [str(each) for each in store.objects().problems] == [
            f"{open_folder}/shut: cannot be read: Permission denied [ManifestUnreadable]"
        ]
        assert len(store.objects().namespaces) == 1
        (open_folder / "shut" / "y.yaml").write_text(a_namespace("two"))
        (open_folder / "shut" / "y.yaml").chmod(0o644)
        (open_folder / "shut").chmod(0o755)
        with as_nobody():
            assert store.refresh()
        assert store.objects().problems == ()
        assert len(store.objects().namespaces) == 2


def test_a_folder_of_manifests_that_may_not_be_read(open_folder: Path) -> None:
    """Nothing is complete until it can be listed, and its opening wakes the store."""
    folder = open_folder / "cluster"
    folder.mkdir(mode=0o700)
    (folder / "x.yaml").write_text(a_namespace("one"))
    (folder / "x.yaml").chmod(0o644)
    with closing(Manifests(folder)) as store:
        with as_nobody():
            store.refresh()
        assert not store.objects().complete
        assert [str(each) for each in store.objects().problems] == [
            f"{folder}: cannot be read: Permission denied [ManifestUnreadable]"
        ]
        folder.chmod(0o755)
        assert select.select([store.fileno()], [], [], 0)[0]
        with as_nobody():
            assert store.refresh()
        assert store.objects().complete
        assert store.objects().problems == ()
        assert len(store.objects().namespaces) == 1
