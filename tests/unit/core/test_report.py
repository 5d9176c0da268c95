"""The conditions that a Service's status carries."""

from __future__ import annotations

from ipaddress import ip_address

import pytest

from onehop.core.report import kept_in_doubt, unsupported
from onehop.model.reason import Reason
from onehop.model.service import Condition, Protocol, Service, ServicePort
from tests.builders import a_service
from tests.unit.core.allocation import DUAL, asking, statuses


def test_an_address_shows_with_its_pool() -> None:
    status = statuses([DUAL], [a_service("web")])["web"]
    assert status.conditions == (
        Condition(
            type="AddressAllocated", status=True, reason="Allocated", message="from pool dual"
        ),
    )


def test_a_slip_shows_beside_the_address() -> None:
    status = statuses([DUAL], [a_service("web", "10.1.0.5", **asking("x"))])["web"]
    assert status.refusal is not None
    assert status.conditions == (
        Condition(
            type="AddressAllocated",
            status=True,
            reason="AddressInvalid",
            message=str(status.refusal),
        ),
    )


def test_an_address_kept_in_doubt_says_why() -> None:
    status = kept_in_doubt(a_service("web", "10.1.0.5"), "pools.yaml: no YAML")
    assert status.addresses == (ip_address("10.1.0.5"),)
    assert status.refusal is not None
    assert status.refusal.reason is Reason.ADDRESS_IN_NO_POOL
    (condition,) = status.conditions
    assert (condition.status, condition.reason) == (True, "AddressInNoPool")
    assert "kept because of pools.yaml: no YAML" in condition.message


@pytest.mark.parametrize(
    ("service", "reason", "word"),
    [
        pytest.param(
            a_service(session_affinity="ClientIP"),
            "AffinityUnsupported",
            "spec.sessionAffinity",
            id="affinity",
        ),
        pytest.param(
            a_service(source_ranges=("10.0.0.0/8",)),
            "SourceRangesUnsupported",
            "10.0.0.0/8",
            id="source ranges",
        ),
        pytest.param(
            a_service(ports=(ServicePort(name="s", protocol=Protocol.SCTP, port=9),)),
            "ProtocolUnsupported",
            "SCTP port 9",
            id="SCTP",
        ),
    ],
)
def test_what_is_not_served_yet(service: Service, reason: str, word: str) -> None:
    (condition,) = unsupported(service)
    assert (condition.type, condition.status) == ("FullySupported", False)
    assert condition.reason == reason
    assert word in condition.message


def test_what_is_served_says_nothing() -> None:
    assert unsupported(a_service()) == ()


def test_a_refusal_shows_as_a_condition() -> None:
    status = statuses([DUAL], [a_service("web", **asking("10.9.9.9"))])["web"]
    assert status.conditions == (
        Condition(
            type="AddressAllocated",
            status=False,
            reason="AddressNotInPool",
            message=str(status.refusal),
        ),
    )


def test_what_no_datapath_here_serves_yet_shows_as_a_condition() -> None:
    service = a_service(
        "web",
        session_affinity="ClientIP",
        source_ranges=("10.0.0.0/8",),
        ports=(ServicePort(name="s", protocol=Protocol.SCTP, port=9),),
    )
    _, condition = statuses([DUAL], [service])["web"].conditions
    assert (condition.type, condition.status) == ("FullySupported", False)
    assert condition.reason == "AffinityUnsupported"
    for word in ("sessionAffinity", "10.0.0.0/8", "SCTP port 9"):
        assert word in condition.message
