"""The effects of the BGP machines."""

from __future__ import annotations

from onehop.proto.bgp.effect import SendBytes


def test_octets_are_no_part_of_what_is_printed() -> None:
    """A flush of ten thousand routes in a message about a failure would hide the failure."""
    effect = SendBytes(connection=1, octets=b"secret" * 1000)
    assert repr(effect) == "SendBytes(connection=1)"
