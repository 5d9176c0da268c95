"""ServiceL2Status and ServiceBGPStatus in the API: what one node says that it carries.

One object for a Service and a protocol, named after the node and the Service, so that what is
there already is known by its name. At the start the node's own objects are listed once: what it
does not say any more goes, what it says already is not written, but for what another pod of the
node has left: that would go with the other pod, so it is taken over. Who becomes the owner of an
address takes away what other nodes have left behind about it; nothing else of theirs.

An Event says that the node has taken a Service over at layer 2, or begun to advertise one. The
first owner of a new Service writes none, and a start tells only of what another node has left
behind (docs/decisions/0126). Another one says that the node has no link to announce it on.

Where the kind has a status subresource, as MetalLB's own definitions have, an object takes two
writes; with ours it takes one.
"""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping
from functools import partial
from typing import Protocol
from urllib.parse import quote

import msgspec

from onehop.adapters.kube.connection import MERGE_PATCH, Request
from onehop.adapters.kube.event_kinds import (
    ADVERTISED,
    ANNOUNCE_FAILED,
    TAKEN_OVER,
    EventKind,
)
from onehop.adapters.kube.requests import Lane, Outcome, Requests
from onehop.adapters.kube.structs import UNREADABLE, Owner
from onehop.adapters.service_status import (
    API_VERSION,
    NAME_LABEL,
    NAMESPACE_LABEL,
    NODE_LABEL,
    ServiceNodeStatus,
    object_name,
    status_object,
)
from onehop.model.diff import diff
from onehop.model.reason import Refusal
from onehop.model.service import Key
from onehop.model.status import NodeStatuses

_PLURALS = {"l2": "servicel2statuses", "bgp": "servicebgpstatuses"}
_GROUP = f"/apis/{API_VERSION}"
_NAMED_ALONE = 20  # Services that a selector names; more of them, and everything is listed
_CLEAR_AFTER = 0.5  # seconds in which take-overs are gathered before others' objects are listed
_encode = msgspec.json.Encoder().encode


class _Meta(msgspec.Struct, rename="camel"):
    name: str
    labels: dict[str, str] = {}
    owner_references: tuple[Owner, ...] = ()


class _Item(msgspec.Struct):
    metadata: _Meta
    status: msgspec.Raw = msgspec.Raw(b"{}")


class _List(msgspec.Struct):
    items: list[_Item]


class _Resource(msgspec.Struct):
    name: str


class _Discovery(msgspec.Struct):
    resources: list[_Resource]


_Place = tuple[str, str]  # the short kind and the object's name


class Telling(Protocol):
    """Who is told of what the node carries now, and of what it cannot."""

    def __call__(self, kind: EventKind, key: Key, refusal: Refusal | None = None) -> None:
        """One of a node's kinds of Event applies to a Service; `refusal` is why it failed."""
        ...


def _silent(kind: EventKind, key: Key, refusal: Refusal | None = None) -> None:
    """Nobody is told."""
    del kind, key, refusal


