"""`explain` runs the decisions themselves, and adds what a speaker last reported."""

import json
from pathlib import Path

from onehop.app.explain import explanation
from onehop.model.service import Key
from tests.builders import (
    LOCAL,
    a_node,
    a_pool,
    a_service,
    a_slice,
    an_advertisement,
    an_endpoint,
    the_objects,
)

OBJECTS = the_objects(
    nodes=[a_node("node1"), a_node("node0")],
    services=[a_service("web", "192.0.2.241", policy=LOCAL)],
    slices=[a_slice("web", an_endpoint("10.0.2.1", "node1"))],
    pools=[a_pool()],
    advertisements=[an_advertisement()],
)
WEB = Key("default", "web")


def test_chain_goes_from_pool_to_announcer_to_backend(tmp_path: Path) -> None:
    found = explanation(OBJECTS, WEB, lb_class=None, state=tmp_path)
    assert found is not None
    assert (found.addresses, found.pool, found.election) == (("192.0.2.241",), "pool", ("node1",))
    assert [(node.node, node.announces) for node in found.nodes] == [
        ("node0", False),
        ("node1", True),
    ]
    assert found.nodes[0].reason.startswith("NoLocalEndpoint")
    assert found.nodes[1].frontends == (
        "192.0.2.241:80/TCP => 10.0.2.1:8080 (active) (1 of 1, Local)",
    )
    assert any("192.0.2.241" in line for line in found.allocation)


def test_one_node_and_what_it_reported(tmp_path: Path) -> None:
    (tmp_path / "nodes").mkdir()
    (tmp_path / "nodes" / "node1.json").write_text(
        json.dumps({"failures": ["eth0: gone"], "conflicts": {"192.0.2.241": 2}})
    )
    found = explanation(OBJECTS, WEB, lb_class=None, state=tmp_path, node="node1")
    assert found is not None
    [node] = found.nodes
    assert node.reports == (
        "eth0: gone",
        "AddressConflict: 192.0.2.241 claimed 2 times by another host",
    )


def test_unknown_service_and_unknown_node(tmp_path: Path) -> None:
    assert explanation(OBJECTS, Key("default", "no"), lb_class=None, state=tmp_path) is None
    found = explanation(OBJECTS, WEB, lb_class=None, state=tmp_path, node="stranger")
    assert found is not None
    assert found.nodes[0].reason.startswith("NodeUnknown")
