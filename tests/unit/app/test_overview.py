"""The page about an installation: what stands on it, and what of it needs a person."""

from __future__ import annotations

import json
from dataclasses import replace
from ipaddress import ip_address
from pathlib import Path

import pytest

from onehop.app.around import Around, Held
from onehop.app.bgp_report import ANSWERED, NodeState, PeerState, body_of, report_path
from onehop.app.outside import SpeakerPod
from onehop.app.overview import UNWRITTEN, Overview, Told, document, in_words, overview
from onehop.model.address import parse_range
from onehop.model.config import Pool
from onehop.model.node import Node
from onehop.model.objects import Objects
from onehop.model.service import Key, Service, ServicePort
from onehop.model.service import Protocol as Transport

FINE = Around(
    leases=(Held(namespace="onehop-system", holder="onehop-0", age=3.0, duration=15.0),),
    controllers={"onehop-system/onehop-0": True},
)


def a_service(name: str, *ingress: str, asked: str = "") -> Service:
    return Service(
        key=Key("shop", name),
        type="LoadBalancer",
        cluster_ips=(ip_address("10.96.0.10"),),
        load_balancer_ip=asked,
        ports=(ServicePort(name="", protocol=Transport.TCP, port=80),),
        ingress=tuple(map(ip_address, ingress)),
    )


def objects(*services: Service) -> Objects:
    pool = Pool(
        key=Key("onehop-system", "a"), ranges=(parse_range("192.0.2.0/29"),), auto_assign=True
    )
    node = Node(name="n1")
    return Objects(
        complete=True,
        services={each.key: each for each in services},
        pools={pool.key: pool},
        nodes={Key("", "n1"): node},
    )


def told(
    folder: Path,
    *states: str,
    failures: tuple[str, ...] = (),
    conflicts: dict[str, int] | None = None,
) -> Told:
    peers = tuple(
        PeerState(
            name=f"r{n}", address="192.0.2.1", port=179, local_asn=1, peer_asn=2, state=state,
            since=0.0,
        )
        for n, state in enumerate(states)
    )  # fmt: skip
    path = report_path(folder, "n1")
    path.parent.mkdir(exist_ok=True)
    path.write_text(json.dumps(body_of(
        NodeState(node="n1", at=0.0, process=ANSWERED, peers=peers)
    )))  # fmt: skip
    report = {"node": "n1", "failures": failures, "conflicts": conflicts or {}}
    (path.parent / "n1.json").write_text(json.dumps(report))
    return Told(
        state=folder, pods=(SpeakerPod(node="n1", namespace="s", name="x", is_ready=True),)
    )


def page(told: Told, *services: Service, around: Around | None = FINE) -> Overview:
    return overview(
        objects(*services), store="https://api", told=told, around=around, lb_class=None
    )


def test_all_is_well(tmp_path: Path) -> None:
    found = page(told(tmp_path, "Established"), a_service("web", "192.0.2.1"))
    assert found.findings == ()
    words = "\n".join(in_words(found))
    assert "onehop-0 holds the Lease in onehop-system, renewed 00:00:03 ago" in words
    assert "1 of 1 running, 1 of 1 BGP sessions Established" in words
    assert "1 with an address, 0 without" in words
    assert words.endswith("All is well.")
    body = document(found)
    assert body["healthy"] is True
    assert json.loads(json.dumps(body)) == body


def test_services_without_an_address_are_grouped_by_why(tmp_path: Path) -> None:
    found = page(
        told(tmp_path),
        a_service("a", asked="198.51.100.1"),
        a_service("b", asked="198.51.100.2"),
        a_service("c"),
    )
    assert found.served == 0
    assert sorted(map(len, found.waiting.values())) == [1, 2]
    assert found.waiting[UNWRITTEN] == (Key("shop", "c"),)
    assert any(line.startswith("2 of the Services: ") for line in found.findings)
    assert "(such as shop/a)" in "\n".join(in_words(found))


def test_sessions_failures_and_conflicts_need_a_person(tmp_path: Path) -> None:
    answers = told(
        tmp_path, "Established", "Active", failures=("map full",), conflicts={"192.0.2.1": 4}
    )
    assert page(answers).findings == (
        "speaker of n1: 1 of 2 BGP sessions are Established",
        "speaker of n1: map full",
        "speaker of n1: another host claims 192.0.2.1",
    )


def test_a_silent_or_missing_speaker_is_named(tmp_path: Path) -> None:
    answers = told(tmp_path)
    assert answers.pods is not None
    unready = replace(answers, pods=(replace(answers.pods[0], is_ready=False),))
    assert page(unready).findings == ("speaker of n1: its pod is not ready",)
    silent = replace(answers, silent={"n1": "HTTP 502"})
    assert page(silent).findings == ("speaker of n1: HTTP 502",)
    nobody = Told(state=tmp_path / "none", pods=())
    assert page(nobody).findings == ("no speaker runs on 1 nodes, such as n1",)


@pytest.mark.parametrize(
    ("around", "finding"),
    [
        (replace(FINE, leases=()), "no controller holds the Lease"),
        (replace(FINE, leases=(replace(FINE.leases[0], holder=""),)), "no controller holds"),
        (replace(FINE, leases=(replace(FINE.leases[0], age=90.0),)), "renewed it 00:01:30 ago"),
        (replace(FINE, controllers={"s/onehop-1": False}), "s/onehop-1 is not ready"),
        (replace(FINE, metallb=("metallb-system/x",)), "MetalLB runs beside this (1 pods"),
        (replace(FINE, leases=(), unknown=("Leases: HTTP 403",)), "Leases: HTTP 403"),
    ],
)
def test_what_is_wrong_with_the_controllers_is_said_once(
    tmp_path: Path, around: Around, finding: str
) -> None:
    (only,) = page(told(tmp_path), around=around).findings
    assert finding in only


def test_clocks_that_differ_a_little_are_no_finding(tmp_path: Path) -> None:
    ahead = replace(FINE, leases=(replace(FINE.leases[0], age=-20.0),))
    assert page(told(tmp_path), around=ahead).findings == ()
    assert page(told(tmp_path), around=None).findings == ()


def test_metallb_that_could_start_is_told_and_needs_nobody(tmp_path: Path) -> None:
    around = replace(FINE, installed=("DaemonSet s/speaker",))
    found = page(told(tmp_path, "Established"), a_service("web", "192.0.2.0"), around=around)
    assert found.findings == ()
    assert any("without a pod: DaemonSet s/speaker" in line for line in in_words(found))


def test_who_else_writes_addresses_is_named(tmp_path: Path) -> None:
    web = a_service("web", "203.0.113.9")
    found = overview(
        objects(web), store="here", told=told(tmp_path, "Established"), around=FINE,
        lb_class=None, others={web.key: ("controller",)},
    )  # fmt: skip
    assert found.findings == (
        "Service shop/web: its status holds 203.0.113.9, written by controller and not by onehop",
    )
