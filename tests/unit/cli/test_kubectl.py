"""The kubectl plugin, and completion."""

from __future__ import annotations

import shutil
import subprocess

import pytest
from click.testing import CliRunner

from onehop.cli import kubectl
from onehop.cli.main import main


def completed(capsys: pytest.CaptureFixture[str], *words: str) -> list[str]:
    kubectl.complete(words)
    *found, directive = capsys.readouterr().out.splitlines()
    assert directive == ":4"
    return [line.split("\t")[0] for line in found]


def test_kubectl_is_told_how_a_line_may_go_on(capsys: pytest.CaptureFixture[str]) -> None:
    assert completed(capsys, "po") == ["pool"]
    assert completed(capsys, "pool", "") == ["list"]
    assert completed(capsys, "pool", "list", "-o", "") == ["table", "json", "yaml"]
    assert "--kubeconfig" in completed(capsys, "pool", "list", "--")
    assert "explain" in completed(capsys)


def test_the_plugin_goes_by_kubectls_name(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        kubectl.plugin(["pool", "--help"])
    assert capsys.readouterr().out.startswith("Usage: kubectl onehop pool ")


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_each_shell_gets_its_script(shell: str) -> None:
    done = CliRunner().invoke(main, ["completion", shell])
    assert done.exit_code == 0, done.output
    assert "_ONEHOP_COMPLETE" in done.output


def test_bash_takes_the_script() -> None:
    bash = shutil.which("bash")
    assert bash is not None
    script = CliRunner().invoke(main, ["completion", "bash"]).output
    done = subprocess.run(
        [bash, "-c", f"{script}\ncomplete -p onehop"], capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    assert "onehop" in done.stdout
