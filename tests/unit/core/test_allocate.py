"""What a Service keeps, what it loses and why, and how a decision is remembered."""

from __future__ import annotations

from dataclasses import replace
from ipaddress import ip_address

import pytest

from onehop.core.allocate import Allocator, allocation_chain, cluster_desired
from onehop.model.config import Namespace, Pool, ServiceAllocation
from onehop.model.objects import Objects
from onehop.model.reason import Problem, Reason, Refusal
from onehop.model.service import Condition, Key, Service
from tests.builders import LOCAL, a_pool, a_service, labels, the_objects
from tests.unit.core.allocation import (
    DUAL,
    PREFER,
    REQUIRE,
    SHARED,
    SMALL,
    TWO,
    V6_ONLY,
    asking,
    brief,
    named,
    statuses,
)

WEB = Key("default", "web")


@pytest.mark.parametrize(
    ("held", "more", "answer"),
    [
        pytest.param(["10.1.0.5"], {}, "10.1.0.5 of dual", id="valid"),
        pytest.param(["10.1.0.5"], {"ports": ()}, "10.1.0.5 of dual", id="no ports"),
        pytest.param(["10.1.0.5", "fd01::5"], REQUIRE, "10.1.0.5 fd01::5 of dual", id="dual"),
        pytest.param(["fd01::5", "10.1.0.5"], TWO, "10.1.0.5 fd01::5 of dual", id="v4 before v6"),
        pytest.param(["10.1.0.5", "fd01::5"], V6_ONLY, "fd01::5 of dual", id="one family left"),
        pytest.param(["10.1.0.5", "10.1.0.6"], {}, "10.1.0.5 of dual", id="one of a family"),
        pytest.param(["fd01::5"], {}, "10.1.0.1 of dual", id="family changed"),
        pytest.param(["10.9.9.9"], {}, "10.1.0.1 of dual", id="in no pool any more"),
        pytest.param(
            ["10.0.0.2", "fd01::5"],
            PREFER,
            "10.0.0.2 of small",
            id="two pools: the first family's",
        ),
        pytest.param(
            ["10.9.9.9", "fd01::5"], PREFER, "10.1.0.1 fd01::5 of dual", id="what is left of two"
        ),
        pytest.param(["10.0.0.2"], REQUIRE, "10.1.0.1 fd01::1 of dual", id="its pool has no v6"),
        pytest.param(
            ["10.0.0.2"], named(address_pool="dual"), "10.1.0.1 of dual", id="other pool asked"
        ),
        pytest.param(
            ["10.0.0.2"], named(address_pool="small"), "10.0.0.2 of small", id="its pool asked"
        ),
        pytest.param(
            ["10.1.0.5"], named(address_pool="x"), "UnknownPool", id="unknown pool asked"
        ),
        pytest.param(
            ["10.1.0.5"], asking("10.1.0.6"), "10.1.0.6 of dual", id="other address asked"
        ),
        pytest.param(["10.1.0.5"], asking("10.1.0.5"), "10.1.0.5 of dual", id="its address asked"),
        pytest.param(
            ["10.1.0.5"],
            {**PREFER, **asking("10.1.0.5")},
            "10.1.0.5 of dual",
            id="asks for no more",
        ),
        pytest.param(["10.1.0.5"], asking("10.9.9.9"), "AddressNotInPool", id="asks in no pool"),
        pytest.param(
            ["10.1.0.5"], {"cluster_ips": ()}, "NoClusterIP", id="no cluster IP any more"
        ),
        pytest.param(
            ["10.1.0.5"],
            {"cluster_ips": (ip_address("10.96.0.1"),), "family_policy": REQUIRE["family_policy"]},
            "FamilyMismatch",
            id="requires two, has one cluster IP",
        ),
    ],
)
def test_what_is_kept(held: list[str], more: dict[str, object], answer: str) -> None:
    assert brief(statuses([SMALL, DUAL], [a_service("web", *held, **more)])["web"]) == answer


