"""The BGP shell against a real BIRD 2: sessions, routes in the router's kernel, and their end."""

from __future__ import annotations

from collections.abc import Iterator
from ipaddress import IPv4Address, ip_address, ip_network
from pathlib import Path

import pytest

from onehop.model.address import Family
from onehop.model.bgp import BGPPeer, PeerDesired, RouteAttributes
from onehop.model.service import Key
from onehop.proto.bgp.status import State
from onehop.proto.bgp.terms import Restart
from tests.lab.bird import (
    NODE,
    NODE6,
    NODE_AS,
    ROUTER,
    ROUTER6,
    ROUTER_AS,
    Router,
    router,
    session,
)
from tests.lab.sessions import Sessions
from tests.lab.wire import eventually

pytestmark = pytest.mark.root
VIP, VIP6 = "198.51.100.10/32", "2001:db8::10/128"


def a_peer(*prefixes: str, name: str = "router", **more: object) -> PeerDesired:
    """The router, as a BGPPeer makes it wanted, and what it is to be told."""
    values: dict[str, object] = {
        "key": Key("metallb-system", name),
        "my_asn": NODE_AS,
        "peer_asn": ROUTER_AS,
        "address": ip_address(ROUTER),
        "hold_time": 9.0,
        **more,
    }
    shared = RouteAttributes()
    return PeerDesired(
        name=name,
        peer=BGPPeer(**values),  # type: ignore[arg-type]
        router_id=IPv4Address(NODE),
        routes={ip_network(prefix): shared for prefix in prefixes},
    )


class Wire:
    """The router, and the shells that were started in the node."""

    def __init__(self, far: Router) -> None:
        self.far = far
        self.shells: list[Sessions] = []

    def shell(self, listen_at: tuple[str, ...] = (), restart: Restart | None = None) -> Sessions:
        shell = Sessions(self.far.root / "netns" / "node", listen_at, restart)
        self.shells.append(shell)
        return shell


@pytest.fixture
def wire(tmp_path: Path) -> Iterator[Wire]:
    with router(tmp_path) as far:
        both = Wire(far)
        try:
            yield both
        finally:
            for shell in both.shells:
                shell.close(graceful=False)


def test_a_route_stands_in_the_routers_kernel_until_it_is_withdrawn(wire: Wire) -> None:
    wire.far.bird(session())
    shell = wire.shell()
    shell.want(a_peer(VIP))
    shell.up()
    wire.far.established()
    eventually(wire.far.routes, lambda routes: routes == {"198.51.100.10": [NODE]})
    shell.want(a_peer())
    eventually(wire.far.routes, lambda routes: routes == {})
    assert shell.status().state is State.ESTABLISHED
    assert shell.status().counters.established == 1


def test_ipv6_has_a_session_and_routes_of_its_own(wire: Wire) -> None:
    wire.far.bird(
        session(local=f"local {ROUTER6} as {ROUTER_AS}", neighbor=f"neighbor {NODE6} as {NODE_AS}")
    )
    shell = wire.shell()
    shell.want(a_peer(VIP, VIP6, address=ip_address(ROUTER6)))
    shell.up()
    eventually(lambda: wire.far.routes(6), lambda routes: routes == {"2001:db8::10": [NODE6]})
    assert wire.far.routes() == {}, "the session carries one family"
    assert shell.status().advertised == 1


def test_one_session_carries_both_families_when_told_to(wire: Wire) -> None:
    wire.far.bird(session())
    shell = wire.shell()
    shell.want(a_peer(VIP, VIP6, dual_stack=True))
    shell.up()
    eventually(wire.far.routes, lambda routes: routes == {"198.51.100.10": [NODE]})
    eventually(lambda: wire.far.routes(6), lambda routes: routes == {"2001:db8::10": [NODE6]})


