"""MetalLB's BGP kinds, field by field, and every value that is refused."""

from __future__ import annotations

from base64 import b64encode
from ipaddress import IPv4Address, ip_address
from pathlib import Path

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from onehop.adapters.manifests import Manifests
from onehop.adapters.manifests.decode import decoded
from onehop.adapters.objects.bgp_shape import (
    BgpAdvertisementSpec,
    CommunitySpec,
    PeerSpec,
    ProfileSpec,
)
from onehop.model.bgp import (
    BFDProfile,
    BGPAdvertisement,
    BGPPeer,
    CommunityAliases,
    DynamicAsn,
    Secret,
)
from onehop.model.config import LabelSelector, Operator, Requirement
from onehop.model.reason import Reason
from onehop.model.service import Key
from tests.unit.adapters.manifests.texts import read

KEY = Key("metallb-system", "x")
RACK = LabelSelector(match_labels={"rack": "a"})
ZONES = LabelSelector(
    match_expressions=(
        Requirement(key="zone", operator=Operator.IN, values=frozenset({"p", "q"})),
    )
)
SELECTORS = (
    "[{matchLabels: {rack: a}}, {matchExpressions: [{key: zone, operator: In, values: [p, q]}]}]"
)
LEAST = "myASN: 64512, peerASN: 64513, peerAddress: 192.0.2.1"


def manifest(kind: str, spec: str, version: str = "metallb.io/v1beta1", meta: str = "") -> str:
    return (
        f"apiVersion: {version}\nkind: {kind}\n"
        f"metadata: {{name: x, namespace: metallb-system{meta}}}\n{spec}\n"
    )


def a_peer(spec: str, version: str = "v1beta2") -> str:
    return manifest("BGPPeer", f"spec: {{{spec}}}", f"metallb.io/{version}")


def the_peer(store: Manifests, folder: Path, text: str) -> BGPPeer:
    objects = read(store, folder, text)
    assert objects.problems == ()
    return objects.bgp_peers[KEY]


def faults(store: Manifests, folder: Path, text: str) -> list[tuple[str, Reason]]:
    return [(each.field, each.reason) for each in read(store, folder, text).problems]


def test_peer_with_every_field(store: Manifests, folder: Path) -> None:
    spec = (
        "myASN: 64512, dynamicASN: external, localASN: 64600, peerAddress: 'fd00::1',"
        " sourceAddress: 'fd00::2', peerPort: 1179, holdTime: 1m30s, keepaliveTime: 10s,"
        f" connectTime: 5s, routerID: 10.0.0.9, nodeSelectors: {SELECTORS},"
        " passwordSecret: {name: pw, namespace: other}, bfdProfile: fast,"
        " enableGracefulRestart: true, ebgpMultiHop: true, dualStackAddressFamily: true,"
        " disableMP: true, vrf: '', interface: ''"
    )
    assert the_peer(store, folder, a_peer(spec)) == BGPPeer(
        key=KEY,
        my_asn=64512,
        dynamic_asn=DynamicAsn.EXTERNAL,
        local_asn=64600,
        address=ip_address("fd00::1"),
        source=ip_address("fd00::2"),
        port=1179,
        hold_time=90.0,
        keepalive_time=10.0,
        connect_time=5.0,
        router_id=IPv4Address("10.0.0.9"),
        node_selectors=(RACK, ZONES),
        password_secret=Key("other", "pw"),
        bfd_profile="fast",
        graceful_restart=True,
        ebgp_multihop=True,
        dual_stack=True,
    )


@pytest.mark.parametrize("version", ["v1beta1", "v1beta2"])
def test_both_versions_make_the_same_peer(store: Manifests, folder: Path, version: str) -> None:
    spec = f"{LEAST}, nodeSelectors: {SELECTORS}, password: topsecret"
    found = the_peer(store, folder, a_peer(spec, version))
    assert found == BGPPeer(
        key=KEY,
        my_asn=64512,
        peer_asn=64513,
        address=ip_address("192.0.2.1"),
        node_selectors=(RACK, ZONES),
        password="topsecret",
    )
    assert "topsecret" not in repr(found)


@pytest.mark.parametrize(
    ("version", "text", "hold"),
    [("v1beta1", "0s", None), ("v1beta2", "0s", 0.0), ("v1beta2", "0", 0.0)],
)
def test_hold_time_of_zero(
    store: Manifests, folder: Path, version: str, text: str, hold: float | None
) -> None:
    peer = the_peer(store, folder, a_peer(f"{LEAST}, holdTime: '{text}'", version))
    assert peer.hold_time == hold


