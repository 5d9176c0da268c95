"""What happens to the files of a folder: editors, tools, and accidents."""

from __future__ import annotations

import os
import select
import shutil
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from onehop.adapters.manifests import Manifests
from onehop.model.reason import Reason
from onehop.model.service import Key
from tests.unit.adapters.manifests.texts import a_namespace, documents


def names(store: Manifests) -> dict[str, str]:
    """Namespaces in force, with the label that tells their version."""
    return {key.name: each.labels["team"] for key, each in store.objects().namespaces.items()}


def told(store: Manifests, folder: Path) -> list[str]:
    return [str(each).replace(f"{folder}/", "") for each in store.objects().problems]


def test_all_sub_folders_and_endings_are_read(store: Manifests, folder: Path) -> None:
    """`.yaml`, `.yml` and `.json`, at any depth."""
    (folder / "a" / "b").mkdir(parents=True)
    (folder / "one.yaml").write_text(a_namespace("one"))
    (folder / "a" / "two.yml").write_text(a_namespace("two"))
    (folder / "a" / "b" / "three.json").write_text(
        '{"apiVersion": "v1", "kind": "Namespace",'
        ' "metadata": {"name": "three", "labels": {"team": "blue"}}}'
    )
    store.refresh()
    assert sorted(names(store)) == ["one", "three", "two"]


@pytest.mark.parametrize(
    "name", [".x.yaml", "x.yaml~", "#x.yaml#", ".x.yaml.swp", "x.yaml.bak", "x.txt"]
)
def test_temporary_files_are_ignored(store: Manifests, folder: Path, name: str) -> None:
    """What editors leave beside a file is no manifest, neither at the start nor later."""
    (folder / name).write_text("[")
    store.refresh()
    (folder / name).write_text(a_namespace("late"))
    assert not store.refresh()
    assert names(store) == {}
    assert store.objects().problems == ()


def test_hidden_folders_are_ignored(store: Manifests, folder: Path) -> None:
    """A repository's own folder holds no manifests."""
    (folder / ".git").mkdir()
    (folder / ".git" / "x.yaml").write_text(a_namespace("one"))
    store.refresh()
    assert names(store) == {}


def test_the_descriptor_wakes_for_a_change_and_sleeps_after_it(
    store: Manifests, folder: Path
) -> None:
    """`fileno` is readable from the change until `refresh`."""

    def awake() -> bool:
        return bool(select.select([store.fileno()], [], [], 0)[0])

    store.refresh()
    assert not awake()
    (folder / "x.yaml").write_text(a_namespace("one"))
    assert awake()
    assert store.refresh()
    assert not awake()


def test_a_file_moved_into_place_replaces_the_old_one(store: Manifests, folder: Path) -> None:
    """The way of atomic writers."""
    (folder / "x.yaml").write_text(a_namespace("one"))
    store.refresh()
    (folder / ".x.new").write_text(a_namespace("one", "red"))
    (folder / ".x.new").rename(folder / "x.yaml")
    assert store.refresh()
    assert names(store) == {"one": "red"}


def test_a_renamed_file_keeps_its_objects(store: Manifests, folder: Path) -> None:
    """The object does not even become another value."""
    (folder / "x.yaml").write_text(a_namespace("one"))
    store.refresh()
    before = store.objects()
    (folder / "x.yaml").rename(folder / "y.yaml")
    assert not store.refresh()
    assert store.objects() is before


def test_a_deleted_file_takes_its_objects_away(store: Manifests, folder: Path) -> None:
    """At the next refresh, without a second look by the caller."""
    (folder / "x.yaml").write_text(a_namespace("one"))
    store.refresh()
    (folder / "x.yaml").unlink()
    assert store.refresh()
    assert names(store) == {}


@contextmanager
def beside(path: Path) -> Iterator[None]:
    """A file that says somebody is at work."""
    path.parent.mkdir(exist_ok=True)
    path.touch()
    yield
    path.unlink()


@pytest.mark.parametrize("sign", [".git/index.lock", ".x.yaml.swp", "x.yaml~"])
def test_a_file_that_was_deleted_is_believed_gone_sooner_unless_somebody_is_at_work(
    store: Manifests, folder: Path, sign: str
) -> None:
    """A delete has nothing to wait for; git and editors show that they are not done."""
    path = folder / "x.yaml"
    path.write_text(a_namespace("one"))
    store.refresh()
    took = []
    for _ in range(10):  # another process may have the processor now and then
        path.unlink()
        begin = time.monotonic()
        assert store.refresh()
        took.append(time.monotonic() - begin)
        path.write_text(a_namespace("one"))
        store.refresh()
    with beside(folder / sign):
        path.unlink()
        begin = time.monotonic()
        assert store.refresh()
        waited = time.monotonic() - begin
    assert waited >= 0.005
    assert min(took) < 0.005


