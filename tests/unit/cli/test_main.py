"""The command line: it teaches, refuses wrong input in one sentence, and speaks to programs."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import yaml
from click.testing import CliRunner, Result

from onehop.cli.main import main
from onehop.lab.lab import ARTICLE


def called(*words: str) -> Result:
    return CliRunner().invoke(main, words)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "cluster.yaml").write_text(ARTICLE.read_text())
    return tmp_path


def test_help_names_every_command_and_keeps_its_lines() -> None:
    said = called("--help").output
    for command in ("controller", "explain", "lab", "service", "speaker"):
        assert command in said
    assert "    onehop lab tour" in said or "  onehop lab tour         its scenes" in said


@pytest.mark.parametrize("command", ["controller", "explain", "lab", "service", "speaker"])
def test_each_command_explains_itself(command: str) -> None:
    done = called(command, "--help")
    assert done.exit_code == 0
    assert len(done.output.splitlines()) > 5


@pytest.mark.parametrize(
    ("words", "code", "says"),
    [
        (("nonsense",), 2, "No such command 'nonsense'"),
        (("controller", "--manifests", "/no/such"), 2, "does not exist"),
        (("speaker", "--manifests", "/"), 2, "Missing option '--node-name'"),
        (
            ("controller", "--manifests", "/tmp", "--metrics-address", "7472"),
            2,
            "7472 is not [HOST]:PORT, such as :7472 or [::1]:7472",
        ),
        (
            ("controller", "--manifests", "/tmp", "--metrics-address", "::1:7472"),
            2,
            "::1:7472 is not [HOST]:PORT",
        ),
        (
            ("controller", "--manifests", "/tmp", "--metrics-address", ":http"),
            2,
            "'http' is no port: 0 to 65535",
        ),
        (("service", "list", "--bpf-dir", "/no/such"), 1, "no onehop datapath is pinned there"),
        (("lab", "tour", "--scene", "10"), 2, "'10' is not one of"),
    ],
)
def test_wrong_input_is_one_sentence(words: tuple[str, ...], code: int, says: str) -> None:
    done = called(*words)
    assert done.exit_code == code
    assert says in done.output
    assert "Traceback" not in done.output


def test_explain_prints_the_chain(folder: Path) -> None:
    done = called("explain", "kafka/kafka-0", "--manifests", str(folder))
    assert done.exit_code == 0
    assert "192.168.200.241" in done.output
    assert "NoAddress" in done.output  # no controller has written a status yet


def test_explain_of_an_unknown_service_says_so(folder: Path) -> None:
    done = called("explain", "kafka/nobody", "--manifests", str(folder))
    assert done.exit_code == 1
    assert "there is no Service kafka/nobody" in done.output


def test_explain_speaks_json_and_yaml_alike(folder: Path) -> None:
    words = ("explain", "kafka/kafka-0", "--manifests", str(folder), "-o")
    as_json = json.loads(called(*words, "json").output)
    assert as_json == yaml.safe_load(called(*words, "yaml").output)
    assert as_json["service"] == "kafka/kafka-0"


@pytest.mark.parametrize("command", ["controller", "speaker"])
def test_metrics_at_an_address_that_is_not_ours_are_refused(folder: Path, command: str) -> None:
    words = [command, "--manifests", str(folder), "--metrics-address", "[2001:db8::77]:7472"]
    if command == "speaker":
        words += ["--node-name", "node1", "--datapath", "none"]
    done = called(*words)
    assert done.exit_code == 1
    assert "ListenFailed" in done.output
    assert "--metrics-address [2001:db8::77]:7472" in done.output
