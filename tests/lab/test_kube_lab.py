"""A lab on a real Kubernetes API server: the same scenes, and a kubelet that tells the truth."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from ipaddress import IPv4Address
from pathlib import Path
from typing import Any

import pytest

from onehop.lab import settle
from onehop.lab.kube_client import read_audit
from onehop.lab.kube_plane import KubePlane
from onehop.lab.kube_store import KubeLabStore
from onehop.lab.lab import Lab, LabSpec
from onehop.lab.observe import greeting
from onehop.lab.state import LabError
from onehop.lab.topology import API, API_LINK

pytestmark = [pytest.mark.root, pytest.mark.lab, pytest.mark.kube]

NAME = f"kubelab-{os.getpid()}"
ONEHOP = (sys.executable, "-m", "onehop.cli.main")
ADDRESS = IPv4Address("192.168.200.241")
SCENES = [1, 2, 3, 4, 5, 7, 8, 9]
OWN = [f"system:serviceaccount:onehop-system:onehop-{name}" for name in ("controller", "speaker")]

Seen = dict[str, Any]


def eventually(claim: Callable[[], object], what: str, seconds: float = 15.0) -> None:
    deadline = time.monotonic() + seconds
    while not claim():
        assert time.monotonic() < deadline, what
        time.sleep(0.02)


@pytest.fixture(scope="module")
def lab(kube_programs: Path) -> Iterator[Lab]:
    with Lab.up(LabSpec(name=NAME, store="kubernetes")) as made:
        yield made


@pytest.fixture(scope="module")
def plane(lab: Lab) -> KubePlane:
    assert isinstance(lab.store, KubeLabStore)
    return lab.store.plane


def onehop(*words: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        (*ONEHOP, *words), capture_output=True, text=True, timeout=120, check=False
    )


def kubectl(plane: KubePlane, *words: str) -> str:
    """What a person's kubectl says on this machine, outside of every namespace of the lab."""
    argv = (str(Path(plane.place.programs) / "kubectl"), *words)
    env = {"KUBECONFIG": str(plane.outer_kubeconfig), "HOME": str(plane.layout.kube)}
    done = subprocess.run(argv, capture_output=True, text=True, timeout=60, check=False, env=env)
    assert done.returncode == 0, done.stderr
    return done.stdout


def tour(store: str, name: str) -> list[Seen]:
    done = onehop("lab", "tour", "--name", name, "--store", store, "--no-kafka", "-o", "json")
    assert done.returncode == 0, done.stdout + done.stderr
    found: list[Seen] = json.loads(done.stdout)
    return found


def test_everything_serves_when_up_returns(lab: Lab) -> None:
    assert lab.unsettled == ()
    lab.supervisor.check()
    names = {record.name for record in lab.supervisor.records() if record.host == API}
    assert names == {
        "controller", "etcd", "forwarder", "kube-apiserver", "kube-controller-manager", "kubelet",
    }  # fmt: skip


def test_both_stores_give_the_same_verdicts(lab: Lab, plane: KubePlane) -> None:
    """The tour on each: what is typed, expected and judged is the same, and so is what is seen.

    And all that the scenes make controller and speakers ask for is among the rights of `deploy/`.
    """
    old = len(read_audit(plane.site.audit_log))
    lab.supervisor.stop("speaker-node2")  # so that one is seen from its first request
    lab.start_speaker("node2")
    here, there = tour("kubernetes", NAME), tour("folder", f"{NAME}-f")
    audited = read_audit(plane.site.audit_log)[old:]
    assert [scene["scene"] for scene in here] == SCENES
    # Scene 1 counts bytes on a link, and whatever else crosses it counts with them.
    same = ("scene", "title", "command", "expected", "ok")
    assert [[s[k] for k in same] for s in here] == [[s[k] for k in same] for s in there]
    assert [s["seen"] for s in here[1:]] == [s["seen"] for s in there[1:]]
    codes = {name: set[int]() for name in OWN}
    for event in audited:
        codes.get(event["user"]["username"], set()).add(event["responseStatus"]["code"])
    assert all(codes.values()), "somebody asked for nothing"
    assert not [code for seen in codes.values() for code in seen if code in (401, 403)]


def test_a_lab_of_the_other_store_is_not_played_on(lab: Lab) -> None:
    done = onehop("lab", "tour", "--name", NAME, "--no-kafka", "--scene", "2", "-o", "json")
    assert done.returncode == 1
    assert f"lab '{NAME}' is up with --store kubernetes" in done.stderr