def test_a_file_written_anew_within_its_moment_never_went(store: Manifests, folder: Path) -> None:
    """As git and tar do it, while the store already looks."""
    path = folder / "x.yaml"
    path.write_text(a_namespace("one"))
    store.refresh()
    before = store.objects()
    path.unlink()
    os.mkfifo(folder / ".go")

    def write_anew() -> None:
        with path.open("w") as file:
            (folder / ".go").read_bytes()
            file.write(a_namespace("one"))

    writer = threading.Thread(target=write_anew)
    writer.start()
    while not path.exists():
        pass
    assert not store.refresh()
    (folder / ".go").write_bytes(b"x")
    writer.join()
    assert not store.refresh()
    assert store.objects() is before


def test_a_deletion_waits_for_no_other_file(store: Manifests, folder: Path) -> None:
    """Another one is written all the time, badly: it alone is given time."""
    (folder / "x.yaml").write_text(a_namespace("one"))
    (folder / "y.yaml").write_text(a_namespace("two"))
    store.refresh()
    (folder / "x.yaml").unlink()
    (folder / "y.yaml").write_text("[")
    begin = time.monotonic()
    assert store.refresh()
    assert time.monotonic() - begin < 0.5
    assert names(store) == {"two": "blue"}
    assert [each.source.rpartition("/")[2] for each in store.objects().problems] == ["y.yaml"]


def test_an_emptied_file_takes_its_objects_away(store: Manifests, folder: Path) -> None:
    """An empty file is a file without objects."""
    (folder / "x.yaml").write_text(a_namespace("one"))
    store.refresh()
    (folder / "x.yaml").write_text("")
    assert store.refresh()
    assert names(store) == {}
    assert store.objects().problems == ()


def unlinked(path: Path) -> None:
    path.unlink()


def renamed_to_a_backup(path: Path) -> None:
    path.rename(f"{path}~")


def truncated(path: Path) -> None:
    pass


@pytest.mark.parametrize("begin", [unlinked, renamed_to_a_backup, truncated])
def test_objects_stay_while_their_file_is_written_anew(
    store: Manifests, folder: Path, begin: Callable[[Path], None]
) -> None:
    """Git and tar unlink before they create, vim renames, a shell truncates: nothing flaps."""
    path = folder / "x.yaml"
    path.write_text(a_namespace("one"))
    store.refresh()
    begin(path)
    with path.open("w") as file:
        assert not store.refresh()
        file.write(a_namespace("one", "red")[:40])
        file.flush()
        assert not store.refresh()
        assert names(store) == {"one": "blue"}
        file.write(a_namespace("one", "red")[40:])
    assert store.refresh()
    assert names(store) == {"one": "red"}


def test_half_a_file_takes_nothing_away(store: Manifests, folder: Path) -> None:
    """A writer died within the second document: both objects stay, and the problem is told."""
    path = folder / "x.yaml"
    whole = documents(a_namespace("one"), a_namespace("two"))
    path.write_text(whole)
    store.refresh()
    path.write_text(whole[:-20])
    assert store.refresh()
    assert names(store) == {"one": "blue", "two": "blue"}
    assert [each.reason for each in store.objects().problems] == [Reason.MANIFEST_UNREADABLE]
    path.write_text(documents(a_namespace("one", "red"), a_namespace("two")[:20]))
    assert store.refresh()
    assert names(store) == {"one": "red", "two": "blue"}
    path.write_text(whole)
    assert store.refresh()
    assert names(store) == {"one": "blue", "two": "blue"}
    assert store.objects().problems == ()


def test_an_invalid_object_keeps_its_last_good_value(store: Manifests, folder: Path) -> None:
    """And while it is wrong, nothing else that its file held goes away either."""
    path = folder / "x.yaml"
    path.write_text(documents(a_namespace("one"), a_namespace("two")))
    store.refresh()
    path.write_text(documents(a_namespace("three"), a_namespace("one", "7")))
    assert store.refresh()
    assert names(store) == {"one": "blue", "two": "blue", "three": "blue"}
    assert told(store, folder) == [
        "x.yaml:7: Namespace one metadata.labels.team: "
        "expected a string, got a whole number: quote it [FieldInvalid]"
    ]
    path.write_text(a_namespace("one", "red"))
    assert store.refresh()
    assert names(store) == {"one": "red"}
    assert store.objects().problems == ()


