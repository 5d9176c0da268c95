"""A speaker's round: grow, announce, shrink; and what it says of itself."""

import io
import json
from collections.abc import Mapping
from dataclasses import replace
from ipaddress import ip_address
from pathlib import Path

from onehop.adapters.telemetry import Log
from onehop.app.speaker import Speaker
from onehop.core.decide import DecisionRules
from onehop.model.address import Mac
from onehop.model.bgp import BGPAdvertisement, BGPPeer, PeerDesired
from onehop.model.desired import (
    Announcement,
    ClusterDesired,
    DatapathDesired,
    Failure,
    Report,
)
from onehop.model.node import Link
from onehop.model.objects import Objects
from onehop.model.reason import Problem, Reason, Refusal
from onehop.model.service import Key
from onehop.proto.machine import AddressConflict
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


class Memory:
    """A store, links, announcers and a datapath that write down what is asked of them."""

    def __init__(self, objects: Objects) -> None:
        self.value = objects
        self.calls: list[str] = []
        self.failures: tuple[Failure, ...] = ()

    def objects(self) -> Objects:
        return self.value

    def links(self) -> tuple[Link, ...]:
        return ()

    def fileno(self) -> int:
        raise AssertionError("no loop runs here")

    def refresh(self) -> bool:
        return True

    def close(self) -> None:
        self.calls.append("close")

    def counters(self) -> dict[str, dict[str, int]]:
        return {}


class Announcers(Memory):
    def sync(self, announcements: tuple[Announcement, ...], links: tuple[Link, ...]) -> Report:
        addresses = " ".join(str(item.address) for item in announcements)
        self.calls.append(f"announce {addresses}".strip())
        return Report(failures=self.failures)


class Datapath(Memory):
    def sync(self, want: DatapathDesired, *, shrink: bool = True) -> Report:
        self.calls.append(f"{'shrink' if shrink else 'grow'} {len(want.frontends)}")
        return Report(failures=self.failures)


class Bgp(Memory):
    def sync(
        self,
        peers: tuple[PeerDesired, ...],
        links: tuple[Link, ...],
        refused: Mapping[str, Refusal],
    ) -> Report:
        routes = " ".join(str(prefix) for peer in peers for prefix in peer.routes)
        self.calls.append(f"advertise {routes}".strip())
        return Report()

    async def close(self) -> None:  # type: ignore[override]
        self.calls.append("withdraw")


class Store(Memory):
    def sync(self, want: ClusterDesired) -> Report:
        raise AssertionError("a speaker writes no status")


OBJECTS = the_objects(
    nodes=[a_node("node1")],
    services=[a_service("web", "192.0.2.241", policy=LOCAL)],
    slices=[a_slice("web", an_endpoint("10.0.2.1", "node1"))],
    pools=[a_pool()],
    advertisements=[an_advertisement()],
)


def a_speaker(objects: Objects, folder: Path) -> tuple[Speaker, Announcers, Store, io.StringIO]:
    stream = io.StringIO()
    announcers, store, datapath = Announcers(objects), Store(objects), Datapath(objects)
    datapath.calls = announcers.calls
    speaker = Speaker(
        DecisionRules(node="node1"),
        store=store,
        links=store,
        announcers=announcers,
        datapath=datapath,
        log=Log(stream=stream),
        report_file=folder / "nodes" / "node1.json",
    )
    return speaker, announcers, store, stream


def test_round_grows_announces_and_shrinks_in_this_order(tmp_path: Path) -> None:
    speaker, world, _, log = a_speaker(OBJECTS, tmp_path)
    speaker.round()
    assert world.calls == ["grow 1", "announce 192.0.2.241", "shrink 1"]
    assert "announced address=192.0.2.241" in log.getvalue()


def test_incomplete_store_neither_announces_nor_shrinks(tmp_path: Path) -> None:
    speaker, world, store, _ = a_speaker(replace(OBJECTS, complete=False), tmp_path)
    speaker.round()
    assert world.calls == ["grow 1", "announce"]
    store.value = OBJECTS
    speaker.round()
    assert world.calls[2:] == ["grow 1", "announce 192.0.2.241", "shrink 1"]


