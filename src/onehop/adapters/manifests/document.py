"""Text to plain values: documents of a file, one by one, and the line of any field.

YAML is read from libyaml's events straight into dicts, lists and scalars. That is faster than
PyYAML's loader and gives Kubernetes' reading of a scalar: a time stamp or `1:30` stays text (YAML
1.1 would make a date or a sexagesimal number of them), and a key given twice is an error. Line
marks are kept nowhere: `line_of` composes the document again when a message needs one.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import pairwise
from typing import Any, TypeAlias

import msgspec
import yaml

from onehop.adapters.objects.fault import Path, Plain

_SEPARATOR = re.compile(r"^---(?=[ \t\r\n]|\Z)", re.MULTILINE)
_SUBSTANCE = re.compile(r"^(?!---[ \t]*(?:#|\r?$)|\.\.\.|%|[ \t]*(?:#|\r?$))", re.MULTILINE)
# Kubernetes' own objects nest about a dozen levels; beyond this a document is an attack.
_DEPTH_LIMIT = 100
_MERGE = "<<"
# No field holds a longer number; Python itself refuses to convert more than 4300 digits.
_DIGITS_LIMIT = 100
_INT = re.compile(r"[-+]?(?:0|[1-9][0-9_]*)\Z")
_BASED = re.compile(r"[-+]?(?:0[0-7]+|0o[0-7]+|0x[0-9a-fA-F]+|0b[01]+)\Z")
_FLOAT = re.compile(r"[-+]?(?:[0-9]+\.[0-9]*|\.?[0-9]+)(?:[eE][-+]?[0-9]+)?\Z")
_WORDS: dict[str, Plain] = {
    **dict.fromkeys(("", "~", "null", "Null", "NULL"), None),
    **dict.fromkeys(("true", "True", "TRUE", "yes", "Yes", "YES", "on", "On", "ON"), True),
    **dict.fromkeys(("false", "False", "FALSE", "no", "No", "NO", "off", "Off", "OFF"), False),
}
_STANDARD_TAG = "tag:yaml.org,2002:"
# Scalars repeat between objects: one string each saves their memory and most of the resolving.
_MEMO_LIMIT = 1 << 16
_memo: dict[str, Plain] = {}


class DocumentError(Exception):
    """The text is not a document: the 1-based line within it, and why."""

    def __init__(self, line: int, why: str) -> None:
        super().__init__(why)
        self.line = line
        self.why = why


@dataclass(frozen=True, slots=True, kw_only=True)
class Chunk:
    """The text between two document separators and the 1-based line that it begins at."""

    text: str
    line: int


def chunks(text: str) -> Iterator[Chunk]:
    """The parts of a file that separators divide, without those that hold only comments."""
    starts = [0, *(match.start() for match in _SEPARATOR.finditer(text)), len(text)]
    line = 1
    for start, end in pairwise(starts):
        part = text[start:end]
        if _SUBSTANCE.search(part):
            yield Chunk(text=part, line=line)
        line += part.count("\n")


def document(text: str) -> Plain:
    """The value of one chunk.

    Raises:
        DocumentError: when it is neither JSON nor YAML.
    """
    if text.lstrip()[:1] in ("{", "["):
        try:
            found: Plain = msgspec.json.decode(text)
            return found
        except (msgspec.DecodeError, RecursionError):
            pass  # a YAML flow mapping begins in the same way
    try:
        loader = yaml.CSafeLoader(text)
    except yaml.YAMLError as error:
        raise DocumentError(_error_line(error, text), _error_text(error)) from None
    try:
        return _root(loader.get_event)
    except yaml.YAMLError as error:
        raise DocumentError(_error_line(error, text), _error_text(error)) from None
    finally:
        loader.dispose()


def _error_line(error: yaml.YAMLError, text: str) -> int:
    mark = getattr(error, "problem_mark", None)
    if mark is not None:
        # The end of the text is a line of its own for libyaml, and none for an editor.
        return min(int(mark.line), text.rstrip("\n").count("\n")) + 1
    position = getattr(error, "position", None)
    return text.count("\n", 0, position) + 1 if isinstance(position, int) else 1


def _error_text(error: yaml.YAMLError) -> str:
    problem = getattr(error, "problem", None)
    if problem:
        return str(problem)
    return " ".join(str(error).split()).split(" in ")[0]


# The stubs know neither which event has which attribute nor libyaml's own marks.
_Event: TypeAlias = Any
_Next: TypeAlias = Callable[[], _Event]


def _root(following: _Next) -> Plain:
    following()
    if isinstance(following(), yaml.StreamEndEvent):
        return None
    value = _Builder(following).node(following(), 0)
    following()
    following()
    return value


class _Builder:
    """Builds the value of one document from its events."""

    def __init__(self, following: _Next) -> None:
        self._following = following
        self._anchors: dict[str, Plain] = {}

    def node(self, event: _Event, depth: int) -> Plain:
        kind = type(event)
        value: Plain
        if kind is yaml.ScalarEvent:
            value = _scalar(event)
        elif kind is yaml.MappingStartEvent:
            value = self._mapping(event, depth + 1)
        elif kind is yaml.SequenceStartEvent:
            value = self._sequence(event, depth + 1)
        else:
            return self._alias(event)
        if event.anchor:
            self._anchors[event.anchor] = value
        return value

    def _alias(self, event: _Event) -> Plain:
        try:
            return self._anchors[event.anchor]
        except KeyError:
            raise _fault(event, f"alias *{event.anchor} has no anchor before it") from None

    def _sequence(self, event: _Event, depth: int) -> list[Plain]:
        _check_depth(event, depth)
        values: list[Plain] = []
        while type(item := self._following()) is not yaml.SequenceEndEvent:
            values.append(self.node(item, depth))
        return values

    def _mapping(self, event: _Event, depth: int) -> dict[str, Plain]:
        _check_depth(event, depth)
        values: dict[str, Plain] = {}
        merged: list[Plain] = []
        while type(item := self._following()) is not yaml.MappingEndEvent:
            key = self._key(item)
            value = self.node(self._following(), depth)
            if key == _MERGE:
                merged.extend(value if isinstance(value, list) else [value])
            elif key in values:
                raise _fault(item, f"the key {key!r} stands twice in one mapping")
            else:
                values[key] = value
        for other in merged:
            if not isinstance(other, dict):
                raise _fault(event, "a merge key << takes mappings only")
            values = {**other, **values}
        return values

    def _key(self, event: _Event) -> str:
        kind = type(event)
        value = self.node(event, 0) if kind is yaml.AliasEvent else None
        if kind is yaml.ScalarEvent:
            value = event.value
            if event.anchor:
                self._anchors[event.anchor] = value
        if not isinstance(value, str):
            raise _fault(event, "a key that is not a string")
        return value


def _check_depth(event: _Event, depth: int) -> None:
    if depth > _DEPTH_LIMIT:
        raise _fault(event, f"more than {_DEPTH_LIMIT} levels of nesting")


def _fault(event: _Event, why: str) -> yaml.MarkedYAMLError:
    return yaml.MarkedYAMLError(problem=why, problem_mark=event.start_mark)


def _scalar(event: _Event) -> Plain:
    text: str = event.value
    if event.implicit[0]:
        value = _memo.get(text, _memo)
        return _resolved(text) if value is _memo else value
    tag = event.tag
    if tag is None or tag == _STANDARD_TAG + "str":
        return text
    if tag.startswith(_STANDARD_TAG):
        return _resolved(text)
    raise _fault(event, f"the tag {tag} has no meaning here")


def _resolved(text: str) -> Plain:
    """What a plain scalar means: null, a boolean, a number, and text for all else."""
    value: Plain = text
    if text in _WORDS:
        value = _WORDS[text]
    elif text[0] in "+-.0123456789":
        value = _number(text)
    if len(_memo) < _MEMO_LIMIT:
        _memo[text] = value
    return value


def _number(text: str) -> Plain:
    if len(text) > _DIGITS_LIMIT:
        return text
    if _INT.match(text):
        return int(text.replace("_", ""))
    if _BASED.match(text):
        digits = text.lstrip("+-")
        value = int(digits, 0) if digits[1] in "oxb" else int(digits, 8)
        return -value if text[0] == "-" else value
    return float(text) if _FLOAT.match(text) else text


def line_of(text: str, path: Path) -> int:
    """The 1-based line within a chunk of the field at `path`.

    A field that is absent gives the line of the nearest mapping or list around it.
    """
    try:
        node = yaml.compose(text, Loader=yaml.CSafeLoader)
    except yaml.YAMLError:
        return 1
    if node is None:
        return 1
    line = int(node.start_mark.line)
    for step in path:
        found = _child(node, step)
        if found is None:
            break
        mark, node = found
        line = int(mark.line)
    return line + 1


def _child(node: yaml.Node, step: str | int) -> tuple[yaml.Mark, yaml.Node] | None:
    if isinstance(node, yaml.MappingNode):
        for key, value in node.value:
            if key.value == step:
                return key.start_mark, value
    if isinstance(node, yaml.SequenceNode) and isinstance(step, int) and step < len(node.value):
        return node.value[step].start_mark, node.value[step]
    return None
