"""Attributes both ways, and tables of the kernel as it is."""

from __future__ import annotations

import struct

import pytest
from hypothesis import given
from hypothesis import strategies as st

from onehop.adapters.linux.netlink import NetlinkError, attribute, attributes, table
from onehop.model.reason import Reason

RTM_GETLINK = 18


@given(st.dictionaries(st.integers(1, 0x3FFF), st.binary(max_size=40), max_size=8), st.binary())
def test_attributes_read_back(values: dict[int, bytes], head: bytes) -> None:
    data = head + b"".join(attribute(kind, value) for kind, value in values.items())
    assert attributes(data, len(head)) == values


@given(st.binary(max_size=80))
def test_any_octets_are_read_without_raising(data: bytes) -> None:
    assert all(len(value) <= len(data) for value in attributes(data).values())


def test_the_nested_flag_is_no_part_of_the_type() -> None:
    assert attributes(struct.pack("=HH", 4, 0x8000 | 18)) == {18: b""}


def test_the_table_of_links_holds_the_loopback() -> None:
    bodies = table(RTM_GETLINK, bytes(16), "list links")
    names = [attributes(body, 16).get(3, b"").rstrip(b"\0") for body in bodies]
    assert b"lo" in names


def test_a_refusal_says_which_operation_and_why() -> None:
    with pytest.raises(NetlinkError) as caught:
        table(250, bytes(16), "list nothing")
    assert caught.value.refusal.reason is Reason.LINK_FAILED
    assert str(caught.value) == "list nothing: Operation not supported"
    assert caught.value.refusal.detail == str(caught.value)


def test_a_request_that_the_kernel_drops_does_not_hang() -> None:
    """Types below 16 are control messages, to which no answer comes."""
    with pytest.raises(NetlinkError, match="list nothing: timed out"):
        table(0, bytes(16), "list nothing")
