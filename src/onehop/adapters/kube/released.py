"""Released addresses: what deleted Services held, kept for when they come back.

Who comes back under the same namespace and name gets the same address, also from a controller
that has started since: Strimzi deletes and makes Services again, and rolls no broker when their
addresses stay. They are kept in a ConfigMap, whose keys may hold no slash: a namespace has no
dot, so the first dot stands for it.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping
from contextlib import suppress
from ipaddress import ip_address

import msgspec

from onehop.adapters.kube.connection import Request
from onehop.adapters.kube.requests import Lane, Outcome, Requests
from onehop.adapters.kube.statuses import applied
from onehop.adapters.kube.structs import UNREADABLE
from onehop.model.address import IPAddress
from onehop.model.service import Key

NAME = "onehop-released"
_LIMIT = 1000  # entries: a ConfigMap holds a megabyte
_SPAN = 1.0  # seconds between two writes
_Addresses = tuple[IPAddress, ...]


class _ConfigMap(msgspec.Struct):
    data: dict[str, str] | None = None


def released_path(namespace: str) -> str:
    """Where the ConfigMap is."""
    return f"/api/v1/namespaces/{namespace}/configmaps/{NAME}"


def decoded(body: bytes) -> dict[Key, _Addresses]:
    """What the ConfigMap holds; an entry that cannot be read is left out."""
    found: dict[Key, _Addresses] = {}
    try:
        data = msgspec.json.decode(body, type=_ConfigMap).data or {}
    except UNREADABLE:
        return found
    for text, listed in data.items():
        namespace, dot, name = text.partition(".")
        with suppress(ValueError):
            addresses = tuple(map(ip_address, listed.split()))
            if dot and addresses:
                found[Key(namespace, name)] = addresses
    return found


def encoded(released: Mapping[Key, _Addresses], namespace: str) -> Request:
    """The write that makes the ConfigMap hold exactly these."""
    data = {
        f"{key.namespace}.{key.name}": " ".join(map(str, addresses))
        for key, addresses in released.items()
    }
    body = {
        "apiVersion": "v1",
        "kind": "ConfigMap",
        "metadata": {"name": NAME, "namespace": namespace},
        "data": data,
    }
    return applied(released_path(namespace), body)


class Released:
    """Keeps the ConfigMap like the world, a second later at most."""

    def __init__(self, requests: Requests, namespace: str, *, clock: Callable[[], float]) -> None:
        self._requests = requests
        self._namespace = namespace
        self._clock = clock
        self._wake: Callable[[], None] = lambda: None
        self._source: Mapping[Key, _Addresses] | None = None
        self._want: Mapping[Key, _Addresses] = {}
        self._sent: Mapping[Key, _Addresses] | None = {}  # None: it failed
        self._kept: Mapping[Key, _Addresses] = {}
        self._not_before = 0.0

    def start(self, wake: Callable[[], None]) -> None:
        """Learn how to have the ring go round."""
        self._wake = wake

    def found(self, body: bytes) -> Mapping[Key, _Addresses]:
        """What the ConfigMap held at the start, as the store asks."""
        self._sent = self._kept = decoded(body)
        return self._kept

    def sync(self, released: Mapping[Key, _Addresses]) -> float | None:
        """Have these kept; the instant at which to come again, None when they are."""
        if self._source is not released:
            self._source = released
            self._want = dict(list(released.items())[-_LIMIT:])
        if self._want == self._sent:
            return None
        now = self._clock()
        if now >= self._not_before:
            self._not_before = now + _SPAN
            self._write(lambda: None)
        return self._not_before

    def flush(self, *, patience: float = 2.0) -> None:
        """Write what is not written, and wait for that."""
        if self._want == self._sent == self._kept:
            return
        ended = threading.Event()
        self._write(ended.set)
        ended.wait(patience)

    def _write(self, then: Callable[[], None]) -> None:
        want = self._sent = self._want

        def done(outcome: Outcome) -> None:
            if outcome.ok:
                self._kept = want
            elif outcome.retry_at is not None:
                self._sent, self._not_before = None, outcome.retry_at
                self._wake()
            then()

        self._requests.submit(Lane.REPORT, ("ConfigMap",), encoded(want, self._namespace), done)
