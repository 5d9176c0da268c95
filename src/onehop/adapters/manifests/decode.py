"""From the plain values of a document to model values, or to faults that name the field."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import msgspec

from onehop.adapters.objects.fault import Fault, ObjectId, Path, Plain, Value, is_label
from onehop.adapters.objects.kind import Kind
from onehop.adapters.objects.kinds import KINDS
from onehop.adapters.objects.reading import Reading
from onehop.adapters.objects.shape_fault import NAMES, shape_fault
from onehop.model.service import Key


@dataclass(frozen=True, slots=True, kw_only=True)
class Decoded:
    """One object of a document: a value, or faults, or neither when it is of no concern.

    `id` is None when the object does not say what it is. `path` leads to it from the root of its
    document, which is not empty for an item of a List.
    """

    id: ObjectId | None
    path: Path = ()
    value: Value | None = None
    faults: tuple[Fault, ...] = ()


def decoded(
    plain: Plain, path: Path = (), list_kind: tuple[str, str] | None = None
) -> Iterator[Decoded]:
    """Every object in one document that onehop reads or that cannot be read."""
    if plain is None:
        return
    if not isinstance(plain, dict):
        yield _nameless(path, (), f"expected a mapping, got {_said(plain)}")
        return
    version, name = plain.get("apiVersion"), plain.get("kind")
    if list_kind and version is None and name is None:
        version, name = list_kind
    if not isinstance(version, str) or not isinstance(name, str):
        field = "kind" if isinstance(version, str) else "apiVersion"
        yield _nameless(path, (field,), "is missing: this is not a Kubernetes object")
    elif name.endswith("List") and "items" in plain:
        yield from _items(plain["items"], path, (version, name.removesuffix("List")))
    elif (kind := KINDS.get((version, name))) is not None:
        yield _object(kind, name, plain, path)


def _items(items: Plain, path: Path, list_kind: tuple[str, str]) -> Iterator[Decoded]:
    if path:
        # Aliases could make a list of lists larger than any memory.
        yield _nameless(path, ("items",), "a list cannot hold a list")
    elif isinstance(items, list):
        for index, item in enumerate(items):
            yield from decoded(item, ("items", index), list_kind if list_kind[1] else None)
    elif items is not None:
        yield _nameless(path, ("items",), f"expected a list, got {_said(items)}")


def _nameless(path: Path, field: Path, detail: str) -> Decoded:
    return Decoded(id=None, path=path, faults=(Fault(path=field, detail=detail),))


def _object(kind: Kind, name: str, plain: dict[str, Plain], path: Path) -> Decoded:
    key = _key(kind, plain)
    if isinstance(key, Fault):
        return Decoded(id=None, path=path, faults=(key,))
    identity = ObjectId(name, key)
    try:
        shape = msgspec.convert(plain, kind.shape)
    except msgspec.ValidationError as error:
        return Decoded(id=identity, path=path, faults=(shape_fault(plain, str(error)),))
    reading = Reading()
    value = kind.decode(reading, key, shape)
    if reading.faults:
        return Decoded(id=identity, path=path, faults=tuple(reading.faults))
    return Decoded(id=identity, path=path, value=value)


class _KeyOnly(msgspec.Struct):
    name: str
    namespace: str | None = None


class _MetaOnly(msgspec.Struct):
    metadata: _KeyOnly


def _key(kind: Kind, plain: dict[str, Plain]) -> Key | Fault:
    """The object's key; a fault when it has none that Kubernetes would allow."""
    try:
        meta = msgspec.convert(plain, _MetaOnly).metadata
    except msgspec.ValidationError as error:
        return shape_fault(plain, str(error))
    namespace = (meta.namespace or "default") if kind.namespaced else ""
    if not kind.name_is_valid(meta.name):
        detail = f"{meta.name!r} is not a DNS name of lower case"
        return Fault(path=("metadata", "name"), detail=detail)
    if namespace and not is_label(namespace):
        detail = f"{namespace!r} is not a DNS label"
        return Fault(path=("metadata", "namespace"), detail=detail)
    return Key(namespace, meta.name)


def _said(plain: Plain) -> str:
    kinds = {bool: "bool", int: "int", float: "float", str: "str", list: "array", dict: "object"}
    return NAMES[kinds[type(plain)]]
