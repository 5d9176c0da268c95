"""The kernel filters, run by a small interpreter of classic BPF, and sockets that do not open."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from onehop.adapters.linux.frame import BURST, FrameError, FrameProtocol, FrameSocket
from onehop.model.address import Mac
from onehop.model.node import Link
from onehop.model.reason import Reason

HOST, BROADCAST, OTHERHOST = 0, 1, 3  # PACKET_* of packet(7)
ARP_REQUEST = bytes(12) + bytes.fromhex("0806 0001 0800 06 04 0001") + bytes(20)
SOLICITATION = (
    bytes(12) + bytes.fromhex("86dd 60000000 0018 3a ff") + bytes(32) + b"\x87" + bytes(23)
)


def accepts(
    protocol: FrameProtocol, frame: bytes, *, packet_type: int = BROADCAST, tagged: bool = False
) -> bool:
    """What the kernel would say; a load past the end refuses the frame."""
    ancillary = {0xFFFFF000 + 4: packet_type, 0xFFFFF000 + 48: int(tagged)}
    sizes = {0x20: 4, 0x28: 2, 0x30: 1}
    at, accumulator = 0, 0
    while True:
        code, jump_true, jump_false, k = protocol.program[at]
        at += 1
        if code in sizes:
            if k in ancillary:
                accumulator = ancillary[k]
                continue
            if k + sizes[code] > len(frame):
                return False
            accumulator = int.from_bytes(frame[k : k + sizes[code]], "big")
        elif code == 0x15:
            at += jump_true if accumulator == k else jump_false
        else:
            assert code == 0x06
            return k != 0


def changed(frame: bytes, offset: int, octets: str) -> bytes:
    new = bytes.fromhex(octets)
    return frame[:offset] + new + frame[offset + len(new) :]


@pytest.mark.parametrize(
    ("protocol", "frame", "accepted"),
    [
        (FrameProtocol.ARP, ARP_REQUEST, True),
        (FrameProtocol.ARP, changed(ARP_REQUEST, 20, "0002"), True),
        (FrameProtocol.ARP, changed(ARP_REQUEST, 20, "0003"), False),
        (FrameProtocol.ARP, changed(ARP_REQUEST, 12, "0800"), False),
        (FrameProtocol.ARP, ARP_REQUEST[:20], False),
        (FrameProtocol.ARP, SOLICITATION, False),
        (FrameProtocol.NDP, SOLICITATION, True),
        (FrameProtocol.NDP, changed(SOLICITATION, 54, "88"), True),
        (FrameProtocol.NDP, changed(SOLICITATION, 54, "86"), False),
        (FrameProtocol.NDP, changed(SOLICITATION, 54, "89"), False),
        (FrameProtocol.NDP, changed(SOLICITATION, 20, "06"), False),
        (FrameProtocol.NDP, SOLICITATION[:54], False),
        (FrameProtocol.NDP, ARP_REQUEST, False),
    ],
)
def test_only_the_protocols_own_frames_pass(
    protocol: FrameProtocol, frame: bytes, accepted: bool
) -> None:
    assert accepts(protocol, frame) is accepted
    assert not accepts(protocol, frame, packet_type=OTHERHOST)
    assert not accepts(protocol, frame, tagged=True)
    assert accepts(protocol, frame, packet_type=HOST) is accepted


@given(st.binary(max_size=80), st.sampled_from(FrameProtocol))
def test_any_frame_comes_to_an_end(frame: bytes, protocol: FrameProtocol) -> None:
    """A jump past the end of the program would raise here, and be refused by the kernel."""
    is_ours = frame[12:14] == protocol.ethertype.to_bytes(2, "big")
    assert accepts(protocol, frame) <= is_ours


def test_a_wake_reads_a_bounded_number_of_frames() -> None:
    assert BURST == 64


@pytest.mark.root
def test_a_link_that_is_not_there_is_refused_in_one_sentence() -> None:
    link = Link(index=999, name="oh-l2-nolink", mac=Mac(bytes(6)), up=True)
    with pytest.raises(FrameError) as caught:
        FrameSocket(link, FrameProtocol.ARP)
    assert caught.value.refusal.reason is Reason.LINK_FAILED
    assert caught.value.refusal.detail == "ARP on link oh-l2-nolink: No such device"
    assert str(caught.value) == str(caught.value.refusal)
