"""Capabilities, from one table in both directions."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from onehop.model.address import Family
from onehop.model.bgp import Role
from onehop.proto.bgp.capability import (
    Capabilities,
    GracefulRestart,
    LongLived,
    decode,
    encode,
)
from onehop.proto.bgp.error import BgpError

NONE = Capabilities()
V4, V6 = Family.IPV4, Family.IPV6
BOTH = frozenset(Family)

families = st.frozensets(st.sampled_from(Family))
restarts = families.flatmap(
    lambda kept: st.builds(
        GracefulRestart,
        restart_time=st.integers(0, 0xFFF),
        restarting=st.booleans(),
        notification=st.booleans(),
        families=st.just(kept),
        forwarding=st.frozensets(st.sampled_from(sorted(kept, key=str)))
        if kept
        else st.just(kept),
    )
)
long_lived = st.lists(
    st.builds(
        LongLived,
        family=st.sampled_from(Family),
        stale_time=st.integers(0, 0xFFFFFF),
        forwarding=st.booleans(),
    ),
    max_size=2,
).map(tuple)
capabilities = st.builds(
    Capabilities,
    families=st.none() | st.frozensets(st.sampled_from(Family), min_size=1),
    asn=st.none() | st.integers(0, 0xFFFFFFFF),
    route_refresh=st.booleans(),
    enhanced_route_refresh=st.booleans(),
    extended_message=st.booleans(),
    extended_next_hop=st.booleans(),
    role=st.none() | st.sampled_from(Role),
    graceful_restart=st.none() | restarts,
    long_lived=long_lived,
)

BOTH_WAYS = {
    "nothing": ("", NONE),
    "IPv4 unicast": ("0104 0001 00 01", Capabilities(families=frozenset({V4}))),
    "two families": ("0104 0001 00 01 0104 0002 00 01", Capabilities(families=BOTH)),
    "refresh": ("0200", Capabilities(route_refresh=True)),
    "IPv4 over IPv6": ("0506 0001 0001 0002", Capabilities(extended_next_hop=True)),
    "long messages": ("0600", Capabilities(extended_message=True)),
    "provider": ("0901 00", Capabilities(role=Role.PROVIDER)),
    "customer": ("0901 03", Capabilities(role=Role.CUSTOMER)),
    "restart, helper only": (
        "4002 0078",
        Capabilities(graceful_restart=GracefulRestart(restart_time=120)),
    ),
    "restart, all bits": (
        "400a cfff 0001 01 80 0002 01 00",
        Capabilities(
            graceful_restart=GracefulRestart(
                restart_time=4095,
                restarting=True,
                notification=True,
                families=BOTH,
                forwarding=frozenset({V4}),
            )
        ),
    ),
    "long-lived": (
        "470e 0001 01 80 000e10 0002 01 00 ffffff",
        Capabilities(
            long_lived=(
                LongLived(family=V4, stale_time=3600, forwarding=True),
                LongLived(family=V6, stale_time=0xFFFFFF),
            )
        ),
    ),
    "AS": ("4104 fa56ea01", Capabilities(asn=4_200_000_001)),
    "enhanced refresh": ("4600", Capabilities(enhanced_route_refresh=True)),
}
READ_ONLY = {
    "an unknown one": ("4903 026669 0200", Capabilities(route_refresh=True, unknown=(73,))),
    "two unknown ones": ("0000 8000", Capabilities(unknown=(0, 128))),
    "a family of others alone": ("0104 4004 00 47", Capabilities(families=frozenset())),
    "multicast beside unicast": (
        "0104 0001 00 02 0104 0001 00 01",
        Capabilities(families=frozenset({V4})),
    ),
    "the reserved octet is ignored": ("0104 0002 07 01", Capabilities(families=frozenset({V6}))),
    "next hops of other families": ("050c 0001 0080 0002 0001 0002 0002", NONE),
    "next hops, the second ours": (
        "050c 0001 0080 0002 0001 0001 0002",
        Capabilities(extended_next_hop=True),
    ),
    "next hops told twice": (
        "0506 0001 0001 0002 0500",
        Capabilities(extended_next_hop=True),
    ),
    "several paths": (
        "450c 0001 01 01 0002 01 03 0001 80 02",
        Capabilities(add_path=BOTH),
    ),
    "a role nobody assigned": ("0901 05", Capabilities(unknown=(9,))),
    "one role twice": ("0901 04 0901 04", Capabilities(role=Role.PEER)),
    "restart of other families": (
        "400a 0001 4004 47 80 0002 01 80",
        Capabilities(
            graceful_restart=GracefulRestart(
                restart_time=1, families=frozenset({V6}), forwarding=frozenset({V6})
            )
        ),
    ),
    "of two restarts the last": (
        "4002 0001 4002 0002",
        Capabilities(graceful_restart=GracefulRestart(restart_time=2)),
    ),
    "the reserved bits of a restart are ignored": (
        "4002 3001",
        Capabilities(graceful_restart=GracefulRestart(restart_time=1)),
    ),
    "long-lived for others": ("4707 4004 47 80 000001", NONE),
    "two AS numbers, the last": ("4104 00000001 4104 00000002", Capabilities(asn=2)),
}
REFUSED = {
    "a code alone": "02",
    "a value cut short": "0104 0001",
    "a length of 255 at the end": "41ff",
    "multiprotocol of 3": "0103 000100",
    "refresh of 1": "0201 00",
    "next hop of 5": "0505 0001000100",
    "long messages of 1": "0601 00",
    "role of 0": "0900",
    "role of 2": "0902 0000",
    "restart of 0": "4000",
    "restart of 3": "4003 000000",
    "AS of 2": "4102 0001",
    "several paths of 3": "4503 000101",
    "enhanced refresh of 1": "4601 00",
    "long-lived of 6": "4706 000000000000",
}


@pytest.mark.parametrize(("octets", "value"), BOTH_WAYS.values(), ids=BOTH_WAYS)
def test_a_capability_stands_on_the_wire_as_its_document_draws_it(
    octets: str, value: Capabilities
) -> None:
    assert encode(value) == bytes.fromhex(octets)
    assert decode(bytes.fromhex(octets), 0, NONE) == value


@pytest.mark.parametrize(("octets", "value"), READ_ONLY.values(), ids=READ_ONLY)
def test_what_other_speakers_write_is_understood(octets: str, value: Capabilities) -> None:
    assert decode(bytes.fromhex(octets), 0, NONE) == value


@pytest.mark.parametrize("octets", REFUSED.values(), ids=REFUSED)
def test_a_capability_of_an_impossible_length_is_refused(octets: str) -> None:
    with pytest.raises(BgpError) as caught:
        decode(bytes.fromhex(octets), 30, NONE)
    assert (caught.value.code, caught.value.subcode) == (2, 0)
    assert caught.value.data == bytes.fromhex(octets)
    assert caught.value.offset == 30
    assert caught.value.field.startswith("capability")


def test_two_different_roles_are_a_mismatch() -> None:
    with pytest.raises(BgpError) as caught:
        decode(bytes.fromhex("0901 04 0901 03"), 0, NONE)
    assert (caught.value.code, caught.value.subcode) == (2, 11)


def test_capabilities_of_several_parameters_add_up() -> None:
    first = decode(bytes.fromhex("0104 0001 00 01"), 0, NONE)
    assert decode(bytes.fromhex("0104 0002 00 01 0200"), 0, first) == Capabilities(
        families=BOTH, route_refresh=True
    )


@given(capabilities)
def test_what_was_encoded_decodes_to_itself(value: Capabilities) -> None:
    assert decode(encode(value), 0, NONE) == value


@given(st.binary(max_size=60))
def test_any_octets_decode_or_are_refused(octets: bytes) -> None:
    try:
        value = decode(octets, 0, NONE)
    except BgpError:
        return
    assert decode(encode(value), 0, NONE).asn == value.asn