def ready(plane: KubePlane, pod: str) -> str:
    path = "{.status.conditions[?(@.type=='Ready')].status}"
    return kubectl(plane, "get", "pod", pod, "-n", "kafka", "-o", f"jsonpath={path}")


def test_a_pod_is_ready_while_something_answers_in_it(lab: Lab, plane: KubePlane) -> None:
    """Nobody edits anything: the kubelet sees it, and the endpoint, the owner and traffic go."""
    lab.set_policy("Local")
    argv = next(r.argv for r in lab.supervisor.records() if r.name == "responder-kafka-0")
    eventually(lambda: greeting(lab, "client", ADDRESS, 9096).pod == "kafka-0", "it never served")
    lab.supervisor.stop("responder-kafka-0")
    eventually(lambda: ready(plane, "kafka-0") == "False", "kafka-0 stayed Ready")
    assert [str(key) for key in lab.store.without_endpoints()] == [
        "kafka/kafka-0", "kafka/kafka-bootstrap",
    ]  # fmt: skip
    eventually(lambda: answers(lab) == set(), "somebody answers for an address without endpoints")
    lab.supervisor.start("responder-kafka-0", "kafka-0", argv[: argv.index("--ready-fd")])
    eventually(lambda: ready(plane, "kafka-0") == "True", "kafka-0 is not Ready again")
    eventually(lambda: answers(lab) != set(), "nobody answers again")
    assert greeting(lab, "client", ADDRESS, 9096).pod == "kafka-0"


def answers(lab: Lab) -> set[str]:
    argv = ("arping", "-r", "-c", "2", "-W", "0.1", "-w", "0.4", "-I", "enp1s0", str(ADDRESS))
    return set(lab.run("client", argv).stdout.split())


def test_nodes_are_alive_and_say_so(lab: Lab, plane: KubePlane) -> None:
    def renewals() -> dict[str, str]:
        found = json.loads(kubectl(plane, "get", "lease", "-n", "kube-node-lease", "-o", "json"))
        return {i["metadata"]["name"]: i["spec"]["renewTime"] for i in found["items"]}

    nodes = kubectl(plane, "get", "nodes", "--no-headers").splitlines()
    assert [line.split()[:2] for line in nodes] == [[f"node{n}", "Ready"] for n in range(3)]
    before = renewals()
    assert sorted(before) == ["node0", "node1", "node2"]
    eventually(lambda: all(renewals()[n] > before[n] for n in before), "no Lease is renewed")


def test_a_deleted_pod_goes_and_one_that_is_made_anew_comes_back(
    lab: Lab, plane: KubePlane
) -> None:
    old = json.loads(kubectl(plane, "get", "pod", "kafka-1", "-n", "kafka", "-o", "json"))
    kubectl(plane, "delete", "pod", "kafka-1", "-n", "kafka", "--timeout=20s")
    with plane.client() as client:
        metadata = {k: old["metadata"][k] for k in ("name", "namespace", "labels")}
        container = {k: old["spec"]["containers"][0][k] for k in ("name", "image", "ports")}
        spec = {"nodeName": old["spec"]["nodeName"], "containers": [container]}
        kind = {"apiVersion": "v1", "kind": "Pod"}
        client.apply([{**kind, "metadata": metadata, "spec": spec}])
    eventually(lambda: ready(plane, "kafka-1") == "True", "kafka-1 is not Ready again")
    assert settle.wait(10, lab.store.without_endpoints) == ()