@pytest.mark.parametrize(
    ("text", "seconds"),
    [("3s", 3), ("1500ms", 1.5), ("1.5s", 1.5), (".5m", 30), ("1h", 3600), ("2s500000us", 2.5)],
)
def test_durations_and_the_hold_time_they_make(
    store: Manifests, folder: Path, text: str, seconds: float
) -> None:
    peer = the_peer(store, folder, a_peer(f"{LEAST}, keepaliveTime: {text}"))
    assert (peer.keepalive_time, peer.hold_time) == (seconds, 3 * seconds)


def test_a_secret_is_looked_for_beside_the_peer(store: Manifests, folder: Path) -> None:
    peer = the_peer(store, folder, a_peer(f"{LEAST}, passwordSecret: {{name: pw}}"))
    assert peer.password_secret == Key("metallb-system", "pw")
    peer = the_peer(store, folder, a_peer(f"{LEAST}, passwordSecret: {{}}"))
    assert peer.password_secret is None


@pytest.mark.parametrize(
    ("spec", "field"),
    [
        ("peerASN: 1, peerAddress: 192.0.2.1", "spec.myASN"),
        ("myASN: 0, peerASN: 1, peerAddress: 192.0.2.1", "spec.myASN"),
        ("myASN: 4294967296, peerASN: 1, peerAddress: 192.0.2.1", "spec.myASN"),
        ("myASN: a, peerASN: 1, peerAddress: 192.0.2.1", "spec.myASN"),
        ("myASN: 1, peerASN: -1, peerAddress: 192.0.2.1", "spec.peerASN"),
        ("myASN: 1, peerAddress: 192.0.2.1", "spec.peerASN"),
        (f"{LEAST}, dynamicASN: internal", "spec.dynamicASN"),
        ("myASN: 1, dynamicASN: other, peerAddress: 192.0.2.1", "spec.dynamicASN"),
        (f"{LEAST}, localASN: 4294967296", "spec.localASN"),
        ("myASN: 1, peerASN: 2", "spec.peerAddress"),
        ("myASN: 1, peerASN: 2, peerAddress: router", "spec.peerAddress"),
        ("myASN: 1, peerASN: 2, peerAddress: 0.0.0.0", "spec.peerAddress"),
        ("myASN: 1, peerASN: 2, peerAddress: 'ff02::1'", "spec.peerAddress"),
        (f"{LEAST}, sourceAddress: here", "spec.sourceAddress"),
        (f"{LEAST}, sourceAddress: 'fd00::1'", "spec.sourceAddress"),
        (f"{LEAST}, peerPort: 0", "spec.peerPort"),
        (f"{LEAST}, peerPort: 16385", "spec.peerPort"),
        (f"{LEAST}, holdTime: 90", "spec.holdTime"),
        (f"{LEAST}, holdTime: '90'", "spec.holdTime"),
        (f"{LEAST}, holdTime: 2s", "spec.holdTime"),
        (f"{LEAST}, holdTime: 65536s", "spec.holdTime"),
        (f"{LEAST}, holdTime: -3s", "spec.holdTime"),
        (f"{LEAST}, holdTime: ''", "spec.holdTime"),
        (f"{LEAST}, keepaliveTime: soon", "spec.keepaliveTime"),
        (f"{LEAST}, keepaliveTime: 900ms", "spec.keepaliveTime"),
        (f"{LEAST}, holdTime: 9s, keepaliveTime: 10s", "spec.keepaliveTime"),
        (f"{LEAST}, connectTime: 500ms", "spec.connectTime"),
        (f"{LEAST}, connectTime: 1500ms", "spec.connectTime"),
        (f"{LEAST}, connectTime: 65536s", "spec.connectTime"),
        (f"{LEAST}, routerID: 'fd00::1'", "spec.routerID"),
        (f"{LEAST}, routerID: 0.0.0.0", "spec.routerID"),
        (f"{LEAST}, password: {'p' * 81}", "spec.password"),
        (f"{LEAST}, password: p, passwordSecret: {{name: s}}", "spec.passwordSecret"),
        (f"{LEAST}, passwordSecret: {{namespace: s}}", "spec.passwordSecret.name"),
        ("myASN: 1, peerASN: 1, peerAddress: 192.0.2.1, ebgpMultiHop: true", "spec.ebgpMultiHop"),
        (
            "myASN: 1, dynamicASN: internal, peerAddress: 192.0.2.1, ebgpMultiHop: true",
            "spec.ebgpMultiHop",
        ),
        (
            f"{LEAST}, nodeSelectors: [{{matchExpressions: [{{key: a, operator: Near}}]}}]",
            "spec.nodeSelectors[0].matchExpressions[0].operator",
        ),
    ],
)
def test_peer_fields_that_are_wrong(store: Manifests, folder: Path, spec: str, field: str) -> None:
    assert faults(store, folder, a_peer(spec)) == [(field, Reason.FIELD_INVALID)]
    assert not store.objects().bgp_peers


