"""Faults: what is wrong with a field, before it is known which line the field stands on."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import NamedTuple, TypeAlias

from onehop.model.bgp import BFDProfile, BGPAdvertisement, BGPPeer, CommunityAliases, Secret
from onehop.model.config import L2Advertisement, Namespace, Pool
from onehop.model.node import Node, Pod
from onehop.model.reason import Reason
from onehop.model.service import EndpointSlice, Key, Service, no_labels

Plain: TypeAlias = "dict[str, Plain] | list[Plain] | str | int | float | bool | None"
Path: TypeAlias = "tuple[str | int, ...]"
Value = (
    Node
    | Namespace
    | Service
    | EndpointSlice
    | Pod
    | Pool
    | L2Advertisement
    | BGPPeer
    | BGPAdvertisement
    | BFDProfile
    | CommunityAliases
    | Secret
)

_LABEL = re.compile(r"[a-z0-9]([-a-z0-9]{0,61}[a-z0-9])?\Z")


@dataclass(frozen=True, slots=True, kw_only=True)
class Fault:
    """A field that cannot be taken: its path in the document, and a sentence."""

    path: Path
    detail: str
    reason: Reason = Reason.FIELD_INVALID


class ObjectId(NamedTuple):
    """Kind and key: what an object is known by. A tuple, because it is hashed all the time."""

    kind: str
    key: Key

    def __str__(self) -> str:
        return f"{self.kind} {self.key}"


def field_name(path: Path) -> str:
    """The path as Kubernetes writes it: `spec.addresses[0]`."""
    text = ""
    for step in path:
        if isinstance(step, int) or "." in step or "/" in step:
            text += f"[{step}]"
        else:
            text += f".{step}" if text else step
    return text


def is_label(name: str) -> bool:
    """Whether `name` is a DNS label (RFC 1123 2.1), so also a harmless file name."""
    return _LABEL.match(name) is not None


def is_subdomain(name: str) -> bool:
    """Whether `name` is DNS labels joined by dots, at most 253 characters."""
    return len(name) <= 253 and all(is_label(part) for part in name.split("."))


def frozen(labels: Mapping[str, str] | None) -> Mapping[str, str]:
    """A read-only mapping of these labels; the one empty mapping for none."""
    return MappingProxyType(dict(labels)) if labels else no_labels()
