"""What is wrong with the configuration as a whole, and which pools stay in force."""

from __future__ import annotations

from dataclasses import replace
from ipaddress import ip_address

import pytest
from hypothesis import given
from hypothesis import strategies as st

from onehop.core.validate import Validator, judged_pools, problems, usable_pools
from onehop.model.address import AddressRange
from onehop.model.config import Pool
from onehop.model.objects import Objects
from onehop.model.reason import Problem
from onehop.model.service import Key, Service
from tests.builders import a_pool, a_service, an_advertisement, the_objects


def lines(objects: Objects) -> list[str]:
    return [str(problem) for problem in problems(objects)]


def in_force(*pools: Pool) -> list[str]:
    return [str(pool.key) for pool in usable_pools(the_objects(pools=pools))]


def test_sound_configuration_has_no_problems() -> None:
    objects = the_objects(
        pools=[a_pool("a", "10.0.0.0/24", "fd00::/64"), a_pool("b", "10.0.1.0/24")],
        advertisements=[an_advertisement(pools=("a", "b"))],
        services=[
            a_service("w", annotations={"metallb.io/address-pool": "a"}),
            a_service("x", load_balancer_ip="10.0.0.9"),
        ],
    )
    assert problems(objects) == ()
    assert [pool.key.name for pool in usable_pools(objects)] == ["a", "b"]


def test_the_configuration_alone_leaves_services_out() -> None:
    objects = the_objects(
        pools=[a_pool("a", "10.0.0.0/24"), a_pool("b", "10.0.0.0/25")],
        advertisements=[an_advertisement(pools=("c",))],
        services=[a_service("w", annotations={"metallb.io/address-pool": "c"})],
    )
    validator = Validator()
    every, alone = validator.problems(objects), validator.configuration(objects)
    assert [each.object.partition(" ")[0] for each in alone] == [
        "IPAddressPool",
        "L2Advertisement",
    ]
    assert every[: len(alone)] == alone
    assert [each.object.partition(" ")[0] for each in every[len(alone) :]] == ["Service"]


def test_of_two_pools_that_overlap_the_first_by_name_stays_in_force() -> None:
    pools = [
        a_pool("b", "10.1.0.0/16", "10.0.0.128/25"),
        a_pool("c", "10.2.0.0/24"),
        a_pool("a", "10.0.0.0/24"),
    ]
    assert in_force(*pools) == ["metallb-system/a", "metallb-system/c"]
    assert lines(the_objects(pools=pools)) == [
        "IPAddressPool metallb-system/b spec.addresses[1]: 10.0.0.128/25 overlaps 10.0.0.0/24"
        " of pool a, which stays in force [PoolOverlap]"
    ]


def test_a_refused_pool_refuses_no_other() -> None:
    """What only overlaps a pool that is out of force is in force."""
    pools = [a_pool("a", "10.0.0.0/24"), a_pool("b", "10.0.0.0/23"), a_pool("c", "10.0.1.0/24")]
    assert in_force(*pools) == ["metallb-system/a", "metallb-system/c"]


def test_two_pools_of_one_name_in_two_namespaces() -> None:
    twin = replace(a_pool("a", "10.1.0.0/24"), key=Key("zoo", "a"))
    pools = [twin, a_pool("a", "10.0.0.0/24")]
    assert in_force(*pools) == ["metallb-system/a"]
    assert lines(the_objects(pools=pools)) == [
        "IPAddressPool zoo/a metadata.name: pool metallb-system/a has the same name and stays in"
        " force [DuplicateObject]"
    ]


def test_a_twin_may_take_the_place_of_a_pool_out_of_force() -> None:
    broken = replace(a_pool("a"), ranges=())
    twin = replace(a_pool("a", "10.1.0.0/24"), key=Key("zoo", "a"))
    objects = the_objects(
        pools=[broken, twin], services=[a_service(annotations={"metallb.io/address-pool": "a"})]
    )
    assert [str(pool.key) for pool in usable_pools(objects)] == ["zoo/a"]
    assert judged_pools(objects).refused == {}
    assert lines(objects) == [
        "IPAddressPool metallb-system/a spec.addresses: a pool needs at least one range"
        " [FieldInvalid]"
    ]


