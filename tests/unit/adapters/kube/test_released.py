"""Addresses of deleted Services, kept in a ConfigMap."""

from __future__ import annotations

import time
from collections.abc import Iterator
from ipaddress import ip_address
from types import MappingProxyType

import pytest
from hypothesis import given
from hypothesis import strategies as st

from onehop.adapters.kube.released import Released, decoded, encoded, released_path
from onehop.adapters.kube.requests import Requests
from onehop.model.service import Key
from tests.fakes.api_writes import ApiWrites, settled

PATH = released_path("onehop-system")
HELD = {Key("kafka", "my.broker-0"): (ip_address("192.0.2.1"), ip_address("2001:db8::1"))}
labels = st.from_regex(r"[a-z0-9]([-a-z0-9]{0,20}[a-z0-9])?", fullmatch=True)
keys = st.builds(Key, labels, labels)


@given(st.dictionaries(keys, st.lists(st.ip_addresses(), min_size=1, max_size=2).map(tuple)))
def test_what_is_written_is_read_again(released: dict[Key, tuple[object, ...]]) -> None:
    assert decoded(encoded(released, "x").body) == released  # type: ignore[arg-type]


@pytest.mark.parametrize(
    "body",
    [b"", b"{", b'"\x80"', b"[]", b'{"data":null}', b'{"data":{"nodot":"192.0.2.1"}}',
     b'{"data":{"a.b":"192.0.2.300"}}', b'{"data":{"a.b":""}}', b'{"data":{"a.b":1}}'],
)  # fmt: skip
def test_what_cannot_be_read_is_left_out(body: bytes) -> None:
    assert decoded(body) == {}


@pytest.fixture
def api() -> Iterator[ApiWrites]:
    server = ApiWrites()
    yield server
    server.close()


class Clock:
    now = 100.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def requests(api: ApiWrites) -> Iterator[Requests]:
    made = Requests(api.access(), timeout=0.5)
    yield made
    made.close()


def test_it_is_written_once_and_then_once_a_second(api: ApiWrites, requests: Requests) -> None:
    clock = Clock()
    released = Released(requests, "onehop-system", clock=clock)
    assert released.sync(MappingProxyType({})) is None
    first = MappingProxyType(dict(HELD))
    assert released.sync(first) == 101.0
    settled(requests)
    assert released.sync(first) is None
    assert api.objects[PATH]["data"] == {"kafka.my.broker-0": "192.0.2.1 2001:db8::1"}
    assert released.sync(MappingProxyType({})) == 101.0
    clock.now = 101.0
    assert released.sync(MappingProxyType({})) is not None
    settled(requests)
    assert [each.json["data"] for each in api.writes()] == [api.writes()[0].json["data"], {}]


def test_what_the_server_held_is_not_written_again(api: ApiWrites, requests: Requests) -> None:
    released = Released(requests, "onehop-system", clock=Clock())
    body = encoded(HELD, "onehop-system").body
    assert released.found(body) == HELD
    assert released.sync(MappingProxyType(dict(HELD))) is None
    assert api.writes() == []


def test_a_failed_write_is_due_again(api: ApiWrites, requests: Requests) -> None:
    clock = Clock()
    woken: list[int] = []
    released = Released(requests, "onehop-system", clock=clock)
    released.start(lambda: woken.append(1))
    api.script.append((500, {}, b"{}"))
    first = MappingProxyType(dict(HELD))
    released.sync(first)
    settled(requests)
    assert woken
    clock.now = time.monotonic() + 10
    released.sync(first)
    settled(requests)
    assert released.sync(first) is None
    assert len(api.writes()) == 2


def test_the_end_writes_what_is_left(api: ApiWrites, requests: Requests) -> None:
    released = Released(requests, "onehop-system", clock=Clock())
    released.sync(MappingProxyType(dict(HELD)))
    released.sync(MappingProxyType({}))
    released.flush()
    assert api.objects[PATH]["data"] == {}
    count = len(api.writes())
    released.flush()
    assert len(api.writes()) == count


def test_no_more_is_kept_than_an_object_can_hold(api: ApiWrites, requests: Requests) -> None:
    released = Released(requests, "onehop-system", clock=Clock())
    released.sync({Key("a", f"s{n}"): (ip_address(n),) for n in range(1500)})
    settled(requests)
    kept = api.objects[PATH]["data"]
    assert len(kept) == 1000
    assert "a.s1499" in kept
