"""A BFDProfile comes to terms, and what it asks in vain is said."""

from __future__ import annotations

from dataclasses import replace

import pytest

from onehop.model.bgp import BFDProfile
from onehop.model.reason import Reason
from onehop.model.service import Key
from onehop.proto.bfd.profile import FLOOR, FLOOR_WITHOUT_PRIORITY, terms
from onehop.proto.bfd.session import Terms

PROFILE = BFDProfile(key=Key("metallb-system", "fast"))


def test_a_profile_above_the_floor_is_granted_as_it_is() -> None:
    asked = replace(
        PROFILE, transmit_interval_ms=100, receive_interval_ms=150, detect_multiplier=5,
        passive_mode=True, minimum_ttl=250,
    )  # fmt: skip
    granted = Terms(transmit=0.1, receive=0.15, multiplier=5, is_passive=True, minimum_ttl=250)
    assert terms(asked, FLOOR) == (granted, ())


@pytest.mark.parametrize(
    ("asked", "multiplier", "granted"),
    [(10, 3, 50), (50, 3, 50), (50, 4, 50), (50, 1, 150), (60, 2, 75), (200, 1, 200)],
)
def test_no_detection_time_below_the_proven_one_is_granted(
    asked: int, multiplier: int, granted: int
) -> None:
    profile = replace(PROFILE, transmit_interval_ms=asked, detect_multiplier=multiplier)
    given, refusals = terms(profile, FLOOR)
    assert given.transmit == pytest.approx(granted / 1000)
    assert [refusal.reason for refusal in refusals] == (
        [Reason.BFD_INTERVAL_RAISED] if granted > asked else []
    )


def test_what_is_raised_is_said_by_field() -> None:
    profile = replace(PROFILE, transmit_interval_ms=20, receive_interval_ms=10)
    _, refusals = terms(profile, FLOOR_WITHOUT_PRIORITY)
    assert [refusal.detail for refusal in refusals] == [
        "BFDProfile metallb-system/fast: spec.transmitInterval 20 ms with multiplier 3"
        " becomes 100 ms",
        "BFDProfile metallb-system/fast: spec.receiveInterval 10 ms with multiplier 3"
        " becomes 100 ms",
    ]


def test_the_echo_function_is_not_there() -> None:
    _, (refusal,) = terms(replace(PROFILE, echo_mode=True), FLOOR)
    assert refusal.reason is Reason.BFD_ECHO_UNSUPPORTED
    assert "spec.echoMode" in refusal.detail
