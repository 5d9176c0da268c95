"""BFD with BIRD and with FRR, over a bridge whose ports can lose everything in silence."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Iterator
from dataclasses import replace
from ipaddress import ip_address
from pathlib import Path as File

import pytest

from onehop.model.bgp import BFDProfile
from onehop.model.service import Key
from onehop.proto.bfd.packet import Diagnostic
from onehop.proto.bfd.session import Path, PathDown, PathUp
from tests.lab.bfd_lan import NODE, NODE6, ROUTER, ROUTER6, Lan, Node, lan
from tests.lab.bfd_peers import Asked, Bird, Frr, Peer
from tests.lab.wire import eventually

pytestmark = pytest.mark.root

BUDGET = 0.35  # for 100 ms x 3
IPV4, IPV6 = Path(peer=ip_address(ROUTER)), Path(peer=ip_address(ROUTER6), link="net0")
PEERS = {"bird": Bird, "frr": Frr}


def profile(interval_ms: int = 100, multiplier: int = 3) -> BFDProfile:
    return BFDProfile(
        key=Key("metallb-system", "lab"),
        receive_interval_ms=interval_ms,
        transmit_interval_ms=interval_ms,
        detect_multiplier=multiplier,
    )


@pytest.fixture
def network(tmp_path: File) -> Iterator[Lan]:
    with lan(tmp_path) as made:
        yield made


@pytest.fixture(params=PEERS)
def peer(network: Lan, request: pytest.FixtureRequest) -> Iterator[Peer]:
    with contextlib.closing(PEERS[request.param](network)) as made:
        yield made


def watch(node: Node, *paths: Path, asked: BFDProfile | None = None) -> None:
    """Want sessions over exactly these paths."""
    wanted = dict.fromkeys(paths, asked or profile())
    node.call(lambda: node.client.sync(wanted))


def up(node: Node, peer: Peer) -> None:
    """Wait until both families are up at both ends."""
    eventually(lambda: [fact for _, fact in node.facts], lambda told: len(told) >= 2)
    assert all(isinstance(fact, PathUp) for _, fact in node.facts)
    for address in (NODE, NODE6):
        eventually(lambda address=address: peer.timeout_ms(address))
    node.facts.clear()


def both_up(network: Lan, peer: Peer) -> Node:
    """A node whose sessions of both families are up at 100 ms x 3."""
    peer.start(Asked())
    node = network.node()
    watch(node, IPV4, IPV6)
    up(node, peer)
    return node


@pytest.mark.parametrize("port", ["node", "router"])
def test_a_silent_loss_is_seen_at_both_ends_in_time(network: Lan, peer: Peer, port: str) -> None:
    node = both_up(network, peer)
    eventually(lambda: [peer.timeout_ms(address) for address in (NODE, NODE6)], [300, 300].__eq__)
    cut_at = time.time()
    start = network.cut(port)
    facts = eventually(lambda: list(node.facts), lambda told: len(told) == 2)
    for at, fact in facts:
        assert isinstance(fact, PathDown)
        assert fact.diagnostic is Diagnostic.DETECTION_TIME_EXPIRED
        assert not fact.is_administrative
        assert at - start <= BUDGET
    downs = eventually(peer.downs, lambda told: len(told) == 2)
    assert max(downs) - cut_at <= BUDGET + (time.time() - cut_at - (time.monotonic() - start))
    network.heal(port)
    eventually(lambda: len(node.facts), (4).__eq__)
    assert all(isinstance(fact, PathUp) for _, fact in node.facts[2:])


def test_intervals_change_in_both_directions_while_the_session_stays_up(
    network: Lan, peer: Peer
) -> None:
    node = both_up(network, peer)
    for ours, theirs in ((250, 100), (100, 100), (100, 200), (50, 50)):
        watch(node, IPV4, IPV6, asked=profile(ours))
        peer.ask(Asked(interval_ms=theirs))
        slower = 3 * max(ours, theirs)
        for path, address in ((IPV4, NODE), (IPV6, NODE6)):
            eventually(lambda address=address: peer.timeout_ms(address), slower.__eq__)
            eventually(lambda path=path: round(1000 * _detection_time(node, path)), slower.__eq__)
    assert node.facts == []
    assert peer.downs() == []


def _detection_time(node: Node, path: Path) -> float:
    session = node.call(lambda: node.client.session(path))
    return session.detection_time if session else 0.0


def test_an_end_that_is_wanted_is_no_failure(network: Lan, peer: Peer) -> None:
    node = both_up(network, peer)
    watch(node, IPV6)
    eventually(lambda: peer.timeout_ms(NODE), (0).__eq__)
    assert peer.timeout_ms(NODE6) == 300
    node.close()
    eventually(lambda: peer.timeout_ms(NODE6), (0).__eq__)
    assert peer.downs() == []


def test_several_hops_have_a_port_of_their_own(network: Lan, peer: Peer) -> None:
    peer.start(Asked(multihop=True))
    node = network.node()
    far = [
        Path(peer=ip_address(router), local=ip_address(local), multihop=True)
        for router, local in ((ROUTER, NODE), (ROUTER6, NODE6))
    ]
    # Over several hops BIRD sends with the TTL that Linux gives to every packet.
    watch(node, *far, asked=replace(profile(), minimum_ttl=64))
    up(node, peer)
    ports = network.run("node", "ss", "-Hnul")
    assert ports.count(":4784 ") == 2
    assert ":3784 " not in ports


def test_a_dead_process_is_replaced_and_the_session_comes_back(network: Lan, peer: Peer) -> None:
    node = both_up(network, peer)
    network.kill(node.client.pid)
    facts = eventually(lambda: [fact for _, fact in node.facts], lambda told: len(told) == 4)
    assert facts[:2] == [
        PathDown(path=fact.path, diagnostic=Diagnostic.NONE, is_administrative=True)
        for fact in facts[:2]
    ]
    assert {fact.path for fact in facts[2:] if isinstance(fact, PathUp)} == {IPV4, IPV6}
    assert node.client.starts == 2


def test_a_peer_that_switches_the_session_off_blames_nobody(network: Lan) -> None:
    with contextlib.closing(Frr(network)) as frr:
        node = both_up(network, frr)
        where = f" peer {NODE} local-address {ROUTER} interface net0"
        frr.configure("bfd", where, "  shutdown")
        ((_, fact),) = eventually(lambda: list(node.facts))
        assert isinstance(fact, PathDown)
        assert fact.is_administrative
        assert fact.diagnostic is Diagnostic.NEIGHBOR_SIGNALED_DOWN
        frr.configure("bfd", where, "  no shutdown")
        eventually(lambda: len(node.facts), (2).__eq__)
        watch(node, IPV6)
        eventually(
            frr.diagnostics, lambda said: "Remote diagnostics: administratively down" in said
        )
