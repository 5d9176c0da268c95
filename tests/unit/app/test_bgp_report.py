"""What a speaker writes of its sessions, and what is read of it."""

from __future__ import annotations

import asyncio
import os
from dataclasses import replace
from ipaddress import IPv4Address, IPv6Address, ip_network
from pathlib import Path

from onehop.app.bgp_report import (
    NodeState,
    PeerState,
    ReportFile,
    RouteGroup,
    attributes_in_words,
    grouped,
    is_alive,
    process_name,
    read_reports,
    report_path,
)
from onehop.model.bgp import LargeCommunity, RouteAttributes

PEER = PeerState(
    name="router",
    address="192.0.2.254",
    port=179,
    local_asn=64500,
    peer_asn=64512,
    state="Established",
    since=1_700_000_000.0,
    established=2,
    wanted=2,
    sent=2,
    messages={"updates": 1},
    routes=(RouteGroup(attributes={"med": "5"}, prefixes=("192.0.2.240/32", "fd00::1/128")),),
)
STATE = NodeState(node="node1", at=1_700_000_001.0, process="1:2", peers=(PEER,))


def write(state: NodeState, folder: Path) -> list[OSError]:
    failures: list[OSError] = []

    async def on_loop() -> None:
        loop = asyncio.get_running_loop()
        path = report_path(folder, state.node)
        ReportFile(path, lambda: state, loop=loop, on_failure=failures.append).write()

    asyncio.run(on_loop())
    return failures


def test_what_is_written_is_read_again(tmp_path: Path) -> None:
    other = replace(STATE, node="node2", refused={"router": "PeerNotSelected: not here"})
    write(STATE, tmp_path)
    write(other, tmp_path)
    assert read_reports(tmp_path) == (STATE, other)
    assert read_reports(tmp_path, "node2") == (other,)
    assert read_reports(tmp_path, "node3") == ()


def test_a_file_that_is_none_of_ours_counts_as_none(tmp_path: Path) -> None:
    write(STATE, tmp_path)
    for number, text in enumerate(["", "[]", '{"node": 1}', '{"node": "x", "peers": 3}']):
        (tmp_path / "nodes" / f"bad{number}.bgp.json").write_text(text)
    assert read_reports(tmp_path) == (STATE,)


def test_a_folder_that_cannot_be_written_is_told(tmp_path: Path) -> None:
    (tmp_path / "nodes").write_text("in the way")
    assert len(write(STATE, tmp_path)) == 1


def test_a_burst_of_changes_is_written_once_and_soon(tmp_path: Path) -> None:
    looks: list[float] = []

    async def on_loop() -> None:
        loop, looked = asyncio.get_running_loop(), asyncio.Event()

        def content() -> NodeState:
            looks.append(loop.time())
            looked.set()
            return STATE

        path = report_path(tmp_path, "node1")
        file = ReportFile(path, content, loop=loop, on_failure=lambda error: None)
        begin = loop.time()
        for _ in range(50):
            file.changed()
        async with asyncio.timeout(5):
            await looked.wait()
            looked.clear()
            file.changed()
            await looked.wait()
        assert looks[0] - begin < 0.2
        assert looks[1] - looks[0] >= 0.2, "a few a second, whatever happens"
        file.changed()
        file.close()

    asyncio.run(on_loop())
    assert len(looks) == 2


def test_a_report_outlives_its_speaker() -> None:
    alive = replace(STATE, process=process_name(os.getpid()))
    assert is_alive(alive)
    assert not is_alive(replace(STATE, process=f"{os.getpid()}:1")), "the number came again"
    assert not is_alive(replace(STATE, process="4194305:1"))
    assert not is_alive(replace(STATE, process=""))


def test_routes_are_grouped_by_what_they_carry() -> None:
    plain, tagged = RouteAttributes(), RouteAttributes(communities=(64500 << 16 | 7,))
    nets = [ip_network(f"192.0.2.{n}/32") for n in range(3)]
    routes = {nets[0]: plain, nets[1]: tagged, nets[2]: RouteAttributes()}
    assert grouped(routes, {}) == (
        RouteGroup(attributes={}, prefixes=("192.0.2.0/32", "192.0.2.2/32")),
        RouteGroup(attributes={"communities": "64500:7"}, prefixes=("192.0.2.1/32",)),
    )


def test_attributes_are_said_in_a_routers_words() -> None:
    attributes = RouteAttributes(
        local_pref=200,
        med=0,
        communities=(0xFFFF0000, 1),
        large_communities=(LargeCommunity(1, 2, 3),),
        extended=(bytes(8),),
        next_hop=IPv6Address("fd00::1"),
    )
    assert attributes_in_words(attributes) == {
        "next_hop": "fd00::1",
        "local_pref": "200",
        "med": "0",
        "communities": "65535:0 0:1",
        "large_communities": "large:1:2:3",
        "extended": "0000000000000000",
    }
    assert attributes_in_words(RouteAttributes(next_hop=IPv4Address("192.0.2.1"))) == {
        "next_hop": "192.0.2.1"
    }
