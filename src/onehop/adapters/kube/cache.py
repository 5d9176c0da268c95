"""The cache: what the API server holds, as far as it was heard, and what of it is news.

Whoever hears fills it; whoever decides, possibly in another thread, takes the news. Per object the
last good value stays in force while a newer version cannot be read, and a version that decodes to
the same value is no news, so that memory of decisions by identity holds.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field

import msgspec

from onehop.adapters.kube.decode import Decoder
from onehop.adapters.kube.source import Source
from onehop.adapters.kube.structs import Live
from onehop.adapters.objects.fault import Value
from onehop.adapters.objects.kind import FIELDS
from onehop.model.address import IPAddress
from onehop.model.reason import Problem
from onehop.model.service import Key, Service

_Addresses = tuple[IPAddress, ...]


@dataclass(slots=True, kw_only=True)
class News:
    """What changed since it was last asked.

    `edits` are values by field of `Objects` and key, None for what is gone. `touched` are the
    Services of which anything changed, also what no value shows; `has_status` when that is more
    than a version.
    """

    edits: dict[str, dict[Key, Value | None]] = field(default_factory=dict)
    released: dict[Key, _Addresses] = field(default_factory=dict)
    touched: set[Key] = field(default_factory=set)
    problems: tuple[Problem, ...] | None = None
    complete: bool = False
    has_status: bool = False


class Cache:
    """All kinds. `wake` is called, from the thread that hears, when there is news."""

    def __init__(self, wake: Callable[[], None], *, wake_for_status: bool = False) -> None:
        self._wake = wake
        self._wake_for_status = wake_for_status
        self._lock = threading.Lock()
        self._news = News()
        self._is_news = self._is_woken = False
        self._lives: dict[str, dict[Key, Live]] = {}
        self._problems: dict[object, tuple[Problem, ...]] = {}
        self._are_problems_news = False
        self._complete = False

    @property
    def complete(self) -> bool:
        """Whether every kind was listed once."""
        return self._complete

    def live(self, kind: str, key: Key) -> Live | None:
        """What the newest version known of an object says beyond the model."""
        lives = self._lives.get(kind)
        return lives.get(key) if lives is not None else None

    def take(self) -> News:
        """All news since the last call."""
        with self._lock:
            news, self._news = self._news, News()
            news.complete = self._complete
            if self._are_problems_news:
                news.problems = self._all_problems()
            self._is_news = self._is_woken = self._are_problems_news = False
            return news

    def _all_problems(self) -> tuple[Problem, ...]:
        every = {each: None for group in self._problems.values() for each in group}
        return tuple(sorted(every, key=lambda each: (each.object, each.field, each.detail)))

    def put(self, kind: str, key: Key, value: Value | None) -> None:
        """A new value, or None for none."""
        with self._lock:
            self._news.edits.setdefault(FIELDS[kind], {})[key] = value
            self._is_news = True

    def put_live(self, kind: str, key: Key, live: Live | None) -> None:
        """What is known of an object beyond its value."""
        lives = self._lives.setdefault(kind, {})
        before = lives.get(key)
        if live is None:
            lives.pop(key, None)
        else:
            lives[key] = live
        if kind != "Service":
            return
        with self._lock:
            self._news.touched.add(key)
            if self._wake_for_status and not _same_status(before, live):
                self._news.has_status = self._is_news = True

    def release(self, key: Key, addresses: _Addresses) -> None:
        """A Service is gone that held these."""
        with self._lock:
            self._news.released[key] = addresses
            self._is_news = True

    def complain(self, about: object, problems: Iterable[Problem] = ()) -> None:
        """What is wrong with `about` now; nothing ends earlier complaints."""
        found = tuple(problems)
        with self._lock:
            if self._problems.get(about, ()) == found:
                return
            if found:
                self._problems[about] = found
            else:
                del self._problems[about]
            self._are_problems_news = self._is_news = True

    def completed(self) -> None:
        """Every kind was listed once."""
        with self._lock:
            self._complete = True
            self._is_news = self._is_woken = True
        self._wake()

    def flush(self) -> None:
        """Wake whoever decides, if there is a reason; in a first load, only for problems."""
        with self._lock:
            ripe = self._complete or self._are_problems_news
            due = self._is_news and ripe and not self._is_woken
            self._is_woken = self._is_woken or due
        if due:
            self._wake()


def _same_status(one: Live | None, other: Live | None) -> bool:
    if one is None or other is None:
        return one is other
    return (one.uid, one.ingress, one.conditions) == (other.uid, other.ingress, other.conditions)


class Shelf:
    """The objects of one source. All methods belong to the thread that hears."""

    def __init__(self, source: Source, cache: Cache) -> None:
        self.source = source
        self._cache = cache
        self._kind = source.kind
        self._decoders: dict[str, Decoder] = {}
        self._decoder = self._decoded_as(source.versions[0])
        self._versions: dict[Key, str] = {}
        self._values: dict[Key, Value] = {}
        self._troubled: set[Key] = set()

    @property
    def values(self) -> Mapping[Key, Value]:
        """What is in force."""
        return self._values

    @property
    def versions(self) -> Mapping[Key, str]:
        """The version of each object that was read last."""
        return self._versions

    def use(self, version: str) -> None:
        """Objects come in this version of their kind from now on, and may say something else."""
        decoder = self._decoded_as(version)
        if decoder is not self._decoder:
            self._decoder = decoder
            self.distrust()

    def distrust(self) -> None:
        """No version of an object says anything now, as when the server went back in time."""
        self._versions.clear()

    def put(self, raw: msgspec.Raw) -> Key:
        """An object was listed, added or modified; its key, as far as it can be made out."""
        head = self._decoder.head(raw)
        if isinstance(head, Problem):
            return self._unreadable(self._decoder.called(raw), head)
        key = self._decoder.key(head.metadata)
        version = head.metadata.resource_version
        if version and self._versions.get(key) == version:
            return key
        self._versions[key] = version
        live = self._decoder.live(head)
        if live is not None:
            before = self._cache.live(self._kind, key)
            if before is not None and before.uid != live.uid:
                self.remove(key)  # it was deleted and made again while nobody listened
                self._versions[key] = version
            self._cache.put_live(self._kind, key, live)
        self._read(key, raw)
        return key

    def drop(self, raw: msgspec.Raw) -> None:
        """An object was deleted."""
        head = self._decoder.head(raw)
        if isinstance(head, Problem):
            self.remove(self._decoder.called(raw))
        else:
            self.remove(self._decoder.key(head.metadata))

    def keep_only(self, keys: set[Key]) -> None:
        """A list ended; what it did not have is gone."""
        known = self._versions.keys() | self._values.keys() | self._troubled
        for key in known - keys:
            self.remove(key)

    def remove(self, key: Key) -> None:
        """An object is gone."""
        self._versions.pop(key, None)
        self._untroubled(key)
        if self._decoder.has_live:
            self._cache.put_live(self._kind, key, None)
        value = self._values.pop(key, None)
        if value is None:
            return
        self._cache.put(self._kind, key, None)
        if isinstance(value, Service) and value.ingress:
            self._cache.release(key, value.ingress)

    def clear(self) -> None:
        """The source is read no longer."""
        self.keep_only(set())

    def _read(self, key: Key, raw: msgspec.Raw) -> None:
        found = self._decoder.value(key, raw)
        if found.problems:
            self._troubled.add(key)
            self._cache.complain((self.source, key), found.problems)
            return
        self._untroubled(key)
        before = self._values.get(key)
        if found.value == before:
            return
        if found.value is None:
            del self._values[key]
        else:
            self._values[key] = found.value
        self._cache.put(self._kind, key, found.value)

    def _unreadable(self, key: Key, why: Problem) -> Key:
        self._versions.pop(key, None)
        self._troubled.add(key)
        self._cache.complain((self.source, key), (why,))
        return key

    def _untroubled(self, key: Key) -> None:
        if key in self._troubled:
            self._troubled.discard(key)
            self._cache.complain((self.source, key))

    def _decoded_as(self, version: str) -> Decoder:
        if version not in self._decoders:
            self._decoders[version] = Decoder(version, self._kind)
        return self._decoders[version]
