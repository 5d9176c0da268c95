"""What a speaker tells of its BGP: the log and the report."""

from __future__ import annotations

import asyncio
import io
from collections.abc import Callable, Coroutine, Iterator
from dataclasses import replace
from ipaddress import ip_address, ip_network
from pathlib import Path

import pytest

from onehop.adapters.telemetry import Log
from onehop.app.bgp_node import NodeBgp
from onehop.app.bgp_report import NodeState, read_reports, report_path
from onehop.model.bgp import RouteAttributes
from onehop.model.reason import Reason, Refusal
from onehop.proto.bgp.constants import MessageType
from tests.fakes.bgp_far import HOST, PORT, Far, alone, wanted

pytestmark = pytest.mark.root


@pytest.fixture(autouse=True)
def own_namespace(tmp_path: Path) -> Iterator[None]:
    with alone(tmp_path):
        yield


class Case:
    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.log = io.StringIO()
        self.far = Far()
        self.bgp = NodeBgp(
            "node1",
            log=Log(stream=self.log, quiet=0.0),
            report_file=report_path(folder, "node1"),
        )

    async def report(self, holds: Callable[[NodeState], bool]) -> NodeState:
        """The report, once it says so."""
        async with asyncio.timeout(10):
            while True:
                found = read_reports(self.folder, "node1")
                if found and holds(found[0]):
                    return found[0]
                await asyncio.sleep(0.01)


def run(folder: Path, what: Callable[[Case], Coroutine[None, None, None]]) -> Case:
    async def on_loop() -> Case:
        case = Case(folder)
        try:
            await what(case)
        finally:
            await case.bgp.close()
            case.far.close()
        return case

    return asyncio.run(on_loop())


def established(state: NodeState) -> bool:
    return [peer.state for peer in state.peers] == ["Established"]


def test_the_report_says_what_the_router_has(tmp_path: Path) -> None:
    async def what(case: Case) -> None:
        attributes = RouteAttributes(
            communities=(64500 << 16 | 7,), next_hop=ip_address("192.0.2.1")
        )
        six = RouteAttributes(next_hop=ip_address("2001:db8::1"))
        desired = replace(
            wanted(),
            routes={
                ip_network("198.51.100.10/32"): attributes,
                ip_network("2001:db8::10/128"): six,
            },
        )
        case.bgp.sync((desired,), (), {})
        await case.far.establish()
        (peer,) = (await case.report(established)).peers
        assert (peer.address, peer.port, peer.peer_asn) == (HOST, PORT, 64512)
        assert (peer.wanted, peer.sent, peer.established) == (2, 1, 1)
        assert peer.info == "1 routes not sent: IPv6 is not agreed on with this peer"
        (group,) = peer.routes
        assert group.prefixes == ("198.51.100.10/32",)
        assert group.attributes == {"next_hop": "192.0.2.1", "communities": "64500:7"}
        case.bgp.sync((replace(desired, routes={}),), (), {})
        (peer,) = (await case.report(lambda state: state.peers[0].sent == 0)).peers
        assert (peer.routes, peer.info) == ((), "")

    case = run(tmp_path, what)
    log = case.log.getvalue()
    assert "bgp-up peer=router hold_time=90 families=IPv4" in log
    assert "bgp-sent peer=router announced=1 withdrawn=0 standing=1" in log
    assert read_reports(tmp_path)[0].peers == (), "a speaker that has ended holds no session"


def test_the_report_says_why_there_is_no_session(tmp_path: Path) -> None:
    async def what(case: Case) -> None:
        case.far.close()
        refused = {"far": Refusal(reason=Reason.PEER_NOT_SELECTED, detail="node1")}
        case.bgp.sync((wanted(),), (), refused)
        state = await case.report(lambda state: bool(state.peers and state.peers[0].info))
        assert state.peers[0].info == "connection refused"
        assert state.peers[0].state in ("Active", "Connect")
        assert state.refused["far"].startswith("PeerNotSelected")

    assert 'bgp-not-up peer=router why="connection refused"' in run(tmp_path, what).log.getvalue()


def test_a_report_that_cannot_be_written_stops_nothing(tmp_path: Path) -> None:
    (tmp_path / "nodes").write_text("in the way")

    async def what(case: Case) -> None:
        case.bgp.sync((wanted("198.51.100.10/32"),), (), {})
        await case.far.establish()

    assert "report-not-written" in run(tmp_path, what).log.getvalue()


def test_a_node_without_bgp_leaves_no_report(tmp_path: Path) -> None:
    async def what(case: Case) -> None:
        case.bgp.sync((), (), {})

    run(tmp_path, what)
    assert read_reports(tmp_path) == ()


def test_a_lost_path_ends_the_session_before_the_loop_turns(tmp_path: Path) -> None:
    async def what(case: Case) -> None:
        case.bgp.sync((wanted("198.51.100.10/32"),), (), {})
        await case.far.establish()
        await case.report(established)
        case.bgp.peers.path_down(ip_address(HOST), "BFD: nothing was heard")
        kinds = [frame.kind for frame in case.far.heard_now()]
        assert kinds[-1] is MessageType.NOTIFICATION

    log = run(tmp_path, what).log.getvalue()
    assert 'bgp-down peer=router why="BFD: nothing was heard"' in log