@pytest.mark.parametrize(
    ("spec", "field"),
    [
        (f"{LEAST}, vrf: red", "spec.vrf"),
        ("myASN: 1, peerASN: 2, interface: eth1", "spec.interface"),
    ],
)
def test_peer_fields_that_are_refused_say_so(
    store: Manifests, folder: Path, spec: str, field: str
) -> None:
    assert faults(store, folder, a_peer(spec)) == [(field, Reason.FIELD_UNSUPPORTED)]
    assert "not served yet" in str(store.objects().problems[0])


def test_a_peer_has_an_address_or_a_link(store: Manifests, folder: Path) -> None:
    found = faults(store, folder, a_peer(f"{LEAST}, interface: eth1"))
    assert ("spec.peerAddress", Reason.FIELD_INVALID) in found


def test_advertisement_with_every_field(store: Manifests, folder: Path) -> None:
    spec = (
        "spec: {aggregationLength: 24, aggregationLengthV6: 64, localPref: 4294967295,"
        " communities: ['65535:65281', 'large:1:2:4294967295', mine, no-export],"
        f" ipAddressPools: [a, b], ipAddressPoolSelectors: {SELECTORS},"
        f" nodeSelectors: {SELECTORS}, peers: [r1, r2]}}"
    )
    meta = ", annotations: {onehop.io/weighted-ecmp: 'true'}"
    objects = read(store, folder, manifest("BGPAdvertisement", spec, meta=meta))
    assert objects.problems == ()
    assert objects.bgp_advertisements[KEY] == BGPAdvertisement(
        key=KEY,
        aggregation_length=24,
        aggregation_length_v6=64,
        local_pref=4294967295,
        communities=("65535:65281", "large:1:2:4294967295", "mine", "no-export"),
        pools=("a", "b"),
        pool_selectors=(RACK, ZONES),
        node_selectors=(RACK, ZONES),
        peers=("r1", "r2"),
        weighted=True,
    )


@pytest.mark.parametrize("spec", ["", "spec: {}", "spec: null"])
def test_an_empty_advertisement_has_the_defaults(
    store: Manifests, folder: Path, spec: str
) -> None:
    objects = read(store, folder, manifest("BGPAdvertisement", spec))
    assert objects.problems == ()
    assert objects.bgp_advertisements[KEY] == BGPAdvertisement(key=KEY)


def test_service_selectors_of_an_advertisement(store: Manifests, folder: Path) -> None:
    spec = f"spec: {{serviceSelectors: {SELECTORS}, aggregationLength: 32}}"
    objects = read(store, folder, manifest("BGPAdvertisement", spec))
    assert objects.problems == ()
    assert objects.bgp_advertisements[KEY].service_selectors == (RACK, ZONES)


@pytest.mark.parametrize(
    ("spec", "field"),
    [
        ("aggregationLength: 0", "spec.aggregationLength"),
        ("aggregationLength: 33", "spec.aggregationLength"),
        ("aggregationLengthV6: 129", "spec.aggregationLengthV6"),
        ("localPref: -1", "spec.localPref"),
        ("localPref: 4294967296", "spec.localPref"),
        ("localPref: high", "spec.localPref"),
        ("communities: ['1:2', '1:65536']", "spec.communities[1]"),
        ("communities: ['1:2:3']", "spec.communities[0]"),
        ("communities: ['large:1:2']", "spec.communities[0]"),
        ("communities: ['large:1:2:4294967296']", "spec.communities[0]"),
        ("communities: ['']", "spec.communities[0]"),
        ("communities: ['12']", "spec.communities[0]"),
        ("communities: ['1:2', '1:2']", "spec.communities[1]"),
        ("communities: [12]", "spec.communities[0]"),
        ("ipAddressPools: [a, a]", "spec.ipAddressPools[1]"),
        ("peers: [a, b, a]", "spec.peers[2]"),
        (
            "nodeSelectors: [{matchLabels: {a: b}}, {matchLabels: {a: b}}]",
            "spec.nodeSelectors[1]",
        ),
        ("aggregationLength: 24, serviceSelectors: [{}]", "spec.aggregationLength"),
        ("aggregationLengthV6: 64, serviceSelectors: [{}]", "spec.aggregationLengthV6"),
    ],
)
def test_advertisement_fields_that_are_wrong(
    store: Manifests, folder: Path, spec: str, field: str
) -> None:
    text = manifest("BGPAdvertisement", f"spec: {{{spec}}}")
    assert faults(store, folder, text) == [(field, Reason.FIELD_INVALID)]


