"""The Lease: one writes at a time, whatever stops, dies, sleeps or disagrees about the time."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import textwrap
import time
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from onehop.adapters.kube.lease import TIMING, Election, Lease, Record, Timing
from tests.fakes.api_writes import ApiWrites, FakeAccess

PATH = "/apis/coordination.k8s.io/v1/namespaces/onehop-system/leases/onehop-controller"
QUICK = Timing(duration=2.0, renew=0.5, valid=1.0, retry=0.1)


def record(holder: str, version: str = "1", duration: float = 15.0) -> Record:
    return Record(version=version, holder=holder, duration=duration)


class TestElection:
    def test_the_last_write_of_one_holder_ends_before_the_next_one_may_begin(self) -> None:
        write = 4.0  # the timeout of a request
        assert TIMING.valid + write < TIMING.duration
        assert TIMING.renew * 2 < TIMING.valid + 1

    def test_what_nobody_holds_is_free_at_once(self) -> None:
        for nobody in (None, record("")):
            election = Election("me")
            election.seen(nobody, 100.0)
            assert election.free_in(100.0) == 0

    def test_a_held_one_is_free_when_it_did_not_change_for_its_duration(self) -> None:
        election = Election("me")
        election.seen(record("other", "1"), 100.0)
        election.seen(record("other", "1"), 110.0)  # seen again is no change
        assert election.free_in(110.0) == 5.0
        election.seen(record("other", "2"), 114.0)
        assert election.free_in(115.0) == 14.0
        assert election.free_in(129.0) == 0

    def test_the_clock_of_the_holder_is_never_read(self) -> None:
        election = Election("me")
        election.seen(Record(version="1", holder="other", renewed="1970-01-01T00:00:00Z"), 5.0)
        assert election.free_in(5.0) == 15.0

    def test_its_own_name_is_known_again(self) -> None:
        election = Election("me")
        election.seen(record("me"), 100.0)
        assert election.free_in(100.0) == 0
        assert not election.is_held(100.0)

    def test_a_renewal_counts_from_when_it_was_sent(self) -> None:
        election = Election("me")
        election.renewed(record("me"), 100.0, 103.0)
        assert election.is_held(109.9)
        assert not election.is_held(110.0)

    def test_another_holder_ends_it_at_once(self) -> None:
        election = Election("me")
        election.renewed(record("me"), 100.0, 100.1)
        election.seen(record("other", "2"), 101.0)
        assert not election.is_held(101.0)


@pytest.fixture
def api() -> Iterator[ApiWrites]:
    server = ApiWrites()
    yield server
    server.close()


Make = Callable[..., Lease]


@pytest.fixture
def make(api: ApiWrites) -> Iterator[Make]:
    made: list[Lease] = []

    def build(identity: str, **settings: Any) -> Lease:
        access: FakeAccess = settings.pop("access", None) or api.access()
        lease = Lease(access, "onehop-system", identity=identity, timing=QUICK, **settings)
        lease.start()
        made.append(lease)
        return lease

    yield build
    for lease in made:
        lease.close()


def wait(claim: Callable[[], bool], seconds: float = 10.0) -> float:
    begin = time.monotonic()
    while not claim():
        assert time.monotonic() - begin < seconds
        time.sleep(0.001)
    return time.monotonic() - begin


def holder(api: ApiWrites) -> Any:
    return api.objects[PATH]["spec"]["holderIdentity"]


def test_the_first_takes_it_and_renews_it(api: ApiWrites, make: Make) -> None:
    lease = make("a")
    wait(lease.is_held)
    assert lease.refresh()
    assert not lease.refresh()
    assert holder(api) == "a"
    first = api.objects[PATH]["spec"]["renewTime"]
    wait(lambda: api.objects[PATH]["spec"]["renewTime"] != first)
    time.sleep(1.2)
    assert lease.is_held()
    assert api.objects[PATH]["spec"]["leaseTransitions"] == 0


def test_who_waits_gets_it_at_once_when_it_is_given_up(api: ApiWrites, make: Make) -> None:
    first = make("a")
    wait(first.is_held)
    second = make("b")
    wait(lambda: second.holder == "a")
    time.sleep(0.3)
    assert not second.is_held()
    first.close()
    assert wait(second.is_held) < 0.5
    assert not first.is_held()
    assert holder(api) == "b"
    assert api.objects[PATH]["spec"]["leaseTransitions"] == 1


def test_one_that_waits_asks_nothing_while_it_is_renewed(api: ApiWrites, make: Make) -> None:
    wait(make("a").is_held)
    second = make("b")
    wait(lambda: second.holder == "a")
    time.sleep(0.2)
    before = sum(each.method == "GET" for each in api.seen)
    time.sleep(2.5)
    assert sum(each.method == "GET" for each in api.seen) == before


def test_labels_of_the_lease_survive_a_take_over(api: ApiWrites, make: Make) -> None:
    api.put(PATH, {"metadata": {"labels": {"a": "b"}}, "spec": {"holderIdentity": ""}})
    wait(make("a").is_held)
    assert api.objects[PATH]["metadata"]["labels"] == {"a": "b"}


def test_a_holder_cut_off_stops_writing_before_another_begins(api: ApiWrites, make: Make) -> None:
    access = api.access()
    first = make("a", access=access)
    wait(first.is_held)
    second = make("b")
    wait(lambda: second.holder == "a")
    access.renew = lambda spoilt: False  # type: ignore[method-assign]
    access.authorization = lambda: "Bearer bad"  # type: ignore[method-assign]
    wait(lambda: not first.is_held())
    assert not second.is_held()
    assert "401" in first.why
    wait(second.is_held)
    assert not first.is_held()


def test_it_comes_back_when_the_server_does(api: ApiWrites, make: Make) -> None:
    lease = make("a")
    wait(lease.is_held)
    api.script.extend(["drop"] * 40)
    wait(lambda: not lease.is_held())
    api.script.clear()
    wait(lease.is_held)


def test_a_change_by_a_third_hand_is_no_loss(api: ApiWrites, make: Make) -> None:
    lease = make("a")
    wait(lease.is_held)
    with api.lock:
        api.put(PATH, {**api.objects[PATH], "metadata": {"labels": {"x": "y"}}})
    begin = time.monotonic()
    while time.monotonic() < begin + 1.2:
        assert lease.is_held()
        time.sleep(0.01)
    assert api.objects[PATH]["metadata"]["labels"] == {"x": "y"}


def test_a_deleted_lease_is_made_again(api: ApiWrites, make: Make) -> None:
    lease = make("a")
    wait(lease.is_held)
    with api.lock:
        del api.objects[PATH]
    wait(lambda: PATH in api.objects)
    assert lease.is_held()


@pytest.mark.parametrize("skew", [-86400.0, 86400.0])
def test_wall_clocks_may_disagree_by_a_day(api: ApiWrites, make: Make, skew: float) -> None:
    wait(make("a", wall=lambda: time.time() + skew).is_held)
    second = make("b")
    wait(lambda: second.holder == "a")
    time.sleep(2.2)
    assert not second.is_held()


CHILD = """
    import os, signal, sys, threading, time
    from onehop.adapters.kube.connection import Request
    from onehop.adapters.kube.lease import Lease, Timing
    from onehop.adapters.kube.requests import Lane, Requests
    from tests.fakes.api_writes import FakeAccess

    lease = Lease(FakeAccess(int(sys.argv[1])), "onehop-system", identity="child",
                  timing=Timing(duration=2.0, renew=0.5, valid=1.0, retry=0.1))
    lease.start()
    while not lease.is_held():
        time.sleep(0.01)

    def fence():
        held = lease.is_held()
        if sys.argv[2] == "inside" and held:
            os.kill(os.getpid(), signal.SIGSTOP)  # the worst instant: checked, and not yet sent
            time.sleep(0.2)  # another thread may be the one that takes the signal
        return held

    requests = Requests(FakeAccess(int(sys.argv[1])), threads=1, fence=fence)
    path = "/api/v1/namespaces/kafka/services/broker-0/status"
    ended = threading.Event()

    def done(outcome):
        print(outcome.status, outcome.why, flush=True)
        ended.set()

    if sys.argv[2] == "before":
        os.kill(os.getpid(), signal.SIGSTOP)
    body = '{"metadata":{"resourceVersion":"' + sys.argv[3] + '"},"status":{"by":"child"}}'
    requests.submit(Lane.STATUS, 1, Request("PATCH", path, body.encode()), done)
    ended.wait(10)
    requests.close()
    os._exit(0)
"""


@pytest.mark.parametrize(("where", "outcome"), [("before", "0 "), ("inside", "409 ")])
def test_a_controller_that_was_stopped_wakes_up_unable_to_write(
    api: ApiWrites, make: Make, where: str, outcome: str
) -> None:
    service = "/api/v1/namespaces/kafka/services/broker-0"
    version = api.service("kafka", "broker-0")["metadata"]["resourceVersion"]
    child = subprocess.Popen(
        [sys.executable, "-c", textwrap.dedent(CHILD), str(api.port), where, version],
        stdout=subprocess.PIPE, text=True, env={"PYTHONPATH": ":".join(sys.path)},
    )  # fmt: skip
    try:
        _, status = os.waitpid(child.pid, os.WUNTRACED)
        assert os.WIFSTOPPED(status)
        successor = make("successor")
        assert wait(successor.is_held) > 1.0
        api.service("kafka", "broker-0", by="successor")
        os.kill(child.pid, signal.SIGCONT)
        said, _ = child.communicate(timeout=20)
    finally:
        child.kill()
        child.wait()
    assert said.startswith(outcome)
    assert api.objects[service]["status"] == {"by": "successor"}
    assert successor.is_held()
