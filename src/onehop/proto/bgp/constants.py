"""The numbers of BGP: message types, error codes, capabilities, attributes, families.

Values from the IANA registries "Border Gateway Protocol (BGP) Parameters" and "Capability
Codes"; beside each group stands the section that gives it its meaning.
"""

from __future__ import annotations

from enum import IntEnum

from onehop.model.address import Family

VERSION = 4  # RFC 4271 4.2
MARKER = b"\xff" * 16  # RFC 4271 4.1
HEADER_LENGTH = 19  # RFC 4271 4.1
MAX_LENGTH = 4096  # RFC 4271 4.1
MAX_EXTENDED_LENGTH = 65535  # RFC 8654 4
AS_TRANS = 23456  # RFC 6793 4.2.2
SAFI_UNICAST = 1  # RFC 4760 6
AFI_BY_FAMILY = {Family.IPV4: 1, Family.IPV6: 2}
UNICAST_FAMILIES = {(afi, SAFI_UNICAST): family for family, afi in AFI_BY_FAMILY.items()}


class MessageType(IntEnum):
    """RFC 4271 4.1; RFC 2918 3."""

    OPEN = 1
    UPDATE = 2
    NOTIFICATION = 3
    KEEPALIVE = 4
    ROUTE_REFRESH = 5


class Code(IntEnum):
    """Error codes of a NOTIFICATION: RFC 4271 4.5; RFC 7313 5; RFC 9687 3."""

    HEADER = 1
    OPEN = 2
    UPDATE = 3
    HOLD_TIMER_EXPIRED = 4
    FSM = 5
    CEASE = 6
    ROUTE_REFRESH = 7
    SEND_HOLD_TIMER_EXPIRED = 8


class HeaderError(IntEnum):
    """Subcodes of a message header error: RFC 4271 6.1."""

    CONNECTION_NOT_SYNCHRONIZED = 1
    BAD_MESSAGE_LENGTH = 2
    BAD_MESSAGE_TYPE = 3


class OpenError(IntEnum):
    """Subcodes of an OPEN message error: RFC 4271 6.2; RFC 5492 5; RFC 9234 4.2."""

    UNSPECIFIC = 0
    UNSUPPORTED_VERSION = 1
    BAD_PEER_AS = 2
    BAD_BGP_IDENTIFIER = 3
    UNSUPPORTED_OPTIONAL_PARAMETER = 4
    UNACCEPTABLE_HOLD_TIME = 6
    UNSUPPORTED_CAPABILITY = 7
    ROLE_MISMATCH = 11


class UpdateError(IntEnum):
    """Subcodes of an UPDATE message error: RFC 4271 6.3."""

    MALFORMED_ATTRIBUTE_LIST = 1
    UNRECOGNIZED_WELL_KNOWN_ATTRIBUTE = 2
    MISSING_WELL_KNOWN_ATTRIBUTE = 3
    ATTRIBUTE_FLAGS_ERROR = 4
    ATTRIBUTE_LENGTH_ERROR = 5
    INVALID_ORIGIN = 6
    INVALID_NEXT_HOP = 8
    OPTIONAL_ATTRIBUTE_ERROR = 9
    INVALID_NETWORK_FIELD = 10
    MALFORMED_AS_PATH = 11


class FsmError(IntEnum):
    """Subcodes of a finite state machine error: RFC 6608 3."""

    UNEXPECTED_IN_OPEN_SENT = 1
    UNEXPECTED_IN_OPEN_CONFIRM = 2
    UNEXPECTED_IN_ESTABLISHED = 3


class Cease(IntEnum):
    """Subcodes of a Cease: RFC 4486 4; RFC 8538 3.1; RFC 9384 3."""

    MAXIMUM_PREFIXES_REACHED = 1
    ADMINISTRATIVE_SHUTDOWN = 2
    PEER_DECONFIGURED = 3
    ADMINISTRATIVE_RESET = 4
    CONNECTION_REJECTED = 5
    OTHER_CONFIGURATION_CHANGE = 6
    COLLISION_RESOLUTION = 7
    OUT_OF_RESOURCES = 8
    HARD_RESET = 9
    BFD_DOWN = 10


class RefreshError(IntEnum):
    """Subcodes of a ROUTE-REFRESH message error: RFC 7313 5."""

    INVALID_MESSAGE_LENGTH = 1


class CapabilityCode(IntEnum):
    """The capabilities that are understood."""

    MULTIPROTOCOL = 1  # RFC 4760 8
    ROUTE_REFRESH = 2  # RFC 2918 2
    EXTENDED_NEXT_HOP = 5  # RFC 8950 4
    EXTENDED_MESSAGE = 6  # RFC 8654 3
    ROLE = 9  # RFC 9234 4.1
    GRACEFUL_RESTART = 64  # RFC 4724 3
    FOUR_OCTET_AS = 65  # RFC 6793 3
    ADD_PATH = 69  # RFC 7911 4
    ENHANCED_ROUTE_REFRESH = 70  # RFC 7313 3.1
    LONG_LIVED_GRACEFUL_RESTART = 71  # RFC 9494 3.1


class AttributeType(IntEnum):
    """The path attributes that are understood."""

    ORIGIN = 1  # RFC 4271 5.1.1
    AS_PATH = 2  # RFC 4271 5.1.2
    NEXT_HOP = 3  # RFC 4271 5.1.3
    MULTI_EXIT_DISC = 4  # RFC 4271 5.1.4
    LOCAL_PREF = 5  # RFC 4271 5.1.5
    ATOMIC_AGGREGATE = 6  # RFC 4271 5.1.6
    AGGREGATOR = 7  # RFC 4271 5.1.7
    COMMUNITIES = 8  # RFC 1997
    ORIGINATOR_ID = 9  # RFC 4456 8
    CLUSTER_LIST = 10  # RFC 4456 8
    MP_REACH_NLRI = 14  # RFC 4760 3
    MP_UNREACH_NLRI = 15  # RFC 4760 4
    EXTENDED_COMMUNITIES = 16  # RFC 4360 2
    AS4_PATH = 17  # RFC 6793 3
    AS4_AGGREGATOR = 18  # RFC 6793 3
    IPV6_EXTENDED_COMMUNITIES = 25  # RFC 5701 2
    LARGE_COMMUNITIES = 32  # RFC 8092 3
    ONLY_TO_CUSTOMER = 35  # RFC 9234 5


class RefreshSubtype(IntEnum):
    """What a ROUTE-REFRESH says: RFC 7313 3.2."""

    REQUEST = 0
    BEGIN = 1
    END = 2
