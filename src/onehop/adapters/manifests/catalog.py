"""The catalog: what each file holds, what it held last that was good, and who holds an object.

A file is taken apart into documents, and a document whose text did not change is not parsed
again. An object that cannot be read keeps its last good value, and while anything in a file is
wrong nothing that it held goes away: a file that was cut, even between two documents of which the
first one still says what it is, must not take a Service away.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from hashlib import blake2b

from onehop.adapters.manifests.decode import Decoded, decoded
from onehop.adapters.manifests.document import Chunk, DocumentError, chunks, document, line_of
from onehop.adapters.manifests.folder import UnreadableError, text_of
from onehop.adapters.objects.fault import ObjectId, Value, field_name
from onehop.model.reason import Problem, Reason


@dataclass(frozen=True, slots=True, kw_only=True)
class _Parsed:
    """What a chunk of text gave; lines of problems count from the chunk's first line."""

    objects: tuple[tuple[ObjectId, Value | None], ...] = ()
    problems: tuple[Problem, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class _File:
    """One file: its objects with the line of their document, and what is wrong with it."""

    parsed: Mapping[bytes, _Parsed] = field(default_factory=dict)
    objects: Mapping[ObjectId, tuple[Value, int]] = field(default_factory=dict)
    problems: tuple[Problem, ...] = ()


_EMPTY = _File()


class Catalog:
    """All files by path, and the objects in force."""

    def __init__(self) -> None:
        self._files: dict[str, _File] = {}
        self._holders: dict[ObjectId, tuple[str, ...]] = {}
        self._contested: set[ObjectId] = set()
        self._troubled: set[str] = set()

    def load(self, path: str, *, hasty: bool) -> set[ObjectId] | None:
        """Read a file again: the objects that this may have changed.

        None, and nothing done, when the read is `hasty` and what was found would take an object
        away or bring a fault: then somebody may be about to write the rest.
        """
        old = self._files.get(path, _EMPTY)
        try:
            text = text_of(path)
        except UnreadableError as error:
            new = _unreadable(path, str(error), old)
        else:
            new = _EMPTY if text is None else _file(path, text, old)
        if hasty and _worse(old, new):
            return None
        self._files[path] = new
        if new is _EMPTY:
            del self._files[path]
        (self._troubled.add if new.problems else self._troubled.discard)(path)
        return self._exchange(path, old.objects, new.objects)

    def holds(self, path: str) -> bool:
        """Whether there was a file at `path` when it was last read."""
        return path in self._files

    def _exchange(
        self,
        path: str,
        old: Mapping[ObjectId, tuple[Value, int]],
        new: Mapping[ObjectId, tuple[Value, int]],
    ) -> set[ObjectId]:
        touched = {name for name, held in new.items() if name in old and held != old[name]}
        for name in old.keys() - new.keys():
            self._hold(name, tuple(each for each in self._holders[name] if each != path))
            touched.add(name)
        for name in new.keys() - old.keys():
            self._hold(name, tuple(sorted((*self._holders.get(name, ()), path))))
            touched.add(name)
        return touched

    def _hold(self, name: ObjectId, holders: tuple[str, ...]) -> None:
        if holders:
            self._holders[name] = holders
        else:
            del self._holders[name]
        (self._contested.add if len(holders) > 1 else self._contested.discard)(name)

    def value(self, name: ObjectId) -> Value | None:
        """The object in force: that of the first file by path which holds it."""
        holders = self._holders.get(name)
        return self._files[holders[0]].objects[name][0] if holders else None

    def problems(self) -> list[Problem]:
        """All that is wrong now, in no order."""
        found = [problem for path in self._troubled for problem in self._files[path].problems]
        for name in self._contested:
            first, *others = self._holders[name]
            found.extend(
                _duplicate(path, self._files[path].objects[name][1], name, first)
                for path in others
            )
        return found


def _duplicate(path: str, line: int, name: ObjectId, first: str) -> Problem:
    return Problem(
        source=path,
        line=line,
        object=str(name),
        field="",
        reason=Reason.DUPLICATE_OBJECT,
        detail=f"{first} holds this object too, and counts",
    )


def _worse(old: _File, new: _File) -> bool:
    lost = old.objects.keys() - new.objects.keys()
    return bool(lost) or bool(new.problems and new.problems != old.problems)


def _unreadable(path: str, why: str, old: _File) -> _File:
    problem = Problem(
        source=path, line=0, object="", field="", reason=Reason.MANIFEST_UNREADABLE, detail=why
    )
    return _File(parsed=old.parsed, objects=old.objects, problems=(problem,))


def _file(path: str, text: str, before: _File) -> _File:
    parsed: dict[bytes, _Parsed] = {}
    objects: dict[ObjectId, tuple[Value, int]] = {}
    problems: list[Problem] = []
    seen: set[ObjectId] = set()
    for chunk in chunks(text):
        digest = blake2b(chunk.text.encode(), digest_size=16).digest()
        result = parsed.get(digest) or before.parsed.get(digest) or _parse(chunk.text)
        parsed[digest] = result
        problems.extend(_placed(problem, path, chunk) for problem in result.problems)
        for name, value in result.objects:
            if name in seen:
                problems.append(_duplicate(path, _start(chunk), name, path))
                continue
            seen.add(name)
            if value is not None:
                objects[name] = (value, _start(chunk))
    if any(result.problems for result in parsed.values()):
        objects = {**before.objects, **objects}
    return _File(parsed=parsed, objects=objects, problems=tuple(problems))


def _start(chunk: Chunk) -> int:
    """The line on which the document of a chunk begins, after its separator."""
    return chunk.line + 1 if chunk.text.startswith("---") else chunk.line


def _placed(problem: Problem, path: str, chunk: Chunk) -> Problem:
    return Problem(
        source=path,
        line=problem.line + chunk.line - 1,
        object=problem.object,
        field=problem.field,
        reason=problem.reason,
        detail=problem.detail,
    )


def _parse(text: str) -> _Parsed:
    try:
        plain = document(text)
    except DocumentError as error:
        problem = Problem(
            source="",
            line=error.line,
            object="",
            field="",
            reason=Reason.MANIFEST_UNREADABLE,
            detail=error.why,
        )
        return _Parsed(problems=(problem,))
    found = tuple(decoded(plain))
    return _Parsed(
        objects=tuple(
            (each.id, each.value)
            for each in found
            if each.id is not None and (each.value is not None or each.faults)
        ),
        problems=tuple(_problems(text, found)),
    )


def _problems(text: str, found: Iterable[Decoded]) -> Iterable[Problem]:
    for each in found:
        for fault in each.faults:
            yield Problem(
                source="",
                line=line_of(text, (*each.path, *fault.path)),
                object=str(each.id) if each.id else "",
                field=field_name(fault.path),
                reason=fault.reason,
                detail=fault.detail,
            )
