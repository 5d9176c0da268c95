"""What holds for a BGP session whatever comes in whatever order."""

from __future__ import annotations

from hypothesis import given, settings
from hypothesis import strategies as st

from onehop.proto.bgp.effect import BgpEffects
from onehop.proto.bgp.framing import KEEPALIVE
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
from tests.fakes.bgp_wire import routes, said

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


@given(
    pieces=st.lists(st.sampled_from(PIECES), max_size=8),
    cuts=st.lists(st.integers(1, 40), min_size=1, max_size=20),
)
@settings(max_examples=100, deadline=None)
def test_where_the_stream_is_cut_makes_no_difference(pieces: list[bytes], cuts: list[int]) -> None:
    """RFC 4271 4.1: TCP keeps no boundaries."""
    stream = b"".join((MESSAGES["OPEN"], KEEPALIVE, *pieces))
    whole, cut = in_state("OpenSent"), in_state("OpenSent")
    whole_said, cut_said = _heard(whole, stream), []
    at = step = 0
    while at < len(stream):
        size = cuts[step % len(cuts)]
        cut_said += _heard(cut, stream[at : at + size])
        at, step = at + size, step + 1
    assert (cut.state, cut.end, cut.theirs) == (whole.state, whole.end, whole.theirs)
    assert cut_said.count("up") == whole_said.count("up") == 1
    assert cut_said[-1:] == whole_said[-1:]


def _heard(session: Session, octets: bytes) -> list[str]:
    effects = session.receive_bytes(octets, 0.0)
    return said((*effects, *(session.admit(0.0) if session.is_opened else ())))
