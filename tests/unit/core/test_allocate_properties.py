"""What holds of allocation whatever the configuration, and a naive oracle beside it."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from ipaddress import IPv4Address, ip_address
from random import Random

from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    precondition,
    rule,
)

from onehop.core.allocate import Allocator, cluster_desired
from onehop.core.request import share_of
from onehop.core.sharing import compatible
from onehop.core.validate import usable_pools
from onehop.model.address import Family, IPAddress, family_of
from onehop.model.config import Namespace, Pool, ServiceAllocation
from onehop.model.desired import ClusterDesired
from onehop.model.objects import Objects
from onehop.model.service import FamilyPolicy, Key, Service, TrafficPolicy
from tests.builders import a_pool, a_service, labels

NAMES = [f"{letter}{digit}" for letter in "ab" for digit in range(4)]
V4, V6 = ip_address("10.96.0.1"), ip_address("fd96::1")
RANGES = ["10.0.0.0/30", "10.0.0.2-10.0.0.6", "10.0.1.0/31", "fd00::/126", "fd00::8-fd00::9"]
IN_RANGES = ["10.0.0.1", "10.0.0.3", "10.0.0.6", "10.0.1.0", "10.7.7.7", "fd00::1", "fd00::9"]
ALLOCATIONS = [
    None,
    None,
    ServiceAllocation(),
    ServiceAllocation(priority=2),
    ServiceAllocation(namespaces=frozenset({"a"})),
    ServiceAllocation(priority=1, namespace_selectors=(labels(team="x"),)),
    ServiceAllocation(service_selectors=(labels(app="web"),)),
]

addresses = st.sampled_from(IN_RANGES).map(ip_address)


@st.composite
def pools(draw: st.DrawFn, name: str | None = None) -> Pool:
    return a_pool(
        name or draw(st.sampled_from("pqr")),
        *draw(st.lists(st.sampled_from(RANGES), min_size=1, max_size=3)),
        auto_assign=draw(st.integers(0, 4)) > 0,
        avoid_buggy_ips=draw(st.booleans()),
        allocation=draw(st.sampled_from(ALLOCATIONS)),
    )


@st.composite
def annotations(draw: st.DrawFn) -> Mapping[str, str]:
    found = {}
    if draw(st.integers(0, 5)) == 0:
        found["metallb.io/address-pool"] = draw(st.sampled_from("pqrx"))
    if draw(st.integers(0, 4)) == 0:
        asked = draw(st.lists(st.sampled_from([*IN_RANGES, "no"]), max_size=2))
        found["metallb.universe.tf/loadBalancerIPs"] = ",".join(asked)
    if draw(st.booleans()):
        found["metallb.io/allow-shared-ip"] = draw(st.sampled_from(["", "k", "m"]))
    return found


@st.composite
def services(draw: st.DrawFn, name: str | None = None) -> Service:
    name = name or draw(st.sampled_from(NAMES))
    return a_service(
        key=Key(name[0], name[1:]),
        type=draw(st.sampled_from(["LoadBalancer"] * 6 + ["ClusterIP"])),
        cluster_ips=draw(st.sampled_from([(V4,), (V4,), (V6,), (V4, V6), (V4, V6), (V6, V4), ()])),
        ip_families=draw(st.sampled_from([(), (Family.IPV6, Family.IPV4)])),
        family_policy=draw(st.sampled_from(FamilyPolicy)),
        policy=draw(st.sampled_from(TrafficPolicy)),
        selector={"app": draw(st.sampled_from("xy"))},
        labels={"app": draw(st.sampled_from(["web", "db"]))},
        annotations=draw(annotations()),
        port=draw(st.integers(1, 3)),
        created=draw(st.sampled_from(["2026-01-01", "2026-01-02"])),
        ingress=tuple(draw(st.lists(addresses, max_size=2))) if draw(st.booleans()) else (),
    )


@st.composite
def objects(draw: st.DrawFn) -> Objects:
    found = {each.key: each for each in draw(st.lists(services(), max_size=8))}
    kinds = {each.key: each for each in draw(st.lists(pools(), max_size=3))}
    gone = st.dictionaries(
        st.sampled_from(NAMES).map(lambda name: Key(name[0], name[1:])),
        st.lists(addresses, min_size=1, max_size=2).map(tuple),
        max_size=3,
    )
    return Objects(
        complete=True,
        services=found,
        pools=kinds,
        released=draw(gone),
        namespaces={Key("", "a"): Namespace(name="a", labels={"team": "x"})},
    )


def written(known: Objects, desired: ClusterDesired) -> Objects:
    """The objects once the statuses are written, as a store holds them."""
    found = {
        key: replace(service, ingress=desired.statuses[key].addresses)
        if key in desired.statuses
        else service
        for key, service in known.services.items()
    }
    return replace(known, services=found, released=desired.released)


def outcome(desired: ClusterDesired) -> dict[Key, tuple[tuple[IPAddress, ...], str]]:
    return {key: (each.addresses, each.pool) for key, each in desired.statuses.items()}


def assert_lawful(known: Objects, desired: ClusterDesired) -> None:
    """Every address belongs to one pool in force, and only rightful sharers hold it together."""
    in_force = {pool.key.name: pool for pool in usable_pools(known)}
    holders: dict[IPAddress, list[Service]] = {}
    for key, status in desired.statuses.items():
        service = known.services[key]
        assert bool(status.addresses) == bool(status.pool)
        assert status.addresses or status.refusal
        families = [family_of(address) for address in status.addresses]
        assert families == sorted(set(families), key=list(Family).index)
        assert set(families) <= {family_of(address) for address in service.cluster_ips}
        for address in status.addresses:
            pool = in_force[status.pool]
            assert any(address in each for each in pool.ranges)
            octet = int(address) & 0xFF
            assert not (pool.avoid_buggy_ips and address.version == 4 and octet in (0, 255))
            holders.setdefault(address, []).append(service)
    for held_by in holders.values():
        shares = [share_of(service) for service in held_by]
        for index, share in enumerate(shares):
            assert all(compatible(share, other) for other in shares[:index])
    for key, gone in desired.released.items():
        assert not set(gone) & set(holders), f"{key} is promised what another holds"


@given(objects())
def test_addresses_are_given_by_the_rules_only(known: Objects) -> None:
    assert_lawful(known, cluster_desired(known))


@given(objects(), st.randoms(use_true_random=False))
def test_the_order_of_the_input_means_nothing(known: Objects, random: Random) -> None:
    def shuffled(mapping: Mapping[Key, object]) -> dict[Key, object]:
        items = list(mapping.items())
        random.shuffle(items)
        return dict(items)

    other = replace(
        known,
        services=shuffled(known.services),  # type: ignore[arg-type]
        pools=shuffled(known.pools),  # type: ignore[arg-type]
        released=shuffled(known.released),  # type: ignore[arg-type]
    )
    assert cluster_desired(other) == cluster_desired(known)


@given(objects())
def test_a_restart_with_the_own_statuses_changes_nothing(known: Objects) -> None:
    first = cluster_desired(known)
    after = written(known, first)
    second = cluster_desired(after)
    assert outcome(second) == {
        key: value for key, value in outcome(first).items() if key in second.statuses
    }
    for key in first.statuses.keys() - second.statuses.keys():
        assert known.services[key].type == "ClusterIP"
    assert second.released == first.released
    third = cluster_desired(written(after, second))
    assert third == second


@given(objects(), st.sampled_from(NAMES))
def test_a_service_that_goes_disturbs_nobody(known: Objects, name: str) -> None:
    settled = written(known, cluster_desired(known))
    before = cluster_desired(settled)
    key = Key(name[0], name[1:])
    left = {each: service for each, service in settled.services.items() if each != key}
    after = cluster_desired(replace(settled, services=left))
    for each, status in before.statuses.items():
        if each != key and status.addresses:
            assert set(status.addresses) <= set(after.statuses[each].addresses)


@given(objects(), services())
def test_a_service_that_comes_disturbs_nobody(known: Objects, new: Service) -> None:
    settled = written(known, cluster_desired(known))
    before = cluster_desired(settled)
    if new.key in settled.services:
        return
    new = replace(new, ingress=())
    after = cluster_desired(replace(settled, services={**settled.services, new.key: new}))
    for each, status in before.statuses.items():
        assert after.statuses[each].addresses == status.addresses


@given(objects(), st.sampled_from(NAMES))
def test_a_service_deleted_and_made_again_has_its_addresses_back(
    known: Objects, name: str
) -> None:
    settled = written(known, cluster_desired(known))
    before = cluster_desired(settled)
    key = Key(name[0], name[1:])
    service = settled.services.get(key)
    status = before.statuses.get(key)
    if service is None or status is None or not status.addresses:
        return
    if status.refusal is not None:
        return  # what it asks for now cannot be read: it kept what it had, and would get nothing
    left = {each: other for each, other in settled.services.items() if each != key}
    pending = any(not each.addresses for each in before.statuses.values())
    gone = replace(settled, services=left, released={**before.released, key: status.addresses})
    between = cluster_desired(gone)
    back = written(gone, between)
    back = replace(back, services={**back.services, key: replace(service, ingress=())})
    again = cluster_desired(back).statuses[key]
    if between.released.get(key) == status.addresses and not pending:
        assert set(status.addresses) <= set(again.addresses)


# --- an oracle: v4 only, every address enumerated, no cleverness -------------------------------


class Naive:
    """Who gets which address, by trying all of them in order."""

    def __init__(self, in_force: Sequence[Pool], known: Iterable[Service]) -> None:
        self.in_force = in_force
        self.listed = sorted(known, key=lambda each: (each.created, each.key))
        self.given: dict[Key, IPAddress | None] = {}

    def may(self, service: Service, address: IPAddress) -> bool:
        wanted = service.annotations.get("metallb.io/address-pool", "")
        owner = self.owner(address)
        if owner is None or wanted not in ("", owner.key.name):
            return False
        if service.load_balancer_ip not in ("", str(address)):
            return False
        holders = [each for each in self.listed if self.given.get(each.key) == address]
        return all(compatible(share_of(service), share_of(other)) for other in holders)

    def owner(self, address: IPAddress) -> Pool | None:
        return next((p for p in self.in_force if any(address in r for r in p.ranges)), None)

    def candidates(self, service: Service, spared: set[IPAddress | None]) -> list[IPAddress]:
        named = service.load_balancer_ip or "metallb.io/address-pool" in service.annotations
        found: list[IPAddress] = [
            IPv4Address(number)
            for pool in self.in_force
            if named or pool.auto_assign
            for each in pool.ranges
            for number in range(int(each.first), int(each.last) + 1)
        ]
        return [a for a in found if a not in spared] + found

    def answer(self, released: Mapping[Key, tuple[IPAddress, ...]]) -> dict[Key, IPAddress | None]:
        for service in self.listed:
            if service.ingress and self.may(service, service.ingress[0]):
                self.given[service.key] = service.ingress[0]
        rest = [each for each in self.listed if each.key not in self.given]
        rest.sort(key=lambda s: 0 if s.key in released else 1 if s.load_balancer_ip else 2)
        spared: set[IPAddress | None] = {
            a for key, many in released.items() if key not in self.given for a in many
        }
        spared |= {each.ingress[0] for each in rest if each.ingress}
        for service in rest:
            spared -= set(self.given.values())
            tried = [*released.get(service.key, ()), *self.candidates(service, spared)]
            self.given[service.key] = next((a for a in tried if self.may(service, a)), None)
        return self.given


V4_RANGES = ["10.0.0.0/30", "10.0.0.4-10.0.0.6", "10.0.1.0/31"]


@st.composite
def plain_services(draw: st.DrawFn, name: str) -> Service:
    """A Service of one family, with what the oracle understands."""
    marks = {
        "metallb.io/allow-shared-ip": draw(st.sampled_from(["", "k", "k"])),
        "metallb.io/address-pool": draw(st.sampled_from(["", "", "", "", "p", "q"])),
    }
    return a_service(
        key=Key(name[0], name[1:]),
        port=draw(st.integers(1, 2)),
        annotations={mark: value for mark, value in marks.items() if value},
        load_balancer_ip=draw(st.sampled_from(["", "", "", "", "10.0.0.1", "10.0.1.1"])),
        created=draw(st.sampled_from(["1", "2"])),
        ingress=(ip_address("10.0.0.2"),) if draw(st.integers(0, 5)) == 0 else (),
    )


@given(
    st.tuples(*map(plain_services, NAMES)),
    st.sampled_from([["p"], ["q"], ["p", "q"]]),
    st.booleans(),
    st.sampled_from([{}, {Key("a", "1"): "10.0.0.0"}, {Key("b", "2"): "10.0.0.1"}]),
)
def test_many_at_once_are_placed_as_the_oracle_places_them(
    found: tuple[Service, ...], names: list[str], automatic: bool, gone: dict[Key, str]
) -> None:
    ranges = {"p": "10.0.0.0/30", "q": "10.0.1.0/31"}
    kinds = [a_pool(name, ranges[name], auto_assign=automatic) for name in names]
    known = Objects(
        complete=True,
        services={each.key: each for each in found},
        pools={pool.key: pool for pool in kinds},
        released={key: (ip_address(text),) for key, text in gone.items()},
    )
    desired = cluster_desired(known)
    placed = {key: (*each.addresses, None)[0] for key, each in desired.statuses.items()}
    assert placed == Naive(usable_pools(known), found).answer(known.released)


class Cluster(RuleBasedStateMachine):
    """Random edits; after each the remembering allocator, the pure one and the oracle agree.

    The store is played too: it writes statuses back, and keeps what a deleted Service held.
    """

    @initialize()
    def start(self) -> None:
        self.allocator = Allocator()
        self.pools: dict[str, Pool] = {"p": a_pool("p", V4_RANGES[0])}
        self.services: dict[Key, Service] = {}
        self.released: dict[Key, tuple[IPAddress, ...]] = {}

    @property
    def objects(self) -> Objects:
        return Objects(
            complete=True,
            services=dict(self.services),
            pools={pool.key: pool for pool in self.pools.values()},
            released=dict(self.released),
        )

    @rule(
        name=st.sampled_from(NAMES),
        port=st.integers(1, 2),
        key=st.sampled_from(["", "", "k"]),
        pool=st.sampled_from(["", "", "", "p", "q"]),
        asked=st.sampled_from(["", "", "", "10.0.0.1", "10.0.1.1"]),
        created=st.sampled_from(["1", "2"]),
    )
    def apply(self, name: str, port: int, key: str, pool: str, asked: str, created: str) -> None:
        """A Service is made or edited; its status stays."""
        where = Key(name[0], name[1:])
        old = self.services.get(where)
        marks = {"metallb.io/allow-shared-ip": key, "metallb.io/address-pool": pool}
        self.services[where] = a_service(
            key=where,
            port=port,
            annotations={name: value for name, value in marks.items() if value},
            load_balancer_ip=asked,
            created=created,
            ingress=old.ingress if old else (),
        )

    @rule(name=st.sampled_from(NAMES))
    def delete(self, name: str) -> None:
        """A Service goes; the store remembers what it held."""
        gone = self.services.pop(Key(name[0], name[1:]), None)
        if gone is not None and gone.ingress:
            self.released[gone.key] = gone.ingress

    @rule(
        name=st.sampled_from("pq"),
        ranges=st.lists(st.sampled_from(V4_RANGES), min_size=1, max_size=2, unique=True),
        automatic=st.booleans(),
    )
    def edit_pool(self, name: str, ranges: list[str], automatic: bool) -> None:
        self.pools[name] = a_pool(name, *ranges, auto_assign=automatic)

    @precondition(lambda self: len(self.pools) > 1)
    @rule(name=st.sampled_from("pq"))
    def delete_pool(self, name: str) -> None:
        self.pools.pop(name, None)

    @rule()
    def write(self) -> None:
        """The statuses reach the store."""
        desired = self.allocator.decide(self.objects)
        for key, status in desired.statuses.items():
            if self.services[key].ingress != status.addresses:
                self.services[key] = replace(self.services[key], ingress=status.addresses)
        self.released = dict(desired.released)

    @rule()
    def restart(self) -> None:
        self.allocator = Allocator()

    @invariant()
    def all_agree(self) -> None:
        known = self.objects
        desired = self.allocator.decide(known)
        assert desired == cluster_desired(known)
        assert_lawful(known, desired)
        naive = Naive(usable_pools(known), known.services.values())
        found = {key: (*each.addresses, None)[0] for key, each in desired.statuses.items()}
        assert found == naive.answer(known.released)


TestCluster = Cluster.TestCase
TestCluster.settings = settings(stateful_step_count=20)


class Anything(RuleBasedStateMachine):
    """Random edits of every field: the remembering allocator answers as the pure one."""

    @initialize()
    def start(self) -> None:
        self.allocator = Allocator()
        self.objects = Objects(complete=True)

    @rule(new=services())
    def apply(self, new: Service) -> None:
        known = self.objects
        self.objects = replace(known, services={**known.services, new.key: new})

    @rule(name=st.sampled_from(NAMES))
    def delete(self, name: str) -> None:
        left = dict(self.objects.services)
        left.pop(Key(name[0], name[1:]), None)
        self.objects = replace(self.objects, services=left)

    @rule(new=pools())
    def edit_pool(self, new: Pool) -> None:
        self.objects = replace(self.objects, pools={**self.objects.pools, new.key: new})

    @rule(team=st.sampled_from("xy"))
    def label(self, team: str) -> None:
        space = Namespace(name="a", labels={"team": team})
        self.objects = replace(self.objects, namespaces={Key("", "a"): space})

    @rule()
    def write(self) -> None:
        self.objects = written(self.objects, self.allocator.decide(self.objects))

    @invariant()
    def memory_makes_no_difference(self) -> None:
        desired = self.allocator.decide(self.objects)
        assert desired == cluster_desired(self.objects)
        assert_lawful(self.objects, desired)


TestAnything = Anything.TestCase
TestAnything.settings = settings(stateful_step_count=20)
