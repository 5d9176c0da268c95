"""The contract's own words: what a refusal by a codec says."""

from __future__ import annotations

from ipaddress import IPv4Address

import pytest

from onehop.model.address import Mac
from onehop.proto.arp.announcer import ArpAnnouncer
from onehop.proto.machine import AddressConflict, DecodeError, Machine, Send
from onehop.proto.ndp.announcer import NdpAnnouncer

MAC = Mac.parse("02:00:00:00:00:01")


def test_a_decode_error_names_field_offset_and_cause() -> None:
    error = DecodeError("operation", 20, "7 is neither request nor reply")
    assert (error.field, error.offset, error.why) == (
        "operation",
        20,
        "7 is neither request nor reply",
    )
    assert str(error) == "operation at offset 20: 7 is neither request nor reply"


def test_effects_are_compared_by_value() -> None:
    assert Send(frame=b"x") == Send(frame=b"x")
    address = IPv4Address("192.0.2.1")
    assert AddressConflict(address=address, claimant=MAC) == AddressConflict(
        address=address, claimant=Mac(MAC.octets)
    )


@pytest.mark.parametrize("machine", [ArpAnnouncer(mac=MAC), NdpAnnouncer(mac=MAC)])
def test_a_machine_that_wants_nothing_never_wakes(machine: Machine) -> None:
    assert machine.deadline is None
    assert machine.wake(1.0) == ()
