"""Laws of the folder: however it came to be as it is, it reads as if it had always been so."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass, fields, replace
from ipaddress import ip_address
from pathlib import Path

from hypothesis import given
from hypothesis import strategies as st

from onehop.adapters.manifests import Manifests
from onehop.adapters.manifests.decode import decoded
from onehop.adapters.objects.fault import Plain, field_name
from onehop.adapters.objects.kinds import KINDS
from onehop.model.desired import ClusterDesired, ServiceStatus
from onehop.model.objects import Objects
from onehop.model.reason import Reason
from onehop.model.service import Key
from tests.unit.adapters.manifests.texts import a_namespace, a_service, documents

FOLDERS = ("", "a", "a/b", "c")
FILES = ("x.yaml", "y.yaml")
NAMES = ("one", "two")
ADDRESS = ip_address("192.0.2.7")


@dataclass(frozen=True)
class Write:
    """Put a text in place, by renaming or by writing into the file."""

    folder: str
    file: str
    text: str
    by_rename: bool


@dataclass(frozen=True)
class Remove:
    """Delete a file or a folder with all in it."""

    path: str


@dataclass(frozen=True)
class Move:
    """Rename a file or a folder."""

    path: str
    to: str


@dataclass(frozen=True)
class Refresh:
    """Let the store look."""


@dataclass(frozen=True)
class Sync:
    """Give an address to these Services and to no other."""

    names: frozenset[str]


Step = Write | Remove | Move | Refresh | Sync

good = st.one_of(
    st.builds(a_namespace, st.sampled_from(NAMES), st.sampled_from(("blue", "red"))),
    st.builds(a_service, st.sampled_from(NAMES), policy=st.sampled_from(("Cluster", "Local"))),
)
texts = st.lists(good, max_size=3).map(lambda each: documents(*each))
paths = st.sampled_from([*FOLDERS[1:], *(f"{at}/{file}" for at in FOLDERS for file in FILES)])
writes = st.builds(Write, st.sampled_from(FOLDERS), st.sampled_from(FILES), texts, st.booleans())
steps = st.lists(
    writes
    | writes
    | st.builds(Remove, paths)
    | st.builds(Move, paths, paths)
    | st.just(Refresh())
    | st.builds(Sync, st.frozensets(st.sampled_from(NAMES))),
    max_size=15,
)


@contextmanager
def an_empty_folder() -> Iterator[tuple[Path, Manifests]]:
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name) / "cluster"
        folder.mkdir()
        with closing(Manifests(folder)) as store:
            store.refresh()
            yield folder, store


def perform(step: Step, folder: Path, store: Manifests) -> None:
    match step:
        case Write():
            write(step, folder)
        case Remove():
            remove(folder / step.path.lstrip("/"))
        case Move():
            move(folder / step.path.lstrip("/"), folder / step.to.lstrip("/"))
        case Refresh():
            store.refresh()
        case Sync():
            keys = [Key("shop", name) for name in step.names]
            store.sync(
                ClusterDesired(
                    statuses={key: ServiceStatus(key=key, addresses=(ADDRESS,)) for key in keys}
                )
            )


def write(step: Write, folder: Path) -> None:
    at = folder / step.folder
    at.mkdir(parents=True, exist_ok=True)
    if not step.by_rename:
        (at / step.file).write_text(step.text)
        return
    (at / ".new").write_text(step.text)
    (at / ".new").rename(at / step.file)


def remove(path: Path) -> None:
    if path.is_dir():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)


def move(path: Path, to: Path) -> None:
    fits = path.is_dir() == (to.suffix == "")
    inside = to.is_relative_to(path)
    if path.exists() and fits and not inside and to.parent.is_dir() and not to.is_dir():
        path.rename(to)


def unchanged_values_differ(old: Objects, new: Objects) -> list[str]:
    """Values that are equal in both and not the identical object, which the law forbids."""
    found = []
    for each in fields(Objects):
        before, after = getattr(old, each.name), getattr(new, each.name)
        if before == after and before is not after:
            found.append(each.name)
        if isinstance(before, tuple) or not hasattr(before, "items"):
            continue
        found += [
            f"{each.name} {key}"
            for key, value in after.items()
            if before.get(key) == value and before[key] is not value
        ]
    return found


@given(steps)
def test_incremental_is_cold(edits: list[Step]) -> None:
    """After any edits a store that watched them holds what one that starts now would read."""
    with an_empty_folder() as (folder, store):
        for step in edits:
            perform(step, folder, store)
        store.refresh()
        with closing(Manifests(folder)) as cold:
            cold.refresh()
            assert store.objects() == cold.objects()
        assert not store.refresh()


@given(steps)
def test_what_is_equal_is_identical(edits: list[Step]) -> None:
    """A value that did not change stays the same object, and `refresh` says so."""
    with an_empty_folder() as (folder, store):
        for step in edits:
            perform(step, folder, store)
            before = store.objects()
            changed = store.refresh()
            assert changed == (store.objects() is not before)
            assert not changed or store.objects() != before
            if changed:
                assert unchanged_values_differ(before, store.objects()) == []


@given(st.lists(good, min_size=1, max_size=4), st.data())
def test_a_cut_file_loses_nothing(held: list[str], data: st.DataObject) -> None:
    """Cut a file anywhere: either that is seen and all it held stays, or what is left is whole."""
    text = documents(*held)
    cut = data.draw(st.integers(0, len(text)))
    with an_empty_folder() as (folder, store):
        (folder / "x.yaml").write_text(text)
        store.refresh()
        before = store.objects()
        (folder / "x.yaml").write_text(text[:cut])
        store.refresh()
        after = store.objects()
        if any(each.reason is not Reason.DUPLICATE_OBJECT for each in after.problems):
            assert after.services.keys() == before.services.keys()
            assert after.namespaces.keys() == before.namespaces.keys()
        else:
            with closing(Manifests(folder)) as cold:
                cold.refresh()
                assert cold.objects() == after


@given(steps, st.sampled_from(("[", "kind: Service", "\0", "a: 'x")), st.sampled_from(FILES))
def test_a_broken_file_changes_nothing_but_problems(
    edits: list[Step], broken: str, file: str
) -> None:
    """Whatever a file held, breaking it leaves all objects as they were."""
    with an_empty_folder() as (folder, store):
        for step in edits:
            perform(step, folder, store)
        store.refresh()
        before = store.objects()
        (folder / file).write_text(broken)
        store.refresh()
        after = store.objects()
        assert replace(after, problems=()) == replace(before, problems=())
        assert any(problem.source.endswith(file) for problem in after.problems)


FIELDS = """
    apiVersion kind metadata name namespace labels spec status type ports port protocol addresses
    endpoints addressType conditions items serviceAllocation nodeSelectors clusterIPs
