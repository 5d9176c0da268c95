"""Structs: what the API server wraps objects in, and what of an object is not in the model.

msgspec reads them at the speed of C and skips every other field. An object is looked at twice:
first its `Head`, which says whether it is new at all, then its shape, from which the model value
is made. `gc=False`: none of them can be part of a cycle, so the collector need not walk them.
"""

from __future__ import annotations

import msgspec

# All that msgspec raises for text that is not what a struct says: also for octets that are no
# text, and for nesting without end.
UNREADABLE = (msgspec.MsgspecError, UnicodeDecodeError, RecursionError)


class Lean(msgspec.Struct, rename="camel", frozen=True, gc=False, kw_only=True):
    """What all of them share."""


class ListMeta(Lean, frozen=True):
    """metadata of a list; `continue_` leads to its next page."""

    resource_version: str = ""
    continue_: str | None = msgspec.field(name="continue", default=None)


class Page(Lean, frozen=True):
    """One page of a list. Items stay text, so that one bad object spoils no other."""

    metadata: ListMeta
    items: list[msgspec.Raw] | None = None


class Event(Lean, frozen=True):
    """One line of a watch. A BOOKMARK carries metadata only, an ERROR a Status."""

    type: str
    object: msgspec.Raw


class Status(Lean, frozen=True):
    """meta/v1 Status: an error in words."""

    message: str = ""
    reason: str = ""
    code: int = 0


class Owner(Lean, frozen=True):
    """metadata.ownerReferences entry."""

    api_version: str = ""
    kind: str = ""
    name: str = ""
    uid: str = ""
    controller: bool | None = None


class Meta(Lean, frozen=True):
    """metadata, as far as identity and version go."""

    name: str
    namespace: str = ""
    uid: str = ""
    resource_version: str = ""
    generation: int | None = None
    deletion_timestamp: str | None = None
    owner_references: tuple[Owner, ...] | None = None


class Bookmark(Lean, frozen=True):
    """The object of a BOOKMARK event."""

    metadata: ListMeta


class Head(Lean, frozen=True):
    """Any object, without what makes it of its kind."""

    metadata: Meta


class Ingress(Lean, frozen=True):
    """status.loadBalancer.ingress entry, as the API has it."""

    ip: str | None = None
    hostname: str | None = None
    ip_mode: str | None = None


class LiveCondition(Lean, frozen=True):
    """status.conditions entry, as the API has it."""

    type: str = ""
    status: str = ""
    reason: str | None = None
    message: str | None = None
    observed_generation: int | None = None
    last_transition_time: str | None = None


class BalancerStatus(Lean, frozen=True):
    """status.loadBalancer."""

    ingress: tuple[Ingress, ...] | None = None


class ServiceStatus(Lean, frozen=True):
    """Service.status."""

    load_balancer: BalancerStatus | None = None
    conditions: tuple[LiveCondition, ...] | None = None


class ServiceHead(Lean, frozen=True):
    """A Service, as far as its status goes."""

    metadata: Meta
    status: ServiceStatus | None = None


class StatusHead(Lean, frozen=True):
    """An object whose status is handed on as text."""

    metadata: Meta
    status: msgspec.Raw = msgspec.Raw(b"")


class Live(Lean, frozen=True):
    """What is known of the object itself: newest known, and more than the model says.

    `ingress` and `conditions` are those of a Service; `status` is the JSON of the status of a
    `metallb.io` object, empty when it has none.
    """

    name: str
    namespace: str
    uid: str
    resource_version: str
    generation: int = 0
    deleting: bool = False
    owners: tuple[Owner, ...] = ()
    ingress: tuple[Ingress, ...] = ()
    conditions: tuple[LiveCondition, ...] = ()
    status: bytes = b""
