"""A short run of each fuzzer, with a seed that is printed when it fails."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from fuzz import fuzz_arp, fuzz_bfd, fuzz_bgp, fuzz_ndp
from hypothesis import given, settings
from hypothesis import strategies as st


@pytest.mark.parametrize(
    "run",
    [fuzz_arp.run, fuzz_ndp.run, fuzz_bgp.run, fuzz_bfd.run],
    ids=["arp", "ndp", "bgp", "bfd"],
)
@given(seed=st.integers(0, 1 << 32))
@settings(max_examples=5)
def test_no_frame_raises_or_draws_a_wrong_answer(
    run: Callable[[int, int], int], seed: int
) -> None:
    assert 0 < run(2000, seed) < 2000
