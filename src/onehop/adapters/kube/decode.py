"""Decoding: from the JSON of one object to a model value, or to problems that name the field."""

from __future__ import annotations

from dataclasses import dataclass
from sys import intern

import msgspec

from onehop.adapters.kube.structs import UNREADABLE, Head, Live, Meta, ServiceHead, StatusHead
from onehop.adapters.objects.fault import Fault, ObjectId, Value, field_name
from onehop.adapters.objects.kinds import KINDS
from onehop.adapters.objects.reading import Reading
from onehop.adapters.objects.shape_fault import shape_fault
from onehop.model.reason import Problem, Reason
from onehop.model.service import Key

_WITHOUT_LIVE = ("EndpointSlice", "Node", "Namespace", "Secret")


@dataclass(frozen=True, slots=True, kw_only=True)
class Decoded:
    """What one object is: a value, none because it is of no concern, or problems."""

    value: Value | None = None
    problems: tuple[Problem, ...] = ()


class Decoder:
    """Reads objects of one kind in one version."""

    def __init__(self, api_version: str, kind: str) -> None:
        self.kind = kind
        self._kind = KINDS[api_version, kind]
        self._shape = msgspec.json.Decoder(self._kind.shape)
        self.has_live = kind not in _WITHOUT_LIVE
        self._head: msgspec.json.Decoder[Head | ServiceHead | StatusHead]
        if kind == "Service":
            self._head = msgspec.json.Decoder(ServiceHead)
        elif self.has_live:
            self._head = msgspec.json.Decoder(StatusHead)
        else:
            self._head = msgspec.json.Decoder(Head)

    def head(self, raw: msgspec.Raw) -> Head | ServiceHead | StatusHead | Problem:
        """What the object is called and which version of it this is."""
        try:
            return self._head.decode(raw)
        except UNREADABLE as error:
            fault = self._fault(raw, str(error))
            return self._problem(fault, self.called(raw))

    def key(self, meta: Meta) -> Key:
        """The object's key."""
        return Key(intern(meta.namespace) if self._kind.namespaced else "", meta.name)

    def live(self, head: Head | ServiceHead | StatusHead) -> Live | None:
        """What a writer has to know of the object; None for kinds that nobody writes to."""
        if not self.has_live:
            return None
        meta = head.metadata
        status = head.status if isinstance(head, ServiceHead) else None
        balancer = status and status.load_balancer
        return Live(
            name=meta.name,
            namespace=intern(meta.namespace),
            uid=meta.uid,
            resource_version=meta.resource_version,
            generation=meta.generation or 0,
            deleting=meta.deletion_timestamp is not None,
            owners=meta.owner_references or (),
            ingress=(balancer and balancer.ingress) or (),
            conditions=(status and status.conditions) or (),
            status=bytes(head.status) if isinstance(head, StatusHead) else b"",
        )

    def value(self, key: Key, raw: msgspec.Raw) -> Decoded:
        """The model value of the object."""
        try:
            shape = self._shape.decode(raw)
        except UNREADABLE as error:
            return Decoded(problems=(self._problem(self._fault(raw, str(error)), key),))
        reading = Reading()
        value = self._kind.decode(reading, key, shape)
        if reading.faults:
            return Decoded(problems=tuple(self._problem(each, key) for each in reading.faults))
        return Decoded(value=value)

    def _fault(self, raw: msgspec.Raw, message: str) -> Fault:
        try:
            return shape_fault(msgspec.json.decode(raw), message)
        except UNREADABLE:
            return Fault(path=(), detail=message)

    def called(self, raw: msgspec.Raw) -> Key:
        """The key of an object whose metadata is not in order, as far as it can be made out."""
        try:
            plain = msgspec.json.decode(raw)
        except UNREADABLE:
            return Key("", "?")
        meta = plain.get("metadata") if isinstance(plain, dict) else None
        names = meta if isinstance(meta, dict) else {}
        return Key(str(names.get("namespace") or ""), str(names.get("name") or "?"))

    def _problem(self, fault: Fault, key: Key) -> Problem:
        return Problem(
            source="",
            line=0,
            object=str(ObjectId(self.kind, key)),
            field=field_name(fault.path),
            reason=fault.reason,
            detail=fault.detail,
        )


def problem(about: str, reason: Reason, detail: str) -> Problem:
    """Something wrong with a whole kind, or with the server when `about` is empty."""
    return Problem(source="", line=0, object=about, field="", reason=reason, detail=detail)
