"""MetalLB's BGP kinds, from their shapes to model values.

Both versions of BGPPeer make the same value: their node selectors differ in name only. Whatever
one object shows by itself is checked here; what takes several is the decision's to refuse.
"""

from __future__ import annotations

import re
from base64 import b64decode
from binascii import Error as Base64Error
from ipaddress import IPv4Address
from types import MappingProxyType

from onehop.adapters.objects import bgp_annotations as asked
from onehop.adapters.objects.bgp_shape import (
    BgpAdvertisementShape,
    CommunityShape,
    PeerShape,
    PeerSpec,
    ProfileShape,
    ProfileSpec,
    SecretShape,
)
from onehop.adapters.objects.kind import Kind
from onehop.adapters.objects.reading import Reading
from onehop.adapters.objects.shape import ObjectShape, SelectorShape
from onehop.model.address import IPAddress
from onehop.model.bgp import (
    BASIC_AUTH,
    AuthenticationOption,
    BFDProfile,
    BGPAdvertisement,
    BGPPeer,
    CommunityAliases,
    DynamicAsn,
    Secret,
)
from onehop.model.community import is_value, parse_community
from onehop.model.config import LabelSelector
from onehop.model.reason import Reason
from onehop.model.service import Key

_LAST_ASN = 0xFFFFFFFF
_LAST_U32 = 0xFFFFFFFF
_LAST_PORT = 16384  # of BGPPeer's own schema
_LONGEST_PASSWORD = 80  # TCP_MD5SIG_MAXKEYLEN of Linux
_LAST_SECONDS = 65535
_DURATION = re.compile(r"([0-9]+(?:\.[0-9]*)?|\.[0-9]+)(ns|us|µs|μs|ms|s|m|h)")
_UNITS = {
    "ns": 1e-9,
    "us": 1e-6,
    "µs": 1e-6,
    "μs": 1e-6,
    "ms": 1e-3,
    "s": 1.0,
    "m": 60.0,
    "h": 3600.0,
}


def _seconds(reading: Reading, text: str | None, field: str) -> float | None:
    """A Go duration such as `1m30s`; None when there is none or it cannot be read."""
    if text is None:
        return None
    if text == "0":
        return 0.0
    parts = _DURATION.findall(text)
    if not parts or "".join(map("".join, parts)) != text:
        reading.note(("spec", field), f"{text!r} is not a duration such as 90s or 1m30s")
        return None
    return round(sum(float(number) * _UNITS[unit] for number, unit in parts), 9)


def _peer_v1beta1(reading: Reading, key: Key, shape: ObjectShape) -> BGPPeer:
    # This version wrote a duration that nobody had set as 0s.
    assert isinstance(shape, PeerShape)
    spec = shape.spec
    spec.hold_time = None if spec.hold_time in ("0", "0s") else spec.hold_time
    return _peer(reading, key, shape)


def _peer(reading: Reading, key: Key, shape: ObjectShape) -> BGPPeer:
    assert isinstance(shape, PeerShape)
    spec = shape.spec
    _refuse(reading, spec)
    address = _peer_address(reading, spec)
    hold, keepalive, connect = _timers(reading, spec)
    peer = BGPPeer(
        key=key,
        my_asn=reading.number(spec.my_asn, 1, _LAST_ASN, "spec", "myASN"),
        peer_asn=reading.number(spec.peer_asn or 0, 0, _LAST_ASN, "spec", "peerASN") or None,
        dynamic_asn=_dynamic(reading, spec),
        local_asn=reading.number(spec.local_asn or 0, 0, _LAST_ASN, "spec", "localASN") or None,
        address=address,
        source=_source(reading, spec, address),
        port=179
        if spec.peer_port is None
        else reading.number(spec.peer_port, 1, _LAST_PORT, "spec", "peerPort"),
        hold_time=hold,
        keepalive_time=keepalive,
        connect_time=connect,
        router_id=_router_id(reading, spec.router_id),
        node_selectors=reading.selectors(spec.node_selectors, "spec", "nodeSelectors"),
        password=_password(reading, spec),
        password_secret=_secret_key(reading, key, spec),
        bfd_profile=spec.bfd_profile or "",
        graceful_restart=bool(spec.enable_graceful_restart),
        ebgp_multihop=bool(spec.ebgp_multi_hop),
        dual_stack=bool(spec.dual_stack_address_family),
        ttl_security=asked.hops(reading, shape),
        role=asked.role(reading, shape),
        passive=asked.switch(reading, shape, asked.PASSIVE),
        authentication=_authentication(reading, key, shape),
        stale_time=_stale_time(reading, shape),
    )
    _check_asn(reading, peer)
    return peer