@pytest.mark.parametrize("family", [4, 6])
def test_a_shared_password_is_needed_and_enough(wire: Wire, family: int) -> None:
    theirs, ours = (ROUTER, NODE) if family == 4 else (ROUTER6, NODE6)
    ends = {
        "local": f"local {theirs} as {ROUTER_AS}",
        "neighbor": f"neighbor {ours} as {NODE_AS}",
        "passive": "passive on",
    }
    wire.far.bird(session(password='password "right"', **ends))
    shell = wire.shell()
    vip = VIP if family == 4 else VIP6
    wrong = a_peer(vip, address=ip_address(theirs), password="wrong", connect_time=1.0)
    shell.want(wrong)
    eventually(shell.problem, lambda problem: "password" in problem)
    shell.want(a_peer(vip, address=ip_address(theirs), password="right", connect_time=1.0))
    shell.up()
    eventually(lambda: wire.far.routes(family), lambda routes: len(routes) == 1)


def test_gtsm_lets_a_neighbour_in_and_keeps_others_out(wire: Wire) -> None:
    wire.far.bird(session(security="ttl security on", passive="passive on"))
    shell = wire.shell()
    near = a_peer(VIP, ttl_security=1, connect_time=1.0, hold_time=3.0)
    shell.want(near)
    shell.up()
    eventually(wire.far.routes, lambda routes: len(routes) == 1)
    # A router that sends with another TTL than 255 is not heard.
    wire.far.reconfigure(session(multihop="multihop 4", passive="passive on"))
    eventually(lambda: shell.status().state, lambda state: state is not State.ESTABLISHED)
    eventually(shell.is_unheard)
    shell.want(a_peer(VIP, connect_time=1.0))
    shell.up()


def test_edits_of_routes_and_timers_leave_the_session_alone(wire: Wire) -> None:
    wire.far.bird(session())
    shell = wire.shell()
    shell.want(a_peer(VIP))
    since = shell.up().since_at
    before = wire.far.established()
    for number in range(5):
        shell.want(a_peer(VIP, f"198.51.100.{20 + number}/32", bfd_profile=f"p{number}"))
    shell.want(a_peer(VIP, keepalive_time=2.0))
    shell.want(
        a_peer(VIP, keepalive_time=2.0), a_peer(name="other", address=ip_address("192.0.2.77"))
    )
    eventually(wire.far.routes, lambda routes: routes == {"198.51.100.10": [NODE]})
    status = shell.status()
    assert (status.since_at, status.counters.established) == (since, 1)
    assert wire.far.state() == before, "BIRD tells since when"


def test_a_peer_that_is_no_longer_wanted_is_told_so(wire: Wire) -> None:
    wire.far.bird(session())
    shell = wire.shell()
    shell.want(a_peer(VIP))
    shell.up()
    eventually(wire.far.routes, lambda routes: len(routes) == 1)
    shell.want()
    eventually(wire.far.routes, lambda routes: routes == {})
    eventually(wire.far.log, lambda log: "Peer de-configured" in log)
    assert shell.statuses() == {}


@pytest.mark.parametrize(
    ("ours", "theirs", "words"),
    [
        ({"peer_asn": 64999}, {}, "the peer says 64512, its BGPPeer wants 64999"),
        ({"my_asn": 64999}, {}, "our AS is 64999, it wants another"),
    ],
)
def test_a_wrong_as_says_which_side_wanted_what(
    wire: Wire, ours: dict[str, object], theirs: dict[str, str], words: str
) -> None:
    wire.far.bird(session(passive="passive on", **theirs))
    shell = wire.shell()
    shell.want(a_peer(VIP, **ours))
    eventually(shell.problem, lambda problem: words in problem)
    assert wire.far.routes() == {}


def test_nobody_there_is_said_and_tried_again(wire: Wire) -> None:
    shell = wire.shell()
    shell.want(a_peer(VIP))
    eventually(shell.problem, lambda problem: problem == "connection refused")
    wire.far.bird(session(passive="passive on"))
    shell.up()


