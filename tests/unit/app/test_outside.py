"""A cluster's speakers, asked through its API server, and the commands that ask them."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from ipaddress import ip_address
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

import pytest
import yaml
from click.testing import CliRunner, Result

from onehop.adapters.bpf.tables import Row, Statistics
from onehop.adapters.kube.kubeconfig import Access
from onehop.app.bgp_report import ANSWERED, NodeState, PeerState, body_of, is_alive, read_reports
from onehop.app.outside import OutsideError, SpeakerPod, ask, mirrored, some_speakers, speakers
from onehop.app.service_table import document, rows_of
from onehop.cli.main import main
from onehop.model.service import Backend, Frontend, Key, Protocol, TrafficPolicy


class Api:
    """An API server that knows pods and passes questions on to them."""

    def __init__(self) -> None:
        self.pods: list[dict[str, Any]] = []
        self.pages: dict[str, Any] = {}
        self.asked: list[str] = []
        self.page = 2
        self.status = 200
        api = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_GET(self) -> None:
                status, body = api.answer(self.path)
                text = body if isinstance(body, bytes) else json.dumps(body).encode()
                self.send_response(status)
                self.send_header("Content-Length", str(len(text)))
                self.end_headers()
                self.wfile.write(text)

            def log_message(self, *_: object) -> None:
                """Tests read what they ask for."""

        self.http = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.port = self.http.server_address[1]
        threading.Thread(target=self.http.serve_forever, args=(0.02,), daemon=True).start()

    @property
    def access(self) -> Access:
        return Access(server=self.url, host="127.0.0.1", port=self.port)

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def pod(self, node: str, port: int = 7472) -> None:
        ports = [{"name": "telemetry", "containerPort": port}] if port else []
        self.pods.append(
            {
                "metadata": {"namespace": "onehop-system", "name": f"speaker-{node}"},
                "spec": {"nodeName": node, "containers": [{"name": "speaker", "ports": ports}]},
                "status": {"conditions": [{"type": "Ready", "status": "True"}]},
            }
        )

    def tells(self, node: str, page: str, body: Any, port: int = 7472) -> None:
        where = f"/api/v1/namespaces/onehop-system/pods/speaker-{node}:{port}/proxy/state/{page}"
        self.pages[where] = body

    def answer(self, target: str) -> tuple[int, Any]:
        self.asked.append(target)
        if self.status != 200:
            return self.status, {"kind": "Status", "message": "pods is forbidden"}
        parts = urlsplit(target)
        if parts.path != "/api/v1/pods":
            if parts.path in self.pages:
                return 200, self.pages[parts.path]
            return 502, b"error trying to reach service"
        query = {name: values[0] for name, values in parse_qs(parts.query).items()}
        _, _, node = query.get("fieldSelector", "").partition("=")
        found = [pod for pod in self.pods if node in ("", pod["spec"]["nodeName"])]
        first = int(query.get("continue", 0))
        last = first + self.page
        more = {"continue": str(last)} if last < len(found) else {}
        return 200, {"metadata": more, "items": found[first:last]}


@pytest.fixture
def api() -> Iterator[Api]:
    api = Api()
    yield api
    api.http.shutdown()
    api.http.server_close()


def a_row(number: int, *backends: Backend, fast: int = 0) -> Row:
    return Row(
        id=number,
        frontend=Frontend(
            address=ip_address("192.0.2.241"), port=9000 + number, protocol=Protocol.UDP
        ),
        service=Key("shop", "web"),
        policy=TrafficPolicy.LOCAL,
        total=3,
        backends=backends,
        fast=fast,
        statistics=Statistics(packets=1, bytes=2, flows=3, drops=4),
    )


def a_backend(host: str, *, local: bool) -> Backend:
    return Backend(address=ip_address(host), port=80, local=local)


ROWS = (
    a_row(1, a_backend("10.0.0.1", local=True), a_backend("10.0.0.2", local=False), fast=1),
    a_row(2, a_backend("10.0.0.1", local=True)),
    a_row(3),
)


def test_a_service_table_comes_back_as_it_was() -> None:
    assert rows_of(json.loads(json.dumps(document(ROWS)))) == ROWS


@pytest.mark.parametrize(
    "records", [[{}], ["x"], [{"frontend": None}], [document(ROWS)[0] | {"type": "?"}]]
)
def test_what_is_no_service_table_is_refused(records: list[Any]) -> None:
    with pytest.raises(ValueError, match=r".+"):
        rows_of(records)


def test_speakers_are_found_page_by_page(api: Api) -> None:
    for node in ("c", "a", "b"):
        api.pod(node)
    api.pod("d", port=0)
    found = speakers(api.access)
    assert [each.node for each in found] == ["a", "b", "c", "d"]
    assert found[0] == SpeakerPod(
        node="a", namespace="onehop-system", name="speaker-a", port=7472, is_ready=True
    )
    assert len(api.asked) == 2
    assert [each.node for each in speakers(api.access, "b")] == ["b"]


def test_who_does_not_answer_is_told_apart(api: Api) -> None:
    for node, port in (("a", 7472), ("b", 7472), ("c", 0), ("d", 7472)):
        api.pod(node, port)
    api.tells("a", "node", {"node": "a"})
    api.tells("d", "node", b"<html>")
    answers = ask(api.access, speakers(api.access), "node")
    assert answers.found == {"a": {"node": "a"}}
    assert answers.silent == {
        "b": "HTTP 502: error trying to reach service",
        "c": "its pod names no port for telemetry",
        "d": "the answer is no JSON",
    }


def test_what_speakers_answer_reads_like_their_reports(api: Api) -> None:
    api.pod("a")
    api.tells("a", "node", {"node": "a", "failures": []})
    api.tells("a", "bgp", body_of(NodeState(node="a", at=1.0, process="7:7", refused={"r": "no"})))
    with mirrored(api.access, some_speakers(api.access)) as (state, silent):
        (found,) = read_reports(state)
        assert (found.node, found.refused, found.process) == ("a", {"r": "no"}, ANSWERED)
        assert is_alive(found)
        assert not silent
    assert not state.exists()


def test_no_speakers_and_no_rights_are_said(api: Api) -> None:
    with pytest.raises(OutsideError, match="no speaker on node x"):
        some_speakers(api.access, "x")
    api.status = 403
    with pytest.raises(OutsideError, match="HTTP 403: pods is forbidden"):
        speakers(api.access)


def called(tmp_path: Path, api: Api, *words: str) -> Result:
    config = tmp_path / "kubeconfig"
    body = {
        "current-context": "here",
        "clusters": [{"name": "c", "cluster": {"server": api.url}}],
        "contexts": [{"name": "here", "context": {"cluster": "c"}}],
    }
    config.write_text(yaml.safe_dump(body))
    env = {"HOME": str(tmp_path), "KUBERNETES_SERVICE_HOST": ""}
    return CliRunner(env=env).invoke(main, [*words, "--kubeconfig", str(config)])


def test_service_list_shows_the_tables_of_all_nodes(tmp_path: Path, api: Api) -> None:
    for node in ("a", "b", "c"):
        api.pod(node)
    api.tells("a", "services", document(ROWS[:1]))
    api.tells("b", "services", document(ROWS[1:2]))
    done = called(tmp_path, api, "service", "list")
    assert done.exit_code == 0
    lines = [line.split() for line in done.stdout.splitlines()]
    assert lines[0] == ["Node", "ID", "Frontend", "Service", "Type", "Backend"]
    assert lines[1][:4] == ["a", "1", "192.0.2.241:9001/UDP", "LoadBalancer"]
    assert lines[2] == ["2", "=>", "10.0.0.2:80/UDP", "(active)"]
    assert lines[3][0] == "b"
    assert done.stderr.startswith("Warning: the speaker of c does not answer: HTTP 502")
    found = json.loads(called(tmp_path, api, "service", "list", "-o", "json").stdout)
    assert [(each["node"], each["id"]) for each in found] == [("a", 1), ("b", 2)]


def test_service_list_without_any_answer_fails(tmp_path: Path, api: Api) -> None:
    api.pod("a")
    done = called(tmp_path, api, "service", "list", "--node", "a")
    assert done.exit_code == 1
    assert done.stderr.endswith("Error: no speaker of a answers\n")


def test_bgp_peers_shows_the_sessions_of_all_nodes(tmp_path: Path, api: Api) -> None:
    api.pod("a")
    peer = PeerState(
        name="tor", address="192.0.2.1", port=179, local_asn=64512, peer_asn=64500,
        state="Established", since=0.0, established=1, wanted=3, sent=3, received=0,
    )  # fmt: skip
    api.tells("a", "bgp", body_of(NodeState(node="a", at=1.0, process="7:7", peers=(peer,))))
    done = called(tmp_path, api, "bgp", "peers")
    assert done.exit_code == 0, done.output
    assert done.stdout.splitlines()[1].split()[:5] == [
        "tor", "a", "192.0.2.1", "64500", "Established",
    ]  # fmt: skip
    assert done.stderr.startswith("Warning: the speaker of a does not answer: HTTP 502"), "node"


def test_bgp_peers_without_speakers_fails(tmp_path: Path, api: Api) -> None:
    done = called(tmp_path, api, "bgp", "peers")
    assert done.exit_code == 1
    assert "there is no speaker" in done.stderr