"""
KEYS = st.sampled_from(FIELDS.split())
VALUES = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats()
    | st.text(max_size=5)
    | st.sampled_from(["v1", "List", "Service", "192.0.2.1", "Local", "In", "web", "80"]),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(KEYS, inner, max_size=5),
    max_leaves=20,
)


@given(
    st.sampled_from(sorted(KINDS)),
    st.dictionaries(KEYS, VALUES),
    st.dictionaries(KEYS, VALUES),
    st.dictionaries(KEYS, VALUES),
)
def test_any_content_is_a_value_or_faults(
    kind: tuple[str, str], top: Plain, metadata: Plain, spec: Plain
) -> None:
    """Whatever stands in an object, it is decoded or refused with a field, and nothing else."""
    assert isinstance(top, dict)
    whole: Plain = {
        **top,
        "apiVersion": kind[0],
        "kind": kind[1],
        "metadata": metadata,
        "spec": spec,
    }
    for each in decoded(whole):
        assert each.value is None or not each.faults
        assert all(fault.detail and field_name(fault.path) for fault in each.faults)


@given(st.binary() | st.text().map(str.encode), st.sampled_from(("x.yaml", "x.json")))
def test_any_bytes_are_objects_or_problems(content: bytes, name: str) -> None:
    """No file can stop the store, and another one is read beside it."""
    with an_empty_folder() as (folder, store):
        (folder / name).write_bytes(content)
        (folder / "y.yaml").write_text(a_namespace("one"))
        store.refresh()
        assert Key("", "one") in store.objects().namespaces
        for problem in store.objects().problems:
            assert problem.detail