class NodeStatusObjects:
    """The statuses of one node. All methods belong to the loop's thread."""

    def __init__(
        self,
        requests: Requests,
        *,
        node: str,
        namespace: str,
        owner: Mapping[str, str] | None = None,
        tell: Telling = _silent,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._requests = requests
        self._node = node
        self._namespace = namespace
        self._owner = owner
        self._tell = tell
        self._clock = clock
        self._want = NodeStatuses()
        self._pending: dict[_Place, ServiceNodeStatus | None] = {}
        self._there: dict[_Place, bytes] | None = None  # what the server holds of ours
        self._left: set[_Place] = set()  # by another pod of this node
        self._split: frozenset[str] = frozenset()  # kinds with a status subresource
        self._results: deque[Callable[[], None]] = deque()
        self._is_asked = False
        self._taken: dict[Key, bool] = {}  # new ones at layer 2, and whether that was told
        self._has_spoken = False
        self._clear_at = 0.0
        self._retry_at = 0.0
        self._later: Callable[[float], None] = lambda seconds: None

    def start(self, later: Callable[[float], None]) -> None:
        """Learn how to have `step` called in so many seconds; from any thread."""
        self._later = later

    def want(self, statuses: NodeStatuses) -> None:
        """Take over what is to be said; `step` writes it."""
        for kind in _PLURALS:
            have = getattr(self._want, kind)
            now = getattr(statuses, kind)
            if have is now:
                continue
            steps = diff(have, now)
            for status in (*steps.add.values(), *steps.change.values()):
                self._pending[kind, object_name(status)] = status
            for key in steps.remove:
                self._pending[kind, object_name(have[key])] = None
            self._begun(kind, steps.add, statuses.taken_over)
        for key, refusal in statuses.unlinked.items():
            if self._want.unlinked.get(key) != refusal:
                self._tell(ANNOUNCE_FAILED, key, refusal)
        self._want = statuses
        self._has_spoken = True
        if self._taken:
            self._clear_at = self._clock() + _CLEAR_AFTER

    def _begun(self, kind: str, added: Iterable[Key], taken_over: frozenset[Key]) -> None:
        for key in added:
            if kind == "l2":
                self._taken[key] = key in taken_over
                if key in taken_over:
                    self._tell(TAKEN_OVER, key)
            elif self._has_spoken:
                self._tell(ADVERTISED, key)

    def step(self, limit: int) -> bool:
        """Send so many of the writes that are due; whether more of them are left.

        What has to wait, for an answer or a while, has `later` called when it is time.
        """
        while self._results:
            self._results.popleft()()
        now = self._clock()
        if now < self._retry_at:
            self._later(self._retry_at - now)
            return False
        if self._there is None:
            self._learn()
            return False
        for place in list(self._pending)[:limit]:
            self._put(place, self._pending.pop(place))
        if self._taken and now >= self._clear_at:
            self._clear()
        elif self._taken:
            self._later(self._clear_at - now)
        return bool(self._pending)

    def close(self, *, patience: float = 2.0) -> None:
        """Wait a moment for what is still to be sent, then send nothing more."""
        until = self._clock() + patience
        while self._requests.waiting() and self._clock() < until:
            time.sleep(0.005)
        self._requests.close()

    def _learn(self) -> None:
        """Ask, once, which kinds have a subresource and what is there of this node."""
        if self._is_asked:
            return
        self._is_asked = True
        found: dict[_Place, bytes] = {}
        left = {"kinds", *_PLURALS}

        def answered(what: str, outcome: Outcome) -> None:
            if not outcome.ok and outcome.status != 404:
                self._put_off(outcome)
                return
            if what == "kinds":
                self._split = _with_subresource(outcome)
            else:
                found.update(self._found(what, outcome))
            left.discard(what)
            if not left:
                self._begin(found)

        self._ask(Request("GET", _GROUP), partial(answered, "kinds"))
        selector = f"labelSelector={quote(f'{NODE_LABEL}={self._node}', safe='')}"
        for kind in _PLURALS:
            request = Request("GET", f"{self._path(kind)}?{selector}")
            self._ask(request, partial(answered, kind))

    def _found(self, kind: str, outcome: Outcome) -> Iterator[tuple[_Place, bytes]]:
        for item in _items(outcome):
            place = (kind, item.metadata.name)
            owners = {each.uid for each in item.metadata.owner_references}
            if self._owner is not None and self._owner["uid"] not in owners:
                self._left.add(place)
            yield place, bytes(item.status)

    def _begin(self, found: dict[_Place, bytes]) -> None:
        self._there = found
        for place in found:
            self._pending.setdefault(place, None)
        for key, status in self._want.l2.items():
            if ("l2", object_name(status)) in found:
                self._taken[key] = True  # this node was the last that announced it

    def _put(self, place: _Place, status: ServiceNodeStatus | None) -> None:
        assert self._there is not None, "nothing is written before it is known what is there"
        kind, name = place
        path = f"{self._path(kind)}/{name}"
        if status is None:
            if self._there.pop(place, None) is not None:
                self._send(place, Request("DELETE", path), None)
            return
        body = dict(status_object(status, self._namespace))
        said = _encode(body["status"])
        have = self._there.get(place)
        is_left = place in self._left
        if have is not None and _same(have, said) and not is_left:
            return
        self._there[place] = said
        self._left.discard(place)
        patch = _encode({"status": body["status"]})
        main = f"{path}/status" if kind in self._split else path
        change = Request("PATCH", main, patch, MERGE_PATCH)
        if have is not None and not is_left:
            self._send(place, change, status)
            return
        if self._owner is not None:
            body["metadata"] = {**_mapping(body["metadata"]), "ownerReferences": [self._owner]}
        create = Request("POST", self._path(kind), _encode(body))
        first = create if have is None else _as_change(create, place)
        self._send(place, first, status, then=change if kind in self._split else None)

    def _send(
        self,
        place: _Place,
        request: Request,
        status: ServiceNodeStatus | None,
        *,
        then: Request | None = None,
    ) -> None:
        def ended(outcome: Outcome) -> None:
            is_there = request.method == "POST" and outcome.status == 409
            is_gone = request.method == "DELETE" and outcome.status == 404
            if is_there:
                self._send(place, _as_change(request, place), status, then=then)
            elif outcome.ok and then is not None:
                self._send(place, then, status)
            elif not outcome.ok and not is_gone:
                self._failed(place, status, outcome)

        self._requests.submit(
            Lane.REPORT,
            place,
            request,
            lambda outcome: self._results.append(lambda: ended(outcome)),
        )

    def _failed(self, place: _Place, status: ServiceNodeStatus | None, outcome: Outcome) -> None:
        """Try again later, unless something else is to be said by then."""
        assert self._there is not None, "something was written"
        if status is None:
            self._there[place] = b""
        else:
            self._there.pop(place, None)
        self._pending.setdefault(place, status)
        self._put_off(outcome)

    def _put_off(self, outcome: Outcome) -> None:
        now = self._clock()
        self._retry_at = outcome.retry_at or now + 1.0
        self._is_asked = False
        self._later(max(0.0, self._retry_at - now))

    def _clear(self) -> None:
        """Take away what other nodes said about Services that this node has taken over."""
        taken, self._taken = self._taken, {}
        selector = f"{NODE_LABEL}!={self._node}"
        if len(taken) <= _NAMED_ALONE:
            names = ",".join(sorted({key.name for key in taken}))
            selector += f",{NAME_LABEL} in ({names})"

        def listed(outcome: Outcome) -> None:
            for item in _items(outcome):
                labels = item.metadata.labels
                key = Key(labels.get(NAMESPACE_LABEL, ""), labels.get(NAME_LABEL, ""))
                if key not in taken or key not in self._want.l2:
                    continue
                path = f"{self._path('l2')}/{item.metadata.name}"
                self._ask(Request("DELETE", path), lambda outcome: None)
                if not taken[key]:
                    taken[key] = True
                    self._tell(TAKEN_OVER, key)

        self._ask(
            Request("GET", f"{self._path('l2')}?labelSelector={quote(selector, safe='')}"), listed
        )

    def _ask(self, request: Request, then: Callable[[Outcome], None]) -> None:
        self._submit((request.method, request.path), request, then)

    def _submit(
        self, key: tuple[str, str], request: Request, then: Callable[[Outcome], None]
    ) -> None:
        def done(outcome: Outcome) -> None:
            self._results.append(lambda: then(outcome))
            self._later(0.0)

        self._requests.submit(Lane.REPORT, key, request, done)

    def _path(self, kind: str) -> str:
        return f"{_GROUP}/namespaces/{self._namespace}/{_PLURALS[kind]}"


def _with_subresource(outcome: Outcome) -> frozenset[str]:
    try:
        found = msgspec.json.decode(outcome.body, type=_Discovery)
    except UNREADABLE:
        return frozenset()
    names = {each.name for each in found.resources}
    return frozenset(kind for kind, plural in _PLURALS.items() if f"{plural}/status" in names)


def _items(outcome: Outcome) -> list[_Item]:
    try:
        return msgspec.json.decode(outcome.body, type=_List).items if outcome.ok else []
    except UNREADABLE:
        return []


def _same(have: bytes, said: bytes) -> bool:
    try:
        return bool(msgspec.json.decode(have) == msgspec.json.decode(said))
    except UNREADABLE:
        return False


def _mapping(value: object) -> Mapping[str, object]:
    assert isinstance(value, Mapping), "metadata is a mapping"
    return value


def _as_change(create: Request, place: _Place) -> Request:
    """The write of an object that is there already, and may be another pod's."""
    body = msgspec.json.decode(create.body)
    patch = {"status": body["status"]}
    owners = body["metadata"].get("ownerReferences")
    if owners:
        patch["metadata"] = {"ownerReferences": owners}
    return Request("PATCH", f"{create.path}/{place[1]}", _encode(patch), MERGE_PATCH)
