"""`onehop service list` as a command: its forms, and what it says when there is nothing."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest
import yaml
from click.testing import CliRunner, Result

from onehop.adapters.bpf.datapath import Datapath
from onehop.cli.service import service
from tests.unit.adapters.bpf.node import bpffs, namespace
from tests.unit.adapters.bpf.wants import LOCAL, a_backend, a_frontend, by_turns, wanted


def run(*arguments: str) -> Result:
    return CliRunner().invoke(service, ["list", *arguments])


def test_without_a_datapath_it_says_so(tmp_path: Path) -> None:
    result = run("--bpf-dir", str(tmp_path))
    assert result.exit_code == 1
    assert f"read {tmp_path}: no onehop datapath is pinned there" in result.output
    assert "--bpf-dir" in result.output


def test_the_folder_may_come_from_the_environment(tmp_path: Path) -> None:
    result = CliRunner().invoke(service, ["list"], env={"ONEHOP_BPF_DIR": str(tmp_path / "env")})
    assert str(tmp_path / "env") in result.output


def test_half_a_datapath_names_what_is_missing(tmp_path: Path) -> None:
    (tmp_path / "frontends").touch()
    assert "services, backends" in run("--bpf-dir", str(tmp_path)).output


@pytest.fixture(scope="module")
def pins(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """What a speaker left that has ended meanwhile."""
    with ExitStack() as stack:
        stack.enter_context(namespace())
        pins = stack.enter_context(bpffs(tmp_path_factory.mktemp("pins") / "bpf"))
        speaker = Datapath(pins, ring=by_turns, capacity={"flows": 1024})
        speaker.sync(
            wanted(
                a_frontend("192.168.200.241", a_backend("10.0.2.233"), policy=LOCAL),
                a_frontend("192.168.200.242", policy=LOCAL, service="kafka/broker-1"),
            )
        )
        speaker.close()
        yield str(pins)


@pytest.mark.root
def test_the_table_is_read_from_the_kernel(pins: str) -> None:
    lines = [line.rstrip() for line in run("--bpf-dir", pins).output.splitlines()]
    assert lines == [
        "ID   Frontend               Service Type   Backend",
        "1    192.168.200.241:9096   LoadBalancer   1 => 10.0.2.233:9096 (active)",
        "2    192.168.200.242:9096   LoadBalancer",
    ]


@pytest.mark.root
def test_json_and_yaml_say_the_same(pins: str) -> None:
    as_json = json.loads(run("--bpf-dir", pins, "-o", "json").output)
    as_yaml = yaml.safe_load(run("--bpf-dir", pins, "-o", "yaml").output)
    assert as_json == as_yaml
    assert [each["service"]["name"] for each in as_json] == ["broker-0", "broker-1"]


@pytest.mark.root
def test_wide_names_the_service(pins: str) -> None:
    output = run("--bpf-dir", pins, "-o", "wide").output
    assert "kafka/broker-1" in output
    assert "Local/Total" in output
