"""A lab of namespaces: it carries packets, keeps them inside, and leaves nothing behind.

client .10   router .1    node0 .200   node1 .201   node2 .202
|            |            |            |            |
----+------------+-- bridge (namespace `lan`, no uplink) -----
|            |            |
kafka-2      kafka-0      kafka-1
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from onehop.lab.lab import ARTICLE, Lab, LabSpec
from onehop.lab.lifecycle import take_down
from onehop.lab.observe import greeting
from onehop.lab.state import ROOT, LabError, Layout, labs, start_time

pytestmark = [pytest.mark.root, pytest.mark.lab]

NAMES = (f"labtest-{os.getpid()}-a", f"labtest-{os.getpid()}-b")
BARE = {"control": False}
ONEHOP = [sys.executable, "-m", "onehop.cli.main", "lab"]


def spec(name: str = NAMES[0], **more: object) -> LabSpec:
    return LabSpec(**{"name": name, **BARE, **more})  # type: ignore[arg-type]


def onehop(*words: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [*ONEHOP, *words], capture_output=True, text=True, timeout=60, check=False
    )


def eventually(claim: Callable[[], bool], what: str, seconds: float = 10.0) -> None:
    deadline = time.monotonic() + seconds
    while not claim():
        assert time.monotonic() < deadline, what
        time.sleep(0.002)


def leftovers(name: str) -> list[str]:
    """Whatever on this machine still speaks of a lab."""
    found = [str(path) for path in (*ROOT.glob(name), *ROOT.glob(f".{name}.*"))]
    found += [str(path) for path in Path("/run/netns").glob(f"onehop-{name}-*")]
    mounts = Path("/proc/self/mountinfo").read_text()
    found += [line for line in mounts.splitlines() if f"{ROOT}/{name}/" in line]
    for entry in Path("/proc").glob("[0-9]*"):
        try:
            words = (entry / "environ").read_bytes().split(b"\0")
        except OSError:
            continue
        if f"ONEHOP_LAB={name}".encode() in words:
            found.append(f"process {entry.name}")
    return found


@pytest.fixture(autouse=True)
def _clean() -> Iterator[None]:
    yield
    for name in NAMES:
        take_down(Layout(name))


@pytest.fixture(scope="module")
def shared() -> Iterator[Lab]:
    """One lab for the tests that only look."""
    with Lab.up(spec(f"labtest-{os.getpid()}-s")) as lab:
        yield lab


def test_pods_reach_each_other_through_their_nodes(shared: Lab) -> None:
    for pod in shared.topology.pods:
        for other in shared.topology.pods:
            if pod is not other:
                seen = greeting(shared, pod.name, other.addresses[0], 9096)
                assert (seen.pod, seen.source) == (other.name, pod.addresses[0])


def test_the_client_reaches_a_pod_only_when_it_is_given_the_route(shared: Lab) -> None:
    pod = shared.topology.pod("kafka-0")
    with pytest.raises(OSError, match="unreachable"):
        greeting(shared, "client", pod.addresses[0], 9096)
    shared.route_pods()
    seen = greeting(shared, "client", pod.addresses[0], 9096)
    assert (seen.pod, str(seen.source)) == ("kafka-0", "192.168.200.10")


def test_nodes_wear_the_addresses_and_macs_of_their_objects(shared: Lab) -> None:
    for node in shared.topology.nodes:
        done = shared.run(node.name, ["ip", "-json", "address", "show", "dev", "eno1"], check=True)
        (link,) = json.loads(done.stdout)
        assert link["address"] == str(node.mac)
        inet = [a for a in link["addr_info"] if a["family"] == "inet"]
        assert [f"{a['local']}/{a['prefixlen']}" for a in inet] == [str(node.addresses[0])]


def test_no_namespace_has_a_way_out(shared: Lab) -> None:
    """Every link's peer lies in a namespace of the lab, and no host on the LAN has a default."""
    own = {shared.layout.namespace(host).stat().st_ino for host in shared.topology.hosts}
    assert Path("/proc/self/ns/net").stat().st_ino not in own
    assert len(own) == len(shared.topology.hosts)
    kinds = set()
    for host in shared.topology.hosts:
        done = shared.run(host, ["ip", "-json", "-details", "link"], check=True)
        for link in json.loads(done.stdout):
            kinds.add(link.get("linkinfo", {}).get("info_kind", link["link_type"]))
    assert kinds == {"loopback", "veth", "bridge"}
    root_links = subprocess.run(["ip", "-json", "link"], capture_output=True, check=True).stdout
    assert not any("onehop" in str(link.get("link_netns")) for link in json.loads(root_links))
    for host in ("client", "router", *(node.name for node in shared.topology.nodes)):
        for family in ("-4", "-6"):
            routes = shared.run(host, ["ip", family, "route"], check=True).stdout
            assert "default" not in routes
        assert shared.run(host, ["ping", "-c1", "-W1", "203.0.113.1"]).returncode != 0


