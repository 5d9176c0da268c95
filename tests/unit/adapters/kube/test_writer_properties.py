"""Whatever happens in whatever order, the server holds in the end what was wanted last.

The queue, the server and the watch are stepped one by one, in an order that is drawn: a write may
be answered before or after the watch shows it, somebody may edit the Service at any moment, and
requests are lost on the way there or on the way back.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Hashable
from ipaddress import ip_address

from hypothesis import given, settings
from hypothesis import strategies as st

from onehop.adapters.kube.connection import Request
from onehop.adapters.kube.requests import Lane, Outcome
from onehop.adapters.kube.structs import Ingress, Live
from onehop.adapters.kube.writer import ServiceStatuses
from onehop.model.desired import Report, ServiceStatus
from onehop.model.objects import Objects
from onehop.model.service import Key

KEYS = tuple(Key("apps", name) for name in ("a", "b"))


class World:
    """A server with two Services, and everything between it and the writer."""

    def __init__(self) -> None:
        self.version = 10
        self.now = 0.0
        self.waiting: dict[Hashable, tuple[Request, Callable[[Outcome], None]]] = {}
        self.under_way: dict[Hashable, tuple[Request, Callable[[Outcome], None]]] = {}
        self.answers: list[tuple[Callable[[Outcome], None], Outcome]] = []
        self.server = {key: self._made(key) for key in KEYS}
        self.shown: dict[Key, Live] = {}
        self.touched: set[Key] = set()
        self.want: dict[Key, ServiceStatus] = {}
        self.woken = False
        self.writes = 0
        self.writer = ServiceStatuses(
            self,
            clock=lambda: self.now,
            wall=lambda: 0.0,  # type: ignore[arg-type]
        )
        self.writer.start(self.wake)
        self.report = Report()
        self.watch()

    def wake(self) -> None:
        self.woken = True

    def _made(self, key: Key, ips: tuple[str, ...] = ()) -> Live:
        self.version += 1
        ingress = tuple(Ingress(ip=ip, ip_mode="VIP") for ip in ips)
        return Live(name=key.name, namespace=key.namespace, uid=f"u{key.name}",
                    resource_version=str(self.version), ingress=ingress)  # fmt: skip

    # What the writer asks of `Requests`.
    def submit(self, lane: Lane, key: Hashable, request: Request,
               done: Callable[[Outcome], None], *, limit: int | None = None) -> bool:  # fmt: skip
        assert lane is Lane.STATUS
        assert key not in self.under_way, "two writes of one Service at once"
        self.waiting[key] = (request, done)
        return True

    def withdraw(self, lane: Lane, key: Hashable) -> bool:
        return self.waiting.pop(key, None) is not None

    # What happens.
    def decide(self, key: Key, last: int | None) -> None:
        addresses = () if last is None else (ip_address(f"192.0.2.{last}"),)
        self.want = {**self.want, key: ServiceStatus(key=key, addresses=addresses)}

    def edit(self, key: Key) -> None:
        """Somebody changes something else of the Service."""
        ips = tuple(each.ip or "" for each in self.server[key].ingress)
        self.server[key] = self._made(key, ips)

    def watch(self) -> None:
        for key, live in self.server.items():
            if self.shown.get(key) != live:
                self.shown[key] = live
                self.touched.add(key)
                self.writer.collect()
                if not self.writer.echoed(key, live):
                    self.woken = True

    def send(self) -> None:
        for key in list(self.waiting)[:1]:
            self.under_way[key] = self.waiting.pop(key)

    def arrive(self, *, lost: bool = False) -> None:
        """The server does what is under way, and answers; `lost`: the answer never comes."""
        for each in list(self.under_way)[:1]:
            request, done = self.under_way.pop(each)
            outcome = self._done(request)
            if lost:
                outcome = Outcome(why="lost", retry_at=self.now + 1.0, is_unclear=True)
            self.answers.append((done, outcome))

    def _done(self, request: Request) -> Outcome:
        self.writes += 1
        body = json.loads(request.body)
        name = request.path.split("/")[6]
        key = Key("apps", name)
        if body["metadata"]["resourceVersion"] != self.server[key].resource_version:
            return Outcome(status=409, why="conflict", retry_at=self.now + 0.02)
        entries = body["status"]["loadBalancer"]["ingress"] or ()
        self.server[key] = self._made(key, tuple(each["ip"] for each in entries))
        meta = {"name": name, "resourceVersion": self.server[key].resource_version}
        return Outcome(status=200, body=json.dumps({"metadata": meta}).encode())

    def answer(self) -> None:
        if self.answers:
            done, outcome = self.answers.pop(0)
            done(outcome)

    def round(self) -> Report:
        self.woken = False
        self.writer.collect()
        touched, self.touched = frozenset(self.touched), set()
        self.report = self.writer.sync(
            self.want, Objects(), lambda kind, key: self.shown.get(key), touched
        )
        return self.report

    def settle(self) -> None:
        """Let everything take its course; rounds only where the ring would make one."""
        self.woken = True
        for _ in range(60):
            while self.waiting or self.under_way or self.answers:
                self.send()
                self.arrive()
                self.answer()
            self.watch()
            report = self.round() if self.woken else self.report
            due = [each.retry_at for each in report.failures if each.retry_at is not None]
            if due:
                self.now, self.woken = max(self.now, min(due)), True
            elif not (self.waiting or self.woken):
                return
        raise AssertionError("it never comes to rest")

    def held(self, key: Key) -> tuple[str, ...]:
        return tuple(each.ip or "" for each in self.server[key].ingress)


keys = st.sampled_from(KEYS)
steps = st.one_of(
    st.tuples(st.just("decide"), keys, st.none() | st.integers(1, 5)),
    st.tuples(st.just("edit"), keys),
    st.tuples(st.sampled_from(["watch", "send", "arrive", "lost", "answer", "round"])),
)


def play(world: World, step: tuple[object, ...]) -> None:
    match step:
        case ("decide", Key() as key, last):
            assert last is None or isinstance(last, int)
            world.decide(key, last)
        case ("edit", Key() as key):
            world.edit(key)
        case ("lost",):
            world.arrive(lost=True)
        case (name,):
            getattr(world, str(name))()


@settings(max_examples=300, deadline=None)
@given(st.lists(steps, max_size=40))
def test_in_the_end_the_server_holds_what_was_wanted_last(drawn: list[tuple[object, ...]]) -> None:
    world = World()
    for step in drawn:
        play(world, step)
    world.settle()
    for key, status in world.want.items():
        assert world.held(key) == tuple(map(str, status.addresses))
    assert world.writer.assumed == {}
    before = world.writes
    world.settle()
    assert world.writes == before


@settings(max_examples=150, deadline=None)
@given(st.lists(steps, max_size=40))
def test_what_is_under_way_is_assumed(drawn: list[tuple[object, ...]]) -> None:
    """While a write that changes addresses waits or is under way, no decision forgets them."""
    world = World()
    for step in drawn:
        play(world, step)
        for request, _ in (*world.waiting.values(), *world.under_way.values()):
            key = Key("apps", request.path.split("/")[6])
            body = json.loads(request.body)
            entries = body["status"]["loadBalancer"]["ingress"] or ()
            ips = tuple(each["ip"] for each in entries)
            shown = tuple(each.ip or "" for each in world.shown[key].ingress)
            assumed = world.writer.assumed.get(key)
            assert assumed is not None or ips == shown or world.held(key) == ips