def _dynamic(reading: Reading, spec: PeerSpec) -> DynamicAsn | None:
    if not spec.dynamic_asn:
        return None
    return reading.choice(DynamicAsn, spec.dynamic_asn, DynamicAsn.EXTERNAL, "spec", "dynamicASN")


def _stale_time(reading: Reading, shape: PeerShape) -> int:
    found = asked.stale_time(reading, shape)
    if found and not shape.spec.enable_graceful_restart:
        path = ("metadata", "annotations", asked.STALE_TIME)
        reading.note(path, "is for a peer with enableGracefulRestart")  # RFC 9494 3.1
    return found


def _authentication(reading: Reading, key: Key, shape: PeerShape) -> AuthenticationOption | None:
    found = asked.authentication(reading, key, shape)
    if found is not None and (shape.spec.password or shape.spec.password_secret):
        path = ("metadata", "annotations", asked.TCP_AO)
        reading.note(path, "cannot stand beside a password: TCP has one signature or the other")
    return found


def _refuse(reading: Reading, spec: PeerSpec) -> None:
    """Fields that onehop knows and does not serve: a session without them would be another."""
    if spec.vrf:
        reading.note(
            ("spec", "vrf"),
            "sessions in a VRF are not served yet",
            reason=Reason.FIELD_UNSUPPORTED,
        )
    if spec.interface:
        reading.note(
            ("spec", "interface"),
            "sessions without addresses (unnumbered) are not served yet: set peerAddress",
            reason=Reason.FIELD_UNSUPPORTED,
        )


def _peer_address(reading: Reading, spec: PeerSpec) -> IPAddress | None:
    if not spec.peer_address:
        if not spec.interface:
            reading.note(("spec", "peerAddress"), "is missing")
        return None
    if spec.interface:
        reading.note(("spec", "peerAddress"), "cannot stand beside interface")
    faults = len(reading.faults)
    address = reading.address(spec.peer_address, "spec", "peerAddress")
    if len(reading.faults) > faults:
        return None
    if address.is_unspecified or address.is_multicast:
        reading.note(("spec", "peerAddress"), f"{address} is not the address of a host")
    return address


def _source(reading: Reading, spec: PeerSpec, peer: IPAddress | None) -> IPAddress | None:
    if not spec.source_address:
        return None
    faults = len(reading.faults)
    source = reading.address(spec.source_address, "spec", "sourceAddress")
    if len(reading.faults) > faults:
        return None
    if peer is not None and source.version != peer.version:
        reading.note(("spec", "sourceAddress"), f"{source} is not of the family of peerAddress")
    return source


def _timers(reading: Reading, spec: PeerSpec) -> tuple[float | None, float | None, float | None]:
    hold = _seconds(reading, spec.hold_time, "holdTime")
    keepalive = _seconds(reading, spec.keepalive_time, "keepaliveTime")
    connect = _seconds(reading, spec.connect_time, "connectTime")
    if hold is not None and hold and not 3 <= hold <= _LAST_SECONDS:
        reading.note(("spec", "holdTime"), f"{spec.hold_time} is neither 0 nor from 3s to 65535s")
    if keepalive is not None and hold is None and not spec.hold_time:
        hold = 3 * keepalive
        if hold and not 3 <= hold <= _LAST_SECONDS:
            detail = f"{spec.keepalive_time} makes a holdTime, three times as long, of {hold:g}s"
            reading.note(("spec", "keepaliveTime"), f"{detail}: it has to be 0 or 3s to 65535s")
    if keepalive is not None and hold is not None and keepalive > hold:
        reading.note(("spec", "keepaliveTime"), f"{spec.keepalive_time} is above the holdTime")
    if connect is not None and not (1 <= connect <= _LAST_SECONDS and connect == int(connect)):
        detail = f"{spec.connect_time} is not a whole number of seconds from 1 to 65535"
        reading.note(("spec", "connectTime"), detail)
    return hold, keepalive, connect


