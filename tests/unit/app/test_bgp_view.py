"""Sessions and routes as rows, in the words of routers."""

from __future__ import annotations

import os
from dataclasses import replace

import pytest

from onehop.app.bgp_report import NodeState, PeerState, RouteGroup, process_name
from onehop.app.bgp_view import (
    PEER_COLUMNS,
    ROUTE_COLUMNS,
    peer_document,
    peer_rows,
    route_document,
    route_rows,
    span,
)
from onehop.app.columns import table

NOW = 1_700_000_192.0
PEER = PeerState(
    name="router",
    address="192.0.2.254",
    port=179,
    local_asn=64500,
    peer_asn=64512,
    state="Established",
    since=NOW - 192,
    wanted=3,
    sent=3,
    received=1,
    routes=(
        RouteGroup(attributes={"communities": "64500:7"}, prefixes=("192.0.2.241/32",)),
        RouteGroup(attributes={"local_pref": "200"}, prefixes=("fd00::2/128", "192.0.2.9/32")),
    ),
)
OTHER = replace(
    PEER,
    name="spine",
    address="fd00::fe",
    port=1790,
    peer_asn=None,
    state="Active",
    since=NOW,
    sent=0,
    received=0,
    info="connection refused",
    routes=(),
)
ALIVE = process_name(os.getpid())
STATE = NodeState(
    node="node1", at=NOW, process=ALIVE, peers=(PEER, OTHER), refused={"far": "PeerNotSelected"}
)


def test_sessions_stand_under_the_names_that_routers_use() -> None:
    assert table(PEER_COLUMNS, peer_rows([STATE], NOW)).splitlines() == [
        "NAME    NODE   ADDRESS          AS     STATE        SINCE     SENT  RECEIVED  INFO",
        "router  node1  192.0.2.254      64512  Established  00:03:12  3     1",
        "spine   node1  [fd00::fe]:1790  any    Active       00:00:00  0/3   0"
        "         connection refused",
        "far     node1  -                -      None         -         0     0         "
        "PeerNotSelected",
    ]


def test_what_a_dead_speaker_last_said_is_not_taken_for_true() -> None:
    dead = replace(STATE, process="1:1", refused={})
    assert {(row[4], row[6], row[8]) for row in peer_rows([dead], NOW)} == {
        ("Down", "0", "its speaker does not run")
    }
    assert {body["state"] for body in peer_document([dead])} == {"Down"}
    assert route_document([dead]) == []


def test_programs_get_every_field_but_the_routes() -> None:
    first, _, refused = peer_document([STATE])
    assert (first["name"], first["node"], first["received"]) == ("router", "node1", 1)
    assert "routes" not in first
    assert refused == {"name": "far", "node": "node1", "state": "None", "info": "PeerNotSelected"}


def test_routes_stand_in_the_order_of_addresses() -> None:
    routes = route_document([STATE])
    assert [route["prefix"] for route in routes] == [
        "192.0.2.9/32",
        "192.0.2.241/32",
        "fd00::2/128",
    ]
    assert table(ROUTE_COLUMNS, route_rows(routes)).splitlines()[:3] == [
        "PREFIX          NODE   PEER    NEXT HOP  LOCALPREF  MED  COMMUNITIES",
        "192.0.2.9/32    node1  router  self      200        -",
        "192.0.2.241/32  node1  router  self      -          -    64500:7",
    ]
    assert route_document([STATE], "spine") == []


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (-1, "00:00:00"),
        (0.9, "00:00:00"),
        (192, "00:03:12"),
        (86_399, "23:59:59"),
        (93_780, "1d02h03m"),
        (86_400 * 17 + 3600 * 4, "2w3d04h"),
    ],
)
def test_spans_are_said_as_frr_says_them(seconds: float, text: str) -> None:
    assert span(seconds) == text
