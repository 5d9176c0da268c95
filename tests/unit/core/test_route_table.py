"""Routes out of the claims of several Services."""

from __future__ import annotations

from ipaddress import ip_network

from hypothesis import given
from hypothesis import strategies as st

from onehop.core.route_table import RouteTable
from onehop.model.address import IPNetwork
from onehop.model.bgp import RouteAttributes
from onehop.model.service import Key

A, B, C = (Key("default", name) for name in "abc")
P, Q = ip_network("192.0.2.1/32"), ip_network("192.0.2.2/32")
PLAIN = RouteAttributes()
ROUTES = [
    PLAIN,
    RouteAttributes(communities=(1,)),
    RouteAttributes(communities=(2,)),
    RouteAttributes(local_pref=5),
    RouteAttributes(local_pref=5, communities=(3,)),
]


def settled(**claims: dict[IPNetwork, RouteAttributes]) -> RouteTable:
    table = RouteTable()
    for name, routes in claims.items():
        table.put(Key("default", name), routes)
    table.settle()
    return table


def test_services_of_one_prefix_unite_their_communities() -> None:
    table = settled(a={P: ROUTES[1], Q: PLAIN}, b={P: ROUTES[2]})
    assert table.routes == {P: RouteAttributes(communities=(1, 2)), Q: PLAIN}
    assert table.of(B) == {P: RouteAttributes(communities=(1, 2))}
    assert not table.lost
    table.put(B, {})
    table.settle()
    assert table.routes == {P: ROUTES[1], Q: PLAIN}
    assert table.of(B) == {}


def test_the_first_key_wins_where_preferences_differ() -> None:
    table = settled(b={P: ROUTES[3]}, c={P: ROUTES[4], Q: ROUTES[4]}, a={P: ROUTES[1]})
    assert table.routes == {P: ROUTES[1], Q: ROUTES[4]}
    assert table.lost == {P: {B, C}}
    assert table.lost_by(C) == (P,)
    assert table.lost_by(A) == ()
    assert table.of(C) == {Q: ROUTES[4]}
    table.put(A, {})
    table.settle()
    assert table.routes == {P: ROUTES[4], Q: ROUTES[4]}
    assert not table.lost


def test_an_unchanged_table_keeps_its_mapping() -> None:
    table = settled(a={P: PLAIN}, b={P: PLAIN})
    before = table.routes
    table.put(B, {})
    table.put(A, {P: RouteAttributes()})
    table.settle()
    assert table.routes is before


def test_a_mapping_that_was_given_away_never_changes() -> None:
    table = settled(a={P: PLAIN})
    before = table.routes
    table.put(A, {Q: PLAIN})
    table.settle()
    assert before == {P: PLAIN}
    assert table.routes == {Q: PLAIN}


def test_a_claim_that_comes_and_goes_between_two_looks_leaves_nothing() -> None:
    table = RouteTable()
    table.put(A, {P: PLAIN})
    table.put(A, {})
    table.settle()
    assert table.routes == {}


CLAIMS = st.dictionaries(st.sampled_from([P, Q]), st.sampled_from(ROUTES))


@given(st.lists(st.tuples(st.sampled_from([A, B, C]), CLAIMS, st.booleans()), max_size=12))
def test_any_order_of_edits_ends_at_the_same_routes(
    edits: list[tuple[Key, dict[IPNetwork, RouteAttributes], bool]],
) -> None:
    warm, last = RouteTable(), {}
    for key, routes, settle in edits:
        warm.put(key, routes)
        last[key] = routes
        if settle:
            warm.settle()
    warm.settle()
    cold = settled(**{key.name: routes for key, routes in sorted(last.items())})
    assert warm.routes == cold.routes
    assert warm.lost == cold.lost
    for key in (A, B, C):
        assert warm.of(key) == cold.of(key)
