"""Which store: a folder of manifests, or an API server. Nothing else knows the difference."""

from __future__ import annotations

import asyncio
import os
import select
import time
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

from onehop.adapters.telemetry import Log
from onehop.app.ports import Store
from onehop.app.problem_log import ProblemLog
from onehop.model.objects import Objects

if TYPE_CHECKING:
    from onehop.adapters.kube.kubeconfig import Access

DEFAULT_NAMESPACE = "onehop-system"
PATIENCE_SECONDS = 30.0


class StoreError(Exception):
    """The store cannot be opened; the text is for the user and names the option at fault."""


class IncompleteError(Exception):
    """The store did not list everything in time; the text says what is known of why."""


class OpenStore(Store, Protocol):
    """A store that is read, and closed at the end."""

    def staleness(self) -> float:
        """For how many seconds it has been out of reach."""
        ...

    def close(self) -> None:
        """Stop watching."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class StoreChoice:
    """The command line's choice: `folder`, or else an API server.

    `namespace` is that of the `metallb.io` objects, None for the default.
    """

    folder: Path | None = None
    state_folder: Path | None = None
    kubeconfig: Path | None = None
    context: str | None = None
    namespace: str | None = None

    @property
    def state(self) -> Path:
        """Where statuses of a folder and reports of this node are kept."""
        if self.state_folder is not None:
            return self.state_folder
        return self.folder / ".onehop" if self.folder is not None else Path("/run/onehop")


def open_store(choice: StoreChoice, *, loop: asyncio.AbstractEventLoop | None = None) -> OpenStore:
    """The store, for reading; a folder's can be written as well.

    An API server is read on the `loop` if there is one, and in a thread if not.

    Raises:
        StoreError: when it cannot be opened.
    """
    if choice.folder is None:
        from onehop.adapters.kube.store import KubeStore

        access = reach(choice)
        return KubeStore(access, namespace=namespace_of(choice, access), loop=loop)
    from onehop.adapters.manifests import Manifests

    try:
        return Manifests(choice.folder, state=choice.state)
    except (OSError, ValueError) as error:
        raise StoreError(f"--manifests {choice.folder}: {error}") from error


def reach(choice: StoreChoice) -> Access:
    """The API server of the choice.

    Raises:
        StoreError: when nothing says which, or what says so cannot be used.
    """
    from onehop.adapters.kube.credentials import KubeConfigError
    from onehop.adapters.kube.kubeconfig import load_access

    try:
        return load_access(choice.kubeconfig, choice.context)
    except KubeConfigError as error:
        hint = "" if choice.kubeconfig or choice.context else " (or name a folder: --manifests)"
        raise StoreError(f"--kubeconfig: {error}{hint}") from error


def namespace_of(choice: StoreChoice, access: Access) -> str:
    """The namespace of the `metallb.io` objects."""
    return choice.namespace or (access.namespace if access.is_pod else DEFAULT_NAMESPACE)


def own_namespace_of(choice: StoreChoice, access: Access) -> str:
    """The namespace that we run in: there are the Lease and what is kept for a restart."""
    own = os.environ.get("ONEHOP_POD_NAMESPACE") or (access.namespace if access.is_pod else "")
    return own or namespace_of(choice, access)


async def await_complete(store: Store, log: Log) -> None:
    """Wait until everything was listed once, however long it takes, and say what is in the way.

    A speaker that gave up instead would be started anew later and later by whoever restarts it.
    """
    told = ProblemLog(log)
    loop, news = asyncio.get_running_loop(), asyncio.Event()
    loop.add_reader(store.fileno(), news.set)
    try:
        store.refresh()
        while not store.objects().complete:
            told.tell(store.objects().problems)
            await news.wait()
            store.refresh()
            news.clear()
    finally:
        loop.remove_reader(store.fileno())


def complete_objects(store: Store, *, patience: float = PATIENCE_SECONDS) -> Objects:
    """All objects of the store, waiting until every kind was listed.

    Raises:
        IncompleteError: when that takes longer than `patience` seconds.
    """
    until = time.monotonic() + patience
    waiting = select.poll()
    waiting.register(store.fileno(), select.POLLIN)
    while True:
        store.refresh()
        objects = store.objects()
        if objects.complete:
            return objects
        left = until - time.monotonic()
        if left <= 0:
            why = "; ".join(map(str, objects.problems)) or "no answer"
            raise IncompleteError(f"not everything could be read within {patience:g} s: {why}")
        waiting.poll(left * 1000)
