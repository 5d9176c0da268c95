"""Cutting a byte stream into messages, and refusing what is none."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from onehop.proto.bgp.constants import MARKER, MAX_EXTENDED_LENGTH, MessageType
from onehop.proto.bgp.error import BgpError
from onehop.proto.bgp.framing import KEEPALIVE, Frame, Splitter, framed

KINDS = {
    MessageType.OPEN: (29, 4096),
    MessageType.UPDATE: (23, MAX_EXTENDED_LENGTH),
    MessageType.NOTIFICATION: (21, MAX_EXTENDED_LENGTH),
    MessageType.KEEPALIVE: (19, 19),
    MessageType.ROUTE_REFRESH: (23, MAX_EXTENDED_LENGTH),
}
WHERE = {1: ("marker", 0), 2: ("length", 16), 3: ("type", 18)}
frames = st.sampled_from(list(KINDS)).flatmap(
    lambda kind: st.builds(
        Frame,
        st.just(kind),
        st.binary(min_size=KINDS[kind][0] - 19, max_size=min(KINDS[kind][1] - 19, 60)),
    )
)


def header(length: int, kind: int, marker: bytes = MARKER) -> bytes:
    return marker + length.to_bytes(2, "big") + bytes((kind,))


def taken(splitter: Splitter) -> list[Frame]:
    found = []
    while (frame := splitter.next()) is not None:
        found.append(frame)
    return found


def refusal(octets: bytes, max_length: int = 4096) -> BgpError:
    splitter = Splitter()
    splitter.max_length = max_length
    splitter.feed(octets)
    with pytest.raises(BgpError) as caught:
        splitter.next()
    with pytest.raises(BgpError) as again:
        splitter.next()
    assert str(again.value) == str(caught.value), "a broken stream stays broken"
    return caught.value


def test_a_keepalive_is_a_header_alone() -> None:
    assert KEEPALIVE.hex() == "ff" * 16 + "001304"


@given(st.lists(frames, max_size=5), st.lists(st.integers(0, 400), max_size=8))
def test_a_stream_is_cut_the_same_however_it_arrives(sent: list[Frame], cuts: list[int]) -> None:
    stream = b"".join(framed(*frame) for frame in sent)
    splitter, got, at = Splitter(), [], 0
    for cut in [*sorted(cuts), len(stream)]:
        splitter.feed(stream[at:cut])
        at = max(at, cut)
        got += taken(splitter)
    assert got == sent
    assert splitter.pending == 0


def test_octets_wait_for_the_rest_of_their_message() -> None:
    splitter = Splitter()
    for count, octet in enumerate(framed(MessageType.UPDATE, bytes(4))[:-1], 1):
        splitter.feed(bytes((octet,)))
        assert splitter.next() is None
        assert splitter.pending == count
    splitter.feed(b"\0")
    assert splitter.next() == Frame(MessageType.UPDATE, bytes(4))


@given(st.binary(max_size=100))
def test_any_stream_is_cut_or_refused(octets: bytes) -> None:
    splitter = Splitter()
    splitter.feed(octets)
    try:
        taken(splitter)
    except BgpError as error:
        found = (error.code, error.subcode)
    else:
        found = (1, 1)
    assert found in ((1, 1), (1, 2), (1, 3))


@pytest.mark.parametrize(
    ("octets", "subcode", "data"),
    [
        (b"G", 1, b""),
        (b"GET / HTTP/1.1\r\nHost: here\r\n\r\n", 1, b""),
        (b"\xff" * 15 + b"\xfe", 1, b""),
        (header(19, 4, bytes(16)), 1, b""),
        (header(18, 4), 2, b"\0\x12"),
        (header(0, 2), 2, b"\0\0"),
        (header(4097, 2), 2, b"\x10\x01"),
        (header(65535, 2), 2, b"\xff\xff"),
        (header(28, 1), 2, b"\0\x1c"),
        (header(22, 2), 2, b"\0\x16"),
        (header(20, 3), 2, b"\0\x14"),
        (header(20, 4), 2, b"\0\x14"),
        (header(22, 5), 2, b"\0\x16"),
        (header(19, 0), 3, b"\0"),
        (header(19, 6), 3, b"\x06"),
        (header(4096, 255), 3, b"\xff"),
    ],
)
def test_a_header_that_is_none_of_bgp_is_refused_at_once(
    octets: bytes, subcode: int, data: bytes
) -> None:
    """RFC 4271 6.1: which subcode, and the field at fault as data."""
    error = refusal(octets)
    assert (error.code, error.subcode, error.data) == (1, subcode, data)
    assert (error.field, error.offset) == WHERE[subcode]


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("max_length", [4096, MAX_EXTENDED_LENGTH])
def test_a_message_may_be_as_long_as_its_type_and_the_session_allow(
    kind: MessageType, max_length: int
) -> None:
    """RFC 8654 4: OPEN and KEEPALIVE keep their length on a session with extended messages."""
    longest = min(KINDS[kind][1], max_length)
    splitter = Splitter()
    splitter.max_length = max_length
    splitter.feed(framed(kind, bytes(longest - 19)))
    assert splitter.next() == Frame(kind, bytes(longest - 19))
    if longest < MAX_EXTENDED_LENGTH:
        error = refusal(header(longest + 1, kind), max_length)
        assert (error.subcode, error.data) == (2, (longest + 1).to_bytes(2, "big"))


def test_what_stands_before_a_broken_header_is_still_handed_out() -> None:
    splitter = Splitter()
    splitter.feed(KEEPALIVE + b"\0")
    assert splitter.next() == Frame(MessageType.KEEPALIVE, b"")
    with pytest.raises(BgpError):
        splitter.next()