def _router_id(reading: Reading, text: str | None) -> IPv4Address | None:
    if not text:
        return None
    try:
        identifier = IPv4Address(text)
    except ValueError:
        reading.note(("spec", "routerID"), f"{text!r} is not an IPv4 address")
        return None
    if not int(identifier):  # RFC 6286 2.1
        reading.note(("spec", "routerID"), "cannot be 0.0.0.0")
    return identifier


def _password(reading: Reading, spec: PeerSpec) -> str:
    password = spec.password or ""
    if len(password.encode(errors="surrogatepass")) > _LONGEST_PASSWORD:
        reading.note(("spec", "password"), f"is longer than {_LONGEST_PASSWORD} octets")
    return password


def _secret_key(reading: Reading, key: Key, spec: PeerSpec) -> Key | None:
    named = spec.password_secret
    if named is None or not (named.name or named.namespace):
        return None
    if not named.name:
        reading.note(("spec", "passwordSecret", "name"), "is missing")
    if spec.password:
        reading.note(("spec", "passwordSecret"), "cannot stand beside password")
    return Key(named.namespace or key.namespace, named.name or "")


def _check_asn(reading: Reading, peer: BGPPeer) -> None:
    if peer.peer_asn is None and peer.dynamic_asn is None:
        reading.note(("spec", "peerASN"), "is missing: set it or dynamicASN")
    if peer.peer_asn is not None and peer.dynamic_asn is not None:
        reading.note(("spec", "dynamicASN"), "cannot stand beside peerASN")
    internal = peer.dynamic_asn is DynamicAsn.INTERNAL or peer.peer_asn == peer.my_asn
    if internal and peer.role is not None:  # RFC 9234 4.1
        path = ("metadata", "annotations", asked.ROLE)
        reading.note(path, "is for a peer in another AS, not in myASN")
    if internal and peer.ebgp_multihop:
        reading.note(("spec", "ebgpMultiHop"), "is for a peer in another AS, not in myASN")


def _advertisement(reading: Reading, key: Key, shape: ObjectShape) -> BGPAdvertisement:
    assert isinstance(shape, BgpAdvertisementShape)
    weighted = asked.switch(reading, shape, asked.WEIGHTED)
    spec = shape.spec
    if spec is None:
        return BGPAdvertisement(key=key, weighted=weighted)
    length = 32 if spec.aggregation_length is None else spec.aggregation_length
    length_v6 = 128 if spec.aggregation_length_v6 is None else spec.aggregation_length_v6
    communities = spec.communities or []
    for index, text in enumerate(communities):
        if is_value(text) and parse_community(text) is None:
            detail = f"{text!r} is neither A:B nor large:A:B:C nor the name of a Community"
            reading.note(("spec", "communities", index), detail)
    for name, items in (
        ("communities", communities),
        ("ipAddressPools", spec.ip_address_pools or []),
        ("peers", spec.peers or []),
    ):
        reading.distinct(items, "spec", name)
    if spec.service_selectors and (length, length_v6) != (32, 128):
        field = "aggregationLength" if length != 32 else "aggregationLengthV6"
        detail = "cannot stand beside serviceSelectors: it would attract other Services' traffic"
        reading.note(("spec", field), detail)
    return BGPAdvertisement(
        key=key,
        aggregation_length=reading.number(length, 1, 32, "spec", "aggregationLength"),
        aggregation_length_v6=reading.number(length_v6, 1, 128, "spec", "aggregationLengthV6"),
        local_pref=reading.number(spec.local_pref or 0, 0, _LAST_U32, "spec", "localPref"),
        communities=tuple(communities),
        pools=tuple(spec.ip_address_pools or ()),
        pool_selectors=_selectors(
            reading, spec.ip_address_pool_selectors, "ipAddressPoolSelectors"
        ),
        node_selectors=_selectors(reading, spec.node_selectors, "nodeSelectors"),
        peers=tuple(spec.peers or ()),
        service_selectors=_selectors(reading, spec.service_selectors, "serviceSelectors"),
        weighted=weighted,
    )


