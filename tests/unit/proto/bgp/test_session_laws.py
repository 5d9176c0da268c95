"""What holds for a BGP session whatever comes in whatever order."""

from __future__ import annotations

from hypothesis import given, settings
from hypothesis import strategies as st

from onehop.proto.bgp.effect import BgpEffects
from onehop.proto.bgp.message import (
    encode_open,
)
from onehop.proto.bgp.session import Session
from onehop.proto.bgp.status import State
from tests.fakes.bgp_session import (
    MESSAGES,
    UPDATE,
    given_input,
    in_state,
    their_open,
)
from tests.fakes.bgp_wire import routes

PIECES = [
    *MESSAGES.values(),
    UPDATE[:30],
    b"\xff" * 16,
    b"\xff" * 64,
    encode_open(their_open(asn=1)),
]
INPUTS = st.one_of(
    st.sampled_from(PIECES),
    st.binary(max_size=64),
    st.tuples(st.sampled_from(PIECES), st.integers(0, 200), st.integers(0, 255)),
    st.sampled_from(["admit", "wake", "routes", "closed", "stop", "abandon"]),
    st.integers(0, 100),
)


def _play(session: Session, step: object, now: float) -> BgpEffects:
    if isinstance(step, tuple):
        octets = bytearray(step[0])
        if octets:
            octets[step[1] % len(octets)] = step[2]
        return session.receive_bytes(bytes(octets), now)
    if isinstance(step, bytes):
        return session.receive_bytes(step, now)
    if isinstance(step, int):
        return session.written(step, now)
    if step == "admit":
        return session.admit(now) if session.is_opened else ()
    if step == "wake":
        return session.wake(session.deadline or now)
    if step == "routes":
        return session.set_routes(routes(int(now)), now)
    return given_input(session, str(step))


@given(steps=st.lists(INPUTS, max_size=30), jitter=st.floats(0, 1, exclude_max=True))
@settings(max_examples=300, deadline=None)
def test_no_input_raises_and_equal_inputs_give_equal_outputs(
    steps: list[object], jitter: float
) -> None:
    """A deadline is never in the past after wake, and nothing follows the end."""
    one, two = in_state("OpenSent", jitter=jitter), in_state("OpenSent", jitter=jitter)
    now = 0.0
    for step in steps:
        now = max(now + 0.5, (one.deadline or 0.0) if step == "wake" else 0.0)
        was_closed = one.state is State.CLOSED
        first, second = _play(one, step, now), _play(two, step, now)
        assert first == second
        assert not (was_closed and first)
        if step == "wake":
            assert one.deadline is None or one.deadline > now
        assert one._splitter.pending <= 4096 + 200 * 30
