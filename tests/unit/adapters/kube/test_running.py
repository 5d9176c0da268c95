"""A store that reads on the loop of whoever decides: no thread, and all else is the same."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable

import pytest

from onehop.adapters.kube.reader import Recall
from onehop.adapters.kube.store import KubeStore
from onehop.adapters.telemetry import Log
from onehop.app.stores import await_complete
from onehop.model.address import IPAddress
from onehop.model.service import Key
from tests.fakes.api_server import ApiServer
from tests.unit.adapters.kube.conftest import QUICK, access
from tests.unit.adapters.kube.objects import service

WEB = Key("shop", "web")


async def until(store: KubeStore, holds: Callable[[], bool]) -> None:
    """Let the loop go round until it holds."""
    async with asyncio.timeout(10):
        while not holds():
            await asyncio.sleep(0.005)
            store.refresh()


def on_loop(api: ApiServer, recall: Recall | None = None) -> KubeStore:
    return KubeStore(
        access(api),
        namespace="metallb-system",
        timing=QUICK,
        recall=recall,
        loop=asyncio.get_running_loop(),
    )


def test_a_store_on_a_loop_lists_and_hears_without_a_thread(api: ApiServer) -> None:
    async def main() -> None:
        threads = set(threading.enumerate())
        store = on_loop(api)
        await await_complete(store, Log())
        # The fake server answers each connection in a thread of its own.
        assert not [t for t in set(threading.enumerate()) - threads if t.name == "kube-read"]
        assert WEB not in store.objects().services
        api.put(service())
        await until(store, lambda: WEB in store.objects().services)
        store.close()

    asyncio.run(main())


def test_the_first_refresh_does_not_hold_up_the_loop_that_has_to_bring_the_news(
    api: ApiServer,
) -> None:
    async def main() -> None:
        store = on_loop(api)
        assert not store.refresh()
        assert not store.objects().complete
        store.close()

    asyncio.run(main())


def test_a_store_that_was_closed_hears_no_more(api: ApiServer) -> None:
    async def main() -> None:
        store = on_loop(api)
        await await_complete(store, Log())
        store.close()
        await asyncio.sleep(0.05)
        asked = len(api.calls)
        api.end_watches()
        await asyncio.sleep(0.1)
        assert len(api.calls) == asked
        assert asyncio.all_tasks() == {asyncio.current_task()}

    asyncio.run(main())


def test_what_ends_the_reading_ends_the_deciding(api: ApiServer) -> None:
    def broken(body: bytes) -> dict[Key, tuple[IPAddress, ...]]:
        raise AssertionError(f"a mistake of ours: {body!r}")

    async def main() -> None:
        path = "/api/v1/namespaces/onehop-system/configmaps?limit=1"
        store = on_loop(api, recall=Recall(path=path, decoded=broken))
        with pytest.raises(BaseExceptionGroup) as raised:
            await until(store, lambda: store.objects().complete)
        assert "a mistake of ours" in str(raised.value.exceptions[0])
        store.close()

    asyncio.run(main())