def _selectors(
    reading: Reading, shapes: list[SelectorShape] | None, field: str
) -> tuple[LabelSelector, ...]:
    selectors = reading.selectors(shapes, "spec", field)
    reading.distinct(selectors, "spec", field)
    return selectors


def _profile(reading: Reading, key: Key, shape: ObjectShape) -> BFDProfile:
    assert isinstance(shape, ProfileShape)
    spec = shape.spec or ProfileSpec()
    default = BFDProfile(key=key)

    def number(value: int | None, unset: int, first: int, last: int, field: str) -> int:
        return unset if value is None else reading.number(value, first, last, "spec", field)

    return BFDProfile(
        key=key,
        receive_interval_ms=number(
            spec.receive_interval, default.receive_interval_ms, 10, 60000, "receiveInterval"
        ),
        transmit_interval_ms=number(
            spec.transmit_interval, default.transmit_interval_ms, 10, 60000, "transmitInterval"
        ),
        detect_multiplier=number(
            spec.detect_multiplier, default.detect_multiplier, 2, 255, "detectMultiplier"
        ),
        echo_interval_ms=number(
            spec.echo_interval, default.echo_interval_ms, 10, 60000, "echoInterval"
        ),
        echo_mode=bool(spec.echo_mode),
        passive_mode=bool(spec.passive_mode),
        minimum_ttl=number(spec.minimum_ttl, default.minimum_ttl, 1, 254, "minimumTtl"),
    )


def _community(reading: Reading, key: Key, shape: ObjectShape) -> CommunityAliases:
    assert isinstance(shape, CommunityShape)
    aliases: dict[str, str] = {}
    for index, each in enumerate((shape.spec and shape.spec.communities) or ()):
        where = ("spec", "communities", index)
        name, value = each.name or "", each.value or ""
        if not name:
            reading.note((*where, "name"), "is missing")
        elif name in aliases:
            reading.note((*where, "name"), f"{name!r} stands in the list twice")
        if parse_community(value) is None:
            reading.note((*where, "value"), f"{value!r} is neither A:B nor large:A:B:C")
        aliases[name] = value
    return CommunityAliases(key=key, aliases=MappingProxyType(aliases))


def _secret(reading: Reading, key: Key, shape: ObjectShape) -> Secret:
    """A Secret; of one that is not basic-auth nothing but the type is kept."""
    assert isinstance(shape, SecretShape)
    type_ = shape.type or "Opaque"
    if type_ != BASIC_AUTH:
        return Secret(key=key, type=type_)
    return Secret(key=key, type=type_, password=_secret_password(reading, shape))


def _secret_password(reading: Reading, shape: SecretShape) -> str | None:
    """The password. No message says any part of it."""
    plain = (shape.string_data or {}).get("password")
    coded = (shape.data or {}).get("password")
    path = ("stringData" if plain is not None else "data", "password")
    found = coded if plain is None else plain
    if found is None:
        return None
    if not isinstance(found, str):
        reading.note(path, "expected a string: quote it")
        return None
    if plain is None:
        try:
            found = b64decode("".join(found.split()), validate=True).decode()
        except (Base64Error, UnicodeDecodeError, ValueError):
            reading.note(path, "is not text in base64")
            return None
    if len(found.encode(errors="surrogatepass")) > _LONGEST_PASSWORD:
        reading.note(path, f"is longer than {_LONGEST_PASSWORD} octets")
    return found


BGP_KINDS: dict[tuple[str, str], Kind] = {
    ("metallb.io/v1beta1", "BGPPeer"): Kind(PeerShape, _peer_v1beta1),
    ("metallb.io/v1beta2", "BGPPeer"): Kind(PeerShape, _peer),
    ("metallb.io/v1beta1", "BGPAdvertisement"): Kind(BgpAdvertisementShape, _advertisement),
    ("metallb.io/v1beta1", "BFDProfile"): Kind(ProfileShape, _profile),
    ("metallb.io/v1beta1", "Community"): Kind(CommunityShape, _community),
    ("v1", "Secret"): Kind(SecretShape, _secret),
}