def test_the_annotation_for_weights_is_true_or_false(store: Manifests, folder: Path) -> None:
    meta = ", annotations: {onehop.io/weighted-ecmp: 'yes'}"
    found = faults(store, folder, manifest("BGPAdvertisement", "spec: {}", meta=meta))
    assert found == [("metadata.annotations[onehop.io/weighted-ecmp]", Reason.FIELD_INVALID)]


def test_profile_with_every_field(store: Manifests, folder: Path) -> None:
    spec = (
        "spec: {receiveInterval: 50, transmitInterval: 60, detectMultiplier: 5,"
        " echoInterval: 70, echoMode: true, passiveMode: true, minimumTtl: 200}"
    )
    objects = read(store, folder, manifest("BFDProfile", spec))
    assert objects.bfd_profiles[KEY] == BFDProfile(
        key=KEY,
        receive_interval_ms=50,
        transmit_interval_ms=60,
        detect_multiplier=5,
        echo_interval_ms=70,
        echo_mode=True,
        passive_mode=True,
        minimum_ttl=200,
    )
    assert read(store, folder, manifest("BFDProfile", "")).bfd_profiles[KEY] == BFDProfile(key=KEY)


@pytest.mark.parametrize(
    ("field", "first", "last"),
    [
        ("receiveInterval", 10, 60000),
        ("transmitInterval", 10, 60000),
        ("detectMultiplier", 2, 255),
        ("echoInterval", 10, 60000),
        ("minimumTtl", 1, 254),
    ],
)
def test_profile_fields_have_bounds(
    store: Manifests, folder: Path, field: str, first: int, last: int
) -> None:
    for value in (first, last):
        text = manifest("BFDProfile", f"spec: {{{field}: {value}}}")
        assert faults(store, folder, text) == []
    for value in (first - 1, last + 1):
        text = manifest("BFDProfile", f"spec: {{{field}: {value}}}")
        assert faults(store, folder, text) == [(f"spec.{field}", Reason.FIELD_INVALID)]


def test_community(store: Manifests, folder: Path) -> None:
    spec = (
        "spec: {communities: [{name: mine, value: '64512:1'},"
        " {name: big, value: 'large:64512:1:2'}]}"
    )
    objects = read(store, folder, manifest("Community", spec))
    assert objects.community_aliases[KEY] == CommunityAliases(
        key=KEY, aliases={"mine": "64512:1", "big": "large:64512:1:2"}
    )
    assert not read(store, folder, manifest("Community", "")).community_aliases[KEY].aliases


@pytest.mark.parametrize(
    ("entries", "field"),
    [
        ("{value: '1:2'}", "spec.communities[0].name"),
        ("{name: a}", "spec.communities[0].value"),
        ("{name: a, value: '1:2:3'}", "spec.communities[0].value"),
        ("{name: a, value: b}", "spec.communities[0].value"),
        ("{name: a, value: '1:2'}, {name: a, value: '1:3'}", "spec.communities[1].name"),
    ],
)
def test_community_fields_that_are_wrong(
    store: Manifests, folder: Path, entries: str, field: str
) -> None:
    text = manifest("Community", f"spec: {{communities: [{entries}]}}")
    assert faults(store, folder, text) == [(field, Reason.FIELD_INVALID)]


def a_secret(fields: str, type_: str = "kubernetes.io/basic-auth") -> str:
    return manifest("Secret", f"type: {type_}\n{fields}", "v1")


