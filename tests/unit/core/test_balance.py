"""Maglev tables and the flow's number."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace
from ipaddress import IPv4Address, ip_address

import pytest
from hypothesis import given
from hypothesis import strategies as st

from onehop.core.balance import flow_hash, ring, selected, turn
from onehop.model.service import Backend, BackendState, Protocol

CLIENT = (ip_address("198.51.100.7"), 40000)
VIP = (ip_address("192.0.2.241"), 9096)
# Written down from this code once; tests/bpf holds the datapath to the same numbers.
GOLDEN = [2, 2, 2, 0, 1, 0, 0, 1, 1, 0, 1]
NUMBER_V4 = 0x22413F69DD9DDD02
NUMBER_V6 = 0xED4E9CC609205E24


def backends(count: int) -> tuple[Backend, ...]:
    first = IPv4Address("10.244.0.1")
    return tuple(Backend(address=first + i, port=9092, local=True) for i in range(count))


class TestRing:
    def test_is_the_table_that_nodes_have_agreed_on_so_far(self) -> None:
        """Nodes of two versions must agree: a change here moves every flow of a cluster."""
        assert list(ring(backends(3), 11)) == GOLDEN

    @given(count=st.integers(1, 40), turns=st.sampled_from([251, 1021]))
    def test_shares_differ_by_one_turn_at_most(self, count: int, turns: int) -> None:
        shares = Counter(ring(backends(count), turns))
        assert set(shares) == set(range(count))
        assert max(shares.values()) - min(shares.values()) <= 1

    def test_one_or_no_backend_needs_no_choice(self) -> None:
        assert set(ring(backends(1), 251)) == {0}
        assert len(ring((), 251)) == 251

    @given(st.permutations(backends(7)))
    def test_the_order_of_backends_changes_only_indexes(self, shuffled: list[Backend]) -> None:
        straight = [backends(7)[index] for index in ring(backends(7), 251)]
        assert [shuffled[index] for index in ring(shuffled, 251)] == straight

    @pytest.mark.parametrize(("count", "turns"), [(3, 251), (10, 1021), (40, 4093)])
    def test_a_backend_that_goes_moves_few_flows_of_the_others(
        self, count: int, turns: int
    ) -> None:
        for gone in (0, count // 2, count - 1):
            whole = backends(count)
            rest = whole[:gone] + whole[gone + 1 :]
            pairs = zip(ring(whole, turns), ring(rest, turns), strict=True)
            moved = sum(a != gone and whole[a] != rest[b] for a, b in pairs)
            assert moved / turns < 0.05

    def test_nothing_but_address_and_port_matters(self) -> None:
        changed = tuple(
            replace(each, local=False, node="elsewhere", state=BackendState.TERMINATING)
            for each in backends(3)
        )
        assert ring(changed, 251) is ring(backends(3), 251)

    def test_the_port_matters(self) -> None:
        changed = tuple(replace(each, port=9093) for each in backends(3))
        assert ring(changed, 251) != ring(backends(3), 251)


class TestTurn:
    @given(st.integers(0, (1 << 64) - 1), st.sampled_from([251, 1021, 4093]))
    def test_lies_in_the_table(self, number: int, turns: int) -> None:
        assert 0 <= turn(number, turns) < turns

    def test_flows_spread_evenly(self) -> None:
        """Source ports of one client, one after the other: the hardest case in practice."""
        picked = Counter(
            turn(flow_hash((CLIENT[0], port), VIP, Protocol.TCP), 251)
            for port in range(1024, 1024 + 251 * 100)
        )
        assert len(picked) == 251
        # chi-square with 250 degrees of freedom: 320 is the 99.8th percentile
        assert sum((n - 100) ** 2 / 100 for n in picked.values()) < 320


class TestFlowHash:
    def test_is_the_number_that_the_datapath_computes(self) -> None:
        assert flow_hash(CLIENT, VIP, Protocol.TCP) == NUMBER_V4
        v6 = (ip_address("2001:db8::7"), 40000), (ip_address("2001:db8::241"), 9096)
        assert flow_hash(*v6, Protocol.UDP) == NUMBER_V6

    @pytest.mark.parametrize(
        "other",
        [
            ((ip_address("198.51.100.8"), 40000), VIP, Protocol.TCP),
            ((CLIENT[0], 40001), VIP, Protocol.TCP),
            (CLIENT, (ip_address("192.0.2.242"), 9096), Protocol.TCP),
            (CLIENT, (VIP[0], 9097), Protocol.TCP),
            (CLIENT, VIP, Protocol.UDP),
            (VIP, CLIENT, Protocol.TCP),
        ],
    )
    def test_every_part_of_the_flow_counts(self, other: tuple[tuple, tuple, Protocol]) -> None:
        assert flow_hash(*other) != flow_hash(CLIENT, VIP, Protocol.TCP)


class TestSelected:
    def test_nobody_when_there_is_nobody(self) -> None:
        assert selected((), 251, CLIENT, VIP, Protocol.TCP) is None

    @given(st.integers(1, 9), st.integers(1, 65535))
    def test_is_the_backend_of_the_flows_turn(self, count: int, port: int) -> None:
        client = (CLIENT[0], port)
        number = flow_hash(client, VIP, Protocol.TCP)
        wanted = backends(count)[ring(backends(count), 251)[turn(number, 251)]]
        assert selected(backends(count), 251, client, VIP, Protocol.TCP) == wanted
