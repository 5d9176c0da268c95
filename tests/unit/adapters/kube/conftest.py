"""A fake API server with a few objects, and stores that read it."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import pytest

from onehop.adapters.kube.kubeconfig import Access
from onehop.adapters.kube.reflector import Timing
from onehop.adapters.kube.store import KubeStore
from tests.fakes.api_server import ApiServer

# All spans a hundredth or so of what they are in earnest, so that tests wait for nothing.
QUICK = Timing(
    answer=2.0,
    inactivity=5.0,
    brief=0.0,
    first_pause=0.005,
    last_pause=0.05,
    first_slow=0.02,
    last_slow=0.05,
    spacing=0.005,
    page=3,
)


@pytest.fixture
def api() -> Iterator[ApiServer]:
    server = ApiServer()
    yield server
    server.stop()


def access(api: ApiServer, **more: object) -> Access:
    return Access(server=api.url, host="127.0.0.1", port=api.port, **more)  # type: ignore[arg-type]


@pytest.fixture
def opened(api: ApiServer) -> Iterator[Callable[..., KubeStore]]:
    """Opens stores, and closes them."""
    stores: list[KubeStore] = []

    def open_(**more: object) -> KubeStore:
        values: dict[str, object] = {
            "namespace": "metallb-system",
            "timing": QUICK,
            "patience": 15.0,
            **more,
        }
        store = KubeStore(access(api), **values)  # type: ignore[arg-type]
        stores.append(store)
        return store

    yield open_
    for store in stores:
        store.close()
