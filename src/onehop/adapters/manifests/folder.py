"""A tree of files, watched: which files are there, and which may have changed.

Directories are watched before they are listed, so nothing slips between the two. A file is named
when its writer has closed it or moved it into place, never while it is being written: editors,
git and tar take a file away and write it anew, and in between its objects stay in force.

Names that begin with a dot, and those that end otherwise than a manifest does, are temporary files
of editors or our own. Symbolic links are followed to files, not to directories (a loop would not
end). The `..data` link of a mounted ConfigMap, whose exchange changes all files, is known.
"""

from __future__ import annotations

import errno
import os
import stat
from collections.abc import Iterable, Iterator
from contextlib import suppress

from onehop.adapters.manifests.inotify import Event, Inotify, Mask

SUFFIXES = (".yaml", ".yml", ".json")
_SIZE_LIMIT = 256 << 20
_DIRECTORY_CAME = Mask.CREATE | Mask.MOVED_TO
_DIRECTORY_WENT = Mask.DELETE | Mask.MOVED_FROM


class UnreadableError(Exception):
    """A file is there and cannot be read; the text says why."""


def text_of(path: str) -> str | None:
    """The text of a file, None when there is none.

    Raises:
        UnreadableError: when it is no regular file, not UTF-8, or may not be read.
    """
    try:
        # Without NONBLOCK, opening a FIFO would wait for its writer.
        descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    except (FileNotFoundError, NotADirectoryError):
        return None
    except OSError as error:
        raise UnreadableError(f"cannot be read: {error.strerror}") from None
    try:
        found = os.fstat(descriptor)
        if not stat.S_ISREG(found.st_mode):
            raise UnreadableError("is not a regular file")
        if found.st_size > _SIZE_LIMIT:
            raise UnreadableError(f"is larger than {_SIZE_LIMIT >> 20} MiB")
        return _read(descriptor, found.st_size).decode().removeprefix("\ufeff")
    except OSError as error:
        raise UnreadableError(f"cannot be read: {error.strerror}") from None
    except UnicodeDecodeError:
        raise UnreadableError("is not text in UTF-8") from None
    finally:
        os.close(descriptor)


def _read(descriptor: int, size: int) -> bytes:
    """All of a file, which may be longer by now than it was."""
    parts = []
    while part := os.read(descriptor, size + 1):
        parts.append(part)
        if len(part) <= size:
            # A short read of a regular file ends where the file ends.
            break
    return b"".join(parts)


