"""What is wrong with a peer's message, and the words for it.

A fault that ends the session is a `BgpError`, which carries the NOTIFICATION to send (RFC 4271
6). A fault that does not is a `Fault` inside the decoded UPDATE (RFC 7606 2).
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum

from onehop.proto.bgp.constants import (
    AttributeType,
    Cease,
    Code,
    FsmError,
    HeaderError,
    OpenError,
    RefreshError,
    UpdateError,
)
from onehop.proto.machine import DecodeError


class Action(Enum):
    """What RFC 7606 2 does about a fault, weakest first."""

    ATTRIBUTE_DISCARD = 1
    TREAT_AS_WITHDRAW = 2
    SESSION_RESET = 3


class BgpError(DecodeError):
    """A message that ends the session: its NOTIFICATION has this code, subcode and data.

    `offset` counts from the first octet of the message, header included.
    """

    action = Action.SESSION_RESET

    def __init__(
        self, code: Code, subcode: int, *, field: str, offset: int, why: str, data: bytes = b""
    ) -> None:
        super().__init__(field, offset, why)
        self.code = code
        self.subcode = subcode
        self.data = data


@dataclass(frozen=True, slots=True, kw_only=True)
class Fault:
    """A fault that the session survives: the type of the attribute, and what was done.

    Type 0, which no attribute has, stands for all of them together.
    """

    attribute: int
    action: Action
    why: str

    def __str__(self) -> str:
        return f"{attribute_name(self.attribute)}: {self.why}"


_CODES: dict[int, str] = {
    Code.HEADER: "Message Header Error",
    Code.OPEN: "OPEN Message Error",
    Code.UPDATE: "UPDATE Message Error",
    Code.HOLD_TIMER_EXPIRED: "Hold Timer Expired",
    Code.FSM: "Finite State Machine Error",
    Code.CEASE: "Cease",
    Code.ROUTE_REFRESH: "ROUTE-REFRESH Message Error",
    Code.SEND_HOLD_TIMER_EXPIRED: "Send Hold Timer Expired",
}
_SUBCODES: dict[int, dict[int, str]] = {
    Code.HEADER: {
        HeaderError.CONNECTION_NOT_SYNCHRONIZED: "Connection Not Synchronized",
        HeaderError.BAD_MESSAGE_LENGTH: "Bad Message Length",
        HeaderError.BAD_MESSAGE_TYPE: "Bad Message Type",
    },
    Code.OPEN: {
        OpenError.UNSUPPORTED_VERSION: "Unsupported Version Number",
        OpenError.BAD_PEER_AS: "Bad Peer AS",
        OpenError.BAD_BGP_IDENTIFIER: "Bad BGP Identifier",
        OpenError.UNSUPPORTED_OPTIONAL_PARAMETER: "Unsupported Optional Parameter",
        5: "Authentication Failure",  # deprecated by RFC 4271 A
        OpenError.UNACCEPTABLE_HOLD_TIME: "Unacceptable Hold Time",
        OpenError.UNSUPPORTED_CAPABILITY: "Unsupported Capability",
        OpenError.ROLE_MISMATCH: "Role Mismatch",
    },
    Code.UPDATE: {
        UpdateError.MALFORMED_ATTRIBUTE_LIST: "Malformed Attribute List",
        UpdateError.UNRECOGNIZED_WELL_KNOWN_ATTRIBUTE: "Unrecognized Well-known Attribute",
        UpdateError.MISSING_WELL_KNOWN_ATTRIBUTE: "Missing Well-known Attribute",
        UpdateError.ATTRIBUTE_FLAGS_ERROR: "Attribute Flags Error",
        UpdateError.ATTRIBUTE_LENGTH_ERROR: "Attribute Length Error",
        UpdateError.INVALID_ORIGIN: "Invalid ORIGIN Attribute",
        7: "AS Routing Loop",  # deprecated by RFC 4271 A
        UpdateError.INVALID_NEXT_HOP: "Invalid NEXT_HOP Attribute",
        UpdateError.OPTIONAL_ATTRIBUTE_ERROR: "Optional Attribute Error",
        UpdateError.INVALID_NETWORK_FIELD: "Invalid Network Field",
        UpdateError.MALFORMED_AS_PATH: "Malformed AS_PATH",
    },
    Code.FSM: {
        FsmError.UNEXPECTED_IN_OPEN_SENT: "Unexpected Message in OpenSent State",
        FsmError.UNEXPECTED_IN_OPEN_CONFIRM: "Unexpected Message in OpenConfirm State",
        FsmError.UNEXPECTED_IN_ESTABLISHED: "Unexpected Message in Established State",
    },
    Code.CEASE: {
        Cease.MAXIMUM_PREFIXES_REACHED: "Maximum Number of Prefixes Reached",
        Cease.ADMINISTRATIVE_SHUTDOWN: "Administrative Shutdown",
        Cease.PEER_DECONFIGURED: "Peer De-configured",
        Cease.ADMINISTRATIVE_RESET: "Administrative Reset",
        Cease.CONNECTION_REJECTED: "Connection Rejected",
        Cease.OTHER_CONFIGURATION_CHANGE: "Other Configuration Change",
        Cease.COLLISION_RESOLUTION: "Connection Collision Resolution",
        Cease.OUT_OF_RESOURCES: "Out of Resources",
        Cease.HARD_RESET: "Hard Reset",
        Cease.BFD_DOWN: "BFD Down",
    },
    Code.ROUTE_REFRESH: {RefreshError.INVALID_MESSAGE_LENGTH: "Invalid Message Length"},
}


_ATTRIBUTES = {0: "path attributes"} | {int(kind): kind.name for kind in AttributeType}


def attribute_name(kind: int) -> str:
    """The name of an attribute, or its number when nobody here knows it."""
    return _ATTRIBUTES.get(kind, f"attribute {kind}")


def words(code: int, subcode: int) -> str:
    """A code and subcode as a sentence: `OPEN Message Error: Bad Peer AS`.

    Numbers nobody assigned are shown as numbers; subcode 0 says nothing and is left out.
    """
    name = _CODES.get(code, f"Error {code}")
    if subcode == 0:
        return name
    return f"{name}: {_SUBCODES.get(code, {}).get(subcode, f'subcode {subcode}')}"
