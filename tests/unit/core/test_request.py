"""What one Service asks for, read from the Service alone."""

from __future__ import annotations

from ipaddress import ip_address

import pytest

from onehop.core.request import (
    annotation,
    families_needed,
    not_in_charge,
    parse_address,
    request,
    requested_addresses,
    share_of,
)
from onehop.core.sharing import Share
from onehop.model.address import Family
from onehop.model.reason import Reason, Refusal
from onehop.model.service import FamilyPolicy, Key, Protocol, ServicePort
from tests.builders import LOCAL, a_service

V4, V6 = Family.IPV4, Family.IPV6
IPS, POOL, SHARED = "loadBalancerIPs", "address-pool", "allow-shared-ip"


def ips(*texts: str) -> tuple[object, ...]:
    return tuple(map(ip_address, texts))


@pytest.mark.parametrize(
    ("service_class", "ours", "reason"),
    [
        pytest.param(None, None, None, id="neither has one"),
        pytest.param("lb", "lb", None, id="both have the same"),
        pytest.param("lb", None, Reason.CLASS_IGNORED, id="only the Service has one"),
        pytest.param(None, "lb", Reason.CLASS_IGNORED, id="only we have one"),
        pytest.param("theirs", "lb", Reason.CLASS_IGNORED, id="they differ"),
    ],
)
def test_class_decides_who_is_in_charge(
    service_class: str | None, ours: str | None, reason: Reason | None
) -> None:
    refusal = not_in_charge(a_service(load_balancer_class=service_class), ours)
    assert (refusal.reason if refusal else None) is reason


def test_other_types_are_left_alone() -> None:
    refusal = not_in_charge(a_service(type="ClusterIP"), None)
    assert refusal == Refusal(reason=Reason.NOT_LOAD_BALANCER, detail="its type is ClusterIP")


@pytest.mark.parametrize(
    ("cluster_ips", "policy", "first", "answer"),
    [
        pytest.param(["10.0.0.1"], "SingleStack", (), (V4,), id="v4"),
        pytest.param(["fd00::1"], "SingleStack", (), (V6,), id="v6"),
        pytest.param(["10.0.0.1"], "PreferDualStack", (), (V4,), id="prefers dual, has one"),
        pytest.param(["10.0.0.1", "fd00::1"], "RequireDualStack", (), (V4, V6), id="dual"),
        pytest.param(
            ["fd00::1", "10.0.0.1"], "PreferDualStack", (V6, V4), (V6, V4), id="v6 first"
        ),
        pytest.param(["fd00::1", "10.0.0.1"], "PreferDualStack", (), (V4, V6), id="no word: v4"),
        pytest.param([], "SingleStack", (), Reason.NO_CLUSTER_IP, id="none yet"),
        pytest.param(["10.0.0.1"], "RequireDualStack", (), Reason.FAMILY_MISMATCH, id="half"),
        pytest.param(
            ["10.0.0.1", "10.0.0.2"], "SingleStack", (), Reason.FAMILY_MISMATCH, id="two of one"
        ),
        pytest.param(
            ["10.0.0.1", "fd00::1", "fd00::2"], "SingleStack", (), Reason.FAMILY_MISMATCH, id="3"
        ),
    ],
)
def test_families_come_from_the_cluster_ips(
    cluster_ips: list[str], policy: str, first: tuple[Family, ...], answer: object
) -> None:
    service = a_service(
        cluster_ips=ips(*cluster_ips), family_policy=FamilyPolicy(policy), ip_families=first
    )
    found = families_needed(service)
    assert (found.reason if isinstance(found, Refusal) else found) == answer


def test_the_newer_prefix_wins() -> None:
    both = {"metallb.io/address-pool": "new", "metallb.universe.tf/address-pool": "old"}
    assert annotation(a_service(annotations=both), POOL) == ("metallb.io/address-pool", "new")


def test_the_deprecated_prefix_is_read() -> None:
    service = a_service(annotations={"metallb.universe.tf/address-pool": "old"})
    assert annotation(service, POOL) == ("metallb.universe.tf/address-pool", "old")
    assert annotation(service, IPS) is None
    assert annotation(a_service(), POOL) is None