def test_a_router_that_comes_back_gets_everything_again(wire: Wire) -> None:
    bird = wire.far.bird(session(passive="passive on"))
    shell = wire.shell()
    shell.want(a_peer(VIP))
    shell.up()
    eventually(wire.far.routes, lambda routes: len(routes) == 1)
    bird.kill()
    bird.wait(10)
    eventually(lambda: shell.status().state, lambda state: state is not State.ESTABLISHED)
    shell.want(a_peer(VIP, "198.51.100.11/32"))
    wire.far.bird(session(passive="passive on"))
    eventually(wire.far.routes, lambda routes: len(routes) == 2)
    assert shell.status().counters.established == 2


def test_a_router_may_open_the_session_where_we_listen(wire: Wire) -> None:
    shell = wire.shell(listen_at=(NODE,))
    # Nobody answers at the port that we would connect to.
    shell.want(a_peer(VIP, port=1179, password="right"))
    wire.far.bird(session(password='password "right"'))
    shell.up()
    eventually(wire.far.routes, lambda routes: routes == {"198.51.100.10": [NODE]})


def test_both_sides_open_at_once_and_one_connection_stays(wire: Wire) -> None:
    shell = wire.shell(listen_at=(NODE,))
    shell.want(a_peer(VIP, connect_time=1.0))
    wire.far.bird(session())
    shell.up()
    wire.far.established()
    eventually(wire.far.routes, lambda routes: routes == {"198.51.100.10": [NODE]})
    text = wire.far.run("node", "ss", "-tnHo", "state", "established")
    assert len(text.splitlines()) == 1, text


def test_the_end_withdraws_first_and_then_says_why(wire: Wire) -> None:
    wire.far.bird(session())
    shell = wire.shell()
    shell.want(a_peer(VIP))
    shell.up()
    eventually(wire.far.routes, lambda routes: len(routes) == 1)
    shell.close()
    eventually(wire.far.routes, lambda routes: routes == {})
    log = eventually(wire.far.log, lambda log: "Administrative shutdown" in log)
    assert "Administrative shutdown" in log


def test_a_connection_that_is_cut_keeps_the_routes_under_graceful_restart(wire: Wire) -> None:
    wire.far.bird(session(graceful="graceful restart on", passive="passive on"))
    shell = wire.shell()
    shell.want(a_peer(VIP, graceful_restart=True))
    shell.up()
    eventually(wire.far.routes, lambda routes: len(routes) == 1)
    with wire.far.watching_routes() as seen:
        wire.far.run("node", "ss", "-K", "dst", ROUTER, "dport", "179")
        eventually(shell.status, lambda status: status.counters.established == 2)
        eventually(wire.far.log, lambda log: "restart" in log.lower())
        wire.far.established()
    assert "Deleted" not in seen()
    assert wire.far.routes() == {"198.51.100.10": [NODE]}


def test_long_lived_routes_outlive_the_restart_time_and_are_used_last(wire: Wire) -> None:
    """RFC 9494 4.2, 4.3: stale after the restart time, marked so, and gone after their own."""
    stays = "graceful restart on; long lived graceful restart on"
    wire.far.bird(session(graceful=stays, passive="passive on"))
    shell = wire.shell(restart=Restart(forwarding=frozenset(Family), restart_time=1))
    shell.want(a_peer(VIP, graceful_restart=True, stale_time=3))
    shell.up()
    eventually(wire.far.routes, lambda routes: len(routes) == 1)
    shell.close(keep=True)
    shown = ("show", "route", "all", "for", VIP)
    eventually(lambda: wire.far.birdc(*shown), lambda text: "(65535,6)" in text)  # LLGR_STALE
    assert wire.far.routes() == {"198.51.100.10": [NODE]}
    eventually(wire.far.routes, lambda routes: routes == {})


def test_ten_thousand_routes_reach_the_router(wire: Wire) -> None:
    wire.far.bird(session())
    shell = wire.shell()
    many = tuple(f"10.{n >> 8}.{n & 255}.1/32" for n in range(10_000))
    shell.want(a_peer())
    shell.up()
    shell.want(a_peer(*many))
    eventually(lambda: wire.far.count(), lambda count: count == 10_000)
    shell.want(a_peer())
    eventually(lambda: wire.far.count(), lambda count: count == 0)
    assert shell.status().counters.established == 1
