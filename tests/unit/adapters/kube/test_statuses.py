"""Statuses of Services: when a write is due, and what it says."""

from __future__ import annotations

import json
from ipaddress import ip_address

import pytest

from onehop.adapters.kube.connection import Request
from onehop.adapters.kube.statuses import (
    CONDITIONS,
    agrees,
    status_write,
    together,
    withdrawal,
)
from onehop.adapters.kube.structs import Ingress, Live, LiveCondition, Owner
from onehop.core import report
from onehop.model.desired import ServiceStatus
from onehop.model.service import Condition, Key

KEY = Key("kafka", "broker-0")
WANT = ServiceStatus(
    key=KEY,
    addresses=(ip_address("192.0.2.1"), ip_address("2001:db8::1")),
    pool="a",
    conditions=(
        Condition(type="AddressAllocated", status=True, reason="Allocated", message="from pool a"),
    ),
)
INGRESS = (Ingress(ip="192.0.2.1", ip_mode="VIP"), Ingress(ip="2001:db8::1", ip_mode="VIP"))
ALLOCATED = LiveCondition(
    type="AddressAllocated", status="True", reason="Allocated", message="from pool a",
    last_transition_time="2026-01-01T00:00:00Z",
)  # fmt: skip
SUPPORTED = LiveCondition(type="FullySupported", status="False", reason="AffinityUnsupported")
FOREIGN = LiveCondition(type="example.org/Checked", status="True", reason="X")


def live(*, ingress: tuple[Ingress, ...] = (), conditions: tuple[LiveCondition, ...] = (),
         owners: tuple[Owner, ...] = ()) -> Live:  # fmt: skip
    return Live(
        name=KEY.name, namespace=KEY.namespace, uid="u1", resource_version="7",
        ingress=ingress, conditions=conditions, owners=owners,
    )  # fmt: skip


def test_the_conditions_that_are_ours_are_those_that_a_decision_gives() -> None:
    assert {report.ALLOCATED, report.SUPPORTED} == CONDITIONS


def test_a_status_that_says_it_already_is_not_written() -> None:
    assert agrees(live(ingress=INGRESS, conditions=(FOREIGN, ALLOCATED)), WANT)


def test_a_server_that_knows_no_ip_mode_is_forgiven() -> None:
    old = tuple(Ingress(ip=each.ip) for each in INGRESS)
    assert agrees(live(ingress=old, conditions=(ALLOCATED,)), WANT)


@pytest.mark.parametrize(
    ("ingress", "conditions"),
    [
        ((), (ALLOCATED,)),
        (INGRESS[:1], (ALLOCATED,)),
        (INGRESS[::-1], (ALLOCATED,)),
        ((*INGRESS, Ingress(hostname="lb")), (ALLOCATED,)),
        ((Ingress(ip="192.0.2.1", ip_mode="Proxy"), INGRESS[1]), (ALLOCATED,)),
        ((Ingress(ip="192.0.2.1", hostname="lb"), INGRESS[1]), (ALLOCATED,)),
        (INGRESS, ()),
        (INGRESS, (LiveCondition(type="AddressAllocated", status="False", reason="Allocated",
                                 message="from pool a"),)),
        (INGRESS, (ALLOCATED, LiveCondition(type="FullySupported", status="False", reason="X"))),
    ],
)  # fmt: skip
def test_any_difference_is_written(
    ingress: tuple[Ingress, ...], conditions: tuple[LiveCondition, ...]
) -> None:
    assert not agrees(live(ingress=ingress, conditions=conditions), WANT)


