"""What msgspec found wrong with a shape, in Kubernetes' words and with the field it names."""

from __future__ import annotations

import re

from onehop.adapters.objects.fault import Fault, Path, Plain

_AT = re.compile(r"(?s)(.*) - at `(?:key in )?\$(.*)`\Z")
_STEP = re.compile(r"\.([^.\[\]]+)|\[(\d+|\.\.\.)\]")
_MISSING = re.compile(r"Object missing required field `(.*)`\Z")
_WRONG = re.compile(r"Expected `(.*)`, got `(.*)`\Z")
NAMES = {
    "int": "a whole number",
    "float": "a number",
    "str": "a string",
    "bool": "true or false",
    "array": "a list",
    "object": "a mapping",
    "null": "null",
}


def shape_fault(plain: Plain, message: str) -> Fault:
    """The fault that msgspec found, in Kubernetes' words and with the field it names."""
    found = _AT.match(message)
    what, where = found.groups() if found else (message, "")
    path: Path = ()
    for match in _STEP.finditer(where):
        name, index = match.groups()
        if index == "...":
            path = (*path, *_culprit(plain, path))
        else:
            path = (*path, name if name is not None else int(index))
    if missing := _MISSING.match(what):
        return Fault(path=(*path, missing[1]), detail="is missing")
    if wrong := _WRONG.match(what):
        return Fault(path=path, detail=_wrong(wrong[1].removesuffix(" | null"), wrong[2]))
    return Fault(path=path, detail=what)


def _wrong(expected: str, got: str) -> str:
    hint = ": quote it" if expected == "str" and got in ("int", "float", "bool") else ""
    return f"expected {NAMES.get(expected, expected)}, got {NAMES.get(got, got)}{hint}"


def _culprit(plain: Plain, path: Path) -> Path:
    """The key of the mapping at `path` whose value is no string: msgspec does not say which."""
    for step in path:
        if isinstance(plain, dict) and isinstance(step, str):
            plain = plain.get(step)
        elif isinstance(plain, list) and isinstance(step, int):
            plain = plain[step]
    if isinstance(plain, dict):
        for key, value in plain.items():
            if not isinstance(value, str):
                return (key,)
    return ()
