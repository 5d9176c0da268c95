"""Command lines, kubeconfigs and ends of the API server, with scripts in its place."""

from __future__ import annotations

import base64
import json
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

import pytest

from onehop.lab.kube_client import read_audit
from onehop.lab.kube_server import (
    APISERVER,
    ETCD,
    MANAGER,
    KubeServer,
    Processes,
    ServerError,
    Site,
    apiserver_command,
    etcd_command,
    kubeconfig,
    loopback,
    manager_command,
)


class Recorder:
    """A launcher that starts nothing and may let a process end at once."""

    def __init__(self, ends: str = "") -> None:
        self.ends = ends
        self.started: list[tuple[str, tuple[str, ...]]] = []
        self.killed: list[str] = []

    def start(self, name: str, argv: Sequence[str]) -> None:
        self.started.append((name, tuple(argv)))

    def kill(self, name: str) -> None:
        self.killed.append(name)

    def is_alive(self, name: str) -> bool:
        return name != self.ends

    def tail(self, name: str) -> str:
        return f"  {name} says why"


@pytest.fixture
def processes(tmp_path: Path) -> Iterator[Processes]:
    made = Processes(tmp_path / "logs")
    yield made
    for name in ("one", "two"):
        made.kill(name)


def test_a_server_in_a_lab_is_told_its_address_and_etcd_stays_on_loopback(tmp_path: Path) -> None:
    site = Site(directory=tmp_path, address="172.30.0.1", bind="0.0.0.0")
    words = apiserver_command(site)
    assert {"--bind-address=0.0.0.0", "--advertise-address=172.30.0.1"} <= set(words)
    assert "--etcd-servers=http://127.0.0.1:2379" in words
    assert not [word for word in etcd_command(site) if "172.30" in word or "0.0.0.0" in word]
    assert site.server == "https://172.30.0.1:6443"
    assert f"--kubeconfig={site.kubeconfig}" in manager_command(site)


def test_two_sites_on_the_loopback_share_no_port(tmp_path: Path) -> None:
    sites = [loopback(tmp_path), loopback(tmp_path)]
    ports = [port for s in sites for port in (s.port, s.etcd_port, s.etcd_peer_port)]
    assert len(set(ports[:3])) == len(set(ports[3:])) == 3
    assert {site.bind for site in sites} == {"127.0.0.1"}


def test_a_kubeconfig_needs_no_other_file(tmp_path: Path) -> None:
    site = Site(directory=tmp_path)
    site.ca.parent.mkdir()
    site.ca.write_text("the certificate")
    told = json.loads(kubeconfig(site, "the token", "here"))
    (cluster,) = told["clusters"]
    assert base64.b64decode(cluster["cluster"]["certificate-authority-data"]) == b"the certificate"
    assert told["users"][0]["user"]["token"] == "the token"
    assert told["contexts"][0]["context"]["namespace"] == "here"
    assert told["current-context"] == told["contexts"][0]["name"]


@pytest.mark.parametrize("name", [ETCD, APISERVER])
def test_a_process_that_ends_early_is_named_with_what_it_said(tmp_path: Path, name: str) -> None:
    launcher = Recorder(ends=name)
    server = KubeServer(loopback(tmp_path / "d"), tmp_path, launcher)
    with pytest.raises(ServerError, match=rf"{name} ended:\n  {name} says why"):
        server.start()
    assert [started for started, _ in launcher.started] == [ETCD, APISERVER]
    assert launcher.killed == [MANAGER, APISERVER, ETCD], "whoever uses data before who holds it"
    assert (tmp_path / "d" / "tokens.csv").stat().st_mode & 0o077 == 0
    assert server.admin_token in (tmp_path / "d" / "tokens.csv").read_text()


def test_the_controller_manager_is_optional(tmp_path: Path) -> None:
    launcher = Recorder()
    server = KubeServer(loopback(tmp_path), tmp_path, launcher)
    assert not server.start_controller_manager()
    (tmp_path / MANAGER).touch()
    assert server.start_controller_manager()
    ((name, argv),) = launcher.started
    assert (name, argv[0]) == (MANAGER, str(tmp_path / MANAGER))


def test_a_server_that_nobody_started_is_not_ready(tmp_path: Path) -> None:
    assert not KubeServer(loopback(tmp_path), tmp_path, Recorder()).is_ready()


def test_processes_are_logged_and_ended(processes: Processes) -> None:
    processes.start("one", ["sh", "-c", "echo here; exec sleep 60"])
    assert processes.is_alive("one")
    deadline = time.monotonic() + 10
    while "here" not in processes.tail("one"):
        assert time.monotonic() < deadline
    processes.kill("one")
    processes.kill("one")
    assert not processes.is_alive("one")
    assert "said nothing" in processes.tail("two")


def test_processes_are_told_of_no_proxy(
    processes: Processes, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HTTPS_PROXY", "http://192.0.2.1:3128")
    monkeypatch.setenv("KUBECONFIG", "/somebody/elses")
    processes.start("one", ["sh", "-c", "env; echo END=1"])
    deadline = time.monotonic() + 10
    while "END" not in processes.tail("one"):
        assert time.monotonic() < deadline
    lines = processes.tail("one").split()
    names = {line.partition("=")[0] for line in lines} - {"END"}
    told = {"PATH", "HOME", "ETCD_WATCH_PROGRESS_NOTIFY_INTERVAL"}
    assert told <= names <= told | {"PWD", "OLDPWD", "SHLVL", "_"}


def test_processes_end_with_whoever_started_them(tmp_path: Path) -> None:
    script = (
        "import sys, os\nfrom pathlib import Path\n"
        "from onehop.lab.kube_server import Processes\n"
        "p = Processes(Path(sys.argv[1]))\n"
        "p.start('one', ['sh', '-c', 'echo $$; exec sleep 60'])\n"
        "while not p.tail('one').strip().isdigit(): pass\n"
        "print(p.tail('one').strip(), flush=True)\n"
        "os.kill(os.getpid(), 9)\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", script, tmp_path], capture_output=True, text=True, check=False
    )
    assert done.returncode == -9
    child = int(done.stdout)
    deadline = time.monotonic() + 10
    while _runs(child):
        assert time.monotonic() < deadline, "it outlived the one who started it"


def _runs(pid: int) -> bool:
    try:
        return "sleep" in Path(f"/proc/{pid}/cmdline").read_text()
    except (FileNotFoundError, ProcessLookupError):
        return False


def test_half_a_line_of_the_audit_log_is_not_read(tmp_path: Path) -> None:
    log = tmp_path / "audit.log"
    assert read_audit(log) == []
    log.write_text('{"verb": "get"}\n{"verb": "li')
    assert read_audit(log) == [{"verb": "get"}]
