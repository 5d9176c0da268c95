"""Text to plain values, and back to the line of a field."""

from __future__ import annotations

import json
import re

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from onehop.adapters.manifests.document import (
    DocumentError,
    Plain,
    chunks,
    document,
    line_of,
)


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("1", 1),
        ("-1", -1),
        ("+12_000", 12000),
        ("0x1F", 31),
        ("-0b11", -3),
        ("0o17", 15),
        ("017", 15),
        ("08", 8.0),
        ("1.5", 1.5),
        ("1e3", 1000.0),
        (".5", 0.5),
        ("1.", 1.0),
        ("1.2.3.4", "1.2.3.4"),
        ("02:00:00:00:00:01", "02:00:00:00:00:01"),
        ("10:20:30", "10:20:30"),
        ("2026-11-22T11:18:39Z", "2026-11-22T11:18:39Z"),
        ("2026-11-22", "2026-11-22"),
        ("yes", True),
        ("Off", False),
        ("TRUE", True),
        ("~", None),
        ("", None),
        ("Null", None),
        ("'1'", "1"),
        ('"yes"', "yes"),
        ("!!str 1", "1"),
        ("!!int '1'", 1),
        ("|\n  a\n  b\n", "a\nb\n"),
        (".", "."),
        ("--", "--"),
        ("+", "+"),
    ],
)
def test_scalars(text: str, value: Plain) -> None:
    """Kubernetes' reading: numbers and booleans of YAML 1.1, but no dates and no base sixty."""
    found = document(f"a: {text}")
    assert found == {"a": value}
    assert isinstance(found, dict)
    assert type(found["a"]) is type(value)


def test_anchors_and_merge_keys() -> None:
    """An alias is its anchor's value; keys of one's own win over merged ones."""
    text = "base: &b {x: 1, y: 2}\none: {<<: *b, y: 3}\ntwo: {<<: [*b, {z: 4}]}\n&k key: *k\n"
    assert document(text) == {
        "base": {"x": 1, "y": 2},
        "one": {"x": 1, "y": 3},
        "two": {"x": 1, "y": 2, "z": 4},
        "key": "key",
    }


def test_a_billion_laughs_cost_nothing() -> None:
    """Aliases share a value, they do not copy it."""
    lines = ["a0: &a0 [x]"]
    lines += [f"a{i}: &a{i} [{', '.join([f'*a{i - 1}'] * 10)}]" for i in range(1, 60)]
    found = document("\n".join(lines))
    assert isinstance(found, dict)
    assert len(found) == 60


def test_deep_json_is_refused() -> None:
    """Nesting that would end the interpreter's stack is an ordinary fault."""
    with pytest.raises(DocumentError, match="levels of nesting"):
        document("[" * 100_000)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("a: 1\n", [(1, "a: 1\n")]),
        ("a: 1\n---\nb: 2\n", [(1, "a: 1\n"), (2, "---\nb: 2\n")]),
        ("---\n# only\n---\nb: 2", [(3, "---\nb: 2")]),
        ("--- {a: 1}\n--- # note\n", [(1, "--- {a: 1}\n")]),
        ("%YAML 1.1\n---\na: 1\n...\n", [(2, "---\na: 1\n...\n")]),
        ("a: |\n  ---\nb: ----\n", [(1, "a: |\n  ---\nb: ----\n")]),
        ("a: 1\r\n---\r\nb: 2\r\n", [(1, "a: 1\r\n"), (2, "---\r\nb: 2\r\n")]),
        ("# a\n\n", []),
    ],
)
def test_chunks(text: str, expected: list[tuple[int, str]]) -> None:
    """A file is divided at its separators, and what holds only comments is left out."""
    assert [(chunk.line, chunk.text) for chunk in chunks(text)] == expected


def test_dots_end_a_document() -> None:
    """And a chunk that holds nothing is nothing."""
    assert document("--- {a: 1}\n...\n") == {"a": 1}
    assert document("# a\n") is None


# PyYAML writes "1E5" without quotes, since to YAML 1.1 it is no number; to kubectl it is one.
STRINGS = st.text().filter(lambda text: not re.fullmatch(r"[-+]?[0-9]+[eE][-+]?[0-9]+", text))
VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | STRINGS,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(STRINGS, inner, max_size=3),
    max_leaves=12,
)


def without_merge(value: object) -> bool:
    return "<<" not in repr(value)


@given(VALUES.filter(without_merge), st.booleans())
def test_what_yaml_wrote_is_read(value: object, flow: bool) -> None:
    """PyYAML's own output, block or flow, comes back as the value it was."""
    text = yaml.safe_dump(value, default_flow_style=flow)
    assert document(text) == value


@given(st.dictionaries(st.text(), VALUES))
def test_what_json_wrote_is_read(value: dict[str, object]) -> None:
    """JSON is read as JSON, whatever a key is."""
    assert document(json.dumps(value)) == value


@given(st.text() | st.text(alphabet="{}[]:,&*!|>'\"%-#? \n\tab0"))
def test_any_text_is_values_or_a_fault(text: str) -> None:
    """Nothing else comes out, whatever goes in, and the line lies within the text."""
    for chunk in chunks(text):
        try:
            document(chunk.text)
        except DocumentError as error:
            fault = error
            assert 1 <= fault.line <= chunk.text.count("\n") + 1
            assert fault.why


TEXT = """\
kind: Service
spec:
  ports:
  - name: a
    port: 80
  - name: b
    port: 81
"""


@pytest.mark.parametrize(
    ("path", "line"),
    [
        ((), 1),
        (("kind",), 1),
        (("spec",), 2),
        (("spec", "ports"), 3),
        (("spec", "ports", 1), 6),
        (("spec", "ports", 1, "port"), 7),
        (("spec", "ports", 1, "protocol"), 6),
        (("spec", "ports", 2, "port"), 3),
        (("status", "x"), 1),
        (("kind", "x"), 1),
    ],
)
def test_line_of_a_field(path: tuple[str | int, ...], line: int) -> None:
    """The line of its key, or of what is nearest around it."""
    assert line_of(TEXT, path) == line


def test_line_where_there_is_none() -> None:
    """A document that is not there, or cannot be composed, gives the first line."""
    assert line_of("", ()) == 1
    assert line_of("a: [", ("a",)) == 1