def test_the_bridge_does_not_pass_packets_through_netfilter(shared: Lab) -> None:
    done = shared.run("lan", ["sysctl", "-n", "net.bridge.bridge-nf-call-iptables"])
    assert done.returncode != 0 or done.stdout.strip() == "0"


def test_a_lab_that_was_taken_down_leaves_nothing() -> None:
    lab = Lab.up(spec())
    sleeper = lab.popen("kafka-1", ["sleep", "1000"])
    pids = [record.pid for record in lab.supervisor.records()]
    assert len(pids) == 3
    assert {f"process {pid}" for pid in pids} <= set(leftovers(NAMES[0]))
    lab.down()
    assert leftovers(NAMES[0]) == []
    assert [pid for pid in pids if start_time(pid)] == []
    assert sleeper.wait(timeout=5) == -signal.SIGKILL
    lab.down()


def test_mounts_of_the_nodes_go_with_the_lab() -> None:
    """Whatever the speakers do, three BPF file systems are mounted and none stays."""
    lab = Lab.up(spec())
    for node in lab.topology.nodes:
        lab.mount_bpf(node.name)
    mounted = [line for line in leftovers(NAMES[0]) if " bpf " in line]
    assert len(mounted) == 3
    lab.down()
    assert leftovers(NAMES[0]) == []


def test_two_labs_stand_side_by_side() -> None:
    with Lab.up(spec(NAMES[0])) as one, Lab.up(spec(NAMES[1])) as two:
        assert set(NAMES) <= set(labs())
        one.route_pods()
        two.route_pods()
        pod = one.topology.pod("kafka-0")
        one.supervisor.stop("responder-kafka-0")
        with pytest.raises(ConnectionRefusedError):
            greeting(one, "client", pod.addresses[0], 9096)
        assert greeting(two, "client", pod.addresses[0], 9096).pod == "kafka-0"
        one.down()
        assert leftovers(NAMES[0]) == []
        assert greeting(two, "client", pod.addresses[0], 9096).pod == "kafka-0"


def test_a_name_is_taken_once() -> None:
    with Lab.up(spec()) as lab:
        with pytest.raises(LabError, match="up already"):
            Lab.up(spec())
        assert lab.run("client", ["true"]).returncode == 0


# Where in its work the builder is interrupted: what must exist by then.
MOMENTS = {
    "at the beginning": "lab.json",
    "between two namespaces": "netns/node1",
    "with the last namespace": "netns/kafka-2",
    "with the first process": "pids/responder-kafka-0.json",
}


@pytest.mark.parametrize("moment", MOMENTS)
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_an_interrupted_up_leaves_nothing(moment: str, number: signal.Signals) -> None:
    builder, finished = interrupted(moment, number)
    assert finished or builder.returncode != 0
    if finished:
        take_down(Layout(NAMES[0]))
    assert leftovers(NAMES[0]) == []


@pytest.mark.parametrize("moment", MOMENTS)
def test_what_a_killed_up_left_is_cleared_by_down(moment: str) -> None:
    interrupted(moment, signal.SIGKILL)
    done = onehop("down", "--name", NAMES[0])
    assert (done.returncode, done.stderr) == (0, "")
    assert leftovers(NAMES[0]) == []


def test_what_a_killed_up_left_is_cleared_by_the_next_up() -> None:
    interrupted("between two namespaces", signal.SIGKILL)
    with Lab.up(spec()) as lab:
        assert len(lab.topology.hosts) == 9
    assert leftovers(NAMES[0]) == []


