"""RFC 7606 7, attribute by attribute: which values are malformed, and what follows."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from onehop.proto.bgp.constants import AttributeType as A
from onehop.proto.bgp.error import Action
from onehop.proto.bgp.negotiated import Negotiated
from onehop.proto.bgp.rules import RULES

NEW = Negotiated(four_octet=True)
OLD = replace(NEW, four_octet=False)
DISCARDED = {A.ATOMIC_AGGREGATE, A.AGGREGATOR, A.AS4_PATH, A.AS4_AGGREGATOR}
INSIDE = {A.LOCAL_PREF, A.ORIGINATOR_ID, A.CLUSTER_LIST}
WELL_KNOWN = {A.ORIGIN, A.AS_PATH, A.NEXT_HOP, A.LOCAL_PREF, A.ATOMIC_AGGREGATE}
OPTIONAL_NON_TRANSITIVE = {A.MULTI_EXIT_DISC, A.ORIGINATOR_ID, A.CLUSTER_LIST}

TABLE = [
    ("7.1", A.ORIGIN, NEW, ["00", "01", "02"], ["", "03", "ff", "0000"]),
    (
        "7.2",
        A.AS_PATH,
        NEW,
        ["", "0201 0000fde8", "0101 0000fde8", "0202 00000001 00000002", "0201 00000001" * 2],
        [
            "02",
            "0200",
            "0201",
            "0201 fde8",
            "0202 0000fde8",
            "0001 0000fde8",
            "0301 0000fde8",
            "0401 0000fde8",
            "0501 0000fde8",
            "0201 0000fde8 02",
            "0201 0000fde8 0100",
            "0201 00000000",
            "0202 0000fde8 00000000",
        ],
    ),
    (
        "7.2, two octets",
        A.AS_PATH,
        OLD,
        ["", "0201 fde8", "0202 0001 0002", "01ff" + "0001" * 255],
        ["0201 0000", "0201 fd", "0202 0001 0000", "02ff" + "0001" * 254],
    ),
    (
        "7.3",
        A.NEXT_HOP,
        NEW,
        ["c0000201", "01000000", "dfffffff"],
        ["", "c00002", "c000020100", "00000000", "e0000001", "ffffffff"],
    ),
    ("7.4", A.MULTI_EXIT_DISC, NEW, ["00000000"], ["", "000000", "0000000000"]),
    ("7.5", A.LOCAL_PREF, NEW, ["00000064"], ["", "64", "0000000064"]),
    ("7.6", A.ATOMIC_AGGREGATE, NEW, [""], ["00"]),
    ("7.7", A.AGGREGATOR, NEW, ["0000fde8c0000201"], ["", "fde8c0000201", "00" * 9]),
    ("7.7, two octets", A.AGGREGATOR, OLD, ["fde8c0000201"], ["", "0000fde8c0000201"]),
    ("7.8", A.COMMUNITIES, NEW, ["00000000", "ffffffff" * 70], ["", "000000", "0000000000"]),
    ("7.9", A.ORIGINATOR_ID, NEW, ["c0000201"], ["", "c00002", "c000020100"]),
    ("7.10", A.CLUSTER_LIST, NEW, ["c0000201", "c0000201" * 2], ["", "c00002"]),
    ("7.14", A.EXTENDED_COMMUNITIES, NEW, ["00" * 8, "00" * 16], ["", "00" * 7, "00" * 12]),
    ("7.15", A.IPV6_EXTENDED_COMMUNITIES, NEW, ["00" * 20], ["", "00" * 8, "00" * 21]),
    (
        "RFC 6793 6",
        A.AS4_PATH,
        OLD,
        ["0201 0000fde8"],
        ["", "02", "0200", "0201 fde8", "0301 0000fde8"],
    ),
    ("RFC 6793 6, needless", A.AS4_PATH, NEW, [], ["0201 0000fde8"]),
    ("RFC 6793 6", A.AS4_AGGREGATOR, OLD, ["0000fde8c0000201"], ["", "fde8c0000201"]),
    ("RFC 6793 6, needless", A.AS4_AGGREGATOR, NEW, [], ["0000fde8c0000201"]),
    ("RFC 8092 6", A.LARGE_COMMUNITIES, NEW, ["00" * 12, "00" * 24], ["", "00" * 8, "00" * 13]),
    ("RFC 9234 5", A.ONLY_TO_CUSTOMER, NEW, ["0000fc00"], ["", "fc00", "0000000000"]),
]
ROWS = [
    pytest.param(kind, agreed, octets, is_good, id=f"{where} {kind.name} {octets[:24] or 'empty'}")
    for where, kind, agreed, good, bad in TABLE
    for is_good, them in ((True, good), (False, bad))
    for octets in them
]


@pytest.mark.parametrize(("kind", "agreed", "octets", "is_good"), ROWS)
def test_a_value_is_malformed_as_its_document_says(
    kind: A, agreed: Negotiated, octets: str, is_good: bool
) -> None:
    why = RULES[kind].fault(bytes.fromhex(octets), agreed)
    assert (why == "") is is_good, why


def test_every_attribute_but_the_multiprotocol_ones_has_a_rule() -> None:
    assert set(A) - set(RULES) == {A.MP_REACH_NLRI, A.MP_UNREACH_NLRI}
    assert {row[1] for row in TABLE} == set(RULES)


@pytest.mark.parametrize("kind", RULES)
def test_a_malformed_attribute_is_discarded_or_takes_its_routes_along(kind: A) -> None:
    """RFC 7606 3 e and f."""
    expected = Action.ATTRIBUTE_DISCARD if kind in DISCARDED else Action.TREAT_AS_WITHDRAW
    assert RULES[kind].action is expected
    assert RULES[kind].inside_only is (kind in INSIDE)


@pytest.mark.parametrize("kind", RULES)
def test_flags_are_those_of_the_registry(kind: A) -> None:
    if kind in WELL_KNOWN:
        assert RULES[kind].flags == 0x40
    else:
        assert RULES[kind].flags == (0x80 if kind in OPTIONAL_NON_TRANSITIVE else 0xC0)


@given(st.sampled_from(list(RULES)), st.binary(max_size=40), st.sampled_from([NEW, OLD]))
def test_any_value_is_judged(kind: A, value: bytes, agreed: Negotiated) -> None:
    assert isinstance(RULES[kind].fault(value, agreed), str)