@pytest.mark.parametrize(
    ("more", "reason"),
    [
        pytest.param(asking("x"), Reason.ADDRESS_INVALID, id="unreadable"),
        pytest.param(
            asking("10.1.0.6", "10.1.0.7"), Reason.REQUEST_CONFLICT, id="two of a family"
        ),
        pytest.param(
            {"load_balancer_ip": "10.1.0.6", **asking("10.1.0.6")},
            Reason.REQUEST_CONFLICT,
            id="asked in two ways",
        ),
    ],
)
def test_a_request_that_cannot_be_read_changes_nothing(
    more: dict[str, object], reason: Reason
) -> None:
    """A slip of the pen costs no address: it is told beside the address that stays."""
    status = statuses([SMALL, DUAL], [a_service("web", "10.1.0.5", **more)])["web"]
    assert brief(status) == "10.1.0.5 of dual"
    assert status.refusal is not None
    assert status.refusal.reason is reason
    assert status.conditions == (
        Condition(
            type="AddressAllocated", status=True, reason=reason.code, message=str(status.refusal)
        ),
    )


def test_a_slip_costs_no_address_to_a_service_that_lacks_a_family() -> None:
    service = a_service("web", "10.1.0.5", **REQUIRE, **asking("x"))  # type: ignore[arg-type]
    assert brief(statuses([DUAL], [service])["web"]) == "10.1.0.5 of dual"


@pytest.mark.parametrize(
    ("pool", "answer"),
    [
        pytest.param(a_pool("new", "10.1.0.0/24"), "10.1.0.0 of new", id="renamed"),
        pytest.param(
            a_pool("dual", "10.1.0.0/24", avoid_buggy_ips=True), "10.1.0.1 of dual", id="buggy"
        ),
        pytest.param(
            a_pool("dual", "10.1.0.0/24", allocation=ServiceAllocation(priority=1)),
            "10.1.0.0 of dual",
            id="still admitted",
        ),
        pytest.param(
            a_pool("dual", "10.1.0.0/24", allocation=ServiceAllocation(namespaces=frozenset("x"))),
            "10.0.0.1 of small",
            id="no longer admitted",
        ),
        pytest.param(
            a_pool("dual", "10.1.0.0/24", auto_assign=False),
            "10.1.0.0 of dual",
            id="not automatic",
        ),
        pytest.param(a_pool("dual", "10.7.0.0/24"), "10.7.0.0 of dual", id="moved"),
    ],
)
def test_pools_that_change_under_a_service(pool: Pool, answer: str) -> None:
    assert brief(statuses([SMALL, pool], [a_service("web", "10.1.0.0")])["web"]) == answer


def test_without_pools_there_are_no_addresses() -> None:
    found = statuses([], [a_service("web", "10.1.0.5")])["web"]
    assert found.refusal == Refusal(reason=Reason.NO_POOLS)
    assert found.addresses == ()
    broken = statuses([replace(a_pool("a"), ranges=())], [a_service("web")])["web"]
    assert broken.refusal is not None
    assert broken.refusal.detail == "pool a is not in force: a pool needs at least one range"


def test_of_two_on_one_address_the_elder_stays() -> None:
    services = [
        a_service("a", "10.1.0.5", created="2026-02-01"),
        a_service("z", "10.1.0.5", created="2026-01-01"),
    ]
    for order in (services, services[::-1]):
        found = statuses([DUAL], order)
        assert (brief(found["z"]), brief(found["a"])) == ("10.1.0.5 of dual", "10.1.0.1 of dual")


def test_those_that_share_rightly_all_stay() -> None:
    services = [a_service(f"s{n}", "10.1.0.5", port=n, **SHARED) for n in range(1, 9)]  # type: ignore[arg-type]
    assert {brief(status) for status in statuses([DUAL], services).values()} == {
        "10.1.0.5 of dual"
    }


def test_one_that_shares_no_longer_moves_away() -> None:
    services = [
        a_service("a", "10.1.0.5", port=1, **SHARED),  # type: ignore[arg-type]
        a_service("b", "10.1.0.5", port=2, policy=LOCAL, selector={"x": "y"}, **SHARED),  # type: ignore[arg-type]
    ]
    found = statuses([DUAL], services)
    assert (brief(found["a"]), brief(found["b"])) == ("10.1.0.5 of dual", "10.1.0.1 of dual")


def test_the_rest_are_placed_by_age_then_namespace_and_name() -> None:
    services = [
        a_service("c", created="2026-01-02"),
        a_service("b", created="2026-01-01"),
        a_service("a", created="2026-01-02"),
        a_service("", key=Key("aaa", "d"), created="2026-01-02"),
    ]
    found = statuses([DUAL], services)
    order = sorted(found, key=lambda name: found[name].addresses)
    assert order == ["b", "d", "a", "c"]