@pytest.mark.parametrize(
    ("ranges", "found"),
    [
        pytest.param(
            ["10.0.0.0/24", "10.0.0.9/32"], [(1, "10.0.0.9/32 overlaps 10.0.0.0/24")], id="inside"
        ),
        pytest.param(
            ["10.0.0.9/32", "10.0.0.0/24"], [(1, "10.0.0.0/24 overlaps 10.0.0.9/32")], id="around"
        ),
        pytest.param(
            ["10.0.0.0/24", "10.0.0.1/32", "10.0.0.9/32"],
            [(1, "10.0.0.1/32 overlaps 10.0.0.0/24"), (2, "10.0.0.9/32 overlaps 10.0.0.0/24")],
            id="two in one",
        ),
        pytest.param(["10.0.0.0/24", "10.0.1.0/24", "::a00:0/120"], [], id="neighbours"),
    ],
)
def test_ranges_of_one_pool_that_overlap_are_told_and_stay_in_force(
    ranges: list[str], found: list[tuple[int, str]]
) -> None:
    """There is no doubt which addresses such a pool holds, and its Services keep theirs."""
    pool = a_pool("a", *ranges)
    assert in_force(pool) == ["metallb-system/a"]
    assert lines(the_objects(pools=[pool])) == [
        f"IPAddressPool metallb-system/a spec.addresses[{index}]: {text} of the same pool"
        " [PoolOverlap]"
        for index, text in found
    ]


@pytest.mark.parametrize(
    ("first", "last"),
    [
        pytest.param("10.0.0.1", "fe80::", id="two families"),
        pytest.param("10.0.0.9", "10.0.0.1", id="end before start"),
    ],
)
def test_a_range_that_is_none_takes_its_pool_out_of_force(first: str, last: str) -> None:
    bad = AddressRange(first=ip_address(first), last=ip_address(last), text=f"{first}-{last}")
    pools = [replace(a_pool("a"), ranges=(bad,)), a_pool("b")]
    assert in_force(*pools) == ["metallb-system/b"]
    assert lines(the_objects(pools=pools)) == [
        f"IPAddressPool metallb-system/a spec.addresses[0]: {first}-{last} is not a range of one"
        " family that ends after its start [FieldInvalid]"
    ]


def test_advertisements_name_pools_that_exist_once() -> None:
    objects = the_objects(
        pools=[a_pool("a", "10.0.0.0/24"), a_pool("b", "10.0.0.0/25")],
        advertisements=[an_advertisement(pools=("a", "nowhere", "b", "a"))],
    )
    where = "L2Advertisement metallb-system/l2 spec.ipAddressPools"
    assert lines(objects)[1:] == [
        f"{where}[1]: there is no pool nowhere [UnknownPool]",
        f"{where}[2]: pool b is not in force: 10.0.0.0/25 overlaps 10.0.0.0/24 of pool a, which"
        " stays in force [UnknownPool]",
        f"{where}[3]: pool a is named twice [FieldInvalid]",
    ]


ANNOTATIONS = "Service default/web metadata.annotations"


@pytest.mark.parametrize(
    ("service", "line"),
    [
        pytest.param(
            a_service(annotations={"metallb.io/address-pool": "x"}),
            f"{ANNOTATIONS}[metallb.io/address-pool]: there is no pool x [UnknownPool]",
            id="unknown pool",
        ),
        pytest.param(
            a_service(annotations={"metallb.universe.tf/loadBalancerIPs": "10.0.0"}),
            f"{ANNOTATIONS}[metallb.universe.tf/loadBalancerIPs]: '10.0.0' is no address"
            " [AddressInvalid]",
            id="no address",
        ),
        pytest.param(
            a_service(load_balancer_ip="oops"),
            "Service default/web spec.loadBalancerIP: 'oops' is no address [AddressInvalid]",
            id="no address in spec",
        ),
        pytest.param(
            a_service(
                load_balancer_ip="10.0.0.1", annotations={"metallb.io/loadBalancerIPs": "10.0.0.1"}
            ),
            f"{ANNOTATIONS}[metallb.io/loadBalancerIPs]: spec.loadBalancerIP is 10.0.0.1 and an"
            " annotation asks for 10.0.0.1 [RequestConflict]",
            id="both ways",
        ),
        pytest.param(
            a_service(load_balancer_ip="fd00::1"),
            "Service default/web spec.loadBalancerIP: requested fd00::1, the Service needs IPv4"
            " [FamilyMismatch]",
            id="other family",
        ),
    ],
)
def test_bad_requests_of_a_service(service: Service, line: str) -> None:
    objects = the_objects(pools=[a_pool("a", "10.0.0.0/24")], services=[service])
    assert lines(objects) == [line]


