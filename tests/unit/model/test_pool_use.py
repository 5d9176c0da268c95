"""PoolUse is a value."""

from __future__ import annotations

from onehop.model.pool_use import PoolUse


def test_two_that_count_the_same_are_equal() -> None:
    assert PoolUse(assigned_ipv4=1) == PoolUse(assigned_ipv4=1) != PoolUse(available_ipv4=1)
