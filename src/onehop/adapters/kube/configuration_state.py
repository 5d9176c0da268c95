"""ConfigurationState: what this component thinks of the configuration, in MetalLB's shape.

One object a component: `controller`, and `speaker-NODE` of each speaker. It is read once, when
there is first something to say, and written when it ought to say something else. Then it is
followed, so that one that somebody deletes is made again. That of a speaker belongs to its pod and
goes with it; the next pod of the node takes over what it finds.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Mapping

import msgspec

from onehop.adapters.kube.connection import Request
from onehop.adapters.kube.instant import instant
from onehop.adapters.kube.kubeconfig import Access
from onehop.adapters.kube.requests import Lane, Outcome, Requests
from onehop.adapters.kube.standing import Standing, version_of
from onehop.adapters.kube.statuses import applied
from onehop.adapters.kube.structs import UNREADABLE, LiveCondition, Owner
from onehop.model.reason import Problem, Severity

_COLLECTION = "/apis/metallb.io/v1beta1/namespaces/{}/configurationstates"
_KINDS = frozenset({
    "IPAddressPool", "L2Advertisement", "BGPAdvertisement", "BGPPeer", "BFDProfile", "Community",
    "Secret",
})  # fmt: skip
_SUMMARY = 32_768  # what a condition's message holds


class _Status(msgspec.Struct, rename="camel"):
    result: str = ""
    error_summary: str = ""
    conditions: tuple[LiveCondition, ...] = ()


class _Meta(msgspec.Struct, rename="camel"):
    owner_references: tuple[Owner, ...] = ()


class _State(msgspec.Struct):
    metadata: _Meta = msgspec.field(default_factory=_Meta)
    status: _Status | None = None


_Said = tuple[str, str]  # result and summary


class ConfigurationState:
    """Keeps the object of one component. All but `_done` and the like is the ring's thread."""

    def __init__(
        self,
        requests: Requests,
        access: Access,
        namespace: str,
        *,
        node: str = "",
        owner: Mapping[str, str] | None = None,
        clock: Callable[[], float] = time.monotonic,
        wall: Callable[[], float] = time.time,
    ) -> None:
        self._requests = requests
        self._collection = _COLLECTION.format(namespace)
        self._namespace = namespace
        self._name = f"speaker-{node}" if node else "controller"
        self._type = "configReconcilerValid" if node else "poolReconcilerValid"
        self._labels = {"metallb.io/component-type": "speaker" if node else "controller"}
        if node:
            self._labels["metallb.io/node-name"] = node
        self._owner = owner
        self._clock = clock
        self._wall = wall
        self._wake: Callable[[], None] = lambda: None
        self._want: _Said | None = None
        self._have: _Said | None = None  # None: not known; two empty texts: there is none
        self._is_ours = True  # as far as its owner goes
        self._since = ""  # when the condition last turned
        self._is_busy = False
        self._is_doubtful = False  # whether it still is what it was
        self._not_before = 0.0
        self._standing = Standing(access, self._collection, self._name, self._doubted)

    def start(self, wake: Callable[[], None]) -> None:
        """Learn how to have the ring go round."""
        self._wake = wake

    def close(self) -> None:
        """Look after it no more; it stays as it is."""
        self._standing.close()

    def sync(self, problems: Iterable[Problem]) -> float | None:
        """Have it say this; the instant at which to come again, None when nothing is left."""
        self._want = _said(problems)
        if self._is_doubtful and not self._is_busy:
            self._is_doubtful, self._have = False, None
        if self._is_busy or (self._want == self._have and self._is_ours):
            return None
        if self._clock() < self._not_before:
            return self._not_before
        path = f"{self._collection}/{self._name}"
        self._is_busy = True
        if self._have is None:
            self._ask(Request("GET", path), self._found)
        elif self._have == ("", "") or not self._is_ours:
            self._ask(applied(path, self._body()), self._made)
        else:
            want = self._want

            def written(outcome: Outcome) -> None:
                self._have = want if outcome.ok else None

            self._ask(applied(f"{path}/status", self._body(self._status(want))), written)
        return None

    def _ask(self, request: Request, then: Callable[[Outcome], None]) -> None:
        def done(outcome: Outcome) -> None:
            then(outcome)
            if outcome.ok:
                self._standing.follow(version_of(outcome.body))
            if outcome.retry_at is not None:
                self._not_before = outcome.retry_at
            elif not outcome.ok and outcome.status != 404:
                self._not_before = self._clock() + 1.0
            self._is_busy = False
            self._wake()

        if not self._requests.submit(Lane.REPORT, ("ConfigurationState",), request, done):
            self._is_busy = False

    def _doubted(self) -> None:
        """It may be gone. Called by the thread that follows it."""
        self._is_doubtful = True
        self._wake()

    def _found(self, outcome: Outcome) -> None:
        if outcome.status == 404:
            self._have = ("", "")
        elif outcome.ok:
            self._have = self._read(outcome.body)

    def _made(self, outcome: Outcome) -> None:
        if outcome.ok:
            self._is_ours = True
            self._have = self._have if self._have and any(self._have) else ("made", "")
        elif outcome.status == 404:  # no such kind here: nobody asked for it
            self._have, self._is_ours = self._want, True

    def _read(self, body: bytes) -> _Said:
        try:
            state = msgspec.json.decode(body, type=_State)
        except UNREADABLE:
            return ("made", "")
        status = state.status or _Status()
        owners = {each.uid for each in state.metadata.owner_references}
        self._is_ours = self._owner is None or self._owner["uid"] in owners
        found = next((each for each in status.conditions if each.type == self._type), None)
        if found is None or (found.status == "True") != (status.result == "Valid"):
            return ("made", "")
        self._since = found.last_transition_time or ""
        return (status.result, status.error_summary)

    def _body(self, status: Mapping[str, object] | None = None) -> Mapping[str, object]:
        meta: dict[str, object] = {"name": self._name, "namespace": self._namespace}
        if status is None:
            meta["labels"] = self._labels
            if self._owner is not None:
                meta["ownerReferences"] = [self._owner]
        body: dict[str, object] = {
            "apiVersion": "metallb.io/v1beta1",
            "kind": "ConfigurationState",
            "metadata": meta,
        }
        return body | {"status": status} if status is not None else body

    def _status(self, want: _Said) -> Mapping[str, object]:
        result, summary = want
        is_valid = result == "Valid"
        if not self._since or self._have is None or self._have[0] != result:
            self._since = instant(self._wall())
        condition = {
            "type": self._type,
            "status": str(is_valid),
            "reason": "Reconciled" if is_valid else "ConfigurationError",
            "message": summary,
            "lastTransitionTime": self._since,
        }
        return {"result": result, "errorSummary": summary, "conditions": [condition]}


def _said(problems: Iterable[Problem]) -> _Said:
    """Whether the configuration is valid, and what is wrong with it, one problem a line."""
    lines = sorted(
        str(each)
        for each in problems
        if each.reason.severity is Severity.ERROR and each.object.partition(" ")[0] in _KINDS
    )
    summary = "\n".join(lines).encode()[:_SUMMARY].decode(errors="ignore")
    return ("Invalid" if lines else "Valid", summary)