def test_a_service_that_waits_for_its_cluster_ip_is_not_blamed_for_families() -> None:
    service = a_service(load_balancer_ip="fd00::1", cluster_ips=())
    assert lines(the_objects(pools=[a_pool()], services=[service])) == []


def test_services_of_other_types_may_say_what_they_like() -> None:
    service = a_service(type="ClusterIP", annotations={"metallb.io/address-pool": "x"})
    assert lines(the_objects(pools=[a_pool()], services=[service])) == []


@given(
    st.lists(
        st.tuples(st.sampled_from("abcdef"), st.integers(0, 40), st.integers(0, 12)),
        max_size=8,
        unique_by=lambda entry: entry[0],
    ),
)
def test_pools_in_force_are_disjoint_and_independent_of_order(
    entries: list[tuple[str, int, int]],
) -> None:
    pools = [
        a_pool(name, f"10.0.0.{first}-10.0.0.{first + more}") for name, first, more in entries
    ]
    usable = in_force(*pools)
    assert in_force(*reversed(pools)) == usable
    expected: dict[str, set[int]] = {}
    for name, first, more in sorted(entries):
        held = set(range(first, first + more + 1))
        if not any(held & other for other in expected.values()):
            expected[name] = held
    assert usable == [f"metallb-system/{name}" for name in expected]


def test_what_was_mended_or_deleted_is_told_no_longer() -> None:
    validator = Validator()
    told = []
    pool = a_pool()
    for asked in (["oops", "no"], ["oops", "10.0.0.1"], ["10.0.0.2"], ["oops"], []):
        services = [a_service(str(n), load_balancer_ip=text) for n, text in enumerate(asked)]
        objects = the_objects(pools=[pool], services=services)
        told.append([problem.object for problem in validator.problems(objects)])
    first, second = "Service default/0", "Service default/1"
    assert told == [[first, second], [first], [], [first], []]


KINDS = {
    (name, small): a_pool(name) if small else a_pool(name, "10.0.0.0/24")
    for name in "pq"
    for small in (True, False)
}
TEXTS = ["", "10.0.0.1", "fd00::1", "oops"]


@given(
    st.lists(
        st.tuples(
            st.sampled_from("abc"), st.sampled_from(TEXTS), st.sampled_from("pq"), st.booleans()
        ),
        max_size=12,
    )
)
def test_memory_makes_no_difference(edits: list[tuple[str, str, str, bool]]) -> None:
    """Pools come and go, Services are edited and deleted: what is told is what is wrong now."""
    validator = Validator()
    services: dict[str, Service] = {}
    pools: dict[str, Pool] = {}
    for name, asked, pool, away in edits:
        named = {"metallb.io/address-pool": pool}
        services[name] = a_service(name, load_balancer_ip=asked, annotations=named)
        pools[pool] = KINDS[pool, bool(asked)]
        if away:
            (services if asked else pools).pop(name if asked else pool)
        objects = the_objects(
            pools=pools.values(),
            services=services.values(),
            advertisements=[an_advertisement(pools=(pool,))],
        )
        assert validator.problems(objects) == problems(objects)


def test_a_problem_is_a_value_of_the_model() -> None:
    (found,) = problems(the_objects(pools=[replace(a_pool("a"), ranges=())]))
    assert isinstance(found, Problem)
    assert (found.source, found.line) == ("", 0)
