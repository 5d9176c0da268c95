"""The pool of writers: order, newest wins, patience, and what each failure asks for."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator

import pytest

from onehop.adapters.kube.connection import Request
from onehop.adapters.kube.requests import Lane, Outcome, Requests
from tests.fakes.api_writes import ApiWrites, FakeAccess

PATH = "/api/v1/namespaces/kafka/services/broker-0/status"


def patch(text: str = "{}", path: str = PATH) -> Request:
    return Request("PATCH", path, text.encode(), "application/apply-patch+yaml")


class Outcomes:
    """Collects them, and waits for so many."""

    def __init__(self) -> None:
        self.found: list[tuple[str, Outcome]] = []
        self._changed = threading.Condition()

    def of(self, name: str) -> Callable[[Outcome], None]:
        def done(outcome: Outcome) -> None:
            with self._changed:
                self.found.append((name, outcome))
                self._changed.notify()

        return done

    def wait(self, count: int) -> list[tuple[str, Outcome]]:
        with self._changed:
            assert self._changed.wait_for(lambda: len(self.found) >= count, 10), self.found
            return list(self.found)


@pytest.fixture
def api() -> Iterator[ApiWrites]:
    server = ApiWrites()
    for name in ("broker-0", "broker-1"):
        server.service("kafka", name)
    yield server
    server.close()


Make = Callable[..., Requests]


@pytest.fixture
def make(api: ApiWrites) -> Iterator[Make]:
    made: list[Requests] = []

    def build(**settings: object) -> Requests:
        access = settings.pop("access", None) or api.access()
        made.append(Requests(access, **{"timeout": 0.5, **settings}))  # type: ignore[arg-type]
        return made[-1]

    yield build
    for each in made:
        each.close()


def held(api: ApiWrites, requests: Requests, seen: Outcomes) -> threading.Event:
    """Occupies the only thread until the event is set."""
    gate = threading.Event()

    def done(outcome: Outcome) -> None:
        gate.wait(10)
        seen.of("first")(outcome)

    requests.submit(Lane.STATUS, "first", patch(), done)
    while not api.seen:
        time.sleep(0.001)
    return gate


def test_the_newest_value_is_written_and_the_older_never(api: ApiWrites, make: Make) -> None:
    requests, seen = make(threads=1), Outcomes()
    gate = held(api, requests, seen)
    for n in range(5):
        requests.submit(Lane.STATUS, "key", patch(f'{{"n":{n}}}'), seen.of(f"value {n}"))
    gate.set()
    assert [name for name, _ in seen.wait(2)] == ["first", "value 4"]
    assert [each.json for each in api.seen] == [{}, {"n": 4}]


def test_statuses_go_before_reports_and_those_before_events(api: ApiWrites, make: Make) -> None:
    requests, seen = make(threads=1), Outcomes()
    gate = held(api, requests, seen)
    for lane in (Lane.EVENT, Lane.REPORT, Lane.STATUS):
        requests.submit(lane, lane.name, patch(), seen.of(lane.name))
    gate.set()
    names = [name for name, _ in seen.wait(4)]
    assert names == ["first", "STATUS", "REPORT", "EVENT"]


def test_a_full_lane_refuses_and_counts(api: ApiWrites, make: Make) -> None:
    requests, seen = make(threads=1), Outcomes()
    gate = held(api, requests, seen)
    assert requests.submit(Lane.EVENT, 1, patch(), seen.of("1"), limit=1)
    assert not requests.submit(Lane.EVENT, 2, patch(), seen.of("2"), limit=1)
    assert requests.submit(Lane.EVENT, 1, patch(), seen.of("1 again"), limit=1)
    assert requests.counters.dropped == 1
    gate.set()
    assert [name for name, _ in seen.wait(2)] == ["first", "1 again"]


def test_two_requests_of_one_key_are_never_under_way_together(api: ApiWrites, make: Make) -> None:
    api.delay = 0.05
    requests, seen = make(threads=4), Outcomes()
    requests.submit(Lane.STATUS, "key", patch(), seen.of("1"))
    while not api.seen:
        time.sleep(0.001)
    requests.submit(Lane.STATUS, "key", patch(), seen.of("2"))
    seen.wait(2)
    assert api.most_active == 1


def test_what_waits_can_be_withdrawn(api: ApiWrites, make: Make) -> None:
    requests, seen = make(threads=1), Outcomes()
    gate = held(api, requests, seen)
    requests.submit(Lane.STATUS, "key", patch(), seen.of("never"))
    assert requests.withdraw(Lane.STATUS, "key")
    assert not requests.withdraw(Lane.STATUS, "key")
    requests.submit(Lane.STATUS, "other", patch(), seen.of("other"))
    gate.set()
    assert [name for name, _ in seen.wait(2)] == ["first", "other"]


@pytest.mark.parametrize(
    ("status", "least", "most"),
    [(409, 0.0, 0.1), (403, 19, 27), (422, 19, 27), (429, 2.9, 4.0), (500, 0.1, 1), (503, 0.1, 4)],
)
def test_each_failure_says_when_to_try_again(
    api: ApiWrites, make: Make, status: int, least: float, most: float
) -> None:
    requests, seen = make(), Outcomes()
    headers = {"Retry-After": "3"} if status == 429 else {}
    api.script.append((status, headers, b'{"message":"it \\"may\\" not be","code":1}'))
    requests.submit(Lane.STATUS, "key", patch(), seen.of("key"))
    [(_, outcome)] = seen.wait(1)
    assert not outcome.ok
    assert outcome.why == f'HTTP {status}: it "may" not be'
    assert outcome.retry_at is not None
    assert least <= outcome.retry_at - time.monotonic() <= most


def test_what_is_gone_is_not_tried_again(api: ApiWrites, make: Make) -> None:
    requests, seen = make(), Outcomes()
    requests.submit(Lane.STATUS, "key", patch(path="/api/v1/namespaces/a/services/b/status"),
                    seen.of("key"))  # fmt: skip
    [(_, outcome)] = seen.wait(1)
    assert (outcome.status, outcome.retry_at) == (404, None)


def test_a_throttled_pool_waits_as_a_whole(api: ApiWrites, make: Make) -> None:
    requests, seen = make(threads=4), Outcomes()
    api.script.append((429, {"Retry-After": "1"}, b"{}"))
    requests.submit(Lane.STATUS, "first", patch(), seen.of("first"))
    seen.wait(1)
    begin = time.monotonic()
    for n in range(4):
        requests.submit(Lane.STATUS, n, patch(), seen.of(str(n)))
    seen.wait(5)
    assert time.monotonic() - begin > 0.9


def test_a_forbidden_lane_rests_and_the_others_go_on(api: ApiWrites, make: Make) -> None:
    requests, seen = make(threads=1), Outcomes()
    api.script.append((403, {}, b"{}"))
    requests.submit(Lane.EVENT, "event", patch(), seen.of("event"))
    seen.wait(1)
    requests.submit(Lane.EVENT, "event 2", patch(), seen.of("event 2"))
    requests.submit(Lane.STATUS, "status", patch(), seen.of("status"))
    assert [name for name, _ in seen.wait(2)] == ["event", "status"]
    assert requests.waiting() == 1


def test_a_server_that_is_away_is_asked_ever_more_seldom(make: Make) -> None:
    gone = ApiWrites()
    gone.close()
    requests, seen = make(access=FakeAccess(gone.port), threads=4), Outcomes()
    for n in range(100):
        requests.submit(Lane.STATUS, n, patch(), seen.of(str(n)))
    time.sleep(1.2)
    # All four may be under way when the first fails; after that one at a time: 0.2, 0.4, 0.8 s.
    assert 1 <= len(seen.found) <= 8
    assert all(outcome.retry_at is not None for _, outcome in seen.found)


def test_after_a_failure_one_goes_ahead_and_then_all(api: ApiWrites, make: Make) -> None:
    requests, seen = make(threads=4), Outcomes()
    api.script.append((500, {}, b"{}"))
    requests.submit(Lane.STATUS, "first", patch(), seen.of("first"))
    seen.wait(1)
    api.delay, api.most_active = 0.05, 0
    alone: list[int] = []
    api.on_write = lambda path, body: alone.append(api.active)
    for n in range(8):
        requests.submit(Lane.STATUS, n, patch(), seen.of(str(n)))
    seen.wait(9)
    assert alone[0] == 1
    assert api.most_active > 1


def test_nothing_is_sent_behind_a_closed_fence(api: ApiWrites, make: Make) -> None:
    is_open = [True]
    requests, seen = make(fence=lambda: is_open[0]), Outcomes()
    requests.submit(Lane.STATUS, "1", patch(), seen.of("1"))
    seen.wait(1)
    is_open[0] = False
    requests.submit(Lane.STATUS, "2", patch(), seen.of("2"))
    _, (_, outcome) = seen.wait(2)
    assert (outcome.status, outcome.retry_at) == (0, None)
    assert len(api.seen) == 1


def test_close_waits_for_what_is_under_way_and_drops_the_rest(api: ApiWrites, make: Make) -> None:
    api.delay = 0.2
    requests, seen = make(threads=1), Outcomes()
    for n in range(3):
        requests.submit(Lane.STATUS, n, patch(), seen.of(str(n)))
    while not api.seen:
        time.sleep(0.001)
    requests.close()
    assert [(name, outcome.ok) for name, outcome in seen.found] == [("0", True)]
    assert not requests.submit(Lane.STATUS, 9, patch(), seen.of("9"))
    assert len(api.seen) == 1
