"""What is told of BGP and BFD sessions, with MetalLB's names and labels."""

from __future__ import annotations

import asyncio
import io
from collections.abc import Iterator
from dataclasses import replace
from ipaddress import ip_address
from pathlib import Path

import pytest

from onehop.adapters.telemetry import Log
from onehop.app.bfd_client import BfdClient
from onehop.app.bfd_lines import SessionStatistics, Statistics
from onehop.app.bgp_metrics import bgp_families
from onehop.app.bgp_node import NodeBgp
from onehop.app.bgp_report import report_path
from onehop.model.bgp import BFDProfile
from onehop.model.service import Key
from onehop.proto.bfd.packet import Diagnostic
from onehop.proto.bfd.session import Path as BfdPath
from onehop.proto.bfd.session import PathDown, PathUp
from onehop.proto.bgp.constants import MessageType
from tests.fakes.bgp_far import HOST, PORT, Far, alone, wanted

PATH = BfdPath(peer=ip_address("192.0.2.9"), link="red")


def told(node: NodeBgp) -> dict[str, dict[tuple[str, ...], float]]:
    found = bgp_families(node.peers.peers(), node.bfd)
    return {metric.name: dict(samples) for metric, samples in found}  # type: ignore[arg-type]


@pytest.fixture
def own_namespace(tmp_path: Path) -> Iterator[None]:
    with alone(tmp_path):
        yield


@pytest.mark.root
def test_a_session_is_told_by_address_and_port(own_namespace: None, tmp_path: Path) -> None:
    peer = (f"{HOST}:{PORT}", "")

    async def run() -> None:
        node = NodeBgp("n", log=Log(stream=io.StringIO()), report_file=report_path(tmp_path, "n"))
        far = Far()
        node.sync((wanted("198.51.100.1/32", "2001:db8::1/128"),), (), {})
        before = told(node)
        assert before["metallb_bgp_session_up"] == {peer: 0}
        assert before["metallb_bgp_pending_prefixes_total"] == {peer: 2}
        await far.establish()
        await far.hear(MessageType.UPDATE)
        up = told(node)
        assert up["metallb_bgp_session_up"] == {peer: 1}
        assert up["metallb_bgp_announced_prefixes_total"] == {peer: 1}
        assert up["metallb_bgp_pending_prefixes_total"] == {peer: 1}, "IPv6 is not agreed on"
        assert up["metallb_bgp_opens_sent"] == up["metallb_bgp_opens_received"] == {peer: 1}
        assert up["metallb_bgp_updates_total"] == {peer: 2}, "one route, and End-of-RIB"
        assert up["metallb_bgp_keepalives_received"] == {peer: 1}
        assert up["metallb_bgp_total_sent"][peer] >= 4
        assert up["onehop_bgp_established_total"] == {peer: 1}
        assert up["metallb_bfd_session_up"] == {}
        await node.close()
        far.close()

    asyncio.run(run())


def test_the_host_of_a_label_is_in_brackets_when_it_holds_colons() -> None:
    async def run() -> None:
        node = NodeBgp("n", log=Log(stream=io.StringIO()), report_file=Path("/nowhere/n"))
        node.sync((wanted(host="2001:db8::9"),), (), {})
        assert told(node)["metallb_bgp_session_up"] == {("[2001:db8::9]:1790", ""): 0}
        node.sync((), (), {})
        assert told(node)["metallb_bgp_session_up"] == {}
        await node.peers.close()

    asyncio.run(run())


def test_a_path_is_told_with_its_ups_and_downs() -> None:
    async def run() -> None:
        loop = asyncio.get_running_loop()
        client = BfdClient(on_fact=lambda fact: None, loop=loop, command=("/bin/cat",))
        profile = BFDProfile(key=Key("metallb-system", "fast"))
        client.sync({PATH: profile})
        down = PathDown(path=PATH, diagnostic=Diagnostic.DETECTION_TIME_EXPIRED)
        client._take_fact(down)  # it was never up
        client._take_fact(PathUp(path=PATH))
        client._take_fact(down)
        client._take_fact(PathUp(path=PATH))
        session = SessionStatistics(
            path=PATH, state="Up", remote_state="Up", transmit_interval=0.1,
            detection_time=0.3, sent=70, received=60,
        )  # fmt: skip
        client.statistics = Statistics(sessions=(session,), discarded={}, unsent=0, lateness=0.25)
        found = {m.name: dict(s) for m, s in bgp_families((), client)}  # type: ignore[arg-type]
        peer = ("192.0.2.9", "red")
        assert found["metallb_bfd_session_up"] == {peer: 1}
        assert found["metallb_bfd_session_up_events"] == {peer: 2}
        assert found["metallb_bfd_session_down_events"] == {peer: 1}
        assert found["metallb_bfd_control_packet_output"] == {peer: 70}
        assert found["metallb_bfd_control_packet_input"] == {peer: 60}
        assert found["onehop_bfd_lateness_seconds"] == {(): 0.25}
        assert found["onehop_bfd_process_starts_total"] == {(): 1}
        other = replace(PATH, link="")
        client.sync({other: profile})
        (state,) = client.states()
        assert (state.path, state.is_up, state.sent) == (other, False, 0)
        client.close()

    asyncio.run(run())