def test_a_service_of_another_class_is_no_business_of_ours() -> None:
    objects = the_objects(
        pools=[DUAL],
        services=[a_service("a", "10.1.0.5", load_balancer_class="x"), a_service("b")],
    )
    assert set(cluster_desired(objects).statuses) == {Key("default", "b")}
    assert set(cluster_desired(objects, lb_class="x").statuses) == {Key("default", "a")}


def test_an_address_comes_before_any_endpoint() -> None:
    """Strimzi waits for the addresses of its Services before it starts a broker."""
    desired = cluster_desired(the_objects(pools=[DUAL], services=[a_service()]))
    assert desired.statuses[WEB].addresses == (ip_address("10.1.0.1"),)
    assert desired.statuses[WEB].conditions == (
        Condition(
            type="AddressAllocated", status=True, reason="Allocated", message="from pool dual"
        ),
    )


class TestReleased:
    """What becomes of the addresses of Services that are no more."""

    def desired(self, *services: Service, **released: str) -> dict[str, tuple[object, ...]]:
        objects = the_objects(
            pools=[SMALL, DUAL],
            services=services,
            released={
                Key("default", name): tuple(map(ip_address, texts.split()))
                for name, texts in released.items()
            },
        )
        found = cluster_desired(objects).released
        return {key.name: tuple(map(str, addresses)) for key, addresses in found.items()}

    def test_they_are_remembered(self) -> None:
        assert self.desired(gone="10.1.0.5 fd01::5") == {"gone": ("10.1.0.5", "fd01::5")}

    def test_they_are_remembered_while_the_service_waits(self) -> None:
        assert self.desired(a_service(cluster_ips=()), web="10.1.0.5") == {"web": ("10.1.0.5",)}

    def test_they_are_forgotten_when_the_service_has_addresses(self) -> None:
        assert self.desired(a_service(), web="10.1.0.5") == {}
        assert self.desired(a_service("web", "10.1.0.6"), web="10.1.0.5") == {}

    def test_they_are_forgotten_when_another_has_them(self) -> None:
        other = a_service("other", "10.1.0.5")
        assert self.desired(other, gone="10.1.0.5 fd01::5") == {"gone": ("fd01::5",)}
        assert self.desired(other, gone="10.1.0.5") == {}

    def test_they_are_remembered_without_their_pool(self) -> None:
        assert self.desired(gone="10.77.0.1") == {"gone": ("10.77.0.1",)}

    def test_a_service_that_changed_its_type_gives_them_up(self) -> None:
        service = a_service("web", "10.1.0.1", type="ClusterIP")
        objects = the_objects(pools=[DUAL], services=[service, a_service("new")])
        desired = cluster_desired(objects)
        assert desired.statuses[WEB].addresses == ()
        assert desired.statuses[WEB].refusal == Refusal(
            reason=Reason.NOT_LOAD_BALANCER, detail="its type is ClusterIP"
        )
        assert desired.released == {WEB: (ip_address("10.1.0.1"),)}
        assert brief(desired.statuses[Key("default", "new")]) == "10.1.0.2 of dual"

    @pytest.mark.parametrize(
        "more",
        [
            pytest.param({"cluster_ips": ()}, id="lost its cluster IP"),
            pytest.param(named(address_pool="x"), id="asks for an unknown pool"),
            pytest.param(asking("10.9.9.9"), id="asks for an address in no pool"),
        ],
    )
    def test_what_a_service_loses_by_a_mistake_waits_for_its_mending(
        self, more: dict[str, object]
    ) -> None:
        found = self.desired(a_service("web", "10.1.0.1", **more), a_service("new"))
        assert found == {"web": ("10.1.0.1",)}
        back = [a_service("a"), a_service("web")]
        assert brief(statuses([DUAL], back, {"web": ["10.1.0.1"]})["web"]) == "10.1.0.1 of dual"

    def test_pools_that_go_and_come_again_find_all_as_it_was(self) -> None:
        services = [a_service("a", "10.1.0.5"), a_service("b", "10.1.0.4")]
        objects = the_objects(services=services)
        without = cluster_desired(objects)
        assert {key.name: len(each.addresses) for key, each in without.statuses.items()} == {
            "a": 0, "b": 0,
        }  # fmt: skip
        again = the_objects(
            pools=[DUAL],
            services=[replace(each, ingress=()) for each in services],
            released=without.released,
        )
        found = cluster_desired(again).statuses
        assert [brief(found[each.key]) for each in services] == [
            "10.1.0.5 of dual", "10.1.0.4 of dual",
        ]  # fmt: skip

    def test_an_address_on_a_service_of_another_class_is_not_taken(self) -> None:
        service = a_service("web", "10.1.0.1", type="ClusterIP", load_balancer_class="x")
        assert cluster_desired(the_objects(pools=[DUAL], services=[service])).statuses == {}


