"""MetalLB's annotations: which ones bear the old prefix, and what they are called now."""

from __future__ import annotations

from onehop.model.annotation import deprecated, present


def test_the_old_prefix_is_found_and_has_a_successor() -> None:
    found = deprecated(
        ["metallb.universe.tf/loadBalancerIPs", "metallb.universe.tf/address-pool",
         "metallb.io/address-pool", "example.org/metallb.universe.tf/x"]
    )  # fmt: skip
    assert found == ("metallb.universe.tf/address-pool", "metallb.universe.tf/loadBalancerIPs")
    assert [present(each) for each in found] == [
        "metallb.io/address-pool",
        "metallb.io/loadBalancerIPs",
    ]
    assert deprecated(()) == ()