class Tree:
    """The files below `root`, without the directory `skipped`.

    `present` tells whether the root is there, `refused` which directories cannot be read and why.
    """

    def __init__(self, inotify: Inotify, root: str, *, skipped: str = "") -> None:
        self.root = root
        self.present = False
        self.refused: dict[str, str] = {}
        self._inotify = inotify
        self._skipped = skipped
        self._directories: dict[int, str] = {}
        self._files: set[str] = set()
        self._stale: set[str] = set()
        self._written: set[str] = set()
        self._unlinked: set[str] = set()

    def changes(self, events: Iterable[Event]) -> set[str]:
        """Paths of files that came, went or may have changed since the last call."""
        if not self.present:
            self._list_all()
        for event in events:
            if event.mask & Mask.OVERFLOW:
                self._written.clear()
                self._list_all()
            elif event.watch in self._directories:
                self._take(event, self._directories[event.watch])
        stale, self._stale = self._stale, set()
        return stale

    def being_written(self, paths: Iterable[str]) -> set[str]:
        """Those of `paths` that were created and are not closed yet."""
        return self._written.intersection(paths)

    def forget(self, path: str) -> None:
        """`path` was found to be gone."""
        self._files.discard(path)
        self._unlinked.discard(path)

    def was_unlinked(self, path: str) -> bool:
        """Whether `path` was deleted, and nothing says that it is about to be written anew.

        Git unlinks what it checks out, but holds a lock meanwhile; an editor at work shows by its
        own file beside. A file that was moved away was not deleted: some editors begin so.
        """
        if path not in self._unlinked:
            return False
        directory, name = os.path.split(path)
        beside = (f"{directory}/.{name}.swp", f"{path}~", *_locks(directory))
        return not any(map(os.path.lexists, beside))

    def _take(self, event: Event, directory: str) -> None:
        path = f"{directory}/{event.name}"
        if event.mask & (Mask.DELETE_SELF | Mask.MOVE_SELF | Mask.IGNORED):
            self._directory_ended(event, directory)
        elif event.mask & Mask.ISDIR:
            if event.mask & _DIRECTORY_WENT:
                self._drop(path)
            elif event.mask & _DIRECTORY_CAME or path in self.refused:
                self._list(path)
        elif event.name == "..data":
            self._list(directory)
        elif _is_manifest(event.name):
            self._take_file(event, path)

    def _take_file(self, event: Event, path: str) -> None:
        (self._unlinked.add if event.mask & Mask.DELETE else self._unlinked.discard)(path)
        if event.mask & Mask.CREATE and not _is_linked(path):
            self._written.add(path)
        elif not (event.mask & Mask.ATTRIB and path in self._written):
            self._written.discard(path)
            self._found(path)

    def _directory_ended(self, event: Event, directory: str) -> None:
        if directory == self.root:
            # The files stay known: a folder that is unmounted or exchanged takes no objects away.
            self.present = False
        if event.mask & Mask.IGNORED:
            self._directories.pop(event.watch, None)
        elif directory == self.root:
            self._unwatch(directory)

    def _list_all(self) -> None:
        if os.path.isdir(self.root):
            self._stale |= self._files
            self._list(self.root)
        else:
            self.refused.pop(self.root, None)
            self._await_root()
        self.present = self.root in self._directories.values()

    def _await_root(self) -> None:
        """Watch where the root would appear, so that the descriptor wakes when it does."""
        watched = ""
        while (ancestor := _nearest(self.root)) not in (watched, self.root):
            self._watch_only(ancestor)
            watched = ancestor

    def _watch_only(self, directory: str) -> None:
        """Wake for `directory`; its number is not kept, for the other tree may hold it too."""
        with suppress(OSError):
            self._inotify.watch(directory)

    def _list(self, directory: str) -> None:
        """Watch and take in a directory and all below it."""
        if directory == self._skipped:
            return
        self.refused.pop(directory, None)
        try:
            number = self._inotify.watch(directory)
            entries = list(os.scandir(directory))
        except (FileNotFoundError, NotADirectoryError):
            return
        except OSError as error:
            self.refused[directory] = _refusal(error)
            if directory == self.root:
                self._watch_only(os.path.dirname(directory))
            return
        self._directories[number] = directory
        self._take_in(entries)

    def _take_in(self, entries: Iterable[os.DirEntry[str]]) -> None:
        for entry in entries:
            if entry.is_dir(follow_symlinks=False):
                if not entry.name.startswith("."):
                    self._list(entry.path)
            elif _is_manifest(entry.name):
                self._found(entry.path)

    def _found(self, path: str) -> None:
        self._files.add(path)
        self._stale.add(path)

    def _drop(self, directory: str) -> None:
        """A directory was deleted or moved away, with all below it."""
        below = directory + "/"
        self._stale |= {path for path in self._files if path.startswith(below)}
        self._written = {path for path in self._written if not path.startswith(below)}
        self._unwatch(directory)

    def _unwatch(self, directory: str) -> None:
        below = directory + "/"
        for path in [path for path in self.refused if f"{path}/".startswith(below)]:
            del self.refused[path]
        for number, path in tuple(self._directories.items()):
            if path == directory or path.startswith(below):
                del self._directories[number]
                self._inotify.forget(number)


def _locks(directory: str) -> Iterator[str]:
    """Where git would hold its lock, from a directory upwards."""
    while True:
        yield f"{directory}/.git/index.lock"
        above = os.path.dirname(directory)
        if above == directory:
            return
        directory = above


def _nearest(path: str) -> str:
    """The nearest directory at or above `path` that exists."""
    while path != os.path.dirname(path) and not os.path.isdir(path):
        path = os.path.dirname(path)
    return path


def _refusal(error: OSError) -> str:
    if error.errno == errno.ENOSPC:
        return "cannot be watched: raise the limit fs.inotify.max_user_watches"
    return f"cannot be read: {error.strerror}"


def _is_manifest(name: str) -> bool:
    return name.endswith(SUFFIXES) and not name.startswith(".")


def _is_linked(path: str) -> bool:
    """Whether the path was made by linking: then nobody will ever close it after writing."""
    try:
        found = os.lstat(path)
    except OSError:
        return False
    return stat.S_ISLNK(found.st_mode) or found.st_nlink > 1