def interrupted(moment: str, number: signal.Signals) -> tuple[subprocess.Popen[bytes], bool]:
    """An `up` that got a signal at a moment, and whether it had finished before."""
    layout = Layout(NAMES[0])
    builder = subprocess.Popen(
        [*ONEHOP, "up", "--name", NAMES[0], "--no-kafka", "--bare"],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    eventually(lambda: (layout.root / MOMENTS[moment]).exists(), f"up never came to: {moment}")
    builder.send_signal(number)
    builder.wait(timeout=30)
    record = layout.read()
    return builder, builder.returncode == 0 and record is not None and record.ready


@pytest.mark.kafka
def test_an_up_that_is_interrupted_among_its_brokers_leaves_nothing() -> None:
    layout = Layout(NAMES[0])
    builder = subprocess.Popen([*ONEHOP, "up", "--name", NAMES[0]], stderr=subprocess.DEVNULL)
    eventually(
        lambda: (layout.pids / "broker-kafka-0.json").exists(), "no broker ever started", 60.0
    )
    builder.send_signal(signal.SIGINT)
    assert builder.wait(timeout=30) == 1
    assert leftovers(NAMES[0]) == []


DUAL = """
{kind: Node, apiVersion: v1, metadata: {name: left.example}, spec: {podCIDRs: [10.2.0.0/24]},
 status: {addresses: [{type: InternalIP, address: 10.1.0.5},
                      {type: InternalIP, address: "fd00::5"}]}}
---
{kind: Node, apiVersion: v1, metadata: {name: right.example},
 spec: {podCIDRs: [10.2.1.0/24, "fd01:0:0:1::/64"]},
 status: {addresses: [{type: InternalIP, address: 10.1.0.6},
                      {type: InternalIP, address: "fd00::6"}]}}
---
{kind: Pod, apiVersion: v1, metadata: {name: web, namespace: one},
 spec: {nodeName: left.example, containers: [{name: a, ports: [{containerPort: 80}]}]},
 status: {podIPs: [{ip: 10.2.0.7}, {ip: "fd02::7"}]}}
---
{kind: Pod, apiVersion: v1, metadata: {name: web, namespace: two},
 spec: {nodeName: right.example, containers: [{name: a, ports: [{containerPort: 80}]}]},
 status: {podIPs: [{ip: 10.2.1.7}, {ip: "fd01:0:0:1::7"}]}}
"""


def test_a_cluster_of_other_names_and_both_families(tmp_path: Path) -> None:
    """Pods of one name in two namespaces, a pod outside its node's podCIDRs, no MAC given."""
    (tmp_path / "any.yml").write_text(DUAL)
    with Lab.up(spec(cluster=tmp_path)) as lab:
        lab.route_pods()
        pods = lab.topology.pods
        for host in ("client", *(str(pod.key) for pod in pods)):
            for pod in pods:
                for address in pod.addresses:
                    if str(pod.key) != host:
                        seen = greeting(lab, host, address, 80)
                        assert (seen.pod, seen.source.version) == ("web", address.version)
    assert leftovers(NAMES[0]) == []


def test_commands_build_show_enter_and_end_a_lab() -> None:
    name = ("--name", NAMES[0])
    done = onehop("up", *name, "--no-kafka", "--bare", "--cluster", str(ARTICLE))
    assert done.returncode == 0, done.stderr
    seen = json.loads(onehop("status", *name, "-o", "json").stdout)
    node0 = next(host for host in seen["hosts"] if host["host"] == "node0")
    assert (node0["kind"], node0["addresses"]) == ("node", ["192.168.200.200/24"])
    alive = [p["alive"] for host in seen["hosts"] for p in host["processes"]]
    assert alive == [True] * 3
    table = onehop("status", *name).stdout
    assert "192.168.200.200/24" in table
    assert "responder-kafka-0" in table
    ping = onehop("exec", *name, "client", "--", "ping", "-c1", "-W2", "192.168.200.201")
    assert ping.returncode == 0, ping.stderr
    assert onehop("exec", *name, "kafka/kafka-0", "sh", "-c", "exit 7").returncode == 7
    assert onehop("exec", *name, "client", "--", "no-such-command").returncode == 127
    unknown = onehop("exec", *name, "nowhere", "--", "true")
    assert (unknown.returncode, "no host 'nowhere'" in unknown.stderr) == (1, True)
    assert "is down" in onehop("down", *name).stdout
    assert "was not up" in onehop("down", *name).stdout
    assert leftovers(NAMES[0]) == []


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("kind: Node\napiVersion: v1\nmetadata: {name: a}\n", "Node a: status.addresses"),
        ("kind: [\n", "cluster.yaml"),
    ],
)
def test_a_bad_cluster_is_named_in_a_sentence(tmp_path: Path, text: str, said: str) -> None:
    path = tmp_path / "cluster.yaml"
    path.write_text(text)
    done = onehop("up", "--name", NAMES[0], "--no-kafka", "--cluster", str(path))
    assert done.returncode == 1
    assert said in done.stderr
    assert "Traceback" not in done.stderr
    assert leftovers(NAMES[0]) == []


# The interpreter may lie where only root can read, so root's rights go after the imports.
UNPRIVILEGED = """
import os
import onehop.cli.lab
import onehop.lab.lab
from onehop.cli.main import main
os.setgroups([])
os.setresgid(65534, 65534, 65534)
os.setresuid(65534, 65534, 65534)
main(["lab", "VERB"])
"""


@pytest.mark.parametrize("verb", ["up", "down"])
def test_without_root_one_sentence_says_so(verb: str) -> None:
    code = UNPRIVILEGED.replace("VERB", verb)
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, timeout=30, check=False
    )
    assert done.returncode == 1
    assert done.stderr == "Error: the lab needs root: it makes network namespaces and mounts\n"
