"""`onehop bgp`: what it prints, and what it says when there is nothing to print."""

from __future__ import annotations

import asyncio
import json
import os
from pathlib import Path

import pytest
import yaml
from click.testing import CliRunner

from onehop.app.bgp_report import NodeState, PeerState, ReportFile, RouteGroup, process_name
from onehop.cli.main import main

PEER = PeerState(
    name="router",
    address="192.0.2.254",
    port=179,
    local_asn=64500,
    peer_asn=64512,
    state="Established",
    since=0.0,
    wanted=1,
    sent=1,
    routes=(RouteGroup(attributes={}, prefixes=("192.0.2.241/32",)),),
)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    state = NodeState(node="node1", at=0.0, process=process_name(os.getpid()), peers=(PEER,))

    async def write() -> None:
        ReportFile(
            tmp_path / ".onehop" / "nodes" / "node1.bgp.json",
            lambda: state,
            loop=asyncio.get_running_loop(),
            on_failure=lambda error: pytest.fail(str(error)),
        ).write()

    asyncio.run(write())
    return tmp_path


def run(*words: str, code: int = 0) -> str:
    done = CliRunner().invoke(main, ["bgp", *words])
    assert done.exit_code == code, done.output
    return done.output


@pytest.mark.parametrize("noun", ["peers", "routes"])
def test_forms_say_the_same(folder: Path, noun: str) -> None:
    asked = (noun, "--manifests", str(folder))
    body = json.loads(run(*asked, "-o", "json"))
    assert yaml.safe_load(run(*asked, "-o", "yaml")) == body
    assert len(body) == 1
    lines = run(*asked).splitlines()
    assert len(lines) == 2
    assert "router" in lines[1]


def test_a_node_or_a_peer_can_be_asked_for(folder: Path) -> None:
    asked = ("routes", "--manifests", str(folder), "-o", "json")
    assert json.loads(run(*asked, "--peer", "other")) == []
    text = run(*asked, "--node", "node9", code=1)
    assert "no report of the speaker of node9" in text
    assert "Traceback" not in text


def test_why_names_a_prefix_that_is_none(folder: Path) -> None:
    text = run("why", "kafka", "--manifests", str(folder), code=1)
    assert "kafka is neither an address nor a network" in text