def test_a_broken_file_that_is_deleted_takes_all_away(store: Manifests, folder: Path) -> None:
    """Its last good values were its own."""
    path = folder / "x.yaml"
    path.write_text(a_namespace("one"))
    store.refresh()
    path.write_text("[")
    store.refresh()
    path.unlink()
    assert store.refresh()
    assert names(store) == {}
    assert store.objects().problems == ()


def test_a_file_that_is_no_text_keeps_what_it_held(store: Manifests, folder: Path) -> None:
    """Nor does one that turned into something else than a file."""
    path = folder / "x.yaml"
    path.write_text(a_namespace("one"))
    store.refresh()
    path.write_bytes(b"\xff\xfe\x00a")
    assert store.refresh()
    assert names(store) == {"one": "blue"}
    assert told(store, folder) == ["x.yaml: is not text in UTF-8 [ManifestUnreadable]"]
    os.mkfifo(folder / ".pipe")
    (folder / ".pipe").rename(path)
    assert store.refresh()
    assert told(store, folder) == ["x.yaml: is not a regular file [ManifestUnreadable]"]
    assert names(store) == {"one": "blue"}


def test_a_file_too_large_for_memory_is_refused(store: Manifests, folder: Path) -> None:
    """A sparse file of a terabyte is not read."""
    with (folder / "x.yaml").open("w") as file:
        file.truncate(1 << 40)
    store.refresh()
    assert told(store, folder) == ["x.yaml: is larger than 256 MiB [ManifestUnreadable]"]


def test_one_object_in_two_files(store: Manifests, folder: Path) -> None:
    """The first file by path counts, the other is told, and steps in when the first one goes."""
    (folder / "b.yaml").write_text(a_namespace("one", "red"))
    store.refresh()
    (folder / "a.yaml").write_text("# note\n---\n" + a_namespace("one", "blue"))
    assert store.refresh()
    assert names(store) == {"one": "blue"}
    assert told(store, folder) == [
        f"b.yaml:1: Namespace one: {folder}/a.yaml holds this object too, and counts "
        "[DuplicateObject]".replace(f"{folder}/", "")
    ]
    (folder / "a.yaml").unlink()
    assert store.refresh()
    assert names(store) == {"one": "red"}
    assert store.objects().problems == ()


def test_one_object_twice_in_a_file(store: Manifests, folder: Path) -> None:
    """The first document counts."""
    (folder / "a.yaml").write_text(documents(a_namespace("one"), a_namespace("one", "red")))
    store.refresh()
    assert names(store) == {"one": "blue"}
    assert told(store, folder) == [
        "a.yaml:5: Namespace one: a.yaml holds this object too, and counts [DuplicateObject]"
    ]


def test_folders_come_move_and_go(store: Manifests, folder: Path) -> None:
    """Made, filled, moved away, moved back and removed while watched."""
    store.refresh()
    (folder / "a" / "b").mkdir(parents=True)
    (folder / "a" / "b" / "x.yaml").write_text(a_namespace("one"))
    assert store.refresh()
    (folder / "a" / "b" / "x.yaml").write_text(a_namespace("one", "red"))
    assert store.refresh()
    assert names(store) == {"one": "red"}
    away = folder.parent / "away"
    (folder / "a").rename(away)
    assert store.refresh()
    assert names(store) == {}
    (away / "b" / "x.yaml").write_text(a_namespace("one", "green"))
    assert not store.refresh()
    away.rename(folder / "c")
    assert store.refresh()
    assert names(store) == {"one": "green"}
    (folder / "c" / "b" / "y.yaml").write_text(a_namespace("two"))
    assert store.refresh()
    shutil.rmtree(folder / "c")
    assert store.refresh()
    assert names(store) == {}


def test_a_folder_named_like_a_file(store: Manifests, folder: Path) -> None:
    """Its name is of no concern."""
    (folder / "x.yaml").mkdir()
    (folder / "x.yaml" / "y.yaml").write_text(a_namespace("one"))
    store.refresh()
    assert names(store) == {"one": "blue"}
    assert store.objects().problems == ()


