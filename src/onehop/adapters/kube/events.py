"""Events: what happened to an object, once each time it happens (events.k8s.io/v1).

An Event follows from a change: of what a status said, or of what is wrong with an object. So a
pass over unchanged objects makes none, nor does a restart. What each says is in `event_kinds`.
They go behind everything else, and when more wait than anybody would read they are dropped and
counted.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Container, Iterable, Iterator, Mapping
from hashlib import blake2b

import msgspec

from onehop.adapters.kube.connection import Request
from onehop.adapters.kube.event_kinds import (
    ADDITIONAL_ASSIGN_FAILED,
    ALLOCATION_FAILED,
    CLEAR_ASSIGNMENT,
    DEPRECATED_ANNOTATION,
    IP_ALLOCATED,
    IP_REPLACED,
    PARTLY_REFUSED,
    PROBLEM,
    EventKind,
)
from onehop.adapters.kube.instant import micro_instant
from onehop.adapters.kube.requests import Lane, Outcome, Requests
from onehop.adapters.kube.statuses import CONDITIONS, FIELD_MANAGER, has_ours
from onehop.adapters.kube.structs import Live
from onehop.model.annotation import deprecated, present
from onehop.model.desired import ServiceStatus
from onehop.model.diff import moved
from onehop.model.reason import Problem, Reason, Refusal, Severity
from onehop.model.service import Key, Service

_LIMIT = 1000  # that wait; whoever creates more at once reads none of them
_NOTE = 1024  # octets that the API allows
_METALLB = "metallb.io/v1beta1"
_VERSIONS = {
    "Service": "v1",
    "Node": "v1",
    "Namespace": "v1",
    "Secret": "v1",
    "EndpointSlice": "discovery.k8s.io/v1",
    "BGPPeer": "metallb.io/v1beta2",
}
_encode = msgspec.json.Encoder().encode
LiveLookup = Callable[[str, Key], Live | None]


class Events:
    """Sends Events; `instance` is who sends them: a pod."""

    def __init__(
        self,
        requests: Requests,
        *,
        instance: str,
        wall: Callable[[], float] = time.time,
    ) -> None:
        self._requests = requests
        self._instance = instance
        self._wall = wall
        self.dropped = 0

    def send(
        self, kind: EventKind, regarding: Mapping[str, str], *, code: str = "", once: str = "",
        **particulars: object,
    ) -> None:  # fmt: skip
        """Send an Event about an object; of those that are the same `once`, the server takes one.

        That holds as long as the server keeps the first one, mostly an hour. `code` is the reason
        of a kind that has none of its own; `particulars` are what its note names.
        """
        now = self._wall()
        reason, note = kind.reason or code, kind.note.format(**particulars)
        told = once or f"{now!r} {reason} {note}"
        mark = blake2b(f"{self._instance if not once else ''} {told}".encode(), digest_size=8)
        namespace = regarding.get("namespace") or "default"
        body = {
            "apiVersion": "events.k8s.io/v1",
            "kind": "Event",
            "metadata": {
                "name": f"{regarding['name'][:230]}.{mark.hexdigest()}",
                "namespace": namespace,
            },
            "eventTime": micro_instant(now),
            "reportingController": kind.component,
            "reportingInstance": self._instance[:128],
            "action": kind.action,
            "reason": reason,
            "type": "Warning" if kind.is_warning else "Normal",
            "note": note.encode()[:_NOTE].decode(errors="ignore"),
            "regarding": regarding,
        }
        path = f"/apis/events.k8s.io/v1/namespaces/{namespace}/events?fieldManager={FIELD_MANAGER}"
        name = ("Event", mark.digest())
        request = Request("POST", path, _encode(body))
        if not self._requests.submit(Lane.EVENT, name, request, self._ended, limit=_LIMIT):
            self.dropped += 1

    def _ended(self, outcome: Outcome) -> None:
        if not outcome.ok and outcome.status != 409:  # a conflict: it is there already
            self.dropped += 1


class ServiceEvents:
    """Tells what the status of a Service says now that it did not say before."""

    def __init__(self, events: Events) -> None:
        self._events = events

    def written(self, key: Key, before: Live, status: ServiceStatus) -> None:
        """A status was written over another."""
        for kind in _kinds_of(before, status):
            self._events.send(
                kind,
                _regarding("Service", key, before.uid),
                code=status.refusal.reason.code if status.refusal is not None else "",
                addresses=_listed(map(str, status.addresses)),
                before=_listed(_held(before)),
                pool=status.pool,
                refusal=status.refusal,
            )


def _kinds_of(before: Live, status: ServiceStatus) -> Iterator[EventKind]:
    """What happened, if anything of note did."""
    old, new = _held(before), [str(each) for each in status.addresses]
    if new and new != old:
        yield IP_REPLACED if old else IP_ALLOCATED
    elif old and not new:
        yield CLEAR_ASSIGNMENT
    refusal = status.refusal
    if refusal is None or _said(before, refusal):
        return
    if refusal.reason is Reason.ONE_FAMILY:
        yield ADDITIONAL_ASSIGN_FAILED
    elif new == old and refusal.reason.severity is not Severity.INFO:
        yield PARTLY_REFUSED if new else ALLOCATION_FAILED


def _held(live: Live) -> list[str]:
    return [each.ip for each in live.ingress if each.ip]


def _listed(addresses: Iterable[str]) -> str:
    return _encode(list(addresses)).decode()


def _said(before: Live, refusal: Refusal) -> bool:
    """Whether the status gave the same reason before."""
    have = {each.reason for each in before.conditions if each.type in CONDITIONS}
    return refusal.reason.code in have


class DeprecationEvents:
    """Tells of annotations with MetalLB's old prefix, when they turn up.

    What a controller finds at its start was told by the one before, unless the Service's status
    says that no controller has looked at it yet.
    """

    def __init__(self, events: Events) -> None:
        self._events = events
        self._services: Mapping[Key, Service] | None = None
        self._known: dict[Key, tuple[str, tuple[str, ...]]] = {}  # the uid, and what was told

    def tell(
        self, services: Mapping[Key, Service], in_charge_of: Container[Key], live: LiveLookup
    ) -> None:
        """These are all Services that there are now."""
        is_start = self._services is None
        gone, come = moved(self._services or {}, services)
        self._services = services
        for key in gone.keys() - come.keys():
            self._known.pop(key, None)
        for key, service in come.items():
            found = deprecated(service.annotations) if service.annotations else ()
            now = live("Service", key) if found and key in in_charge_of else None
            uid, told = self._known.pop(key, ("", ()))
            if now is None:
                continue
            self._known[key] = now.uid, found
            if is_start and (now.ingress or has_ours(now)):
                continue
            for each in found:
                if now.uid != uid or each not in told:
                    self._send(key, now.uid, each)

    def forget(self) -> None:
        """This controller is none any more."""
        self._services = None
        self._known.clear()

    def _send(self, key: Key, uid: str, annotation: str) -> None:
        self._events.send(
            DEPRECATED_ANNOTATION,
            _regarding("Service", key, uid),
            annotation=annotation,
            present=present(annotation),
        )


class NodeEvents:
    """Tells that a Service is carried by this node now, or why it cannot be."""

    def __init__(self, events: Events, *, node: str, live: LiveLookup) -> None:
        self._events = events
        self._node = node
        self._live = live

    def send(self, kind: EventKind, key: Key, refusal: Refusal | None = None) -> None:
        """Send one of a node's kinds of Event; none about a Service that is gone.

        A refusal may be told already by the speaker before: the server takes it once.
        """
        live = self._live("Service", key)
        if live is not None:
            self._events.send(
                kind,
                _regarding("Service", key, live.uid),
                once=f"{live.uid} {self._node} {refusal}" if refusal is not None else "",
                node=self._node,
                refusal=refusal,
            )


class ProblemEvents:
    """Tells of problems with objects, when they turn up."""

    def __init__(self, events: Events) -> None:
        self._events = events
        self._told: frozenset[Problem] = frozenset()

    def tell(self, problems: frozenset[Problem], live: LiveLookup) -> None:
        """These are all that there are now."""
        for problem in sorted(problems - self._told, key=str):
            self._send(problem, live)
        self._told = problems

    def _send(self, problem: Problem, live: LiveLookup) -> None:
        kind, _, name = problem.object.partition(" ")
        namespace, _, bare = name.rpartition("/")
        key = Key(namespace, bare)
        found = live(kind, key) if bare else None
        if found is None:
            return  # about no object in particular: the log and ConfigurationState say it
        self._events.send(
            PROBLEM,
            _regarding(kind, key, found.uid),
            code=problem.reason.code,
            problem=": ".join(each for each in (problem.field, problem.detail) if each),
            once=f"{found.uid} {found.generation} {problem}",
        )


def _regarding(kind: str, key: Key, uid: str) -> dict[str, str]:
    found = {"apiVersion": _VERSIONS.get(kind, _METALLB), "kind": kind, "name": key.name}
    return found | {"namespace": key.namespace, "uid": uid}
