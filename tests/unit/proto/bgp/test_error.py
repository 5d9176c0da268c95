"""Words for codes, and what an error carries."""

from __future__ import annotations

from enum import IntEnum

import pytest

from onehop.proto.bgp.constants import (
    Cease,
    Code,
    FsmError,
    HeaderError,
    OpenError,
    RefreshError,
    UpdateError,
)
from onehop.proto.bgp.error import Action, BgpError, Fault, words
from onehop.proto.machine import DecodeError

SUBCODES: list[tuple[Code, type[IntEnum]]] = [
    (Code.HEADER, HeaderError),
    (Code.OPEN, OpenError),
    (Code.UPDATE, UpdateError),
    (Code.FSM, FsmError),
    (Code.CEASE, Cease),
    (Code.ROUTE_REFRESH, RefreshError),
]


@pytest.mark.parametrize(
    ("code", "subcode", "sentence"),
    [
        (2, 2, "OPEN Message Error: Bad Peer AS"),
        (2, 11, "OPEN Message Error: Role Mismatch"),
        (2, 0, "OPEN Message Error"),
        (4, 0, "Hold Timer Expired"),
        (5, 3, "Finite State Machine Error: Unexpected Message in Established State"),
        (6, 10, "Cease: BFD Down"),
        (8, 0, "Send Hold Timer Expired"),
        (3, 7, "UPDATE Message Error: AS Routing Loop"),
        (3, 99, "UPDATE Message Error: subcode 99"),
        (4, 1, "Hold Timer Expired: subcode 1"),
        (77, 0, "Error 77"),
        (77, 5, "Error 77: subcode 5"),
    ],
)
def test_every_code_has_words(code: int, subcode: int, sentence: str) -> None:
    assert words(code, subcode) == sentence


@pytest.mark.parametrize(
    ("code", "subcode"),
    [(code, subcode) for code, kind in SUBCODES for subcode in kind if subcode],
    ids=lambda value: value.name,
)
def test_no_assigned_subcode_is_shown_as_a_number(code: Code, subcode: int) -> None:
    """The words are the name of the constant, up to case, hyphens and what the code said."""
    said = words(code, subcode)
    assert "subcode" not in said
    assert not said.startswith("Error ")


@pytest.mark.parametrize(
    ("kind", "sentence"),
    [
        (1, "ORIGIN: 3 is no origin"),
        (254, "attribute 254: 3 is no origin"),
        (0, "path attributes: 3 is no origin"),
    ],
)
def test_a_fault_names_its_attribute(kind: int, sentence: str) -> None:
    fault = Fault(attribute=kind, action=Action.TREAT_AS_WITHDRAW, why="3 is no origin")
    assert str(fault) == sentence


def test_an_error_carries_its_notification_and_where_it_was_found() -> None:
    error = BgpError(
        Code.OPEN, OpenError.BAD_PEER_AS, field="my AS", offset=20, why="65001", data=b"\xfd\xe9"
    )
    assert isinstance(error, DecodeError)
    assert (error.code, error.subcode, error.data) == (2, 2, b"\xfd\xe9")
    assert error.action is Action.SESSION_RESET
    assert str(error) == "my AS at offset 20: 65001"