def test_addresses_are_announced_on_the_lan_alone(lab: Lab) -> None:
    """On the API server's bridge nobody hears of an address, however often its owner changes."""
    argv = ["tcpdump", "-lnni", "lan", "arp or icmp6"]
    with lab.popen(API, argv, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as hearing:
        try:
            assert hearing.stderr is not None
            while b"listening on" not in hearing.stderr.readline():
                pass
            for policy in ("Cluster", "Local", "Cluster", "Local"):
                lab.set_policy(policy)
                owner = "node0" if policy == "Cluster" else "node1"
                mac = str(lab.topology.lan_host(owner).mac)
                wanted = f"arping -rc1 -w1 -I enp1s0 {ADDRESS}".split()
                eventually(lambda m=mac, w=wanted: m in lab.run("client", w).stdout, owner)  # type: ignore[misc]
            # Somebody is heard there: the wire works.
            lab.run("node0", ["arping", "-c1", "-w1", "-I", API_LINK, "172.30.0.1"])
        finally:
            hearing.terminate()
        assert hearing.stdout is not None
        heard = hearing.stdout.read().decode()
    assert "172.30.0.1" in heard
    assert not re.search(r"192\.168\.200\.", heard), heard


def test_the_server_can_be_reached_from_nodes_and_nowhere_else(lab: Lab) -> None:
    probe = "import socket; socket.create_connection(('172.30.0.1', 6443), 0.5)"
    reached = {
        host
        for host in lab.topology.hosts
        if lab.run(host, [sys.executable, "-c", probe]).returncode == 0
    }
    assert reached == {API, "node0", "node1", "node2"}
    assert lab.run(API, ["ping", "-c1", "-W1", "203.0.113.1"]).returncode != 0
    assert "default" not in lab.run(API, ["ip", "route"], check=True).stdout


def test_commands_need_no_options_in_such_a_lab(lab: Lab, plane: KubePlane) -> None:
    inside = ("lab", "exec", "--name", NAME)
    told = onehop(*inside, "node1", "--", *ONEHOP, "explain", "kafka/kafka-0")
    assert told.returncode == 0, told.stderr
    assert f"{ADDRESS} from pool kafka" in told.stdout
    table = onehop(*inside, "node1", "--", *ONEHOP, "service", "list")
    assert f"{ADDRESS}:9096" in table.stdout
    nodes = onehop(*inside, API, "--", "kubectl", "get", "nodes", "-o", "name")
    assert nodes.stdout.split() == ["node/node0", "node/node1", "node/node2"]
    status = json.loads(onehop("lab", "status", "--name", NAME, "-o", "json").stdout)
    assert status["store"] == "kubernetes"
    assert status["objects"] == f"KUBECONFIG={plane.outer_kubeconfig}"
    (host,) = (each for each in status["hosts"] if each["host"] == API)
    assert (host["kind"], host["addresses"]) == ("API server", ["172.30.0.1/22"])


def test_a_printed_kubeconfig_works_on_this_machine(
    lab: Lab, plane: KubePlane, tmp_path: Path
) -> None:
    done = onehop("lab", "kubeconfig", "--name", NAME)
    assert done.returncode == 0, done.stderr
    file = tmp_path / "config"
    file.write_text(done.stdout)
    assert f"onehop-{NAME}" in kubectl(plane, "--kubeconfig", str(file), "config", "get-contexts")
    listed = kubectl(plane, "--kubeconfig", str(file), "get", "svc", "-n", "kafka", "-o", "name")
    assert len(listed.split()) == 4
    assert plane.outer_kubeconfig.stat().st_mode & 0o077 == 0
    args = ("--kubeconfig", str(file), "--namespace", plane.place.namespace)
    told = onehop("explain", "kafka/kafka-0", *args)
    assert f"{ADDRESS} from pool kafka" in told.stdout, told.stderr


def test_traffic_goes_on_while_the_server_is_away(lab: Lab, plane: KubePlane) -> None:
    lab.set_policy("Local")
    eventually(lambda: greeting(lab, "client", ADDRESS, 9096).pod == "kafka-0", "it never served")
    server = plane.server(lab.supervisor)
    server.stop_apiserver()
    assert greeting(lab, "client", ADDRESS, 9096).pod == "kafka-0"
    assert answers(lab) != set()
    assert json.loads(onehop("lab", "status", "--name", NAME, "-o", "json").stdout)["hosts"]
    with pytest.raises(LabError, match=f"API server of lab '{NAME}' cannot be reached"):
        lab.refresh()
    server.start_apiserver()
    assert lab.set_policy("Cluster") == 4
    wanted = str(lab.topology.lan_host("node0").mac)
    eventually(lambda: wanted in answers(lab), "the change never came to the wire", 40.0)
    lab.supervisor.check()


def test_an_attached_lab_is_the_same(lab: Lab) -> None:
    other = Lab.attach(NAME)
    assert other.topology == lab.topology
    assert other.refresh().services == lab.refresh().services


def test_a_lab_without_a_server_has_no_kubeconfig() -> None:
    name = f"{NAME}-bare"
    assert f"lab '{name}' is not up" in onehop("lab", "kubeconfig", "--name", name).stderr
    with Lab.up(LabSpec(name=name, control=False, responders=False)):
        done = onehop("lab", "kubeconfig", "--name", name)
        assert (done.returncode, "has no API server" in done.stderr) == (1, True)
        assert (
            json.loads(onehop("lab", "status", "--name", name, "-o", "json").stdout)["store"]
            == "folder"
        )


def test_programs_that_are_not_there_are_said(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    monkeypatch.delenv("KUBEBUILDER_ASSETS", raising=False)
    with pytest.raises(LabError, match="`make kube` builds them"):
        Lab.up(LabSpec(name=f"{NAME}-none", store="kubernetes"))