ROUTED = replace(
    OBJECTS,
    bgp_peers={
        Key("s", "router"): BGPPeer(
            key=Key("s", "router"),
            my_asn=64500,
            peer_asn=64512,
            address=ip_address("192.0.2.254"),
        )
    },
    bgp_advertisements={Key("s", "all"): BGPAdvertisement(key=Key("s", "all"))},
)


def a_router_speaker(objects: Objects) -> tuple[Speaker, list[str], Datapath, Store]:
    store, announcers, datapath, bgp = (
        Store(objects),
        Announcers(objects),
        Datapath(objects),
        Bgp(objects),
    )
    announcers.calls = bgp.calls = datapath.calls
    speaker = Speaker(
        DecisionRules(node="node1"),
        store=store,
        links=store,
        announcers=announcers,
        datapath=datapath,
        bgp=bgp,
        log=Log(stream=io.StringIO()),
    )
    return speaker, datapath.calls, datapath, store


def test_routers_are_told_after_the_datapath_has_grown_and_before_it_shrinks() -> None:
    speaker, calls, _, store = a_router_speaker(replace(ROUTED, complete=False))
    speaker.round()
    assert calls == ["grow 1", "announce", "advertise"], "incomplete: nobody is told anything"
    store.value = ROUTED
    speaker.round()
    assert calls[3:] == [
        "grow 1",
        "announce 192.0.2.241",
        "advertise 192.0.2.241/32",
        "shrink 1",
    ]


def test_what_the_datapath_refuses_is_not_advertised() -> None:
    speaker, calls, datapath, _ = a_router_speaker(ROUTED)
    full = Refusal(reason=Reason.MAP_FULL)
    datapath.failures = (Failure(subject="x", refusal=full, address=ip_address("192.0.2.241")),)
    speaker.round()
    assert calls[2] == "advertise"
    datapath.failures = ()
    speaker.round()
    assert "advertise 192.0.2.241/32" in calls


def test_withdrawal_is_told(tmp_path: Path) -> None:
    speaker, world, store, log = a_speaker(OBJECTS, tmp_path)
    speaker.round()
    store.value = replace(OBJECTS, slices={})
    speaker.round()
    assert world.calls[-2:] == ["announce", "shrink 1"]
    assert "withdrawn address=192.0.2.241" in log.getvalue()


def test_what_is_wrong_with_the_store_is_told_and_takes_nothing_away(tmp_path: Path) -> None:
    speaker, world, store, log = a_speaker(OBJECTS, tmp_path)
    speaker.round()
    before = list(world.calls)
    away = Problem(source="", line=0, object="", field="", reason=Reason.API_UNREACHABLE,
                   detail="gone since noon")  # fmt: skip
    store.value = replace(OBJECTS, problems=(away,))
    speaker.round()
    assert world.calls[len(before) :] == before, "the same again"
    assert "gone since noon" in log.getvalue()
    assert "withdrawn" not in log.getvalue()
    store.value = OBJECTS
    speaker.round()
    assert "solved" in log.getvalue()


def test_failures_and_conflicts_are_written_for_explain(tmp_path: Path) -> None:
    speaker, world, _, _ = a_speaker(OBJECTS, tmp_path)
    world.failures = (
        Failure(subject="eth0", refusal=Refusal(reason=Reason.LINK_FAILED, detail="gone")),
    )
    report = speaker.round()
    assert len(report.failures) == 1
    speaker.conflict(
        AddressConflict(address=ip_address("192.0.2.241"), claimant=Mac.parse("02:00:00:00:00:09"))
    )
    body = json.loads((tmp_path / "nodes" / "node1.json").read_text())
    assert body["failures"] == ["eth0: LinkFailed: the link could not be opened (gone)"]
    assert body["conflicts"] == {"192.0.2.241": 1}


def test_report_that_cannot_be_written_stops_nothing(tmp_path: Path) -> None:
    (tmp_path / "nodes").write_text("a file where the folder should be")
    speaker, world, _, log = a_speaker(OBJECTS, tmp_path)
    world.failures = (Failure(subject="x", refusal=Refusal(reason=Reason.LINK_FAILED)),)
    speaker.round()
    assert "report-not-written" in log.getvalue()
