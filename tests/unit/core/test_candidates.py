"""Which pools a Service may draw from, in which order, and who owns an address."""

from __future__ import annotations

from ipaddress import ip_address

import pytest
from hypothesis import given
from hypothesis import strategies as st

from onehop.core.candidates import PoolTable, forbidden, merged, owned_by_one
from onehop.core.sharing import number
from onehop.model.config import (
    LabelSelector,
    Namespace,
    Operator,
    Pool,
    Requirement,
    ServiceAllocation,
)
from onehop.model.reason import Reason, Refusal
from onehop.model.service import Key
from tests.builders import a_pool, a_service, labels


def a_table(*pools: Pool, **namespaces: dict[str, str]) -> PoolTable:
    spaces = [Namespace(name=name, labels=found) for name, found in namespaces.items()]
    return PoolTable(sorted(pools, key=lambda pool: pool.key), {}, spaces)


def pinned(name: str, text: str, **allocation: object) -> Pool:
    return a_pool(name, text, allocation=ServiceAllocation(**allocation))  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("allocation", "admitted"),
    [
        pytest.param(None, True, id="none: all"),
        pytest.param(ServiceAllocation(priority=3), True, id="only a priority: all"),
        pytest.param(ServiceAllocation(namespaces=frozenset({"default"})), True, id="namespace"),
        pytest.param(ServiceAllocation(namespaces=frozenset({"x"})), False, id="other namespace"),
        pytest.param(
            ServiceAllocation(namespace_selectors=(labels(no="x"), labels(team="a"))),
            True,
            id="selectors are OR-ed",
        ),
        pytest.param(
            ServiceAllocation(
                namespaces=frozenset({"x"}), namespace_selectors=(labels(team="a"),)
            ),
            True,
            id="names and selectors are a union",
        ),
        pytest.param(
            ServiceAllocation(namespace_selectors=(labels(team="none"),)),
            False,
            id="selectors that select nothing admit nobody",
        ),
        pytest.param(
            ServiceAllocation(service_selectors=(labels(app="web"),)), True, id="service"
        ),
        pytest.param(
            ServiceAllocation(
                namespaces=frozenset({"default"}), service_selectors=(labels(app="db"),)
            ),
            False,
            id="namespace and Service are AND-ed",
        ),
        pytest.param(
            ServiceAllocation(
                service_selectors=(
                    LabelSelector(
                        match_expressions=(
                            Requirement(
                                key="app", operator=Operator.IN, values=frozenset({"web", "db"})
                            ),
                        )
                    ),
                )
            ),
            True,
            id="expression",
        ),
    ],
)
def test_service_allocation(allocation: ServiceAllocation | None, admitted: bool) -> None:
    table = a_table(a_pool("p", allocation=allocation), default={"team": "a"})
    assert table.admits(table.sources[0], a_service(labels={"app": "web"})) is admitted


def test_a_namespace_that_nobody_described_has_no_labels() -> None:
    table = a_table(pinned("p", "10.0.0.0/30", namespace_selectors=(labels(team="a"),)))
    assert not table.admits(table.sources[0], a_service())


def test_pinned_pools_come_by_priority_then_name_and_before_open_ones() -> None:
    table = a_table(
        a_pool("open-b", "10.0.1.0/24"),
        a_pool("open-a", "10.0.2.0/24"),
        a_pool("asked", "10.0.3.0/24", auto_assign=False),
        pinned("unset", "10.0.4.0/24"),
        pinned("second", "10.0.5.0/24", priority=2),
        pinned("first-b", "10.0.6.0/24", priority=1),
        pinned("first-a", "10.0.7.0/24", priority=1),
        pinned("others", "10.0.8.0/24", namespaces=frozenset({"x"})),
    )
    groups = table.automatic(a_service())
    assert [[source.name for source in group] for group in groups] == [
        ["first-a", "first-b", "second", "unset"],
        ["open-a", "open-b"],
    ]


def test_without_pinned_pools_there_is_one_group() -> None:
    table = a_table(a_pool("b", "10.0.1.0/24"), a_pool("a", "10.0.2.0/24"))
    assert table.automatic(a_service()) == (table.open_to_all,)


