"""What there is to see of a peer."""

from __future__ import annotations

from onehop.proto.bgp.constants import MessageType
from onehop.proto.bgp.status import State, Tally


def test_states_are_named_as_the_standard_names_them() -> None:
    """RFC 4271 8.2.2."""
    names = ["Idle", "Connect", "Active", "OpenSent", "OpenConfirm", "Established", "Closed"]
    assert [state.value for state in State] == names


def test_counters_once_given_out_count_no_further() -> None:
    tally = Tally()
    before = tally.counters()
    tally.sent[MessageType.UPDATE] += 3
    tally.received[MessageType.OPEN] += 1
    tally.faults = 2
    assert before == Tally().counters()
    after = tally.counters()
    assert (after.sent[MessageType.UPDATE], after.received[MessageType.OPEN]) == (3, 1)
    assert after.faults == 2


def test_what_a_peer_withdrew_stands_no_longer() -> None:
    tally = Tally()
    tally.prefixes_received, tally.prefixes_withdrawn = 5, 2
    assert tally.counters().prefixes_standing == 3
    tally.prefixes_withdrawn = 9  # nothing keeps a peer from withdrawing what it never sent
    assert tally.counters().prefixes_standing == 0