def test_the_write_names_what_was_decided_on_and_only_what_is_ours() -> None:
    request = status_write(KEY, live(conditions=(FOREIGN,)), WANT, "2026-02-02T00:00:00Z")
    assert request.method == "PATCH"
    assert request.path == (
        "/api/v1/namespaces/kafka/services/broker-0/status?fieldManager=onehop&force=true"
    )
    assert request.kind == "application/apply-patch+yaml"
    assert json.loads(request.body) == {
        "apiVersion": "v1",
        "kind": "Service",
        "metadata": {
            "namespace": "kafka", "name": "broker-0", "uid": "u1", "resourceVersion": "7"
        },
        "status": {
            "loadBalancer": {
                "ingress": [
                    {"ip": "192.0.2.1", "ipMode": "VIP"},
                    {"ip": "2001:db8::1", "ipMode": "VIP"},
                ]
            },
            "conditions": [
                {
                    "type": "AddressAllocated", "status": "True", "reason": "Allocated",
                    "message": "from pool a", "lastTransitionTime": "2026-02-02T00:00:00Z",
                }
            ],
        },
    }  # fmt: skip


@pytest.mark.parametrize(("status", "stamp"), [("True", "2026-01-01"), ("False", "2026-02-02")])
def test_the_instant_of_a_condition_is_that_of_its_last_turn(status: str, stamp: str) -> None:
    before = LiveCondition(type="AddressAllocated", status=status, reason="Other",
                           last_transition_time="2026-01-01T00:00:00Z")  # fmt: skip
    body = json.loads(
        status_write(KEY, live(conditions=(before,)), WANT, "2026-02-02T00:00:00Z").body
    )
    assert body["status"]["conditions"][0]["lastTransitionTime"] == f"{stamp}T00:00:00Z"


def test_a_release_says_that_the_list_is_empty_whoever_filled_it() -> None:
    before = live(ingress=INGRESS, conditions=(FOREIGN, ALLOCATED))
    released = json.loads(status_write(KEY, before, ServiceStatus(key=KEY), "t").body)
    assert released["status"] == {"loadBalancer": {"ingress": []}, "conditions": []}


def test_who_has_no_address_and_gets_none_is_told_nothing_about_addresses() -> None:
    refused = json.loads(status_write(KEY, live(), ServiceStatus(key=KEY), "t").body)
    assert refused["status"] == {"conditions": []}


def removed(request: Request) -> list[str]:
    """The conditions that a request removes, whoever has said them; none if it does more."""
    if request.kind != "application/strategic-merge-patch+json":
        return []
    body = json.loads(request.body)
    assert (body["metadata"]["uid"], body["metadata"]["resourceVersion"]) == ("u1", "7")
    assert body["status"].keys() == {"conditions"}
    assert all(each["$patch"] == "delete" for each in body["status"]["conditions"])
    return [each["type"] for each in body["status"]["conditions"]]


def test_a_withdrawal_removes_what_is_ours_whoever_has_said_it_too() -> None:
    have = (FOREIGN, SUPPORTED, ALLOCATED)
    request = withdrawal(KEY, live(conditions=have))
    assert removed(request) == ["AddressAllocated", "FullySupported"]


@pytest.mark.parametrize(
    ("before", "gone"),
    [
        (live(ingress=INGRESS, conditions=(FOREIGN, SUPPORTED, ALLOCATED)), ["FullySupported"]),
        (live(ingress=INGRESS, conditions=(SUPPORTED,)), []),
        (live(conditions=(SUPPORTED, ALLOCATED)), []),
        (live(ingress=INGRESS[:1], conditions=(SUPPORTED, ALLOCATED)), []),
    ],
)
def test_a_condition_alone_that_is_to_go_is_removed(before: Live, gone: list[str]) -> None:
    assert removed(status_write(KEY, before, WANT, "t")) == gone


def test_services_of_one_owner_are_written_in_a_row() -> None:
    def owned(*uids: str) -> Live:
        owners = tuple(Owner(uid=uid, controller=uid == "c" or None) for uid in uids)
        return live(owners=owners)

    keys = {name: Key("kafka", name) for name in "abcdef"}
    writes = [
        (keys["a"], owned("x", "c")),
        (keys["b"], owned()),
        (keys["c"], owned("y")),
        (keys["d"], owned("c")),
        (keys["e"], owned()),
        (keys["f"], owned("y")),
    ]
    assert "".join(key.name for key in together(writes)) == "adbcfe"