def test_links_to_files(store: Manifests, folder: Path, tmp_path: Path) -> None:
    """A symbolic and a hard link made while watched are read; a dangling one is nothing."""
    store.refresh()
    (tmp_path / "one").write_text(a_namespace("one"))
    (tmp_path / "two").write_text(a_namespace("two"))
    (folder / "one.yaml").symlink_to(tmp_path / "one")
    (folder / "two.yaml").hardlink_to(tmp_path / "two")
    (folder / "three.yaml").symlink_to(tmp_path / "nowhere")
    (folder / "loop").symlink_to(folder)
    assert store.refresh()
    assert sorted(names(store)) == ["one", "two"]
    assert store.objects().problems == ()


def test_a_mounted_config_map_is_exchanged(store: Manifests, folder: Path) -> None:
    """The kubelet renames one link, and all files are others."""
    for version, team in (("..1", "blue"), ("..2", "red")):
        (folder / version).mkdir()
        (folder / version / "x.yaml").write_text(a_namespace("one", team))
    (folder / "..data").symlink_to("..1")
    (folder / "x.yaml").symlink_to("..data/x.yaml")
    store.refresh()
    assert names(store) == {"one": "blue"}
    (folder / "..tmp").symlink_to("..2")
    (folder / "..tmp").rename(folder / "..data")
    assert store.refresh()
    assert names(store) == {"one": "red"}


def test_a_missing_folder_is_told_and_awaited(tmp_path: Path) -> None:
    """The objects are not complete until the folder is there."""
    folder = tmp_path / "a" / "b"
    store = Manifests(folder)
    assert store.refresh()
    assert not store.objects().complete
    assert [str(each) for each in store.objects().problems] == [
        f"{folder}: there is no such folder [ManifestUnreadable]"
    ]
    folder.mkdir(parents=True)
    (folder / "x.yaml").write_text(a_namespace("one"))
    assert select.select([store.fileno()], [], [], 0)[0]
    assert store.refresh()
    assert store.objects().complete
    assert names(store) == {"one": "blue"}
    assert store.objects().problems == ()
    store.close()


def test_a_folder_that_was_moved_away_takes_nothing(store: Manifests, folder: Path) -> None:
    """An unmounted or exchanged folder is an accident, not a wish to delete everything."""
    (folder / "x.yaml").write_text(a_namespace("one"))
    store.refresh()
    folder.rename(folder.parent / "away")
    assert store.refresh()
    assert names(store) == {"one": "blue"}
    assert [each.detail for each in store.objects().problems] == ["there is no such folder"]
    folder.mkdir()
    (folder / "x.yaml").write_text(a_namespace("two"))
    assert store.refresh()
    assert names(store) == {"two": "blue"}
    assert store.objects().problems == ()


def test_more_events_than_the_kernel_keeps(store: Manifests, folder: Path) -> None:
    """After an overflow everything is looked at again."""
    room = int(Path("/proc/sys/fs/inotify/max_queued_events").read_text())
    for name in ("x.yaml", "y.yaml"):
        (folder / name).write_text(a_namespace(name[0]))
    store.refresh()
    for _ in range(room // 2 + 1):
        os.utime(folder / "x.yaml")
        os.utime(folder / "y.yaml")
    (folder / "x.yaml").write_text(a_namespace("x", "red"))
    (folder / "y.yaml").unlink()
    (folder / "new").mkdir()
    (folder / "new" / "z.yaml").write_text(a_namespace("z"))
    assert store.refresh()
    assert names(store) == {"x": "red", "z": "blue"}


def test_problems_name_files_as_the_user_did(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A relative folder gives relative file names."""
    monkeypatch.chdir(folder.parent)
    (folder / "x.yaml").write_text("[")
    store = Manifests(Path("cluster"))
    store.refresh()
    assert [each.source for each in store.objects().problems] == ["cluster/x.yaml"]
    store.close()


def test_touching_a_file_changes_nothing(store: Manifests, folder: Path) -> None:
    """Nor does writing the same content in another form: the values stay the identical ones."""
    path = folder / "x.yaml"
    path.write_text(a_namespace("one"))
    store.refresh()
    before = store.objects()
    os.utime(path)
    assert not store.refresh()
    path.write_text("# a note\n---\n" + a_namespace("one").replace("one", "'one'"))
    assert not store.refresh()
    assert store.objects() is before
    assert store.objects().namespaces[Key("", "one")] is before.namespaces[Key("", "one")]


def test_a_byte_order_mark_is_no_part_of_a_file(store: Manifests, folder: Path) -> None:
    """Editors of another world begin a file with one."""
    (folder / "x.yaml").write_text("\ufeff" + a_namespace("one"))
    store.refresh()
    assert names(store) == {"one": "blue"}
