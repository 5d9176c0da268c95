"""Frontends and their backends on one node."""

from ipaddress import ip_address

import pytest

from onehop.core.frontends import backends_of, frontends_of, unsupported
from onehop.model.address import Family
from onehop.model.reason import Reason
from onehop.model.service import BackendState, FrontendKind, Protocol, ServicePort
from tests.builders import LOCAL, a_service, a_slice, an_endpoint

HTTP = ServicePort(name="http", protocol=Protocol.TCP, port=80)


def test_backends_stand_in_order_and_once_though_slices_overlap() -> None:
    one = a_slice("web", an_endpoint("10.0.0.9", "node1"), an_endpoint("10.0.0.2", "node0"))
    two = a_slice("web", an_endpoint("10.0.0.9", "node1"), name="web-y")
    found, total, _ = backends_of(HTTP, Family.IPV4, [one, two], "node0", local=False)
    assert total == 2
    assert [(str(b.address), b.port, b.local) for b in found] == [
        ("10.0.0.2", 8080, True),
        ("10.0.0.9", 8080, False),
    ]


def test_port_is_matched_by_name_and_family_by_address() -> None:
    slices = [
        a_slice("web", an_endpoint("10.0.0.2", "node0"), port_name="metrics", port=9100),
        a_slice("web", an_endpoint("fd00::2", "node0"), name="web-6"),
    ]
    assert backends_of(HTTP, Family.IPV4, slices, "node0", local=False) == ((), 0, None)
    found, _, _ = backends_of(HTTP, Family.IPV6, slices, "node0", local=False)
    assert [str(b.address) for b in found] == ["fd00::2"]


def test_terminating_backends_serve_only_when_none_is_ready() -> None:
    going = an_endpoint("10.0.0.1", "node0", ready=False, serving=True, terminating=True)
    ready = an_endpoint("10.0.0.2", "node1")
    both = [a_slice("web", going, ready)]
    found, _, _ = backends_of(HTTP, Family.IPV4, both, "node0", local=False)
    assert [str(b.address) for b in found] == ["10.0.0.2"]
    mine, total, _ = backends_of(HTTP, Family.IPV4, both, "node0", local=True)
    assert [b.state for b in mine] == [BackendState.TERMINATING]
    assert total == 2
    assert backends_of(HTTP, Family.IPV4, both, "", local=True) == ((), 2, None)


def test_the_one_that_is_out_of_reach_is_known() -> None:
    going = an_endpoint("10.0.0.2", "node1", ready=False, serving=True, terminating=True)
    slices = [a_slice("web", going)]
    found, total, elsewhere = backends_of(HTTP, Family.IPV4, slices, "node0", local=True)
    assert (found, total) == ((), 1)
    assert elsewhere is not None
    assert (str(elsewhere.address), elsewhere.port, elsewhere.local) == ("10.0.0.2", 8080, False)
    for node, local in (("node1", True), ("node0", False)):
        assert backends_of(HTTP, Family.IPV4, slices, node, local=local)[2] is None
    mine = a_slice("web", an_endpoint("10.0.0.3", "node0"), name="web-y")
    assert backends_of(HTTP, Family.IPV4, [*slices, mine], "node0", local=True)[2] == elsewhere
    assert backends_of(HTTP, Family.IPV4, [*slices, mine], "node2", local=True)[2] is None
    web = a_service("web", "192.0.2.240", policy=LOCAL)
    (frontend,) = frontends_of(web, tuple(slices), "node0")
    assert frontend.elsewhere == elsewhere


def test_service_has_its_addresses_and_its_node_port() -> None:
    service = a_service(
        "web",
        "192.0.2.240",
        "2001:db8::240",
        policy=LOCAL,
        node_port=30080,
        cluster_ips=(ip_address("10.96.0.1"), ip_address("fd00:96::1")),
    )
    slices = (a_slice("web", an_endpoint("10.0.0.2", "node0"), an_endpoint("10.0.0.3", "node1")),)
    found = frontends_of(service, slices, "node0")
    assert [(str(f.frontend.address), f.frontend.port, f.frontend.kind) for f in found] == [
        ("192.0.2.240", 80, FrontendKind.LOAD_BALANCER),
        ("0.0.0.0", 30080, FrontendKind.NODE_PORT),
        ("2001:db8::240", 80, FrontendKind.LOAD_BALANCER),
        ("::", 30080, FrontendKind.NODE_PORT),
    ]
    assert [(len(f.backends), f.total) for f in found] == [(1, 2), (1, 2), (0, 0), (0, 0)]


def test_node_port_service_has_no_external_address_and_cluster_ip_none() -> None:
    node_port = a_service("web", "192.0.2.1", type="NodePort", node_port=30080)
    assert [f.frontend.kind for f in frontends_of(node_port, (), "n")] == [FrontendKind.NODE_PORT]
    assert frontends_of(a_service(type="ClusterIP", node_port=30080), (), "n") == ()


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"session_affinity": "ClientIP"}, Reason.AFFINITY_UNSUPPORTED),
        ({"source_ranges": ("10.0.0.0/8",)}, Reason.SOURCE_RANGES_UNSUPPORTED),
        (
            {"ports": (ServicePort(name="s", protocol=Protocol.SCTP, port=1),)},
            Reason.PROTOCOL_UNSUPPORTED,
        ),
    ],
)
def test_what_is_not_served_yet_says_so(change: dict[str, object], reason: Reason) -> None:
    refusal = unsupported(a_service(**change))
    assert refusal is not None
    assert refusal.reason is reason
    assert unsupported(a_service()) is None
