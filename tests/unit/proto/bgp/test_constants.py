"""The numbers of BGP, held against scapy's copy of the registries."""

from __future__ import annotations

import pytest
from scapy.contrib import bgp as scapy

from onehop.proto.bgp.constants import (
    AFI_BY_FAMILY,
    UNICAST_FAMILIES,
    AttributeType,
    CapabilityCode,
    MessageType,
)

ATTRIBUTES = {
    "COMMUNITIES": "COMMUNITY",
    "EXTENDED_COMMUNITIES": "EXTENDED COMMUNITIES",
    "IPV6_EXTENDED_COMMUNITIES": "IPv6 Address Specific Extended Community",
    "LARGE_COMMUNITIES": "LARGE_COMMUNITY",
}
CAPABILITIES = {
    CapabilityCode.MULTIPROTOCOL: "Multiprotocol Extensions for BGP-4",
    CapabilityCode.ROUTE_REFRESH: "Route Refresh Capability for BGP-4",
    CapabilityCode.EXTENDED_NEXT_HOP: "Extended Next Hop Encoding",
    CapabilityCode.EXTENDED_MESSAGE: "BGP-Extended Message",
    CapabilityCode.GRACEFUL_RESTART: "Graceful Restart Capability",
    CapabilityCode.FOUR_OCTET_AS: "Support for 4-octet AS number capability",
    CapabilityCode.ADD_PATH: "ADD-PATH Capability",
    CapabilityCode.ENHANCED_ROUTE_REFRESH: "Enhanced Route Refresh Capability",
    CapabilityCode.LONG_LIVED_GRACEFUL_RESTART: "Long-Lived Graceful Restart (LLGR) Capability",
}


@pytest.mark.parametrize("kind", MessageType)
def test_message_types_are_those_of_scapy(kind: MessageType) -> None:
    theirs = {number: name.replace("-", "_") for number, name in scapy._bgp_message_types.items()}
    assert theirs[kind] == kind.name


@pytest.mark.parametrize("kind", [k for k in AttributeType if k.name != "ONLY_TO_CUSTOMER"])
def test_attribute_types_are_those_of_scapy(kind: AttributeType) -> None:
    assert scapy.path_attributes[kind] == ATTRIBUTES.get(kind.name, kind.name)


@pytest.mark.parametrize("code", CAPABILITIES)
def test_capability_codes_are_those_of_scapy(code: CapabilityCode) -> None:
    assert scapy._capabilities[code] == CAPABILITIES[code]


def test_families_and_numbers_say_the_same_both_ways() -> None:
    assert {(afi, 1): family for family, afi in AFI_BY_FAMILY.items()} == UNICAST_FAMILIES