@pytest.mark.parametrize(
    ("name", "why"),
    [("open", ""), ("asked", "autoAssign is false"), ("others", "does not admit the Service")],
)
def test_why_a_pool_is_not_drawn_from(name: str, why: str) -> None:
    table = a_table(
        a_pool("open", "10.0.1.0/24"),
        a_pool("asked", "10.0.3.0/24", auto_assign=False),
        pinned("others", "10.0.8.0/24", namespaces=frozenset({"x"})),
    )
    found = table.why_not(table.by_name[name], a_service())
    assert found.endswith(why)
    assert bool(found) is bool(why)


OWNERS = a_table(
    a_pool("a", "10.0.0.0/30", "10.0.0.8-10.0.0.9", "10.0.0.2-10.0.0.5"),
    a_pool("b", "10.0.0.6-10.0.0.7", "fd00::/64"),
)


@pytest.mark.parametrize(
    ("text", "owner"),
    [
        ("10.0.0.0", "a"), ("10.0.0.3", "a"), ("10.0.0.5", "a"), ("10.0.0.6", "b"),
        ("10.0.0.7", "b"), ("10.0.0.8", "a"), ("10.0.0.9", "a"), ("10.0.0.10", None),
        ("9.255.255.255", None), ("fd00::", "b"), ("fd00::ffff:ffff:ffff:ffff", "b"),
        ("fd00:0:0:1::", None), ("::a00:1", None),
    ],
)  # fmt: skip
def test_owner_of_an_address(text: str, owner: str | None) -> None:
    found = OWNERS.owner(number(ip_address(text)))
    assert (found.name if found else None) == owner


def test_no_pools_own_nothing() -> None:
    assert a_table().owner(number(ip_address("10.0.0.1"))) is None


@given(st.lists(st.tuples(st.integers(0, 60), st.integers(0, 9)), min_size=1, max_size=8))
def test_merged_stretches_hold_the_same_addresses(ranges: list[tuple[int, int]]) -> None:
    texts = [f"10.0.0.{first}-10.0.0.{first + more}" for first, more in ranges]
    pool = a_pool("p", *texts)
    base = number(ip_address("10.0.0.0"))
    stretches = merged(pool)
    held = [where - base for first, last in stretches for where in range(first, last + 1)]
    assert len(held) == len(set(held))
    assert set(held) == {at for first, more in ranges for at in range(first, first + more + 1)}
    assert list(stretches) == sorted(stretches)


@pytest.mark.parametrize(
    ("text", "avoids"),
    [("10.0.0.0", True), ("10.0.0.255", True), ("10.0.0.1", False), ("fd00::ff", False)],
)
def test_buggy_addresses_are_v4_ones_that_end_in_0_or_255(text: str, avoids: bool) -> None:
    at = number(ip_address(text))
    careful = a_table(a_pool("p", avoid_buggy_ips=True)).sources[0]
    careless = a_table(a_pool("p")).sources[0]
    assert (careful.avoids(at), careless.avoids(at)) == (avoids, False)


@pytest.mark.parametrize(
    ("texts", "annotated", "answer"),
    [
        pytest.param(["10.0.0.1"], "", "a", id="one"),
        pytest.param(["10.0.0.6", "fd00::1"], "b", "b", id="both in the named pool"),
        pytest.param(["10.9.0.1"], "", Reason.ADDRESS_NOT_IN_POOL, id="in no pool"),
        pytest.param(["10.0.0.1", "fd00::1"], "", Reason.REQUEST_CONFLICT, id="two pools"),
        pytest.param(["10.0.0.1"], "b", Reason.REQUEST_CONFLICT, id="not in the named pool"),
    ],
)
def test_requested_addresses_lie_in_one_pool(
    texts: list[str], annotated: str, answer: object
) -> None:
    found = owned_by_one(OWNERS, map(ip_address, texts), annotated)
    assert (found.reason if isinstance(found, Refusal) else found.name) == answer


def test_a_requested_buggy_address_is_refused() -> None:
    table = a_table(a_pool("p", "10.0.0.0/24", avoid_buggy_ips=True))
    found = owned_by_one(table, [ip_address("10.0.0.255")], "")
    assert found == Refusal(reason=Reason.BUGGY_ADDRESS, detail="pool p avoids 10.0.0.255")


def test_a_forbidden_pool_names_pool_and_service() -> None:
    refusal = forbidden(OWNERS.sources[0], Key("default", "web"))
    assert refusal.reason is Reason.POOL_FORBIDDEN
    assert "pool a" in refusal.detail
    assert "default/web" in refusal.detail
