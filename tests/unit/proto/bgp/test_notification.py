"""NOTIFICATION: words, the operator's text, hard resets."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from onehop.proto.bgp.constants import Cease, Code, OpenError
from onehop.proto.bgp.error import BgpError
from onehop.proto.bgp.notification import (
    Notification,
    cease,
    decode,
    encode,
    hard_reset,
    of,
)
from onehop.proto.machine import DecodeError

octets = st.integers(0, 255)
notifications = st.builds(Notification, code=octets, subcode=octets, data=st.binary(max_size=300))


@given(notifications)
def test_what_was_encoded_decodes_to_itself(message: Notification) -> None:
    whole = encode(message, 4096)
    assert whole[18] == 3
    assert decode(whole[19:]) == message
    assert str(message)


@given(st.binary(max_size=300))
def test_any_body_decodes_or_is_refused(body: bytes) -> None:
    try:
        message = decode(body)
    except DecodeError:
        assert len(body) < 2
        return
    assert message.communication.isprintable()
    assert encode(message, 4096)[19:] == body


def test_data_that_does_not_fit_is_cut_off() -> None:
    whole = encode(Notification(code=3, subcode=1, data=bytes(9000)), 4096)
    assert len(whole) == 4096
    assert whole[16:18] == b"\x10\0"


@pytest.mark.parametrize(
    ("text", "octets"),
    [
        ("drain node-7 by alice", b"\x15drain node-7 by alice"),
        ("", b""),
        ("wartung für r1", b"\x0fwartung f\xc3\xbcr r1"),
        ("x" * 300, b"\xff" + b"x" * 255),
        ("x" + "ü" * 200, b"\xff" + b"x" + "ü".encode() * 127),
        ("ü" * 200, b"\xfe" + "ü".encode() * 127),
    ],
    ids=["short", "none", "two-octet letters", "too long", "just fits", "cut before a letter"],
)
def test_an_operators_text_goes_with_a_shutdown(text: str, octets: bytes) -> None:
    """RFC 9003 2: a length octet and UTF-8, 255 octets at most, no half letter."""
    message = cease(Cease.ADMINISTRATIVE_SHUTDOWN, text)
    assert message.data == octets
    assert text.startswith(message.communication)


def test_no_text_goes_with_another_cease() -> None:
    assert cease(Cease.COLLISION_RESOLUTION, "why") == Notification(code=6, subcode=7)


@pytest.mark.parametrize(
    ("data", "text"),
    [
        (b"", ""),
        (b"\0", ""),
        (b"\x02hi", "hi"),
        (b"\x02hi and more", "hi"),
        (b"\xffhi", "hi"),
        (b"\x05\x1b[31m", "\\x1b[31m"),
        (b"\x03a\nb", "a\\nb"),
        (b"\x02\xff\xfe", "\\xff\\xfe"),
    ],
)
@pytest.mark.parametrize("subcode", [Cease.ADMINISTRATIVE_SHUTDOWN, Cease.ADMINISTRATIVE_RESET])
def test_a_peers_text_is_shown_and_cannot_command_a_terminal(
    subcode: Cease, data: bytes, text: str
) -> None:
    message = Notification(code=6, subcode=subcode, data=data)
    assert message.communication == text


@pytest.mark.parametrize(("code", "subcode"), [(6, 3), (2, 2), (4, 0)])
def test_data_of_other_notifications_is_no_text(code: int, subcode: int) -> None:
    assert Notification(code=code, subcode=subcode, data=b"\x02hi").communication == ""


def test_a_notification_reads_as_a_sentence() -> None:
    assert str(Notification(code=2, subcode=2)) == "OPEN Message Error: Bad Peer AS"
    shut = cease(Cease.ADMINISTRATIVE_SHUTDOWN, "see ticket 42")
    assert str(shut) == 'Cease: Administrative Shutdown, "see ticket 42"'
    assert str(hard_reset(shut)) == (
        'Cease: Hard Reset (Cease: Administrative Shutdown), "see ticket 42"'
    )


def test_a_hard_reset_wraps_its_cause() -> None:
    """RFC 8538 3.1: the data are code, subcode and data of the cause."""
    shut = cease(Cease.ADMINISTRATIVE_SHUTDOWN, "bye")
    reset = hard_reset(shut)
    assert reset == Notification(code=6, subcode=9, data=b"\x06\x02\x03bye")
    assert reset.is_hard_reset
    assert not shut.is_hard_reset
    assert (reset.cause, shut.cause) == (shut, shut)


def test_a_hard_reset_without_cause_is_its_own() -> None:
    bare = Notification(code=6, subcode=9, data=b"\x06")
    assert bare.cause == bare
    assert str(bare) == "Cease: Hard Reset"


def test_a_cause_of_two_octets_is_whole() -> None:
    down = Notification(code=6, subcode=9, data=b"\x06\x0a")
    assert str(down) == "Cease: Hard Reset (Cease: BFD Down)"


def test_an_error_tells_the_peer_its_notification() -> None:
    error = BgpError(
        Code.OPEN, OpenError.UNSUPPORTED_VERSION, field="version", offset=19, why="5", data=b"\0\4"
    )
    assert of(error) == Notification(code=2, subcode=1, data=b"\0\4")