class TestDoubt:
    """While something that may be a pool cannot be read, no address is taken for lack of one."""

    HIDDEN = Problem(
        source="pools.yaml",
        line=3,
        object="",
        field="",
        reason=Reason.MANIFEST_UNREADABLE,
        detail="no YAML",
    )

    def found(self, problem: Problem, *services: Service, pools: list[Pool]) -> list[str]:
        objects = the_objects(pools=pools, services=services, problems=(problem,))
        allocator = Allocator()
        allocator.decide(replace(objects, problems=()))
        desired = allocator.decide(objects)
        assert desired == cluster_desired(objects)
        return [
            f"{' '.join(map(str, each.addresses))} {each.refusal.detail if each.refusal else ''}"
            for _, each in sorted(desired.statuses.items())
        ]

    @pytest.mark.parametrize("pools", [[], [SMALL]], ids=["no pool", "another pool"])
    def test_an_address_in_no_pool_stays(self, pools: list[Pool]) -> None:
        found = self.found(self.HIDDEN, a_service("web", "10.1.0.5"), pools=pools)
        assert found == ["10.1.0.5 kept because of pools.yaml: no YAML"]

    def test_a_pool_that_cannot_be_read_is_such_a_thing(self) -> None:
        problem = replace(self.HIDDEN, object="IPAddressPool metallb-system/dual")
        found = self.found(problem, a_service("web", "10.1.0.5"), pools=[SMALL])
        assert found == ["10.1.0.5 kept because of pools.yaml: no YAML"]

    def test_a_node_that_cannot_be_read_is_none(self) -> None:
        problem = replace(self.HIDDEN, object="Node n1")
        assert self.found(problem, a_service("web", "10.1.0.5"), pools=[SMALL]) == ["10.0.0.1 "]

    def test_all_else_goes_on(self) -> None:
        services = [a_service("a"), a_service("b", "10.0.0.2"), a_service("c", "fd00::1")]
        found = self.found(self.HIDDEN, *services, a_service("d", cluster_ips=()), pools=[SMALL])
        assert found[:2] == ["10.0.0.1 ", "10.0.0.2 "]
        assert found[3].startswith(" spec.clusterIPs")

    def test_without_any_pool_a_new_service_waits(self) -> None:
        assert self.found(self.HIDDEN, a_service(), pools=[]) == [" "]


class TestAllocator:
    """It remembers; what it answers is what the pure function answers."""

    def check(self, allocator: Allocator, objects: Objects) -> None:
        assert allocator.decide(objects) == cluster_desired(objects)

    def test_over_edits_of_one_service(self) -> None:
        allocator = Allocator()
        services = {name: a_service(name, f"10.1.0.{n}") for n, name in enumerate("abcdef", 1)}
        for change in (
            {},
            {"a": a_service("a", "10.1.0.9")},
            {"b": a_service("b", type="ClusterIP")},
            {"b": a_service("b")},
            {"c": a_service("c", "10.1.0.4")},
            {"c": a_service("c", "10.1.0.3", type="NodePort")},
            {"c": a_service("c", type="NodePort")},
            {"c": a_service("c", "10.1.0.3", labels={"x": "y"})},
            {"new": a_service("new")},
        ):
            services = {**services, **change}
            self.check(allocator, the_objects(pools=[DUAL], services=services.values()))
        del services["a"]
        self.check(allocator, the_objects(pools=[DUAL], services=services.values()))
        self.check(allocator, the_objects(pools=[SMALL], services=services.values()))
        pools = [a_pool("x", "10.1.0.2/31")]
        self.check(allocator, the_objects(pools=pools, services=services.values()))

    def test_statuses_stay_identical_where_nothing_changed(self) -> None:
        allocator = Allocator()
        services = [a_service(name, f"10.1.0.{n}") for n, name in enumerate("abcdef", 1)]
        before = allocator.decide(the_objects(pools=[DUAL], services=services))
        services[0] = a_service("a", "10.1.0.1", labels={"x": "y"})
        after = allocator.decide(the_objects(pools=[DUAL], services=services))
        for name in "bcdef":
            key = Key("default", name)
            assert after.statuses[key] is before.statuses[key]

    def test_labels_of_namespaces_matter_only_to_pools_that_select_by_them(self) -> None:
        allocator = Allocator()
        pool = a_pool("p", allocation=ServiceAllocation(namespace_selectors=(labels(team="a"),)))
        for team in ("a", "b", "a"):
            objects = the_objects(
                pools=[pool],
                services=[a_service()],
                namespaces={Key("", "default"): Namespace(name="default", labels={"team": team})},
            )
            self.check(allocator, objects)
            assert bool(allocator.decide(objects).statuses[WEB].addresses) is (team == "a")

    def test_a_pool_that_appears_and_goes(self) -> None:
        allocator = Allocator()
        for pools in ([DUAL], [DUAL, SMALL], [SMALL], []):
            self.check(allocator, the_objects(pools=pools, services=[a_service()]))