@pytest.mark.parametrize(
    ("fields", "password"),
    [
        (f"data: {{password: {b64encode(b'topsecret').decode()}}}", "topsecret"),
        ("stringData: {password: topsecret}", "topsecret"),
        (f"data: {{password: {b64encode(b'x').decode()}}}\nstringData: {{password: y}}", "y"),
        ("data: {username: YQ==}", None),
        ("", None),
    ],
)
def test_secret(store: Manifests, folder: Path, fields: str, password: str | None) -> None:
    objects = read(store, folder, a_secret(fields))
    assert objects.problems == ()
    secret = objects.secrets[KEY]
    assert secret == Secret(key=KEY, type="kubernetes.io/basic-auth", password=password)
    assert "topsecret" not in repr(secret) + repr(objects)


def test_of_other_secrets_only_the_type_is_kept(store: Manifests, folder: Path) -> None:
    objects = read(store, folder, a_secret("data: {password: '%%', ca: 5}", "Opaque"))
    assert objects.problems == ()
    assert objects.secrets[KEY] == Secret(key=KEY, type="Opaque")
    objects = read(store, folder, manifest("Secret", "data: {password: YQ==}", "v1"))
    assert objects.secrets[KEY].type == "Opaque"


@pytest.mark.parametrize(
    ("fields", "field"),
    [
        ("data: {password: 'topsecret!'}", "data.password"),
        ("data: {password: topsecre}", "data.password"),
        ("data: {password: 123456}", "data.password"),
        ("stringData: {password: 123456}", "stringData.password"),
        (f"stringData: {{password: {'topsecret' * 9}}}", "stringData.password"),
        ("data: [topsecret]", "data"),
    ],
)
def test_a_secret_that_is_wrong_is_not_told(
    store: Manifests, folder: Path, fields: str, field: str
) -> None:
    objects = read(store, folder, a_secret(fields))
    assert [each.field for each in objects.problems] == [field]
    assert "topsecre" not in repr(objects.problems)
    assert "123456" not in repr(objects.problems)
    assert not objects.secrets


def test_a_peer_that_goes_bad_keeps_its_last_value(store: Manifests, folder: Path) -> None:
    good = the_peer(store, folder, a_peer(LEAST))
    objects = read(store, folder, a_peer("myASN: 0"))
    assert objects.bgp_peers[KEY] is good
    assert objects.problems


FIELDS = {
    kind: tuple(field.encode_name for field in msgspec.structs.fields(spec))
    for kind, spec in (
        ("BGPPeer", PeerSpec),
        ("BGPAdvertisement", BgpAdvertisementSpec),
        ("BFDProfile", ProfileSpec),
        ("Community", CommunitySpec),
    )
}
TEXTS = st.sampled_from(
    ["", "0", "3s", "9" * 40 + "h", "1:2", "large:1:2:3", ":", "192.0.2.1", "fd00::1%x", "::"]
)
SCALARS = st.one_of(
    st.none(), st.booleans(), st.integers(-1, 1 << 33), st.floats(), TEXTS, st.text(max_size=9)
)
VALUES = st.recursive(
    SCALARS,
    lambda inner: st.one_of(
        st.lists(inner, max_size=3),
        st.dictionaries(
            st.sampled_from(["name", "value", "key", "operator", "matchLabels"]), inner
        ),
    ),
    max_leaves=6,
)


@given(st.data())
def test_nothing_in_a_spec_is_more_than_a_fault(data: st.DataObject) -> None:
    kind = data.draw(st.sampled_from(sorted(FIELDS)))
    spec = data.draw(st.dictionaries(st.sampled_from(FIELDS[kind]), VALUES, max_size=6))
    if kind == "BGPPeer":
        spec = {"myASN": 1, "peerASN": 2, "peerAddress": "192.0.2.1", **spec}
    version = "v1beta2" if kind == "BGPPeer" else "v1beta1"
    plain = {
        "apiVersion": f"metallb.io/{version}",
        "kind": kind,
        "metadata": {"name": "x"},
        "spec": spec,
    }
    (found,) = decoded(plain)  # type: ignore[arg-type]
    assert (found.value is None) == bool(found.faults)
    assert all(fault.path[0] == "spec" and fault.detail for fault in found.faults)


@given(st.dictionaries(st.sampled_from(["password", "other"]), VALUES), st.booleans())
def test_nothing_in_a_secret_is_more_than_a_fault(values: dict[str, object], coded: bool) -> None:
    plain = {
        "apiVersion": "v1",
        "kind": "Secret",
        "metadata": {"name": "x"},
        "type": "kubernetes.io/basic-auth",
        "data" if coded else "stringData": values,
    }
    (found,) = decoded(plain)  # type: ignore[arg-type]
    assert (found.value is None) == bool(found.faults)
