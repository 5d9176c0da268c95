"""Which store a command reads: a folder, or an API server that is found as kubectl finds it."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml
from click.testing import CliRunner, Result

from onehop.adapters.kube.kubeconfig import Access
from onehop.app.stores import StoreChoice, namespace_of, own_namespace_of
from onehop.cli.main import main
from tests.fakes.api_server import ApiServer
from tests.unit.adapters.kube.objects import metallb, pool, service, slice_


@pytest.fixture
def api() -> Iterator[ApiServer]:
    server = ApiServer()
    server.put(
        service(),
        slice_("web-x", "10.0.0.1"),
        pool("lan", "192.0.2.240/28"),
        metallb("L2Advertisement", "l2"),
        {
            "kind": "Node",
            "metadata": {"name": "a"},
            "status": {"addresses": [{"type": "InternalIP", "address": "192.0.2.10"}]},
        },
    )
    yield server
    server.stop()


def called(tmp_path: Path, *words: str, **environment: str) -> Result:
    env = {"HOME": str(tmp_path), "KUBECONFIG": "", "KUBERNETES_SERVICE_HOST": "", **environment}
    return CliRunner(env=env).invoke(main, words)


def kubeconfig(tmp_path: Path, server: str) -> Path:
    path = tmp_path / "kubeconfig"
    contexts = [
        {"name": "here", "context": {"cluster": "c"}},
        {"name": "away", "context": {"cluster": "gone"}},
    ]
    body = {
        "current-context": "here",
        "clusters": [{"name": "c", "cluster": {"server": server}}],
        "contexts": contexts,
    }
    path.write_text(yaml.safe_dump(body))
    return path


def test_explain_reads_an_api_server(tmp_path: Path, api: ApiServer) -> None:
    config = kubeconfig(tmp_path, api.url)
    words = ("explain", "shop/web", "--kubeconfig", str(config), "-o", "json")
    done = called(tmp_path, *words, "--namespace", "metallb-system")
    assert done.exit_code == 0, done.output
    found = json.loads(done.stdout)
    assert (found["addresses"], found["pool"]) == (["192.0.2.240"], "lan")
    again = called(tmp_path, *words[:2], "-o", "json", KUBECONFIG=str(config),
                   METALLB_NAMESPACE="metallb-system")  # fmt: skip
    assert json.loads(again.stdout) == found


def test_a_context_that_is_not_there_is_said(tmp_path: Path, api: ApiServer) -> None:
    config = kubeconfig(tmp_path, api.url)
    done = called(tmp_path, "explain", "web", "--kubeconfig", str(config), "--context", "away")
    assert (done.exit_code, done.output) == (
        1,
        f"Error: --kubeconfig: {config}: there is no cluster 'gone' (there is: c)\n",
    )


@pytest.mark.parametrize(
    "command", [("controller",), ("explain", "web"), ("speaker", "--node-name", "a")]
)
def test_without_any_store_both_ways_to_name_one_are_said(
    tmp_path: Path, command: tuple[str, ...]
) -> None:
    done = called(tmp_path, *command)
    assert done.exit_code == 1
    assert "cannot be read" in done.output
    assert done.output.endswith("(or name a folder: --manifests)\n")


def test_a_folder_and_a_cluster_exclude_each_other(tmp_path: Path) -> None:
    done = called(tmp_path, "explain", "web", "--manifests", str(tmp_path), "--context", "x")
    assert done.exit_code == 2
    assert "--manifests stands in place of --kubeconfig and --context" in done.output


def test_a_folder_keeps_its_statuses_in_itself_and_a_cluster_on_the_node() -> None:
    assert StoreChoice(folder=Path("/f")).state == Path("/f/.onehop")
    assert StoreChoice().state == Path("/run/onehop")
    assert StoreChoice(folder=Path("/f"), state_folder=Path("/s")).state == Path("/s")


def test_namespaces_come_from_the_command_line_or_from_the_pod() -> None:
    outside = Access(server="x", host="x", port=1, namespace="default")
    pod = Access(server="x", host="x", port=1, namespace="lb", is_pod=True)
    chosen = StoreChoice(namespace="metallb-system")
    assert namespace_of(StoreChoice(), outside) == "onehop-system"
    assert namespace_of(StoreChoice(), pod) == "lb"
    assert namespace_of(chosen, pod) == "metallb-system"
    assert own_namespace_of(chosen, pod) == "lb"
    assert own_namespace_of(chosen, outside) == "metallb-system"