class TestChain:
    """The reasons as `explain` prints them."""

    def chain(self, pools: list[Pool], *services: Service, **released: str) -> list[str]:
        objects = the_objects(
            pools=pools,
            services=services,
            released={Key("default", n): (ip_address(text),) for n, text in released.items()},
        )
        return [str(link) for link in allocation_chain(objects, WEB)]

    def test_a_service_that_does_not_exist(self) -> None:
        assert self.chain([DUAL]) == ["there is no Service default/web"]

    def test_a_service_of_another(self) -> None:
        (link,) = self.chain([DUAL], a_service("web", load_balancer_class="x"))
        assert link.startswith("ClassIgnored: ")

    def test_a_service_that_waits(self) -> None:
        (link,) = self.chain([DUAL], a_service("web", cluster_ips=()))
        assert link.startswith("NoClusterIP: ")

    def test_pools_stand_in_the_order_they_are_asked_in(self) -> None:
        pools = [
            a_pool("a", "10.5.0.0/24", auto_assign=False),
            SMALL,
            a_pool("pin", "10.6.0.0/24", allocation=ServiceAllocation(priority=1)),
            a_pool("v6", "fd09::/64"),
            a_pool("zz", "10.0.0.0/24"),
        ]
        assert self.chain(pools, a_service("web")) == [
            "needs IPv4",
            "pool pin: may serve it",
            "pool small: may serve it",
            "pool v6: has no IPv4 range",
            "pool a: autoAssign is false",
            "pool zz: not in force, 10.0.0.0/24 overlaps 10.0.0.1-10.0.0.2 of pool small, which"
            " stays in force",
            "gets 10.6.0.0 of pool pin",
        ]

    def test_what_is_asked(self) -> None:
        service = a_service(
            "web",
            **PREFER,  # type: ignore[arg-type]
            annotations={
                "metallb.io/loadBalancerIPs": "10.0.0.1,fd00::1",
                "metallb.io/address-pool": "small",
                "metallb.io/allow-shared-ip": "k",
            },
        )
        pools = [SMALL, DUAL, a_pool("s", "10.8.0.0/24", auto_assign=False)]
        assert self.chain(pools, service) == [
            "needs IPv4 or IPv6",
            "requests 10.0.0.1, fd00::1",
            "asks for pool small",
            "shares by key 'k'",
            "pool dual: the annotation names pool small",
            "pool small: may serve it",
            "pool s: the annotation names pool small",
            "AddressNotInPool: the requested address is in no pool (fd00::1 is in no pool)",
        ]

    def test_what_is_kept_and_what_comes_back(self) -> None:
        kept = self.chain([DUAL], a_service("web", "10.1.0.5"))
        assert kept[-1] == "keeps 10.1.0.5 of pool dual"
        back = self.chain([DUAL], a_service("web"), web="10.1.0.5")
        assert back[-1] == "gets back 10.1.0.5 of pool dual"

    def test_an_explicit_request_may_draw_from_any_pool_that_admits_it(self) -> None:
        pools = [a_pool("a", "10.5.0.0/24", auto_assign=False), DUAL]
        assert self.chain(pools, a_service("web", **asking("10.5.0.7")))[1:] == [
            "requests 10.5.0.7",
            "pool dual: may serve it",
            "pool a: may serve it",
            "gets 10.5.0.7 of pool a",
        ]

    def test_a_slip_is_told_beside_what_is_kept(self) -> None:
        *_, kept, slip = self.chain([DUAL], a_service("web", "10.1.0.5", **asking("x")))
        assert kept == "keeps 10.1.0.5 of pool dual"
        assert slip.startswith("AddressInvalid: ")