@pytest.mark.parametrize(
    ("text", "answer"),
    [
        pytest.param("192.0.2.1", "192.0.2.1", id="v4"),
        pytest.param("2001:db8::1", "2001:db8::1", id="v6"),
        pytest.param("::ffff:192.0.2.1", "192.0.2.1", id="v4 mapped into v6"),
        pytest.param("fe80::1%eth0", None, id="zone"),
        pytest.param("192.0.2", None, id="short"),
        pytest.param("192.0.2.01", None, id="leading zero"),
        pytest.param("", None, id="empty"),
    ],
)
def test_addresses_are_read_strictly(text: str, answer: str | None) -> None:
    assert parse_address(text) == (ip_address(answer) if answer else None)


@pytest.mark.parametrize(
    ("by_spec", "by_annotation", "answer"),
    [
        pytest.param("", None, (), id="nothing"),
        pytest.param("", " ", (), id="blank annotation"),
        pytest.param("192.0.2.1", None, ips("192.0.2.1"), id="spec"),
        pytest.param("", " 192.0.2.1 ", ips("192.0.2.1"), id="annotation with space"),
        pytest.param("", "fd00::1, 192.0.2.1", ips("192.0.2.1", "fd00::1"), id="v4 before v6"),
        pytest.param("192.0.2.1", "192.0.2.1", Reason.REQUEST_CONFLICT, id="both ways"),
        pytest.param("", "192.0.2.1,192.0.2.2", Reason.REQUEST_CONFLICT, id="two of one family"),
        pytest.param("", "192.0.2.1,", Reason.ADDRESS_INVALID, id="empty member"),
        pytest.param("here", None, Reason.ADDRESS_INVALID, id="no address"),
    ],
)
def test_requested_addresses(by_spec: str, by_annotation: str | None, answer: object) -> None:
    named = {} if by_annotation is None else {"metallb.io/loadBalancerIPs": by_annotation}
    found = requested_addresses(a_service(load_balancer_ip=by_spec, annotations=named))
    assert (found.reason if isinstance(found, Refusal) else found) == answer


def test_a_request_puts_all_of_it_together() -> None:
    service = a_service(
        cluster_ips=ips("10.0.0.1", "fd00::1"),
        family_policy=FamilyPolicy.PREFER_DUAL,
        annotations={"metallb.io/address-pool": "blue", "metallb.io/loadBalancerIPs": "x"},
    )
    found = request(service)
    assert not isinstance(found, Refusal)
    assert (found.families, found.flexible, found.pool) == ((V4, V6), True, "blue")
    assert found.addresses == ()
    assert found.refusal is not None
    assert found.refusal.reason is Reason.ADDRESS_INVALID


def test_annotations_of_others_ask_for_nothing() -> None:
    found = request(a_service(annotations={"example.org/address-pool": "x"}))
    assert not isinstance(found, Refusal)
    assert (found.addresses, found.pool, found.flexible, found.refusal) == ((), "", False, None)


def test_a_service_without_cluster_ip_asks_for_nothing_yet() -> None:
    found = request(a_service(cluster_ips=()))
    assert isinstance(found, Refusal)


def test_policy_local_shares_by_the_pod_selector() -> None:
    service = a_service(
        policy=LOCAL,
        selector={"b": "2", "a": "1"},
        annotations={"metallb.io/allow-shared-ip": "k"},
        ports=(ServicePort(name="dns", protocol=Protocol.UDP, port=53),),
    )
    assert share_of(service) == Share(
        key=Key("default", "web"),
        sharing_key="k",
        backend_key="a=1,b=2",
        ports=frozenset({("UDP", 53)}),
    )


def test_policy_cluster_shares_whatever_the_pods() -> None:
    service = a_service(selector={"a": "1"}, annotations={"metallb.io/allow-shared-ip": "k"})
    assert share_of(service).backend_key == ""
    assert share_of(a_service(policy=LOCAL, selector={"a": "1"})).sharing_key == ""
